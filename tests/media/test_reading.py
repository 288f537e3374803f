"""Frames, sound and muxing on small clips whose frames carry their number, and on real recordings."""

import math
import sys
from dataclasses import astuple
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import soundfile
import torch
import torchaudio

from common.errors import InputError
from media.probe import probe
from media.reading import READERS, iter_frames, iter_media, read_frames, read_sound
from tests.media.clips import (
    CLOSED_KEYS,
    EVEN_S,
    MANY_KEYS,
    SIZE,
    UNEVEN_S,
    click,
    copy_from,
    make_video,
    numbers,
    peak_s,
    picture,
)

VIDEOS = {
    "even.mp4": {},
    "uneven.mp4": {"times_s": UNEVEN_S},
    "keys.mp4": {"options": MANY_KEYS},
    "uneven_keys.mov": {"times_s": UNEVEN_S, "options": MANY_KEYS},
    "uneven.mkv": {"times_s": UNEVEN_S},
    "closed.mp4": {"options": CLOSED_KEYS},
    "closed.mkv": {"options": CLOSED_KEYS},
    "uneven_closed.mov": {"times_s": UNEVEN_S, "options": CLOSED_KEYS},
    "uneven_keys.mkv": {"times_s": UNEVEN_S, "options": MANY_KEYS},
    "part4.mp4": {"codec": "mpeg4"},
    "part4.avi": {"codec": "mpeg4"},
    "even.ts": {},
    "vp9.mkv": {"codec": "libvpx-vp9"},
    "av1.mp4": {"codec": "libsvtav1"},
}


@pytest.mark.parametrize("name", VIDEOS)
@pytest.mark.parametrize(("start_s", "rate_hz", "n"), [(0.0, 4.0, 8), (1.33, 30.0, 20), (1.61, 3.0, 2), (0.0, 7.0, 1)])
def test_each_frame_is_the_nearest_in_time(video, name, start_s, rate_hz, n):
    shown_s = np.array(VIDEOS[name].get("times_s", EVEN_S))
    frames = read_frames(video(name), frame_rate_hz=rate_hz, start_s=start_s, duration_s=n / rate_hz)
    assert frames.dtype == torch.uint8
    assert frames.shape == (n, 3, SIZE[1], SIZE[0])
    for k, number in enumerate(numbers(frames)):
        away_s = np.abs(shown_s - (start_s + k / rate_hz))
        assert away_s[number] <= away_s.min() + 1e-3


@pytest.mark.parametrize("rate", ["15", "43/2", "30000/1001", "60", "uneven"])
@pytest.mark.parametrize(("codec", "suffix"), [
    (codec, suffix) for codec, suffixes in {
        "libx264": (".mp4", ".mov", ".mkv"), "libx265": (".mp4", ".mov", ".mkv"),
        "libvpx-vp9": (".mp4", ".mkv", ".webm"), "libsvtav1": (".mp4", ".mkv", ".webm"),
    }.items() for suffix in suffixes
])  # fmt: skip
def test_every_frame_of_every_kind_of_video(tmp_path, codec, suffix, rate):
    n, is_even = 30, rate != "uneven"
    frame_s = 1 / Fraction(rate) if is_even else Fraction(1, 100)
    times_s = [k * frame_s if is_even else Fraction(UNEVEN_S[k]).limit_denominator(100) for k in range(n)]
    path = make_video(tmp_path / f"video{suffix}", times_s, codec, rate=1 / frame_s, time_base=frame_s)
    read = read_frames(path, frame_rate_hz=100.0)
    assert len(read) == round(probe(path).duration_s * 100)
    tolerance_s = Fraction(1, 1000) if suffix in (".mkv", ".webm") else 0  # Matroska counts milliseconds
    shown = numbers(read)
    for k, number in enumerate(shown):
        away_s = [abs(time_s - Fraction(k, 100)) for time_s in times_s]
        assert away_s[number] <= min(away_s) + tolerance_s
    assert shown == sorted(shown)
    if is_even:
        rate_hz = float(Fraction(rate))
        assert numbers(read_frames(path, frame_rate_hz=rate_hz)) == list(range(n))
        assert numbers(read_frames(path, frame_rate_hz=rate_hz / 2)) == list(range(0, n, 2))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_of_two_frames_as_near_the_earlier_is_taken(tmp_path, suffix):
    # 20 frames a second on a grid of 40/3: times 0, 0.075, 0.15 …; every second lies in the middle of two frames
    path = make_video(tmp_path / f"video{suffix}", [k / 20 for k in range(40)])
    assert numbers(read_frames(path, frame_rate_hz=40 / 3, duration_s=1.5)) == [3 * k // 2 for k in range(20)]


SAME_BITS = (
    "even.mp4",
    "uneven.mp4",
    "closed.mp4",
    "uneven_closed.mov",
    "closed.mkv",
    "uneven.mkv",
    "part4.mp4",
    "vp9.mkv",
)


@pytest.mark.parametrize("name", SAME_BITS)
@pytest.mark.parametrize(("start_s", "rate_hz"), [(0.0, 25.0), (1.33, 30.0), (0.61, 3.0)])
def test_both_readers_give_the_same_bits_at_the_stored_size(video, name, start_s, rate_hz):
    pytest.importorskip("decord", reason="decord exists for x86-64 only")
    at = {"frame_rate_hz": rate_hz, "start_s": start_s}
    by_pyav, by_decord = (list(iter_frames(video(name), **at, reader=each)) for each in ("pyav", "decord"))
    assert len(by_pyav) == len(by_decord)
    for one, other in zip(by_pyav, by_decord, strict=True):
        assert one.first == other.first
        assert torch.equal(one.frames, other.frames)
        assert torch.equal(one.lateness_s, other.lateness_s)


@pytest.mark.parametrize("name", ["even.mp4", "uneven_closed.mov"])
def test_scaled_frames_of_both_readers_are_alike(video, name):
    pytest.importorskip("decord", reason="decord exists for x86-64 only")
    frames = [read_frames(video(name), frame_rate_hz=25.0, size_px=(30, 20), reader=each) for each in READERS]
    assert torch.equal(frames[READERS.index("auto")], frames[READERS.index("pyav")])
    difference = (frames[READERS.index("pyav")].int() - frames[READERS.index("decord")].int()).abs()
    assert difference.max() <= 4
    assert difference.float().mean() < 1.5


def test_sound_is_the_same_beside_frames_of_either_reader(tmp_path):
    pytest.importorskip("decord", reason="decord exists for x86-64 only")
    path = make_video(tmp_path / "sounding.mp4", sound=click(2.4, 1.0))
    form = {"frame_rate_hz": 25.0, "size_px": None, "sample_rate_hz": 44_100, "window_frames": 10}
    parts = {}
    for reader in ("pyav", "decord"):
        windows = list(iter_media(path, **form, reader=reader))
        frames = torch.cat([window.frames for window in windows if hasattr(window, "frames")])
        parts[reader] = frames, torch.cat([window.wave for window in windows if hasattr(window, "wave")], dim=1)
    for one, other in zip(*parts.values(), strict=True):
        assert torch.equal(one, other)
    assert len(parts["pyav"][0]) == 60


@pytest.mark.parametrize(("name", "reason"), [
    ("cut.mp4", "stream copy"), ("keys.mp4", "open groups"), ("av1.mp4", "AV1"), ("even.ts", "Matroska"),
    ("turned.mp4", "turned"),
])  # fmt: skip
def test_decord_refuses_what_it_would_read_wrongly(tmp_path, video, name, reason):
    pytest.importorskip("decord", reason="decord exists for x86-64 only")
    if name == "cut.mp4":
        path = copy_from(video("closed.mp4"), tmp_path / name, 0.6)
    else:
        path = make_video(tmp_path / name, EVEN_S[:8], rotation=90) if name == "turned.mp4" else video(name)
    with pytest.raises(InputError, match=reason) as told:
        read_frames(path, frame_rate_hz=25.0, reader="decord")
    assert str(path) in str(told.value)
    assert len(read_frames(path, frame_rate_hz=25.0)) > 0


class _FaultyReader:
    """decord as it behaves on clips it cannot read: one frame too many, some late, or an end in between."""

    def __init__(self, path, fault, end):
        self.times_s, self.fault, self.end = np.array(EVEN_S), fault, end
        if fault == "one too many":
            self.times_s = np.append(self.times_s, 2.4)
        elif fault == "late":
            self.times_s[30:] += 0.04

    def __len__(self):
        return len(self.times_s)

    def get_frame_timestamp(self, indices):
        return np.stack([self.times_s, self.times_s], axis=1)[list(indices)]

    def __getitem__(self, index):
        if self.fault == "ends" and index > 20:
            raise self.end("cannot be decoded")
        return SimpleNamespace(asnumpy=lambda: picture(index))


@pytest.mark.parametrize("fault", ["none", "one too many", "late", "ends"])
def test_faults_of_decord_are_refused(video, monkeypatch, fault):
    decord = pytest.importorskip("decord", reason="decord exists for x86-64 only")
    end = decord.DECORDError
    monkeypatch.setattr(decord, "VideoReader", lambda path, **_: _FaultyReader(path, fault, end))
    if fault == "none":
        read = read_frames(video("even.mp4"), frame_rate_hz=12.5, reader="decord")
        assert numbers(read) == list(range(0, 60, 2))
        return
    with pytest.raises(InputError, match="decord") as told:
        read_frames(video("even.mp4"), frame_rate_hz=12.5, reader="decord")
    assert str(video("even.mp4")) in str(told.value)


def test_without_decord_its_choice_is_an_error_that_names_it(video, monkeypatch):
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(InputError, match="decord"):
        read_frames(video("even.mp4"), frame_rate_hz=25.0, reader="decord")
    assert len(read_frames(video("even.mp4"), frame_rate_hz=25.0)) == 60


def test_another_reader_is_refused(video):
    with pytest.raises(InputError, match="opencv"):
        read_frames(video("even.mp4"), frame_rate_hz=25.0, reader="opencv")


@pytest.mark.real
@pytest.mark.parametrize("name", ["hitting_bag", "drum", "tennis"])
def test_every_frame_of_real_videos_is_that_of_decord(shared, name):
    pytest.importorskip("decord", reason="decord exists for x86-64 only")
    path = shared / f"real/videos/{name}.mp4"
    form = {"frame_rate_hz": probe(path).frame_rate_hz, "window_frames": 16, "duration_s": 2.0}
    try:
        by_decord = list(iter_frames(path, **form, reader="decord"))
    except InputError as error:
        pytest.skip(str(error))
    for one, other in zip(iter_frames(path, **form, reader="pyav"), by_decord, strict=True):
        assert torch.equal(one.frames, other.frames)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_clip_cut_by_stream_copy_starts_where_it_is_shown(tmp_path, video, suffix):
    # Key frames at 0, 0.48, 0.96 …: the copy begins at frame 12, which MP4 hides up to 0.6 s = frame 15.
    cut = copy_from(video("keys.mp4"), tmp_path / f"cut{suffix}", 0.6)
    with av.open(str(cut)) as container:
        shown = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    expected = numbers(torch.stack([torch.from_numpy(image).permute(2, 0, 1) for _, image in shown[::5]]))
    assert numbers(read_frames(cut, frame_rate_hz=5.0, duration_s=len(expected) / 5)) == expected
    assert expected[0] == (15 if suffix == ".mp4" else 12)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_rotation_and_mirroring_are_applied(tmp_path, rotation, flips, suffix):
    path = make_video(tmp_path / f"turned{suffix}", times_s=[0, 0.04, 0.08], rotation=rotation, flips=flips)
    info = probe(path)
    read = read_frames(path, frame_rate_hz=25.0)
    assert (info.height, info.width) == read.shape[2:] == (SIZE if rotation % 180 else SIZE[::-1])
    assert info.rotation_deg == rotation % 360 or any(flips)
    shown = PIL.Image.fromarray(picture(2)).rotate(rotation, expand=True)  # anticlockwise
    shown = PIL.ImageOps.mirror(shown) if flips[0] else shown
    shown = PIL.ImageOps.flip(shown) if flips[1] else shown
    assert np.abs(read[2].permute(1, 2, 0).numpy().astype(int) - np.asarray(shown)).mean() < 10
    small = read_frames(path, frame_rate_hz=25.0, size_px=(30, 20))
    assert small.shape == (3, 3, 20, 30)
    expected = np.asarray(shown.resize((30, 20), PIL.Image.Resampling.BILINEAR))
    assert np.abs(small[2].permute(1, 2, 0).numpy().astype(int) - expected).mean() < 10


@pytest.mark.parametrize(("aspect", "width"), [(Fraction(4, 3), 85), (Fraction(1, 2), 32), (Fraction(1), 64)])
@pytest.mark.parametrize(("codec", "suffix"), [
    ("libx264", ".mp4"), ("libx264", ".mkv"), ("libx264", ".ts"), ("libvpx-vp9", ".mp4"),
])  # fmt: skip
@pytest.mark.parametrize("rotation", [None, 90])
def test_pixels_become_square(tmp_path, codec, suffix, aspect, width, rotation):
    if suffix == ".ts":
        rotation = None
    path = make_video(tmp_path / f"v{suffix}", EVEN_S[:8], codec, pixel_aspect=aspect, rotation=rotation)
    info = probe(path)
    read = read_frames(path, frame_rate_hz=25.0)
    assert (info.width, info.height) == read.shape[:1:-1] == ((48, width) if rotation else (width, 48))
    assert numbers(torch.rot90(read, -1, (2, 3)) if rotation else read) == list(range(8))
    assert read_frames(path, frame_rate_hz=25.0, size_px=32).shape == (8, 3, 32, 32)


def test_a_picture_that_changes_its_size_keeps_that_of_its_start(tmp_path):
    parts = [make_video(tmp_path / f"{size[0]}.ts", EVEN_S[:20], size=size) for size in ((64, 48), (128, 96))]
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    read = read_frames(both, frame_rate_hz=25.0, duration_s=0.8)
    assert read.shape == (20, 3, 48, 64)


def test_frames_are_scaled_smoothly_as_pillow_does(shared):
    path = shared / "real/videos/tennis.mp4"
    as_shown = read_frames(path, frame_rate_hz=1.0, duration_s=1.0)[0].permute(1, 2, 0).numpy()
    for size_px in ((112, 112), (320, 240), (2500, 1300)):
        scaled = read_frames(path, frame_rate_hz=1.0, duration_s=1.0, size_px=size_px)[0].permute(1, 2, 0).numpy()
        expected = np.asarray(PIL.Image.fromarray(as_shown).resize(size_px, PIL.Image.Resampling.BILINEAR))
        difference = np.abs(scaled.astype(int) - expected)
        assert difference.mean() < 0.8  # colours are stored at half the size, and scaled from there
        assert np.quantile(difference, 0.999) <= 8


@pytest.mark.parametrize("space", [1, 6, 9])  # BT.709, BT.601, BT.2020
@pytest.mark.parametrize("value_range", [1, 2])  # of video, full
@pytest.mark.parametrize("size_px", [None, 32])
def test_colours_are_what_the_file_says(tmp_path, space, value_range, size_px):
    colour = np.zeros((48, 64, 3), np.uint8)
    colour[:] = (200, 30, 60)
    with av.open(str(tmp_path / "colour.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = space, value_range
        stored = av.VideoFrame.from_ndarray(colour, format="rgb24")
        stored = stored.reformat(format="yuv420p", dst_colorspace=space, dst_color_range=value_range)
        stored.colorspace, stored.color_range = space, value_range
        container.mux([*stream.encode(stored), *stream.encode(None)])
    read = read_frames(tmp_path / "colour.mp4", frame_rate_hz=25.0, size_px=size_px)
    assert (read.permute(0, 2, 3, 1) - torch.tensor([200, 30, 60])).abs().max() <= 4


def test_frames_to_the_end_and_past_it(video):
    path = video("even.mp4")  # 2.4 s
    assert numbers(read_frames(path, frame_rate_hz=25.0)) == list(range(60))
    assert numbers(read_frames(path, frame_rate_hz=25.0, start_s=2.0)) == list(range(50, 60))
    assert numbers(read_frames(path, frame_rate_hz=2.0, start_s=2.0, duration_s=2.0)) == [50, 59, 59, 59]


def test_picture_that_starts_after_the_sound_keeps_its_time(tmp_path):
    sound = click(2.0, 1.0).numpy()
    path = make_video(tmp_path / "late.mp4", times_s=[0.5 + k / 25 for k in range(30)], sound=sound)
    assert numbers(read_frames(path, frame_rate_hz=10.0, duration_s=1.0)) == [0, 0, 0, 0, 0, 0, 2, 5, 7, 10]
    assert probe(path).duration_s == pytest.approx(1.7)


@pytest.mark.parametrize(("codec", "suffix", "off_s"), [
    ("aac", ".mp4", 0.001), ("aac", ".mov", 0.001), ("aac", ".mkv", 0.001), ("libopus", ".webm", 0.001),
    ("libopus", ".mp4", 0.001), ("pcm_s16le", ".mov", 0.001), ("pcm_s16le", ".mkv", 0.001), ("flac", ".mkv", 0.001),
    ("ac3", ".mkv", 0.001), ("libmp3lame", ".mp4", 0.001),
    ("aac", ".ts", 0.025),  # cannot say that the sound begins with 1024 samples of run-up
])  # fmt: skip
@pytest.mark.parametrize("start_s", [0.0, 0.3])
def test_sound_that_starts_late_is_silent_before(tmp_path, codec, suffix, off_s, start_s):
    rate_hz = 48_000 if codec == "libopus" else 44_100
    sound = {"sound": click(1.5, 0.5, rate_hz).numpy(), "sound_codec": codec, "sound_rate_hz": rate_hz}
    picture_codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    path = make_video(tmp_path / f"video{suffix}", codec=picture_codec, sound_start_s=start_s, **sound)
    wave = read_sound(path, sample_rate_hz=44_100, n_channels=1, duration_s=2.4)
    assert wave.shape == (1, 105_840)
    assert peak_s(wave) == pytest.approx(start_s + 0.5, abs=off_s)
    assert wave[:, : round((start_s + 0.4) * 44_100)].abs().max() < 1e-3
    # to its end, within a packet
    whole = read_sound(path, sample_rate_hz=44_100, n_channels=1)
    if codec != "flac":  # PyAV leaves out the last piece of a FLAC it writes
        assert -0.001 <= whole.shape[1] / 44_100 - start_s - 1.5 < 0.04


@pytest.mark.parametrize("duration_s", [0.5, 4.0])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_shorter_and_longer_than_the_picture(tmp_path, suffix, duration_s):
    path = make_video(tmp_path / f"video{suffix}", sound=click(duration_s, 0.4).numpy())
    assert probe(path).duration_s == pytest.approx(2.4, abs=1e-3)
    assert len(read_frames(path, frame_rate_hz=25.0)) == 60
    wave = read_sound(path, sample_rate_hz=44_100)
    n = round(duration_s * 44_100)
    assert wave.shape[1] == n if suffix == ".mp4" else n <= wave.shape[1] < n + 1024
    assert read_sound(path, sample_rate_hz=44_100, duration_s=2.4)[:, n:].abs().sum() < 1e-3 or duration_s > 2.4


@pytest.mark.parametrize(("codec", "suffix"), [
    ("aac", ".mp4"), ("aac", ".mkv"), ("pcm_s16le", ".mov"), ("pcm_s16le", ".mkv"), ("ac3", ".mkv"), ("flac", ".mkv"),
])  # fmt: skip
def test_six_channels_are_mixed_without_clipping(tmp_path, codec, suffix):
    time_s = np.arange(48_000) / 48_000
    tones_hz = np.array([200, 300, 400, 60, 500, 700])  # front left and right, centre, bass, back left and right
    sound = 0.3 * np.sin(2 * np.pi * tones_hz[:, None] * time_s)
    # ITU-R BS.775: centre and back 3 dB down, without bass; scaled so that full scale on all channels stays in range
    mix = 0.3 / (1 + math.sqrt(2)) * np.array([[1, 0, 0.7071, 0, 0.7071, 0], [0, 1, 0.7071, 0, 0, 0.7071]])
    path = tmp_path / f"video{suffix}"
    make_video(path, sound=sound, sound_codec=codec, layout="5.1", sound_rate_hz=48_000)
    assert probe(path).n_channels == 6
    for n_channels in (1, 2):
        wave = read_sound(path, sample_rate_hz=48_000, n_channels=n_channels)
        level = 2 * np.abs(np.fft.rfft(wave[:, 4800:24_000].numpy())) / 19_200
        heard = level[:, np.round(tones_hz * 0.4).astype(int)]
        assert wave.shape[0] == n_channels
        assert np.allclose(heard, mix if n_channels == 2 else mix.mean(0), atol=3e-3)


def test_a_sound_that_changes_its_form_goes_on(tmp_path):
    parts = []
    for number, (rate_hz, layout) in enumerate([(44_100, "mono"), (48_000, "stereo")]):
        tone = 0.5 * np.sin(2 * np.pi * 300 * np.arange(rate_hz) / rate_hz)[None].repeat(number + 1, 0)
        path = tmp_path / f"{number}.ts"
        make_video(path, EVEN_S[:25], sound=tone, layout=layout, sound_rate_hz=rate_hz, sound_start_s=number)
        parts.append(path.read_bytes())
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    wave = read_sound(tmp_path / "both.ts", sample_rate_hz=16_000, duration_s=2.0)
    for start in (4000, 20_000):
        assert wave[:, start : start + 8000].abs().max() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("start_s", [0.0, 0.7, 5.3, 8.9])
@pytest.mark.parametrize(("suffix", "off_by_samples"), [(".wav", 0), (".mp4", 0), (".mkv", 44)])
def test_window_of_a_sound_is_a_slice_of_it(tmp_path, suffix, off_by_samples, start_s):
    time_s = torch.arange(441_000, dtype=torch.float64) / 44_100
    sound = (0.4 * torch.sin(2 * math.pi * (200 + 150 * time_s) * time_s)).float()[None]  # AAC invents noise anew
    path = tmp_path / f"sound{suffix}"
    if suffix == ".wav":
        soundfile.write(path, sound[0].numpy(), 44_100, subtype="FLOAT")
    else:
        make_video(path, sound=sound.numpy())
    whole = read_sound(path, sample_rate_hz=44_100, n_channels=1, duration_s=12.0)
    window = read_sound(path, sample_rate_hz=44_100, n_channels=1, start_s=start_s, duration_s=2.0)
    first = round(start_s * 44_100)
    shifts = range(-min(off_by_samples, first), off_by_samples + 1)  # Matroska times sounds to the millisecond
    slices = [whole[:, first + shift :][:, : window.shape[1]] for shift in shifts]
    assert min((window - expected).abs().max() for expected in slices) < 0.01


def test_gap_in_a_sound_stays_a_gap(tmp_path):
    path = tmp_path / "gap.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=44_100, layout="mono")
        for start in (0, 3):
            frame = av.AudioFrame.from_ndarray(np.full((1, 44_100), 8192, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 44_100, start * 44_100, Fraction(1, 44_100)
            container.mux(stream.encode(frame))
    wave = read_sound(path, sample_rate_hz=16_000, n_channels=1)[0]
    assert len(wave) == 64_000
    assert torch.allclose(wave[100:15_900], torch.tensor(0.25), atol=1e-3)
    assert wave[16_100:47_900].abs().max() == 0
    assert torch.allclose(wave[48_100:63_900], torch.tensor(0.25), atol=1e-3)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(48_000, 44_100), (96_000, 44_100), (44_100, 16_000), (8_000, 44_100)])
def test_resampling_keeps_time_and_agrees_with_torchaudio(tmp_path, from_hz, to_hz):
    time_s = torch.arange(from_hz) / from_hz
    sound = torch.stack([0.5 * torch.sin(2 * math.pi * 440 * time_s), 0.3 * torch.cos(2 * math.pi * 1000 * time_s)])
    soundfile.write(tmp_path / "sound.wav", sound.T.numpy(), from_hz, subtype="FLOAT")
    wave = read_sound(tmp_path / "sound.wav", sample_rate_hz=to_hz)
    assert wave.shape == (2, to_hz)
    expected = torchaudio.functional.resample(sound, from_hz, to_hz)
    assert torch.allclose(wave[:, 200:-200], expected[:, 200:-200], atol=2e-3)


@pytest.mark.parametrize(("levels", "n_channels", "expected"), [
    ([0.5], 2, [0.5, 0.5]), ([0.5], 1, [0.5]), ([0.5, 0.25], 2, [0.5, 0.25]), ([0.5, 0.25], 1, [0.375]),
    ([0.9] * 6, 2, [0.9, 0.9]), ([0.9] * 6, 1, [0.9]),
])  # fmt: skip
def test_channels_are_doubled_or_mixed_at_their_level(tmp_path, levels, n_channels, expected):
    soundfile.write(tmp_path / "sound.wav", np.tile(levels, (1000, 1)), 44_100, subtype="FLOAT")
    wave = read_sound(tmp_path / "sound.wav", sample_rate_hz=44_100, n_channels=n_channels)
    assert wave.shape == (n_channels, 1000)
    assert torch.allclose(wave, torch.tensor(expected)[:, None].expand(-1, 1000), atol=1e-6)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "expected"),
    [("hitting_bag", (6.0, 604, 340, 15.0, 0, True, True, 44_100, 2)),
     ("drum", (10.0465, 640, 360, 21.5, 0, True, True, 44_100, 2)),
     ("tennis", (5.75, 2048, 1080, 24.0, 0, True, False, None, None))],
)  # fmt: skip
def test_probe_of_real_videos(shared, name, expected):
    path = shared / f"real/videos/{name}.mp4"
    info = astuple(probe(path))
    assert info[0] == path
    assert info[1] == pytest.approx(expected[0], abs=1e-3)
    assert info[2:] == expected[1:]


@pytest.mark.real
def test_real_sound_agrees_with_soundfile(shared):
    path = shared / "real/reference/stable_foley_published_output_000s.wav"
    expected, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    assert np.array_equal(read_sound(path, sample_rate_hz=rate_hz).T, np.broadcast_to(expected, (len(expected), 2)))


def test_sound_without_picture_with_a_cover(tmp_path):
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        audio = container.add_stream("aac", rate=44_100, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height = SIZE
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(click(1.0, 0.5).numpy(), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        container.mux([*audio.encode(frame), *audio.encode(None)])
        container.mux([*cover.encode(av.VideoFrame.from_ndarray(picture(5), format="rgb24")), *cover.encode(None)])
    info = probe(path)
    assert (info.has_video, info.width, info.height, info.frame_rate_hz) == (False, 0, 0, 0)
    assert info.duration_s == pytest.approx(1.0, abs=0.03)
    with pytest.raises(InputError, match="no moving picture"):
        read_frames(path, frame_rate_hz=4.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_sound_with_values_that_are_no_numbers_is_refused(tmp_path, value):
    samples = np.zeros(1000, dtype=np.float32)
    samples[500] = value
    soundfile.write(tmp_path / "sound.wav", samples, 44_100, subtype="FLOAT")
    with pytest.raises(InputError, match="not finite"):
        read_sound(tmp_path / "sound.wav", sample_rate_hz=44_100)


def test_metadata_that_is_no_text_does_not_matter(tmp_path):
    mux_source = tmp_path / "a.mp4"
    with av.open(str(mux_source), "w") as target:
        target.metadata["title"] = "umlaut"
        stream = target.add_stream("aac", rate=44_100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    mux_source.write_bytes(mux_source.read_bytes().replace(b"umlaut", b"uml\xff\xfet"))
    assert probe(mux_source).has_sound


def test_a_name_with_a_colon_is_a_file(video, tmp_path, monkeypatch):
    (tmp_path / "12:30.mp4").write_bytes(video("even.mp4").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert probe(Path("12:30.mp4")).duration_s == probe(video("even.mp4")).duration_s


@pytest.mark.parametrize("address", ["https://www.youtube.com/watch?v=abc&t=1", "http://a.org/b.mp4", "rtmp://a/b"])
def test_a_web_address_is_to_be_downloaded_first(address):
    for reader in (probe, lambda path: read_frames(path, frame_rate_hz=4.0)):
        with pytest.raises(InputError, match="download it first") as told:
            reader(Path(address))
        assert address in str(told.value)


def striped(path, moving, codec="mpeg2video", pixels="yuv420p", options=None, rotation=None):
    """A video of a moving bar whose odd lines are earlier than its even ones: the bottom field is first."""
    fields = {"flags": "+ildct+ilme", "field_order": "bb"} if options is None else options
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=fields, width=64, height=48, pix_fmt=pixels)
        stream.bit_rate = 4_000_000
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(12):
            lines = []
            for field in range(2):
                bar = np.zeros((48, 64, 3), np.uint8)
                place = 4 + 2 * (2 * number + field) if moving else 20
                bar[:, place : place + 8] = 255
                lines.append(bar)
            lines[0][::2] = lines[1][::2]
            frame = av.VideoFrame.from_ndarray(lines[0], format="rgb24").reformat(format=pixels)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def combing(frames):
    """How much neighbouring lines differ, in the middle of the picture."""
    luma = frames.float().mean(1)[:, 4:-4]
    return (luma[:, 1:] - luma[:, :-1]).abs().mean().item()


@pytest.mark.parametrize(("name", "codec", "pixels"), [
    ("a.ts", "mpeg2video", "yuv420p"), ("a.mov", "prores_ks", "yuv422p10le"), ("a.mp4", "libx264", "yuv420p"),
])  # fmt: skip
@pytest.mark.parametrize("start_s", [0.0, 0.2])
def test_interlaced_pictures_lose_their_combs(tmp_path, name, codec, pixels, start_s):
    path = striped(tmp_path / name, True, codec, pixels)
    with av.open(str(path)) as container:
        stored = list(container.decode(video=0))
        assert all(frame.interlaced_frame for frame in stored)
        raw = torch.stack([torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1) for frame in stored])
    read = read_frames(path, frame_rate_hz=25.0, start_s=start_s)
    first = round(start_s * 25)
    assert len(read) == 12 - first
    assert combing(raw) > 10
    assert combing(read) < 0.25 * combing(raw)
    # at the time of a frame, the first field is shown: its lines stay as they are
    inner = slice(1, -1)
    difference = (read[inner, :, 9:40:2].int() - raw[first:][inner, :, 9:40:2].int()).abs().float().mean().item()
    assert difference < 3
    windows = iter_media(path, frame_rate_hz=25.0, size_px=None, sample_rate_hz=16_000)
    assert torch.equal(torch.cat([window.frames for window in windows])[first + 1 :], read[1:])


def test_deinterlacing_keeps_the_rotation(tmp_path):
    path = striped(tmp_path / "a.mp4", True, "libx264", rotation=90)
    read = read_frames(path, frame_rate_hz=25.0)
    assert read.shape == (12, 3, 64, 48)
    assert combing(torch.rot90(read, -1, (2, 3))) < 4


def test_progressive_pictures_in_an_interlaced_stream_keep_their_bits(tmp_path):
    # as in television: film first, video after it
    parts = [
        striped(tmp_path / "a.ts", True, options={}),
        striped(tmp_path / "b.ts", True),
    ]
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    with av.open(str(parts[0])) as container:
        raw = [torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1) for frame in container.decode()]
    read = read_frames(both, frame_rate_hz=25.0, duration_s=0.44)
    assert torch.equal(read[:10], torch.stack(raw)[:10])


@pytest.mark.parametrize(("codec", "pixels"), [("v210", "yuv422p10le"), ("mjpeg", "yuvj422p")])
def test_fields_that_only_the_container_knows(tmp_path, codec, pixels):
    path = striped(tmp_path / "a.mov", True, codec, pixels, {"field_order": "bb"})
    with av.open(str(path)) as container:
        raw = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    read = read_frames(path, frame_rate_hz=25.0)
    assert combing(read) < 0.25 * combing(torch.from_numpy(np.stack(raw)).permute(0, 3, 1, 2))
