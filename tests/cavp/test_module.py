"""The training step: its loss, what it changes and from where it starts, and that it learns what can be learned."""

import json
import math
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from cavp import Cavp, Cnn14, SlowOnly, load_cavp
from cavp.contrast import contrastive_losses
from cavp.module import CavpTraining
from cavp.retrieval import retrieval_metrics
from cavp.spectrogram import LogMel
from cavp.weights import trainable_cavp
from common.errors import InputError
from data.segments import Segments
from training.callbacks import BestCheckpoint

ADAM = partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.1)


def debug_model(seed: int = 0) -> Cavp:
    torch.manual_seed(seed)
    return Cavp(SlowOnly(4), Cnn14(base_channels=8, n_mels=32, embed_dim=16), embed_dim=16)


def training(model: Cavp | None = None, **settings) -> CavpTraining:
    return CavpTraining(model or debug_model(), LogMel(n_mels=32), **{"optimizer": ADAM} | settings)


def synthetic_pairs(n_recordings: int = 4, n_segments: int = 2) -> list[Segments]:
    """Each recording has a colour and a loudness, each of its segments a bright half and a rate of pulses."""
    time_s = torch.arange(8000) / 16_000
    noise = torch.randn(8000, generator=torch.Generator().manual_seed(0))
    pairs = []
    for r in range(n_recordings):
        waves, frames = [], []
        for k in range(n_segments):
            pulse = ((time_s * (4 + 12 * k)) % 1 < 0.5).float()
            waves.append(3 * 0.05**r * noise * pulse)
            colour = torch.tensor([r & 1, r >> 1 & 1, r >> 2], dtype=torch.uint8).mul(150)
            image = colour.view(1, 3, 1, 1).repeat(2, 1, 32, 32)
            image[:, :, 16 * k : 16 * k + 16] += 100
            frames.append(image)
        starts = torch.arange(n_segments, dtype=torch.float64)
        pairs.append(Segments(torch.stack(waves), torch.stack(frames), starts, torch.tensor(r)))
    return pairs


def loader(n_recordings: int = 4, batch_size: int = 4) -> DataLoader:
    return DataLoader(synthetic_pairs(n_recordings), batch_size=batch_size)


def trainer(**settings) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(accelerator="cpu", **quiet | {"enable_checkpointing": False} | settings)


def test_learns_to_tell_segments_apart(monkeypatch):
    """Without dropout, and with batch statistics that keep up with so few steps."""
    monkeypatch.setattr("cavp.audio_tower.DROPOUT", 0.0)
    fading = partial(torch.optim.lr_scheduler.LinearLR, start_factor=1.0, end_factor=0.0, total_iters=40)
    module = training(scheduler=fading)
    for norm in module.modules():
        if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm):
            norm.momentum = 0.4
    fit = trainer(max_epochs=50, check_val_every_n_epoch=50, gradient_clip_val=1.0)
    fit.fit(module, loader(3), loader(3))
    found = {key: float(value) for key, value in fit.callback_metrics.items()}
    assert found["valid_video_to_audio_R@1"] == found["valid_audio_to_video_R@1"] == 1
    assert found["valid_temporal_accuracy"] == 1
    assert found["valid_video_to_audio_median_rank"] == 1
    assert found["valid_loss"] == pytest.approx(found["valid_semantic_loss"] + found["valid_temporal_loss"])
    assert found["valid_loss"] < 0.1 * (math.log(5) + math.log(2))  # of what guessing costs


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_loss_weighs_its_parts(weight):
    module = training(temporal_weight=weight)
    fit = trainer(max_epochs=1)
    fit.fit(module, loader())
    found = fit.callback_metrics
    assert found["train_loss"] == pytest.approx(
        float(found["train_semantic_loss"] + weight * found["train_temporal_loss"])
    )


@pytest.mark.parametrize("part", ["semantic", "temporal"])
def test_each_part_reaches_both_towers(part):
    module = training().train()
    output = module.embed(next(iter(loader())))
    getattr(contrastive_losses(output.video, output.audio, output.logit_scale, torch.arange(4)), part).backward()
    assert [name for name, value in module.model.named_parameters() if value.grad is None] == []
    for tower in (module.model.video_encoder, module.model.spec_encoder):
        assert all(value.grad.isfinite().all() for value in tower.parameters())
        assert next(tower.parameters()).grad.abs().sum() > 0


def test_validation_does_not_depend_on_the_batches():
    """Losses and metrics are of the whole set: one batch, or many and an incomplete one, with recordings repeated."""
    module = training().eval()
    found = [
        trainer().validate(module, DataLoader(pairs, batch_size=n), verbose=False)[0]
        for pairs, n in ((synthetic_pairs(5), 5), ([*synthetic_pairs(5)[::-1], synthetic_pairs(5)[2]], 2))
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    with torch.no_grad():
        output = module.embed(next(iter(loader(5, 5))))
    losses = contrastive_losses(output.video, output.audio, output.logit_scale, torch.arange(5))
    metrics = retrieval_metrics(output.video, output.audio)
    assert found[0]["valid_loss"] == pytest.approx(float(losses.semantic + losses.temporal), rel=1e-4)
    assert {key: found[0][f"valid_{key}"] for key in metrics} == pytest.approx(metrics)


def test_batch_statistics_are_learned_in_training_and_used_in_validation():
    module = training()
    norm = module.model.video_encoder.conv1.bn
    before = norm.running_mean.clone()
    trainer().validate(module, loader(), verbose=False)
    assert torch.equal(norm.running_mean, before)
    trainer(max_epochs=1).fit(module, loader())
    assert not torch.equal(norm.running_mean, before)


def test_silence_and_darkness_give_numbers():
    silent = [
        pair._replace(wave=torch.zeros_like(pair.wave), frames=torch.zeros_like(pair.frames))
        for pair in synthetic_pairs()
    ]
    module, fit = training(), trainer(max_epochs=3)
    fit.fit(module, DataLoader(silent, batch_size=4), DataLoader(silent, batch_size=4))
    assert all(value.isfinite().all() for value in module.model.state_dict().values())
    assert all(value.isfinite() for value in fit.callback_metrics.values())
    assert fit.callback_metrics["valid_video_to_audio_R@1"] == 0


def test_the_logit_scale_stays_within_bounds():
    model = debug_model()
    model.logit_scale.data.fill_(math.log(100))
    module = training(model, optimizer=partial(torch.optim.SGD, lr=0.0))
    model.logit_scale.data.add_(1)  # as a step would
    trainer(max_epochs=1).fit(module, loader())
    assert model.logit_scale.exp().item() == pytest.approx(100)


def test_biases_norms_and_the_scale_do_not_decay():
    groups = training().configure_optimizers().param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert all(parameter.ndim > 1 for parameter in groups[0]["params"])
    model = debug_model()
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert len(groups[1]["params"]) == sum(p.ndim < 2 for p in model.parameters())


def test_dropout_depends_on_seed_and_step_alone():
    """Whatever the state of the global generator."""

    def weights(seed: int, elsewhere: int) -> torch.Tensor:
        module = training(seed=seed)
        torch.manual_seed(elsewhere)
        trainer(max_epochs=2).fit(module, loader())
        return module.model.video_project_head.weight

    assert torch.equal(weights(0, 1), weights(0, 2))
    assert not torch.equal(weights(0, 1), weights(1, 1))


def test_the_best_checkpoint_is_a_cavp(tmp_path):
    module = training(config={"tag": "t"})
    trainer(max_epochs=2, callbacks=[BestCheckpoint(str(tmp_path))]).fit(module, loader(), loader())
    again = load_cavp(tmp_path / "best.safetensors", with_audio=True)
    assert again.embed_dim == 16
    assert (
        again.state_dict().keys() == module.model.state_dict().keys() == load_file(tmp_path / "best.safetensors").keys()
    )


def test_training_continues_from_the_published_layout(shared, tmp_path):
    """Weights as cavp_epoch66.ckpt has them, at the full size, are there bit for bit until the first step."""
    layout = json.loads((shared / "parity" / "small_a" / "cavp_state_dict_layout.json").read_text())
    generator = torch.Generator().manual_seed(0)

    def values(key: str, shape: list[int]) -> torch.Tensor:
        if key.endswith("num_batches_tracked"):
            return torch.tensor(66)
        scale = math.prod(shape[1:]) ** -0.5
        return (
            torch.randn(shape, generator=generator) * scale
            if len(shape) > 1
            else torch.rand(shape, generator=generator) + 0.5
        )

    published = {key: values(key, shape) for key, shape in layout.items()}
    torch.save({"epoch": 66, "state_dict": {f"module.{k}": v for k, v in published.items()}}, tmp_path / "cavp.ckpt")
    model = trainable_cavp(SlowOnly(), Cnn14(), weights=tmp_path / "cavp.ckpt")
    assert model.training
    assert all(value.requires_grad for value in model.parameters())
    state = model.state_dict()
    assert state.keys() == published.keys()
    assert all(torch.equal(state[key], published[key]) for key in published)
    module = CavpTraining(model, LogMel(), partial(torch.optim.SGD, lr=1e-3))
    fit = trainer(max_steps=1)
    fit.fit(module, loader(2, 2))
    assert fit.callback_metrics["train_loss"].isfinite()
    changed = [key for key, value in model.state_dict().items() if not torch.equal(value, published[key])]
    assert {"logit_scale", "video_encoder.conv1.conv.weight", "spec_encoder.final_project.weight"} <= set(changed)


def test_weights_of_another_size_are_refused(tmp_path):
    torch.save(debug_model().state_dict(), tmp_path / "cavp.pt")
    with pytest.raises(InputError, match=r"shape \(4, 3, 1, 7, 7\) instead of \(8, 3, 1, 7, 7\)"):
        trainable_cavp(SlowOnly(8), Cnn14(4, 32, 16), embed_dim=16, weights=tmp_path / "cavp.pt")
    video_only = {key: value for key, value in debug_model().state_dict().items() if key.startswith("video_")}
    torch.save(video_only, tmp_path / "video.pt")
    with pytest.raises(InputError, match="missing logit_scale"):
        trainable_cavp(SlowOnly(4), Cnn14(4, 32, 16), embed_dim=16, weights=tmp_path / "video.pt")
