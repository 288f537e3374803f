"""The command line that predicts envelopes, on videos of many kinds, with a network of random weights."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from common.errors import InputError
from media.envelope import read_envelope_csv
from media.probe import probe
from media.reading import iter_frames
from tests.media.clips import make_video
from training.checkpoint import Checkpoint, save_checkpoint
from training.config import build_model, compose
from training.stored_config import stored_form
from video2rms.predict import OWN_TARGETS, load_video2rms, main, predict_envelope
from video2rms.streaming import WINDOW_FRAMES, predict_levels

VIDEOS = {
    "5fps.mp4": {"times_s": np.arange(10) / 5, "rate": 5},
    "120fps.mp4": {"times_s": np.arange(120) / 120, "rate": 120, "time_base": Fraction(1, 1200)},
    "uneven.mkv": {"times_s": [0.0, 0.05, 0.3, 0.31, 0.9, 1.4, 1.41, 1.8]},
    "turned.mp4": {"times_s": np.arange(30) / 25, "rotation": 90},
    "odd.mp4": {"times_s": np.arange(30) / 25, "size": (66, 50)},
    "short.mp4": {"times_s": np.arange(15) / 30, "rate": 30, "time_base": Fraction(1, 300)},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of a small network with random weights."""
    path = tmp_path_factory.mktemp("checkpoint") / "best.safetensors"
    small = ("model.width=16", "model.gru_width=8", "model.features.n_features=16", "model.features.channels=[8,8]")
    config = compose("exp=mini_video2rms", *small)
    save_checkpoint(path, Checkpoint(build_model(config).state_dict(), stored_form(config, ("model", "seed"))))
    return path


@pytest.mark.parametrize("name", VIDEOS)
def test_any_video_has_an_envelope_of_its_length(tmp_path, checkpoint, capsys, name):
    path = make_video(tmp_path / name, **{"times_s": list(VIDEOS[name]["times_s"]), **VIDEOS[name]})
    csv, plot = tmp_path / "out" / "envelope.csv", tmp_path / "out" / "plot.png"
    main(["--video", str(path), "--output", str(csv), "--figure", str(plot), "--checkpoint", str(checkpoint)])
    envelope = read_envelope_csv(csv)
    assert envelope.rate_hz == pytest.approx(125)
    assert envelope.duration_s == pytest.approx(probe(path).duration_s, abs=0.025)
    assert plot.stat().st_size > 1000
    assert "network" in capsys.readouterr().out


def test_a_part_of_a_video(tmp_path, checkpoint):
    path = make_video(tmp_path / "video.mp4", times_s=[k / 25 for k in range(100)])
    model = load_video2rms(checkpoint)
    part = predict_envelope(model, path, start_s=1.0, duration_s=2.0)
    assert len(part.envelope.rms) == 250
    assert part.onsets_s.numel() == 0 or 0 <= part.onsets_s.min() <= part.onsets_s.max() <= 2


def test_the_command_says_what_it_counts_and_writes_times_of_the_video(tmp_path, capsys):
    path = make_video(tmp_path / "video.mp4", times_s=[k / 25 for k in range(100)])
    main(["--video", str(path), "--output", str(tmp_path / "part.csv"), "--start", "1.3", "--duration", "2"])
    found = predict_envelope(load_video2rms(), path, start_s=1.3, duration_s=2.0)
    assert capsys.readouterr().out.startswith(f"{len(found.hits)} hits")
    written = read_envelope_csv(tmp_path / "part.csv", start_s=1.3)
    torch.testing.assert_close(written.rms, found.envelope.rms, atol=1e-6, rtol=0)


def test_windows_of_a_file_are_seen_as_a_whole(tmp_path, checkpoint):
    path = make_video(tmp_path / "video.mp4", times_s=[k / 25 for k in range(1150)])
    model = load_video2rms(checkpoint)
    found = predict_envelope(model, path)
    size = model.features.size_px
    (whole,) = iter_frames(path, frame_rate_hz=30.0, size_px=size, window_frames=100 * WINDOW_FRAMES)
    (levels,) = predict_levels(model, [whole])
    assert len(found.envelope.rms) == len(levels.rms) == 5750
    expected = 10 ** (-model.headroom_db / 20) * levels.envelope.rms
    torch.testing.assert_close(found.envelope.rms, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--video", "missing.mp4"], "missing.mp4"),
        (["--duration", "0"], "--duration 0.0 does not fit"),
        (["--start", "99"], "--start 99.0 lies outside"),
        (["--start", "99", "--duration", "1"], "--start 99.0 lies outside"),
        (["--start", "nan"], "--start nan lies outside"),
        (["--duration", "100"], "--duration 100.0 does not fit"),
        (["--checkpoint", "missing.safetensors"], "missing.safetensors"),
        (["--device", "abacus"], "'abacus' is not available"),
        (["--figure", "video.mp4"], "--figure video.mp4 is an input"),
        (["--figure", "out.csv"], "out.csv is a folder, or the other output"),
        (["--output", "folder"], "--output folder is a folder"),
    ],
)
def test_mistakes_get_a_sentence(tmp_path, monkeypatch, checkpoint, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "video.mp4", times_s=[k / 25 for k in range(10)])
    (tmp_path / "folder").mkdir()
    with pytest.raises(SystemExit) as stop:
        main(["--video", "video.mp4", "--output", "out.csv", "--checkpoint", str(checkpoint), *options])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"seed": 0, "model": {"_target_": "video2rms.bins.LevelBins"}}, "LevelBins"),
        ({"seed": 0, "model": "small"}, "nothing"),
        ([], "nothing"),
        ({"seed": 0, "model": {"_target_": min(OWN_TARGETS), "features": {"_target_": "os.getcwd"}}}, "would call"),
    ],
)
def test_another_checkpoint_is_refused(tmp_path, config, message):
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, Checkpoint({"weight": torch.zeros(1)}, config))
    with pytest.raises(InputError, match=message):
        load_video2rms(path)


def test_a_part_is_understood_as_in_the_whole(tmp_path, checkpoint):
    path = make_video(tmp_path / "video.mp4", times_s=[k / 25 for k in range(200)])
    model = load_video2rms(checkpoint)
    whole, part = predict_envelope(model, path), predict_envelope(model, path, start_s=6.2, duration_s=1.0)
    assert len(part.envelope.rms) == 125
    expected = whole.envelope.rms[775:900]
    torch.testing.assert_close(part.envelope.rms[:100], expected[:100], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("rate_hz", "is_warned"), [(5, True), (8, True), (12, False), (25, False)])
def test_too_few_frames_per_second_get_a_warning(tmp_path, checkpoint, caplog, rate_hz, is_warned):
    path = make_video(tmp_path / "video.mp4", times_s=[k / rate_hz for k in range(3 * rate_hz)], rate=rate_hz)
    predict_envelope(load_video2rms(checkpoint), path)
    assert ("frames per second" in caplog.text) == is_warned
