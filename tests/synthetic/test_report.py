"""The report: what it measures against closed forms, and that the page is written."""

import re

import numpy as np
import pytest
from PIL import Image

from synthetic.clip import render_clip
from synthetic.figures import level_db
from synthetic.measures import MEASURED_MODES, measure, measure_clip, motion_around, read_real
from synthetic.report import main
from synthetic.spec import SAMPLE_RATE_HZ, SyntheticSpec


def test_decay_centroid_and_rise_of_a_decaying_tone():
    time_s = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ - 0.5
    tone = np.where(time_s >= 0, np.exp(-20 * time_s) * np.sin(2 * np.pi * 1500 * time_s), 0)
    found = measure(tone, 0.5, 2.0)
    assert found.decay_s == pytest.approx(np.log(10) / 20, abs=0.004)
    assert found.centroid_hz == pytest.approx(1500, rel=0.02)
    assert found.rise_ms < 3
    slow = measure(tone * np.clip(time_s / 0.04, 0, 1), 0.5, 2.0)
    assert slow.rise_ms > 10


def test_what_cannot_be_measured_is_left_out():
    assert measure(np.zeros(SAMPLE_RATE_HZ), 0.5, 1.0) is None
    assert measure(np.ones(SAMPLE_RATE_HZ), 0.5, 1.0) is None


def test_a_clip_counts_no_more_than_six_hits_of_a_material():
    clips = [render_clip(SyntheticSpec(duration_s=8.0), 0, index, picture=False) for index in range(12)]
    counts = [len(entries) for clip in clips for entries in measure_clip(clip).values()]
    assert max(counts) == 6


def test_a_spectrogram_shows_a_tone_where_it_sounds():
    time_s = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    levels = level_db(np.sin(2 * np.pi * 1200 * time_s) * (time_s > 0.5))
    assert levels.max() == pytest.approx(0, abs=1e-6)
    row, column = np.unravel_index(levels.argmax(), levels.shape)
    assert np.geomspace(80, 18_000, len(levels))[row] == pytest.approx(1200, rel=0.04)
    assert column > 0.45 * levels.shape[1]
    assert levels[row, : int(0.45 * levels.shape[1])].max() < -100


def test_motion_peaks_where_frames_change():
    frames = np.zeros((60, 8, 8, 3), np.uint8)
    frames[30:] = 200
    curve = motion_around(frames, 30.0, [1.0])
    assert abs(int(np.nanargmax(curve)) - len(curve) // 2) <= 2


def test_real_recordings_are_measured(shared):
    real = read_real(shared / "real")
    assert set(real.measures) == {"real ceramic", "real bag"}
    assert np.median(real.intervals_s) == pytest.approx(0.86, abs=0.1)
    assert real.motion["hitting_bag"].max() > 1.3


def test_the_page_is_written_without_real_recordings(tmp_path, capsys):
    main(["--output-dir", str(tmp_path), "--clips", "10"])
    assert capsys.readouterr().out.strip() == str(tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    assert "none were given" in page
    low_s, high_s = MEASURED_MODES["glass"].decay_s
    assert re.search(rf"<td>glass<td>\d+<td>[\d.]+<td>{low_s:.3f} to {high_s:.3f}<td>(inside|above|below)<td>", page)
    assert page.count("<tr><td>") > 3
    for name in ("measures", "rhythm", "spectrograms", "contact_sheet"):
        assert f"{name}.png" in page
        assert np.asarray(Image.open(tmp_path / f"{name}.png")).std() > 5


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--clips", "0", "--clips 0"), ("--clips", "1000000000", "--clips 1000000000"), ("--real", "none", "none holds")],
)
def test_what_does_not_work_ends_in_one_sentence(tmp_path, capsys, option, value, message):
    with pytest.raises(SystemExit) as error:
        main(["--output-dir", str(tmp_path), option, value])
    assert error.value.code == 2
    assert message in capsys.readouterr().err
