"""A film's frames have the times, and the pictures, that a file of its kind has."""

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from media.reading import iter_frames
from media.writing import write_video
from synthetic.timing import (
    KINDS,
    LONGEST_GAP_S,
    RATES_HZ,
    REPEATED_HZ,
    TICK_HZ,
    Timing,
    constant,
    draw_timing,
    on_grid,
)

DURATION_S = 4.0


def read_lateness_s(path):
    windows = iter_frames(path, frame_rate_hz=30.0, size_px=32, duration_s=DURATION_S, window_frames=50)
    return np.concatenate([window.lateness_s.numpy() for window in windows])


@pytest.fixture(scope="module")
def drawn():
    """Timings of many films."""
    return [draw_timing(np.random.default_rng(seed), DURATION_S) for seed in range(600)]


@pytest.mark.parametrize("rate_hz", sorted({*RATES_HZ, 21.5, 37.3}))
def test_every_grid_time_shows_the_nearest_frame(rate_hz):
    timing = constant(rate_hz, DURATION_S)
    shown, lateness_s = on_grid(timing.stamps_s, 120, 30.0)
    times_s, stamps_s = np.arange(120) / 30, np.arange(round(DURATION_S * rate_hz)) / rate_hz
    distance_s = np.abs(times_s[:, None] - stamps_s)
    np.testing.assert_allclose(distance_s[np.arange(120), shown], distance_s.min(axis=1), atol=2e-5)
    np.testing.assert_allclose(lateness_s, times_s - stamps_s[shown], atol=2e-5)
    np.testing.assert_allclose(timing.starts_s[timing.first], stamps_s)


@pytest.mark.parametrize("rate_hz", sorted(RATES_HZ))
def test_lateness_is_that_of_a_file_of_the_rate(tmp_path, rate_hz):
    timing = constant(rate_hz, DURATION_S)
    write_video(tmp_path / "film.mp4", torch.zeros(len(timing.stamps_s), 3, 32, 32, dtype=torch.uint8), rate_hz)
    _, lateness_s = on_grid(timing.stamps_s, 120, 30.0)
    np.testing.assert_allclose(read_lateness_s(tmp_path / "film.mp4"), lateness_s, atol=2e-4)


def test_lateness_is_that_of_a_file_of_a_varying_rate(tmp_path, drawn):
    timing = next(timing for timing in drawn if timing.kind == "variable" and np.diff(timing.stamps_s).max() > 0.1)
    with av.open(str(tmp_path / "film.mkv"), "w") as target:
        stream = target.add_stream("libx264", 30, {"bf": "0"})
        stream.width = stream.height = 32
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, TICK_HZ)
        stream.codec_context.time_base = Fraction(1, TICK_HZ)
        for stamp_s in timing.stamps_s:
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(stamp_s * TICK_HZ), Fraction(1, TICK_HZ)
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    _, lateness_s = on_grid(timing.stamps_s, 120, 30.0)
    read_s = read_lateness_s(tmp_path / "film.mkv")  # Matroska rounds to milliseconds, which decides ties
    assert (np.abs(read_s - lateness_s.numpy()) < 2e-3).mean() > 0.97


@pytest.mark.parametrize(("camera_hz", "rate_hz"), REPEATED_HZ)
def test_repeated_pictures_have_new_time_stamps(camera_hz, rate_hz):
    numbers = np.arange(round(DURATION_S * rate_hz))
    late, near = (constant(rate_hz, DURATION_S, camera_hz=camera_hz, lead=lead) for lead in (0.0, 0.5))
    for timing in (late, near):
        np.testing.assert_allclose(timing.stamps_s, numbers / rate_hz)
        assert set(np.diff(timing.first)) == {0, 1}
        assert len(set(timing.first)) == pytest.approx(DURATION_S * camera_hz, abs=1)
    waiting_s = late.stamps_s - late.starts_s[late.first]
    assert waiting_s.min() > -1e-9
    assert waiting_s.max() < 1 / camera_hz
    waiting_s = near.stamps_s - near.starts_s[near.first]
    assert waiting_s.min() > -0.5 / rate_hz - 1e-9
    if rate_hz == 30.0:
        assert not on_grid(late.stamps_s, 120, 30.0)[1].any()


def test_mixed_pictures_have_the_time_of_their_frame_on_average(drawn):
    mixed = [timing for timing in drawn if timing.kind == "mixed"]
    assert any(timing.share.any() for timing in mixed)
    for timing in mixed:
        first_s, second_s = timing.starts_s[timing.first], timing.starts_s[timing.second]
        mean_s = (1 - timing.share) * first_s + timing.share * second_s
        np.testing.assert_allclose(mean_s, timing.stamps_s, atol=1e-6)


def test_films_of_all_kinds_have_rising_times_and_no_long_gaps(drawn):
    kinds = [timing.kind for timing in drawn]
    for kind, share in KINDS.items():
        assert np.mean([name == kind for name in kinds]) == pytest.approx(share, abs=0.06)
    for timing in drawn:
        gaps_s = np.diff(timing.stamps_s)
        assert timing.stamps_s[0] == 0
        assert timing.stamps_s[-1] < DURATION_S
        assert gaps_s.min() > 0
        assert gaps_s.max() < max(LONGEST_GAP_S, 1 / 6) + 1e-6
        assert (np.diff(timing.starts_s) > 0).all()
        waiting_s = timing.stamps_s - timing.starts_s[timing.first]
        assert np.abs(waiting_s).max() < 0.1
    long_gaps = [np.diff(timing.stamps_s).max() > 0.1 for timing in drawn if timing.kind == "variable"]
    assert any(long_gaps)


def test_some_frames_need_only_their_pictures(drawn):
    for timing in drawn[:60]:
        shown = np.unique(on_grid(timing.stamps_s, 120, 30.0)[0])
        some = timing.only(shown)
        for name in ("first", "second"):
            np.testing.assert_array_equal(
                some.starts_s[getattr(some, name)], timing.starts_s[getattr(timing, name)[shown]]
            )
        assert len(some.starts_s) <= 2 * len(shown) <= 240


def test_frames_are_made_of_their_pictures():
    pictures = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.full((4, 3, 6, 5), 40, np.uint8)
    pictures[:, :, ::2] += 10
    numbers = np.arange(4)
    plain = Timing("", numbers / 30, numbers[::2], numbers[::2], np.zeros(2), numbers / 60, 1 / 60)
    np.testing.assert_array_equal(plain.frames(pictures), pictures[::2])
    mixed = replace(plain, second=numbers[1::2], share=np.array([0.25, 0.5])).frames(pictures)
    np.testing.assert_array_equal(mixed[0, :, ::2], np.full((3, 3, 5), 20))
    np.testing.assert_array_equal(mixed[1, :, 1::2], np.full((3, 3, 5), 100))
    woven = replace(plain, second=numbers[1::2], fields="weave").frames(pictures)
    np.testing.assert_array_equal(woven[1, :, ::2], np.full((3, 3, 5), 90))
    np.testing.assert_array_equal(woven[1, :, 1::2], np.full((3, 3, 5), 120))
    fields = replace(plain, stamps_s=numbers / 60, first=numbers, second=numbers, share=np.zeros(4), fields="bob")
    shown = fields.frames(pictures)
    for number in numbers:  # even rows are ten brighter, odd ones are not
        np.testing.assert_array_equal(shown[number], np.full((3, 6, 5), 40 * number + 10 * (number % 2 == 0)))
