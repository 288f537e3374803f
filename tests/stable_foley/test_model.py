"""The whole model: what is trained, what it refuses, guidance and sampling."""

from dataclasses import replace

import pytest
import torch

from common.errors import InputError
from media.envelope import Envelope
from stable_foley.config import build_model
from stable_foley.sampler import SamplerSettings
from training.config import compose

N_SAMPLES = 2048 * 10
PARTS = {
    "control": {"model.controlnet"},
    "control_and_projections": {"model.controlnet", "conditioner.conditioners"},
    "all": {"model.controlnet", "model.model", "conditioner.conditioners"},
}


def raw_inputs(n=2):
    generator = torch.Generator().manual_seed(0)
    return {
        "seconds_start": torch.zeros(n),
        "seconds_total": torch.full((n,), 1.0),
        "frames": torch.rand(n, 4, 3, 32, 32, generator=generator),
        "audio": torch.randn(n, 2, N_SAMPLES, generator=generator),
        "envelope": Envelope(torch.rand(n, 125, generator=generator), 125.0),
    }


@pytest.mark.parametrize("trainable", list(PARTS))
def test_trained_parts(trainable):
    model = build_model(compose("exp=train_gh_controlnet", "backbone=debug", f"model.trainable={trainable}"))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {".".join(name.split(".")[:2]) for name in trained} == PARTS[trainable]
    assert not any("stage1_model" in name or ".clap." in name or "pretransform" in name for name in trained)
    assert trained <= set(model.trained_state())
    assert any(".proj_out." in name for name in trained) == (trainable != "control")


def test_frozen_parts_stay_in_eval_mode(debug_model):
    debug_model.train()
    assert debug_model.model.controlnet.transformer.layers[0].training
    assert not debug_model.model.model.transformer.layers[0].training
    assert not debug_model.pretransform.training
    batch_norms = [m for m in debug_model.modules() if isinstance(m, torch.nn.BatchNorm3d)]
    assert batch_norms
    assert not any(norm.training for norm in batch_norms)


def test_tokens_are_frames_then_sound(debug_model):
    embeddings = embeddings_of(debug_model)
    conditions = debug_model.conditioner(embeddings)
    assert conditions.tokens.shape == (2, 5, 64)
    assert conditions.global_embed.shape == (2, 128)
    assert conditions.control.shape == (2, 10, 64)
    sound_token = debug_model.conditioners["audio"](embeddings["audio"])
    torch.testing.assert_close(conditions.tokens[:, 4:], sound_token)


def embeddings_of(model, n=2):
    features = model.conditioner.encode(raw_inputs(n), N_SAMPLES)
    return model.conditioner.draw(features, torch.Generator().manual_seed(0))


def make_alive(model):
    """The library starts many layers at zero; give them something to do."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


@torch.no_grad()
def test_guidance_combines_the_two_halves(debug_model):
    make_alive(debug_model)
    embeddings = embeddings_of(debug_model)
    conditions, null = debug_model.conditioner(embeddings), debug_model.conditioner.unprompted(embeddings)
    x, t = torch.randn(2, 64, 10, generator=torch.Generator().manual_seed(3)), torch.tensor([0.3, 0.8])
    with_tokens = debug_model(x, t, conditions)
    without = debug_model(x, t, replace(conditions, tokens=torch.zeros_like(conditions.tokens)))
    assert (with_tokens - without).abs().max() > 1e-3
    guided = debug_model.guided_v(x, t, conditions, 3.0, null)
    torch.testing.assert_close(guided, without + 3 * (with_tokens - without), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(debug_model.guided_v(x, t, conditions, 1.0, null), with_tokens)
    same = debug_model.guided_v(x, t, conditions, 5.0, negative=conditions)
    torch.testing.assert_close(same, with_tokens, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("interval", "evaluated"), [((0.0, 1e5), [2] * 4), ((1.0, 20.0), [1, 2, 2, 1]), ((200.0, 300.0), [1] * 4)]
)
def test_outside_of_its_interval_guidance_costs_nothing(debug_model, interval, evaluated):
    make_alive(debug_model)
    embeddings, n_clips = embeddings_of(debug_model, 1), []
    conditions, null = debug_model.conditioner(embeddings), debug_model.conditioner.unprompted(embeddings)
    settings = SamplerSettings("euler", 4, 0.1, 100.0, cfg_scale=3.0, cfg_interval=list(interval))
    hook = debug_model.model.register_forward_pre_hook(lambda _module, inputs: n_clips.append(len(inputs[0])))

    def sample(settings):
        return debug_model.sample(conditions, N_SAMPLES, settings, [torch.Generator().manual_seed(0)], negative=null)

    limited = sample(settings)
    hook.remove()
    assert n_clips == evaluated
    whole, none = sample(replace(settings, cfg_interval=(0, 1e5))), sample(replace(settings, cfg_scale=1.0))
    assert torch.equal(limited, whole) == (evaluated == [2] * 4)
    assert torch.equal(limited, none) == (evaluated == [1] * 4)


def test_samples_depend_on_their_own_seed_only(debug_model):
    make_alive(debug_model)
    embeddings = embeddings_of(debug_model, 1)
    conditions, null = debug_model.conditioner(embeddings), debug_model.conditioner.unprompted(embeddings)
    settings = SamplerSettings(n_steps=3, cfg_scale=2.0)

    def sample(*seeds):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return debug_model.sample(conditions, N_SAMPLES, settings, generators, negative=null)

    both = sample(1, 2)
    assert both.shape == (2, 64, 10)
    torch.testing.assert_close(both[1:], sample(2), atol=1e-4, rtol=1e-4)
    assert (both[0] - both[1]).abs().max() > 0.1
    assert torch.equal(sample(1), sample(1))


def test_the_prompt_of_the_small_model_is_part_of_the_global_condition():
    model = build_model(compose("backbone=mini_prompts"))
    generator = torch.Generator().manual_seed(0)
    embeddings = {key: torch.rand(2, generator=generator) for key in ("seconds_start", "seconds_total")}
    embeddings |= {"frames": torch.randn(2, 40, 256, generator=generator), "envelope": torch.rand(2, 4, 96)}
    embeddings |= {"audio": torch.randn(2, 256, generator=generator)}
    conditions = model.conditioner(embeddings)
    assert conditions.tokens.shape == (2, 40, 192)
    assert conditions.global_embed.shape == (2, 3 * 192)
    unprompted = model.conditioner.unprompted(embeddings)
    assert not unprompted.tokens.any()
    assert not unprompted.global_embed[:, 384:].any()
    assert torch.equal(unprompted.global_embed[:, :384], conditions.global_embed[:, :384])
    assert torch.equal(unprompted.control, conditions.control)


def test_padded_length_is_whole_tokens():
    mini = build_model(compose("backbone=mini"))
    assert mini.backbone.samples_per_token == 1536
    assert mini.padded_length(441_000) == 288 * 1536
    assert mini.padded_length(1536) == 1536
    assert mini.pretransform.encode(mini.padded(torch.zeros(1, 2, 5000))).shape == (1, 304, 4)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.control_layers=7"], "1 to 6"),
        (["model.control_layers=0"], "set both or neither"),
        (["model.trainable=everything"], "everything"),
        (
            [
                "conditioners.audio._target_=torch.nn.Linear",
                "~conditioners.audio.clap",
                "+conditioners.audio.in_features=2",
                "~conditioners.audio.output_dim",
                "+conditioners.audio.out_features=2",
            ],
            "audio is a Linear",
        ),
        (["+conditioners.level=${conditioners.envelope}"], "conditioners.level"),
        (["conditioners.envelope=${conditioners.seconds_start}"], "conditioners.envelope"),
        (["backbone.random_weights=false"], "backbone.weights"),
        (["backbone.model_config.model.pretransform.type=wavelet"], "wavelet"),
        (["backbone.weights=nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_what_does_not_fit_together_is_refused(overrides, words):
    with pytest.raises(InputError, match=words):
        build_model(compose("exp=train_gh_controlnet", "backbone=debug", *overrides))


def test_an_input_without_conditioner_is_refused():
    mini = build_model(compose("backbone=mini"))
    with pytest.raises(InputError, match="frames"):
        mini.conditioner.encode({"frames": torch.zeros(1, 1, 3, 8, 8)}, 2048)


def test_a_transformer_for_another_latent_is_refused():
    """As a checkpoint of mini from before its fine levels would be."""
    options = ("backbone=mini", "backbone.model_config.model.diffusion.config.io_channels=240")
    with pytest.raises(InputError, match=r"io_channels is 240, but the latent codec has 304 channels"):
        build_model(compose("exp=mini_controlnet", "paths.random_weights=true", "backbone.weights=null", *options))


def test_frozen_matrices_kept_in_bfloat16_change_no_loss_and_no_gradient_of_a_mixed_training():
    found = []
    for kept in (False, True):
        torch.manual_seed(0)
        model = build_model(compose("exp=train_gh_controlnet", "backbone=debug")).train()
        with torch.no_grad():
            for parameter in model.model.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape))
        if kept:
            model.store_frozen(torch.bfloat16)
        x = torch.randn(1, model.pretransform.n_latent_channels, 16)
        features = model.conditioner.encode(raw_inputs(1), 2048 * 16)
        embeddings = model.conditioner.draw(features, torch.Generator().manual_seed(0))
        with torch.autocast("cpu", torch.bfloat16):
            v = model(x, torch.tensor([0.3]), model.conditioner(embeddings, {}))
        v.float().square().mean().backward()
        found.append([v, *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(found[0]) > 10
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    halved = {name for name, p in model.named_parameters() if p.dtype == torch.bfloat16}
    assert halved
    assert not any(p.requires_grad for name, p in model.named_parameters() if name in halved)
