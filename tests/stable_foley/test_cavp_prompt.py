"""The prompt of the small model: sounds and words in one space, and a transformer that brings its own projections."""

import pytest
import torch
import torchaudio.functional
from torch.nn import functional as F

from cavp import Cavp, Cnn14, SlowOnly
from cavp.label_tower import LabelTower
from cavp.spectrogram import LogMel
from common.errors import InputError
from data.batch import FoleyBatch
from stable_foley.conditioners.cavp_prompt import WINDOW_S, CavpPromptConditioner, prompt_towers
from stable_foley.config import build_model, composed_config
from training.checkpoint import Checkpoint, save_checkpoint
from training.config import compose
from training.module import build_training

RANDOM = ("conditioners.frames.cavp.weights=null", "paths.random_weights=true")
RATE_HZ = 44_100


@pytest.fixture(scope="module")
def towers():
    torch.manual_seed(0)
    return Cavp(SlowOnly(4), Cnn14(4, embed_dim=32), LabelTower(32), embed_dim=32)


@pytest.fixture(scope="module")
def prompt(towers):
    return CavpPromptConditioner(towers, output_dim=16)


def noise(duration_s, seed=0):
    return 0.3 * torch.randn(1, 2, round(duration_s * RATE_HZ), generator=torch.Generator().manual_seed(seed))


def test_a_sound_of_one_window_is_embedded_as_it_is(prompt, towers):
    sound = noise(WINDOW_S)
    mono = torchaudio.functional.resample(sound.mean(dim=1), RATE_HZ, 16_000)
    expected = towers.encode_audio(LogMel()(mono), pool=True)
    torch.testing.assert_close(prompt.encode(sound, 0), expected)
    assert prompt(prompt.encode(sound, 0)).shape == (1, 1, 16)


def test_a_long_sound_is_the_average_of_its_windows(prompt):
    sound = noise(2 * WINDOW_S)
    halves = [prompt.encode(half, 0) for half in sound.chunk(2, dim=-1)]
    torch.testing.assert_close(prompt.encode(sound, 0), F.normalize(halves[0] + halves[1], dim=-1), atol=2e-3, rtol=0)
    assert prompt.encode(noise(2.2 * WINDOW_S), 0).norm() == pytest.approx(1, abs=1e-5)


def test_a_short_sound_is_followed_by_silence(prompt):
    sound = noise(0.5)
    torch.testing.assert_close(prompt.encode(sound, 0), prompt.encode(F.pad(sound, (0, RATE_HZ)), 0))
    with pytest.raises(InputError, match="no samples"):
        prompt.encode(sound[..., :0], 0)


def test_words_are_those_of_the_label_tower(prompt, towers):
    torch.testing.assert_close(prompt.encode_text(["wooden", "glass"]), towers.encode_label(["wood", "glass"]))
    with pytest.raises(InputError, match="'bagpipe', which"):
        prompt.encode_text(["bagpipe"])


def test_cavp_stays_frozen_and_out_of_checkpoints(prompt):
    assert set(prompt.state_dict()) == {"proj_out.weight", "proj_out.bias"} | {
        name for name in prompt.state_dict() if name.startswith("spectrogram.")
    }
    prompt.train()
    assert not prompt.cavp.training
    assert not any(p.requires_grad for p in prompt.cavp.parameters())


def test_towers_without_words_are_refused():
    with pytest.raises(InputError, match="no tower for words"):
        CavpPromptConditioner(Cavp(SlowOnly(4), Cnn14(4, embed_dim=32), embed_dim=32), 16)
    with pytest.raises(InputError, match="not set"):
        prompt_towers(None, random_weights=False)


def test_a_branch_takes_the_projections_of_its_transformer(tmp_path):
    config = compose("exp=mini_backbone", *RANDOM)
    backbone = build_model(config)
    with torch.no_grad():
        for key in ("frames", "audio"):
            backbone.conditioners[key].proj_out.weight.fill_(0.5)
    path = tmp_path / "backbone.safetensors"
    save_checkpoint(path, Checkpoint(backbone.trained_state(), composed_config(config, backbone)))
    model = build_model(compose("exp=mini_controlnet", "model.trainable=control", *RANDOM, f"backbone.weights={path}"))
    for key in ("frames", "audio"):
        assert (model.conditioners[key].proj_out.weight == 0.5).all()
        assert not model.conditioners[key].proj_out.weight.requires_grad
    assert not any("proj_out" in name and "envelope" not in name for name in model.trained_state())


def test_some_clips_are_prompted_by_their_words():
    training = build_training(compose("exp=mini_backbone", *RANDOM, "training.words_share=0.5"))
    sounds = torch.zeros(200, 256)
    labels = ["hitting wood with a drumstick"] * 100 + [""] * 100
    mixed = training._with_words(sounds, labels, training.noise(len(labels)))
    words = training.model.conditioners["audio"].encode_text(["hitting wood"])
    spoken = [torch.allclose(row, words[0], atol=1e-5) for row in mixed]
    assert 35 < sum(spoken[:100]) < 65
    assert not any(spoken[100:])
    assert all(not row.any() for row, is_spoken in zip(mixed, spoken, strict=True) if not is_spoken)


def test_a_step_of_training_reaches_prompts_and_frames():
    config = compose("exp=mini_backbone", *RANDOM, "dataset.spec.duration_s=1.0")
    training = build_training(config)
    batch = FoleyBatch(
        wave=noise(1.0).expand(2, -1, -1),
        frames=torch.rand(2, 4, 3, 64, 112),
        onsets=(torch.zeros(0),) * 2,
        labels=("hitting metal with a drumstick", ""),
        clip_ids=("a", "b"),
        start_s=torch.zeros(2),
        duration_s=torch.ones(2),
    )
    for step in range(2):  # a new transformer reads nothing yet: its output is zero
        optimizer = torch.optim.SGD(training.parameters(), lr=0.1)
        training.loss(batch, training.noise(len(batch), step)).backward()
        gradients = [training.model.conditioners[key].proj_out.weight.grad for key in ("frames", "audio")]
        optimizer.step()
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)
