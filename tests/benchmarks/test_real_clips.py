"""What the benchmark of real recordings measures, on a recording made here."""

import numpy as np
import pytest
import soundfile
import torch

from benchmarks.real_clips import in_halves, main
from data.greatest_hits import Hit, write_hits
from tests.conftest import tone_clip
from tests.media.clips import click, make_video


def test_a_half_is_made_with_the_other_one_as_prompt():
    truth = torch.cat([torch.full((2, 100), 1.0), torch.full((2, 100), 2.0)], dim=1)
    made = in_halves(truth, lambda prompt: torch.full((2, 200), float(prompt[0].mean())))
    assert torch.equal(made, torch.cat([truth[:, 100:], truth[:, :100]], dim=1))


@pytest.fixture
def clip(tmp_path):
    folder = tone_clip(tmp_path, duration_s=2.0)
    write_hits(folder / "clip.times.csv", [Hit(t, "metal", "hit", "static") for t in np.arange(0.25, 2, 0.25)])
    return folder


def test_tables_and_figure(clip, tmp_path, capsys):
    published, figure = tmp_path / "published.wav", tmp_path / "figure.png"
    samples, rate_hz = soundfile.read(clip / "audio" / "clip.resampled.wav")
    soundfile.write(published, samples[:-680], rate_hz)  # some models' sounds are a little shorter
    options = ["--published-sound", str(published), "--figure", str(figure), "--num-samples", "1"]
    main(["--recording", str(clip), *options])
    rows = dict(line.strip("| ").split(" | ", 1) for line in capsys.readouterr().out.splitlines()[2:])
    real, other, own = map(float, rows["RMS correlation"].split(" | "))
    assert real == pytest.approx(1)
    assert other == pytest.approx(1, abs=0.01)
    assert 0 < own < 1
    assert figure.stat().st_size > 10_000


def test_videos_get_a_row_each_and_the_mean(tmp_path, capsys):
    """The recording has three clicks; its values are known, those of the new sound are only there."""
    sound = sum(click(2.0, at_s) for at_s in (0.4, 0.9, 1.4))
    make_video(tmp_path / "clicks.mp4", np.arange(0, 2, 0.04), sound=sound)
    main(["--videos", str(tmp_path), "--num-samples", "1"])
    lines = capsys.readouterr().out.splitlines()
    header, rows = lines[1].strip("| ").split(" | "), [line.strip("| ").split(" | ") for line in lines[3:]]
    assert [row[0] for row in rows] == ["clicks.mp4", "mean"]
    assert rows[0][1:] == rows[1][1:]
    values = dict(zip(header[1:], map(float, rows[0][1:]), strict=True))
    assert 0 <= values["onset F1"] <= 1
    assert values["attack, recording (ms)"] < 3
    level_db = 10 * np.log10(float(click(0.002, 0.001).square().mean()))
    assert values["peak level, recording (dB)"] == pytest.approx(level_db, abs=1.5)
    assert list(values)[2] == "attack, generated (ms)"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "nothing to measure"),
        (["--recording", "nowhere"], "nowhere"),
        (["--recording", "clip", "--num-samples", "0"], "--num-samples 0"),
        (["--recording", "unmarked"], "no annotated hits"),
        (["--videos", "clip"], "no video with sound"),
        (["--videos", "clip", "--figure", "a.png"], "--recording"),
        (["--recording", "clip", "--figure", "a.gif"], "--figure a.gif"),
    ],
)
def test_mistakes_get_a_sentence(clip, tmp_path, monkeypatch, capsys, options, words):
    tone_clip(tmp_path, "unmarked")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(options)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err
