"""Training on recordings as a user runs it: with and without a cache, resumed, and what is refused."""

import pytest
import torch
from safetensors.torch import load_file

import train
from common.errors import InputError
from tests.media.clips import click, make_video
from tests.test_train import logged
from training.cache import main
from training.config import compose
from video2rms.features.rgb_flow import RgbFlowFeatures
from video2rms.predict import load_video2rms, predict_envelope

MOTION = [
    "model/features=flow",
    "training.augment=true",
    "model.features.n_features=16",
    "model.features.channels=[8,8]",
    "model.features.size_px=[64,48]",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two recordings of two chunks to train on, one of one to validate on."""
    folder = tmp_path_factory.mktemp("videos")
    for name, n_frames in (("a", 20), ("b", 20), ("c", 10)):
        sound = click(n_frames / 25, 0.2) + 0.3 * click(n_frames / 25, 0.1)
        make_video(folder / f"{name}.mp4", times_s=[k / 25 for k in range(n_frames)], sound=sound)
        (folder / f"{name}_times.txt").write_text("0.2 wood hit static\n")
    (folder / "train.txt").write_text("a\nb\n")
    (folder / "val.txt").write_text("c\n")
    return folder


def options(root, cache, *more):
    return [
        "exp=train_gh_video2rms.yaml",
        "trainer=cpu",
        "logger=tensorboard",
        f"paths.greatest_hits={root}",
        f"dataset.cache={cache}",
        "paths.random_weights=true",
        *more,
    ]


SMALL = [
    "model.features.size_px=[128,128]",
    "model.features.flow_updates=1",
]
TINY = [
    "model.width=8",
    "model.lstm_width=4",
    "dataset.batch_size=2",
    "dataset.num_workers=0",
    "dataset.spec.duration_s=0.4",
    "trainer.check_val_every_n_epoch=1",
    "trainer.log_every_n_steps=1",
    "trainer.max_steps=2",
    "+trainer.enable_progress_bar=false",
]


@pytest.fixture(scope="module")
def cache(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache") / "features"
    main([*options(root, folder, *SMALL, *TINY), "--workers", "0", "--device", "cpu"])
    return folder


def test_losses_with_and_without_a_cache_are_the_same_and_with_it_no_network_runs(root, cache, tmp_path, monkeypatch):
    run = [*SMALL, *TINY, f"paths.runs={tmp_path}"]
    train.train(compose(*options(root, "null", *run, "tag=direct")))

    def refuse(*_args, **_kwargs):
        raise AssertionError("a frozen network ran, or a recording was read")

    monkeypatch.setattr(RgbFlowFeatures, "forward", refuse)
    monkeypatch.setattr("video2rms.recordings.read_chunk_sound", refuse)
    monkeypatch.setattr("video2rms.recordings.read_timed_frames", refuse)
    train.train(compose(*options(root, cache, *run, "tag=cached")))
    direct = logged(tmp_path, "direct")
    assert [name for _, name, _ in direct] == ["train_loss", "train_loss", "valid_loss"]
    assert logged(tmp_path, "cached") == direct


def test_a_resumed_run_repeats_an_uninterrupted_one(root, cache, tmp_path):
    run = options(root, cache, *SMALL, *TINY, f"paths.runs={tmp_path}", "trainer.max_steps=4")
    train.train(compose(*run, "tag=whole"))
    train.train(compose(*run, "tag=resumed", "trainer.max_epochs=1"))
    train.train(compose(*run, "tag=resumed", f"ckpt={tmp_path}/resumed/checkpoints/last.ckpt"))
    whole, resumed = ([entry[1:] for entry in logged(tmp_path, tag)] for tag in ("whole", "resumed"))
    assert len(whole) == 2 * (2 + 1)
    assert resumed == whole  # but for the numbers of steps, of which Lightning skips one when max_steps is set
    best, again = (load_file(tmp_path / tag / "checkpoints" / "best.safetensors") for tag in ("whole", "resumed"))
    assert all(torch.equal(best[key], again[key]) for key in best.keys() | again.keys())
    assert sorted(p.name for p in (tmp_path / "whole" / "envelopes").rglob("*.png")) == ["c-0.0s.png"] * 2
    trained = load_video2rms(tmp_path / "whole" / "checkpoints" / "best.safetensors")
    found = predict_envelope(trained, root / "c.mp4").envelope
    assert found.rms.shape == (50,)
    assert found.rms.isfinite().all()


def test_a_second_encoding_has_nothing_to_do(root, cache, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.safetensors")}
    assert len(before) == 5
    monkeypatch.setattr(RgbFlowFeatures, "forward", None)
    main([*options(root, cache, *SMALL, *TINY), "--workers", "0", "--device", "cpu"])
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.safetensors")} == before


def test_features_learned_from_scratch_train_on_recordings(root, tmp_path):
    train.train(compose(*options(root, "null", *MOTION, *TINY, f"paths.runs={tmp_path}", "tag=motion")))
    assert [name for _, name, _ in logged(tmp_path, "motion")] == ["train_loss", "train_loss", "valid_loss"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (MOTION, "FlowFeatures is trained"),
        ([*SMALL, "training.augment=true"], r"training\.augment changes frames"),
        ([*SMALL, "model.features.flow_updates=2"], r"lacks features of 4 of 4 chunks .* python -m training\.cache"),
    ],
)
def test_what_a_cache_cannot_serve_is_refused(root, cache, tmp_path, capsys, more, words):
    chosen = options(root, cache, *TINY, *more, f"paths.runs={tmp_path}", "tag=refused")
    with pytest.raises(InputError, match=words):
        train.train(compose(*chosen))


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (["exp=train_gh_video2rms.yaml", *MOTION, *TINY, "dataset.cache={cache}"], "FlowFeatures is trained"),
        (["exp=mini_video2rms.yaml"], "dataset.cache is not set"),
    ],
)
def test_what_cannot_be_encoded_ends_with_status_2_and_one_sentence(root, tmp_path, capsys, chosen, words):
    with pytest.raises(SystemExit) as end:
        main([*(o.format(cache=tmp_path / "cache") for o in chosen), f"paths.greatest_hits={root}"])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not (tmp_path / "cache").exists()
