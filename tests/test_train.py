"""Training as a user runs it, on a clip of tones: files, resuming, what validation sees, and what is refused."""

import csv

import pytest
import torch
from pytorch_lightning import seed_everything
from safetensors.torch import load_file, save_file

import train
from common.errors import InputError
from stable_foley.checkpoint import load_model
from stable_foley.config import build_model
from tests.conftest import tone_clip
from training.config import compose
from video2rms.predict import BUNDLED_VIDEO2RMS


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    tone_clip(root, "a")
    tone_clip(root, "b", duration_s=2.0)
    return root


def run_config(data_root, folder, tag, *overrides):
    return compose(
        "exp=train_gh_controlnet",
        "backbone=debug",
        "trainer=cpu",
        "logger=tensorboard",
        "dataset=remix",
        f"paths.greatest_hits={data_root}",
        f"paths.runs={folder}",
        f"tag={tag}",
        "dataset.batch_size=2",
        "dataset.samples_per_epoch=4",
        "dataset.num_workers=0",
        "dataset.spec.duration_s=1.0",
        "dataset.spec.frame_size_px=32",
        "trainer.log_every_n_steps=1",
        "+trainer.enable_progress_bar=false",
        "callbacks.samples.every_n_epochs=1",
        "~conditioners.audio",  # CLAP has one size, and takes longer than all the rest
        *overrides,
    )


def logged(folder, tag):
    """Losses as the CSV logger wrote them at every start of the run: (step, name, value)."""
    losses = []
    for path in sorted((folder / tag / "csv").glob("version_*/metrics.csv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        losses += [(int(r["step"]), k, float(r[k])) for r in rows for k in ("train_loss", "valid_loss") if r.get(k)]
    return losses


@pytest.fixture(scope="module")
def runs(data_root, tmp_path_factory):
    """One run of two epochs; and one of a single epoch, resumed for the second with other global random states."""
    folder = tmp_path_factory.mktemp("runs")
    train.train(run_config(data_root, folder, "whole", "trainer.max_epochs=2"))
    train.train(run_config(data_root, folder, "resumed", "trainer.max_epochs=1"))
    seed_everything(99, verbose=False)
    checkpoint = folder / "resumed" / "checkpoints" / "last.ckpt"
    train.train(run_config(data_root, folder, "resumed", "trainer.max_epochs=2", f"ckpt={checkpoint}"))
    return folder


def test_a_resumed_run_repeats_an_uninterrupted_one(runs):
    whole = logged(runs, "whole")
    assert len(whole) == 2 * (2 + 1)
    assert logged(runs, "resumed") == whole
    weights, again = (load_file(runs / tag / "checkpoints" / "best.safetensors") for tag in ("whole", "resumed"))
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[key], again[key]) for key in weights)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_resumed_run_reads_what_an_uninterrupted_one_does_ahead(data_root, tmp_path, n_workers):
    """Workers read before the trainer has counted the epochs that are done."""
    ahead = [f"dataset.num_workers={n_workers}", "dataset.batch_size=1", "callbacks.samples.every_n_epochs=9"]
    train.train(run_config(data_root, tmp_path, "whole", "trainer.max_epochs=3", *ahead))
    train.train(run_config(data_root, tmp_path, "resumed", "trainer.max_epochs=1", *ahead))
    train.train(run_config(data_root, tmp_path, "resumed", "trainer.max_epochs=3", "ckpt=last", *ahead))
    assert len(logged(tmp_path, "whole")) == 3 * (4 + 1)
    assert logged(tmp_path, "resumed") == logged(tmp_path, "whole")


def test_checkpoints_and_samples_lie_where_they_should(runs):
    run = runs / "whole"
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.safetensors", "last.ckpt"}
    samples = sorted(path.relative_to(run / "samples").as_posix() for path in (run / "samples").rglob("*.*"))
    assert samples == [f"step000000{n}/{clip}.{kind}" for n in (2, 4) for clip in ("a", "b") for kind in ("png", "wav")]


def test_both_kinds_of_checkpoint_can_be_used(runs):
    best, _ = load_model(runs / "whole" / "checkpoints" / "best.safetensors")
    last, config = load_model(runs / "whole" / "checkpoints" / "last.ckpt")
    assert config.dataset.spec.duration_s == 1.0
    assert best.state_dict().keys() == last.state_dict().keys()


@pytest.mark.parametrize("name", ["best.safetensors", "last.ckpt"])
def test_a_new_run_starts_with_the_weights_of_a_checkpoint(runs, data_root, tmp_path, name):
    """A learning rate of 0 leaves them as they are."""
    start = runs / "whole" / "checkpoints" / name
    overrides = ["trainer.max_epochs=1", "training.optimizer.lr=0", f"start={start}"]
    train.train(run_config(data_root, tmp_path, "started", *overrides))
    started, _ = load_model(tmp_path / "started" / "checkpoints" / "best.safetensors")
    expected, _ = load_model(start)
    state, other = started.state_dict(), expected.state_dict()
    assert all(torch.equal(state[key], other[key]) for key in other)
    assert logged(tmp_path, "started")[0][0] < 2  # steps are counted from 0


def test_validation_does_not_depend_on_when_it_runs(data_root, tmp_path):
    """A learning rate of 0 leaves the weights alone, so every validation must give the same loss."""
    overrides = ["trainer.max_epochs=3", "training.optimizer.lr=0", "callbacks.samples.every_n_epochs=9"]
    train.train(run_config(data_root, tmp_path, "still", *overrides))
    losses = [value for _, name, value in logged(tmp_path, "still") if name == "valid_loss"]
    assert len(losses) == 3
    assert losses[0] == losses[1] == losses[2]


def test_the_loss_falls(data_root, tmp_path):
    overrides = ["trainer.max_epochs=6", "training.optimizer.lr=0.003", "callbacks.samples.every_n_epochs=9"]
    config = run_config(data_root, tmp_path, "falls", "model=backbone", "dataset.frames=false", *overrides)
    train.train(config)
    losses = [value for _, name, value in logged(tmp_path, "falls") if name == "valid_loss"]
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("ckpt=nowhere.ckpt", "nowhere.ckpt"),
        ("paths.greatest_hits=nowhere", "nowhere"),
        ("dataset.train_split=nowhere", "nowhere"),
        ("dataset.spec.sample_rate_hz=48000", "48000 Hz"),
        ("trainer.precision=half", "half"),
        ("dataset.batch_size=0", "batch_size"),
        ("training=mini", "max_steps"),
        ("start=nowhere.safetensors", "start=nowhere.safetensors"),
        (f"start={BUNDLED_VIDEO2RMS}", "do not fit this model"),
    ],
)
def test_wrong_options_are_refused(data_root, tmp_path, override, words):
    with pytest.raises(InputError, match=words):
        train.train(run_config(data_root, tmp_path, "refused", override))


def test_a_missing_start_is_refused_before_the_data_are_read(tmp_path):
    with pytest.raises(InputError, match=r"start=nowhere\.safetensors"):
        train.train(run_config(tmp_path / "no data", tmp_path, "refused", "start=nowhere.safetensors"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], "ckpt="),
        (["ckpt={run}/checkpoints/best.safetensors"], "no training checkpoint"),
        (
            ["ckpt={run}/checkpoints/last.ckpt", "seed=5", "backbone.weights={run}/other.safetensors"],
            "another backbone",
        ),
        (["ckpt={run}/checkpoints/last.ckpt", "start={run}/checkpoints/best.safetensors"], "give one of them"),
    ],
)
def test_runs_are_not_mixed_up(runs, data_root, overrides, words):
    run = runs / "whole"
    state = build_model(compose("backbone=debug", "model=backbone")).state_dict()
    save_file(state, run / "other.safetensors")
    with pytest.raises(InputError, match=words):
        train.train(run_config(data_root, runs, "whole", *(o.format(run=run) for o in overrides)))


def test_a_mixed_training_keeps_what_is_frozen_in_its_type_and_samples_with_it(data_root, tmp_path):
    train.train(run_config(data_root, tmp_path, "mixed", "trainer.precision=bf16-mixed", "trainer.max_steps=2"))
    assert list((tmp_path / "mixed" / "samples").rglob("*.wav"))
    stored = load_file(tmp_path / "mixed" / "checkpoints" / "best.safetensors")
    assert {value.dtype for value in stored.values() if value.is_floating_point()} == {torch.float32}
