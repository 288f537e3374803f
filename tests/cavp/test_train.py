"""CAVP's training as a user runs it, on clips of tones: files, resuming, continuing, and the use of its result."""

import csv
from pathlib import Path

import pytest
import torch
from pytorch_lightning import seed_everything
from safetensors.torch import load_file

import train
from cavp import load_cavp
from common.errors import InputError
from stable_foley.conditioners.frames import FramesConditioner, video_tower
from tests.conftest import tone_clip
from training.config import compose

SMALL = [
    "exp=train_gh_cavp.yaml",
    "model=cavp_debug",
    "trainer=cpu",
    "logger=tensorboard",
    "dataset.train_split=null",
    "dataset.val_split=null",
    "dataset.batch_size=2",
    "dataset.samples_per_epoch=4",
    "dataset.segments_per_recording=2",
    "dataset.min_shift_s=0.5",
    "dataset.num_workers=0",
    "dataset.spec.duration_s=1.0",
    "dataset.spec.frame_size_px=32",
    "trainer.log_every_n_steps=1",
    "+trainer.enable_progress_bar=false",
]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    for clip_id, duration_s in (("a", 2.0), ("b", 1.5), ("c", 3.0)):
        tone_clip(root, clip_id, duration_s)
    (root / "one.txt").write_text("a\n")
    return root


def run_config(data_root, folder, tag, *overrides):
    return compose(*SMALL, f"paths.greatest_hits={data_root}", f"paths.runs={folder}", f"tag={tag}", *overrides)


def logged(folder, tag):
    """What the CSV logger wrote at every start of the run: (step, name, value)."""
    values = []
    for path in sorted((folder / tag / "csv").glob("version_*/metrics.csv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        values += [(int(r["step"]), k, float(v)) for r in rows for k, v in sorted(r.items()) if v and "_" in k]
    return values


@pytest.fixture(scope="module")
def runs(data_root, tmp_path_factory):
    """One run of two epochs; and one of a single epoch, resumed for the second with another global random state."""
    folder = tmp_path_factory.mktemp("runs")
    train.train(run_config(data_root, folder, "whole", "trainer.max_epochs=2"))
    train.train(run_config(data_root, folder, "resumed", "trainer.max_epochs=1"))
    seed_everything(99, verbose=False)
    checkpoint = folder / "resumed" / "checkpoints" / "last.ckpt"
    train.train(run_config(data_root, folder, "resumed", "trainer.max_epochs=2", f"ckpt={checkpoint}"))
    return folder


def best(folder: Path, tag: str) -> Path:
    return folder / tag / "checkpoints" / "best.safetensors"


def test_a_resumed_run_repeats_an_uninterrupted_one(runs):
    whole = logged(runs, "whole")
    names = [name for _, name, _ in whole]
    assert names.count("train_loss") == 4
    assert names.count("valid_loss") == names.count("valid_video_to_audio_R@1") == 2
    assert logged(runs, "resumed") == whole
    weights, again = (load_file(best(runs, tag)) for tag in ("whole", "resumed"))
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[key], again[key]) for key in weights)


def test_the_foley_model_takes_the_best_checkpoint(runs):
    """At once, at its own size, as paths.cavp."""
    assert {path.name for path in (runs / "whole" / "checkpoints").iterdir()} == {"best.safetensors", "last.ckpt"}
    conditioner = FramesConditioner(video_tower(str(best(runs, "whole")), False, "CAVP"), output_dim=8)
    trained = load_file(best(runs, "whole"))
    assert all(torch.equal(value, trained[key]) for key, value in conditioner.stage1_model.state_dict().items())
    tokens = conditioner(conditioner.encode(torch.rand(1, 3, 3, 32, 32), 0))
    assert tokens.shape == (1, 3, 8)
    assert load_cavp(runs / "whole" / "checkpoints" / "last.ckpt", with_audio=True).embed_dim == 32


@pytest.mark.parametrize("option", ["paths.cavp", "model.weights"])
def test_training_continues_from_weights(runs, data_root, tmp_path, option):
    """Without a step in between (a rate of 0), the weights it ends with are those it was given."""
    given = best(runs, "whole")
    rate = ["training.optimizer.lr=0", "trainer.max_steps=1"]
    train.train(run_config(data_root, tmp_path, "next", f"{option}={given}", *rate))
    before, after = load_file(given), torch.load(tmp_path / "next" / "checkpoints" / "last.ckpt")["state_dict"]
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    same = {key for key in before if torch.equal(before[key], after[key])}
    assert {key for key in before if not key.endswith(statistics)} <= same
    assert any(key not in same for key in before)  # the statistics of the step's batch


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("paths.cavp=nowhere.ckpt", "nowhere.ckpt"),
        ("paths.greatest_hits=nowhere", "nowhere"),
        ("dataset.segments_per_recording=9", "9 segments need"),
        ("dataset.train_split=one", "1 recording of"),
        ("dataset.spec.sample_rate_hz=8000", "sample_rate_hz is 8000"),
        ("dataset.spec.n_channels=2", "n_channels is 2"),
        ("model.spec_encoder.embed_dim=16", "width 16 and the video tower of 32"),
    ],
)
def test_wrong_options_are_refused(data_root, tmp_path, override, words):
    with pytest.raises(InputError, match=words):
        train.train(run_config(data_root, tmp_path, "refused", override, "trainer.max_steps=1"))


def test_weights_of_another_size_are_refused(runs, data_root, tmp_path):
    overrides = ["model=cavp_small", f"paths.cavp={best(runs, 'whole')}", "trainer.max_steps=1"]
    config = run_config(data_root, tmp_path, "refused", *overrides)
    with pytest.raises(InputError, match="do not fit this model"):
        train.train(config)
