"""Frames and sound in windows: the same as at once, from one pass over the file, in memory that does not grow."""

import gc
import math
import resource
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import InputError
from media import reading
from media.probe import probe
from media.reading import FrameWindow, SoundWindow, iter_frames, iter_media, read_frames, read_sound
from media.writing import write_sound
from tests.media.clips import EVEN_S, MANY_KEYS, UNEVEN_S, click, copy_from, make_video, numbers


def tone(duration_s, rate_hz=44_100):
    return 0.5 * np.sin(2 * np.pi * 300 * np.arange(round(duration_s * rate_hz)) / rate_hz)[None]


VIDEOS = {
    "even.mp4": {"sound": tone(2.4)},
    "one_key_silent.mp4": {},
    "uneven.mp4": {"times_s": UNEVEN_S, "options": MANY_KEYS, "sound": tone(3.0)},
    "uneven.mkv": {"times_s": UNEVEN_S, "options": MANY_KEYS, "sound": tone(9.0)},
    "late_sound.mp4": {"sound": tone(1.0), "sound_start_s": 1.2},
    "late_sound.mkv": {"sound": tone(1.0), "sound_start_s": 1.2},
    "late_picture.mp4": {"times_s": [0.5 + k / 25 for k in range(30)], "sound": tone(2.0)},
    "late_picture.mkv": {"times_s": [0.5 + k / 25 for k in range(30)], "sound": tone(2.0)},
    "late_picture.ts": {"times_s": [0.5 + k / 25 for k in range(30)], "sound": tone(2.0)},
    "vp9.webm": {"codec": "libvpx-vp9", "sound": tone(2.4, 48_000), "sound_codec": "libopus", "sound_rate_hz": 48_000},
    "av1.mkv": {"codec": "libsvtav1", "sound": tone(2.4)},
    "hevc.mov": {"codec": "libx265", "sound": tone(2.4), "sound_codec": "pcm_s16le"},
    "turned.mp4": {"rotation": 90, "pixel_aspect": Fraction(4, 3), "sound": tone(2.4)},
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}, "sound": tone(2.4)},
}


def joined(windows):
    """Frames and sound of all windows, each checked to follow the one before."""
    parts = {FrameWindow: [], SoundWindow: []}
    counts = {FrameWindow: 0, SoundWindow: 0}
    for window in windows:
        tensor = window.frames if isinstance(window, FrameWindow) else window.wave
        assert window.first == counts[type(window)]
        counts[type(window)] += len(tensor) if isinstance(window, FrameWindow) else tensor.shape[1]
        parts[type(window)].append(tensor)
    sound = torch.cat(parts[SoundWindow], dim=1) if parts[SoundWindow] else None
    return torch.cat(parts[FrameWindow]), sound


@pytest.mark.parametrize(("rate_hz", "size_px"), [(4.0, (40, 30)), (25.0, 32), (30.0, None), (120.0, 16)])
@pytest.mark.parametrize("name", VIDEOS)
def test_one_pass_gives_what_two_readings_give(video, name, rate_hz, size_px):
    path = video(name)
    windows = iter_media(path, frame_rate_hz=rate_hz, size_px=size_px, sample_rate_hz=16_000, n_channels=1)
    read, sound = joined(windows)
    expected = read_frames(path, frame_rate_hz=rate_hz, size_px=size_px)
    assert len(expected) == max(1, round(probe(path).duration_s * rate_hz))
    assert torch.equal(read, expected)
    if "sound" in VIDEOS[name]:
        assert torch.equal(sound, read_sound(path, sample_rate_hz=16_000, n_channels=1))
    else:
        assert sound is None


@pytest.mark.parametrize("thread_count", [1, 3])
@pytest.mark.parametrize("window_frames", [1, 7, 1000])
def test_windows_and_threads_do_not_matter(video, window_frames, thread_count):
    path = video("uneven.mp4")
    expected = read_frames(path, frame_rate_hz=25.0, size_px=32)
    windows = [
        window.frames for window in iter_frames(path, frame_rate_hz=25.0, size_px=32, window_frames=window_frames)
    ]
    assert torch.equal(torch.cat(windows), expected)
    assert all(len(window) == window_frames for window in windows[:-1])
    grid = {"frame_rate_hz": 25.0, "size_px": 32, "sample_rate_hz": 44_100}
    read, _ = joined(iter_media(path, **grid, window_frames=window_frames, thread_count=thread_count))
    assert torch.equal(read, expected)


@pytest.mark.parametrize("name", ["even.mp4", "uneven.mkv", "late_picture.ts"])
@pytest.mark.parametrize(("start_s", "duration_s"), [(0.0, 1.0), (1.3, 0.5), (1.3, None), (0.9, 20.0)])
def test_part_of_a_video_in_windows(video, name, start_s, duration_s):
    part = {"frame_rate_hz": 20.0, "start_s": start_s, "duration_s": duration_s, "size_px": 16}
    windows = list(iter_frames(video(name), **part, window_frames=5))
    read = torch.cat([window.frames for window in windows])
    assert torch.equal(read, read_frames(video(name), **part))
    assert [window.first for window in windows] == list(range(0, len(read), 5))
    grid_s = start_s + np.arange(len(read)) / part["frame_rate_hz"]
    stamps_s = np.array(VIDEOS[name].get("times_s", EVEN_S))
    shown_s = stamps_s[numbers(read)]
    lateness_s = torch.cat([window.lateness_s for window in windows]).numpy()
    origin_s = grid_s - lateness_s - shown_s  # a sound may start a little before the picture
    assert 0 <= origin_s.min() + 1e-3 < 0.05
    assert np.ptp(origin_s) < 1e-3
    whole = numbers(read_frames(video(name), frame_rate_hz=20.0, size_px=16))
    first = round(start_s * 20)
    n = len(whole) - first if duration_s is None else round(duration_s * 20)
    last = len(VIDEOS[name].get("times_s", EVEN_S)) - 1
    expected = (whole[first:] + [last] * n)[:n]
    assert numbers(read) == expected


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_cut_clip_in_windows(tmp_path, suffix):
    source = make_video(tmp_path / "source.mp4", options=MANY_KEYS)
    path = copy_from(source, tmp_path / f"cut{suffix}", 0.6)
    read, _ = joined(iter_media(path, frame_rate_hz=25.0, size_px=None, sample_rate_hz=16_000))
    assert torch.equal(read, read_frames(path, frame_rate_hz=25.0))
    assert numbers(read)[0] == (15 if suffix == ".mp4" else 12)


def test_files_without_one_of_the_two(tmp_path, video):
    grid = {"frame_rate_hz": 4.0, "size_px": 32, "sample_rate_hz": 16_000}
    assert {type(window) for window in iter_media(video("one_key_silent.mp4"), **grid)} == {FrameWindow}
    write_sound(tmp_path / "sound.wav", click(1.0, 0.5), 16_000)
    with pytest.raises(InputError, match="no moving picture"):
        next(iter_media(tmp_path / "sound.wav", **grid))


@pytest.mark.parametrize(("name", "told"), [
    ({"frame_rate_hz": 0.0}, "rate 0.0"), ({"frame_rate_hz": math.nan}, "rate nan"), ({"size_px": 0}, "0 pixels"),
    ({"size_px": (32, -1)}, r"\(32, -1\) pixels"), ({"window_frames": 0}, "windows of 0 frames"),
    ({"sample_rate_hz": 0}, "0 samples"), ({"n_channels": 3}, "3 channels"),
])  # fmt: skip
def test_impossible_wishes_are_refused(video, name, told):
    wishes = {"frame_rate_hz": 4.0, "size_px": 32, "sample_rate_hz": 16_000} | name
    with pytest.raises(InputError, match=told):
        next(iter_media(video("even.mp4"), **wishes))


class _Counted:
    """Counts the pictures that are decoded."""

    def __init__(self, decoded):
        self._decoded, self.n = decoded, 0

    def __call__(self, *args, **kwargs):
        for frame in self._decoded(*args, **kwargs):
            self.n += 1
            yield frame


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_decoding_goes_on_as_windows_are_taken(tmp_path, monkeypatch, suffix):
    path = make_video(tmp_path / f"long{suffix}", [k / 25 for k in range(1500)], options=MANY_KEYS)
    counted = _Counted(reading.decoded)
    monkeypatch.setattr(reading, "decoded", counted)
    windows = iter_media(path, frame_rate_hz=25.0, size_px=16, sample_rate_hz=16_000, window_frames=50)
    for n_taken in range(1, 11):
        next(windows)
        assert counted.n <= 50 * n_taken + 3


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_memory_does_not_grow_with_length(tmp_path, suffix):
    def peak_bytes(n):
        sound = tone(n / 25)
        path = make_video(tmp_path / f"{n}{suffix}", [k / 25 for k in range(n)], options=MANY_KEYS, sound=sound)
        del sound
        grid = {"frame_rate_hz": 25.0, "size_px": (64, 48), "sample_rate_hz": 16_000, "window_frames": 16}
        largest = 0
        tracemalloc.start()  # counts what NumPy holds, frames that wait among it; the windows are torch's
        for window in iter_media(path, **grid):
            largest = max(largest, window.frames.nbytes if isinstance(window, FrameWindow) else window.wave.nbytes)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak, largest

    (short, short_window), (long, long_window) = peak_bytes(100), peak_bytes(1000)
    assert long_window == short_window
    assert long < 1.5 * short + 200_000
    assert long < 1_500_000  # all frames of the long one would take 9 MB


def test_pictures_are_let_go_without_a_search_for_cycles(tmp_path):
    path, statm = tmp_path / "large.mp4", Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("tells the memory of a process on Linux only")
    ultrafast = {"preset": "ultrafast", "x264-params": "keyint=50"}
    make_video(path, [k / 25 for k in range(400)], options=ultrafast, size=(640, 480), rotation=90)
    resident = []
    gc.disable()
    for _ in iter_media(path, frame_rate_hz=25.0, size_px=(64, 48), sample_rate_hz=16_000, window_frames=50):
        resident.append(int(statm.read_text().split()[1]) * resource.getpagesize())
    gc.enable()
    assert resident[-1] - resident[0] < 60e6  # of 184 MB if all pictures stayed


def test_a_still_of_an_hour_takes_no_more_than_a_window(tmp_path):
    path = make_video(tmp_path / "still.mkv", [0.0, 3600.0])
    n_frames = sum(len(window.frames) for window in iter_frames(path, frame_rate_hz=30.0, size_px=8))
    assert n_frames == pytest.approx(3600 * 30, abs=3)


@pytest.mark.real
@pytest.mark.parametrize("name", ["hitting_bag", "drum", "tennis"])
def test_real_videos_in_one_pass(shared, name):
    path = shared / f"real/videos/{name}.mp4"
    read, sound = joined(iter_media(path, frame_rate_hz=30.0, size_px=(320, 240), sample_rate_hz=44_100))
    assert torch.equal(read, read_frames(path, frame_rate_hz=30.0, size_px=(320, 240)))
    assert len(read) == round(probe(path).duration_s * 30)
    if probe(path).has_sound:
        assert torch.equal(sound, read_sound(path, sample_rate_hz=44_100))
    else:
        assert sound is None


def test_even_times_of_an_hour_do_not_drift(tmp_path):
    path = make_video(tmp_path / "hour.mp4", [k * 60 + (k % 7) / 25 for k in range(60)])
    windows = iter_frames(path, frame_rate_hz=30_000 / 1001, size_px=16, window_frames=500)
    read = torch.cat([window.frames for window in windows])
    times_s = np.array([k * 60 + (k % 7) / 25 for k in range(60)])
    for i in range(0, len(read), 997):
        time_s = i * 1001 / 30_000
        assert abs(times_s[numbers(read[i : i + 1])[0]] - time_s) <= np.abs(times_s - time_s).min() + 1e-6
