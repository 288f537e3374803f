"""Frames, sound and muxing on small clips whose frames carry their number, and on real recordings."""

import io
import math
from dataclasses import astuple
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import PIL.Image
import pytest
import soundfile
import torch
import torchaudio

from data import media
from data.errors import InputError
from data.media import probe, read_frames, read_sound
from data.mux import mp3_bytes, mux, write_wav

SIZE = (64, 48)  # width, height
EVEN_S = [k / 25 for k in range(60)]
UNEVEN_S = np.concatenate([[0], np.cumsum(np.random.default_rng(0).choice([0.02, 0.05, 0.16, 0.3], 59))]).round(2)
ONE_KEY = {"x264-params": "keyint=999:scenecut=0:bframes=2"}
MANY_KEYS = {"x264-params": "keyint=12:scenecut=0:bframes=3:open-gop=1"}


def picture(number: int) -> np.ndarray:
    """The number in binary, eight blocks of 16 x 24 pixels."""
    bits = np.array([number >> bit & 1 for bit in range(8)], dtype=np.uint8).reshape(2, 4)
    return np.kron(bits[..., None] * np.full(3, 255, np.uint8), np.ones((24, 16, 1), np.uint8))


def numbers(frames: torch.Tensor) -> list[int]:
    """The numbers in frames (T, 3, H, W), whatever their size."""
    blocks = torch.nn.functional.adaptive_avg_pool2d(frames.float().mean(1, keepdim=True), (2, 4)) > 128
    return (blocks.flatten(1) * 2 ** torch.arange(8)).sum(1).tolist()


def make_video(path, times_s=EVEN_S, codec="libx264", options=None, rotation=None, sound=None, sound_start_s=0.0):
    """A video that shows frame k at times_s[k], with a sound (C, N) at 44.1 kHz that may start late."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or ONE_KEY if codec == "libx264" else {})
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 100)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        packets = []
        audio = None if sound is None else container.add_stream("aac", rate=44_100, layout="mono")
        for number, time_s in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = round(time_s * 100), Fraction(1, 100)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if audio:
            frame = av.AudioFrame.from_ndarray(sound.astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 44_100, round(sound_start_s * 44_100), Fraction(1, 44_100)
            packets += [*audio.encode(frame), *audio.encode(None)]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def copy_from(source, path, start_s):
    """Cuts a clip by stream copy, from the key frame before start_s on, as `ffmpeg -ss … -c copy` does."""
    with av.open(str(source)) as container, av.open(str(path), "w") as target:
        stream = container.streams.video[0]
        copied = target.add_stream_from_template(stream)
        offset = round(start_s / stream.time_base)
        container.seek(offset, stream=stream)
        for packet in container.demux(stream):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts - offset, packet.dts - offset, copied
                target.mux(packet)
    return path


def packets_of(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def click(duration_s, at_s, rate_hz=44_100):
    """A click, spread over 9 samples around at_s so that AAC and resampling keep it."""
    wave = torch.zeros(1, round(duration_s * rate_hz))
    middle = round(at_s * rate_hz)
    wave[0, middle - 4 : middle + 5] = 0.9 * torch.hann_window(9, periodic=False)
    return wave


def peak_s(wave, rate_hz=44_100):
    return wave.abs().sum(0).argmax().item() / rate_hz


VIDEOS = {
    "even.mp4": {},
    "uneven.mp4": {"times_s": UNEVEN_S},
    "keys.mp4": {"options": MANY_KEYS},
    "uneven_keys.mov": {"times_s": UNEVEN_S, "options": MANY_KEYS},
    "uneven.mkv": {"times_s": UNEVEN_S, "options": MANY_KEYS},
    "part4.mp4": {"codec": "mpeg4"},
    "part4.avi": {"codec": "mpeg4"},
    "even.ts": {},
    "vp9.mkv": {"codec": "libvpx-vp9"},
    "av1.mp4": {"codec": "libsvtav1"},
}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Makes each of the videos once."""
    folder = tmp_path_factory.mktemp("videos")

    def make(name):
        path = folder / name
        return path if path.exists() else make_video(path, **VIDEOS[name])

    return make


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


@pytest.mark.parametrize(
    ("name", "used"), [("even.mp4", True), ("uneven.mp4", True), ("keys.mp4", False), ("even.ts", False),
                       ("uneven.mkv", False), ("av1.mp4", False)],
)  # fmt: skip
def test_decord_is_used_where_it_is_right_and_agrees(video, name, used):
    pytest.importorskip("decord")
    times_s = np.arange(0, 2, 0.23)
    by_decord = list(media._images_by_decord(video(name), times_s))
    assert bool(by_decord) == used
    if used:
        for (image, n_times), (same, same_n) in zip(
            by_decord, media._images_by_pyav(video(name), times_s), strict=True
        ):
            assert n_times == same_n
            assert np.array_equal(image, same)


def test_frames_are_read_without_decord(video, monkeypatch):
    with_decord = read_frames(video("uneven.mp4"), frame_rate_hz=5.0, size_px=32)
    monkeypatch.setattr(media, "decord", None)
    assert torch.equal(read_frames(video("uneven.mp4"), frame_rate_hz=5.0, size_px=32), with_decord)


class _FaultyReader:
    """decord as it behaves on clips it cannot read: wrong frames, and one too many, one late, or an end in between."""

    def __init__(self, path, fault):
        self.times_s, self.fault = np.array(EVEN_S), fault
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
            raise media.decord.DECORDError("cannot be decoded")
        number = index if self.fault in ("none", "ends") else 255
        return SimpleNamespace(asnumpy=lambda: picture(number))


@pytest.mark.parametrize("fault", ["none", "one too many", "late", "ends"])
def test_decord_is_left_where_it_is_wrong(video, monkeypatch, fault):
    pytest.importorskip("decord")
    monkeypatch.setattr(media.decord, "VideoReader", lambda path: _FaultyReader(path, fault))
    assert numbers(read_frames(video("even.mp4"), frame_rate_hz=12.5)) == list(range(0, 60, 2))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_clip_cut_by_stream_copy_starts_where_it_is_shown(tmp_path, video, suffix):
    # Key frames at 0, 0.48, 0.96 …: the copy begins at frame 12, which MP4 hides up to 0.6 s = frame 15.
    cut = copy_from(video("keys.mp4"), tmp_path / f"cut{suffix}", 0.6)
    with av.open(str(cut)) as container:
        shown = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    expected = numbers(torch.stack([torch.from_numpy(image).permute(2, 0, 1) for _, image in shown[::5]]))
    frames = read_frames(cut, frame_rate_hz=5.0, duration_s=len(expected) / 5)
    assert numbers(frames) == expected
    assert expected[0] == (15 if suffix == ".mp4" else 12)


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_rotation_is_applied(tmp_path, rotation):
    path = make_video(tmp_path / "turned.mp4", times_s=[0, 0.04, 0.08], rotation=rotation)
    info = probe(path)
    frames = read_frames(path, frame_rate_hz=25.0)
    assert info.rotation_deg == rotation % 360
    assert (info.height, info.width) == frames.shape[2:] == (SIZE if rotation % 180 else SIZE[::-1])
    assert numbers(torch.rot90(frames, -rotation // 90, (2, 3))) == [0, 1, 2]
    turned_by_pillow = PIL.Image.fromarray(picture(2)).rotate(rotation, expand=True)  # anticlockwise
    assert np.abs(frames[2].permute(1, 2, 0).numpy().astype(int) - np.asarray(turned_by_pillow)).mean() < 10


def test_frames_are_scaled_smoothly_as_pillow_does(shared):
    path = shared / "real/videos/tennis.mp4"
    as_shown = read_frames(path, frame_rate_hz=1.0, duration_s=1.0)[0].permute(1, 2, 0).numpy()
    scaled = read_frames(path, frame_rate_hz=1.0, duration_s=1.0, size_px=112)[0].permute(1, 2, 0).numpy()
    expected = np.asarray(PIL.Image.fromarray(as_shown).resize((112, 112), PIL.Image.Resampling.BILINEAR))
    assert np.abs(scaled.astype(int) - expected).max() <= 2


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


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("start_s", [0.0, 0.3])
def test_sound_that_starts_late_is_silent_before(tmp_path, suffix, start_s):
    sound = click(1.5, 0.5).numpy()
    path = make_video(tmp_path / f"video{suffix}", sound=sound, sound_start_s=start_s)
    wave = read_sound(path, sample_rate_hz=44_100, n_channels=1, duration_s=2.4)
    assert wave.shape == (1, 105_840)
    # MPEG-TS cannot say that an AAC stream begins with 1024 samples of run-up.
    assert peak_s(wave) == pytest.approx(start_s + 0.5, abs=1e-3 if suffix != ".ts" else 0.025)
    assert wave[:, : round((start_s + 0.4) * 44_100)].abs().max() < 1e-3


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


def test_wav_round_trip_and_clipping(tmp_path):
    path = tmp_path / "new" / "sound.wav"
    wave = torch.cat([torch.linspace(-1, 1, 1001), torch.tensor([1.5, -1.5, 100.0])]).repeat(2, 1)
    write_wav(path, wave, 44_100)
    assert soundfile.info(path).subtype == "PCM_24"
    read = read_sound(path, sample_rate_hz=44_100)
    assert read.shape == wave.shape
    assert (read - wave.clamp(-1, 1)).abs().max() <= 2**-22


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("name", ["keys.mp4", "uneven.mkv", "part4.avi", "av1.mp4"])
def test_mux_keeps_the_picture_and_times_the_sound(tmp_path, video, name, suffix):
    if (name, suffix) == ("av1.mp4", ".mov"):
        pytest.skip("QuickTime holds no AV1")
    source, out = video(name), tmp_path / f"out{suffix}"
    duration_s = probe(source).duration_s
    for n_channels, rate_hz in ((2, 44_100), (1, 48_000)):
        wave = click(duration_s, 1.0, rate_hz).repeat(n_channels, 1)
        mux(source, wave, rate_hz, out)
        read = read_sound(out, sample_rate_hz=rate_hz, n_channels=n_channels, duration_s=duration_s)
        assert read.shape == wave.shape
        assert peak_s(read, rate_hz) == pytest.approx(1.0, abs=1e-3)
        assert (read - wave).abs().max() < 0.2
    assert packets_of(out) == packets_of(source)
    info = probe(out)
    assert (info.sample_rate_hz, info.n_channels) == (48_000, 1)
    assert info.duration_s == pytest.approx(duration_s, abs=0.05 if name != "uneven.mkv" else 0.5)
    grid = {"frame_rate_hz": 12.0, "duration_s": 2.0}
    assert torch.equal(read_frames(out, **grid), read_frames(source, **grid))


def test_mux_keeps_rotation_and_takes_the_start_of_the_file_as_zero(tmp_path):
    source = make_video(tmp_path / "late.mp4", times_s=[0.5 + k / 25 for k in range(50)], rotation=90)
    mux(source, click(2.0, 1.0), 44_100, tmp_path / "out.mp4")
    info = probe(tmp_path / "out.mp4")
    assert (info.rotation_deg, info.width, info.height) == (90, SIZE[1], SIZE[0])
    assert info.duration_s == pytest.approx(2.0, abs=0.01)
    grid = {"frame_rate_hz": 5.0, "duration_s": 2.0}
    assert torch.equal(read_frames(tmp_path / "out.mp4", **grid), read_frames(source, **grid))


def test_mux_of_a_single_frame_without_decoding_time(tmp_path):
    source = make_video(tmp_path / "one.mkv", times_s=[0.0])
    mux(source, torch.zeros(1, 4410), 44_100, tmp_path / "out.mp4")
    assert packets_of(tmp_path / "out.mp4") == packets_of(source)


def test_mux_of_a_cut_clip_stays_in_time(tmp_path, video):
    cut = copy_from(video("keys.mp4"), tmp_path / "cut.mp4", 0.6)
    for suffix in (".mp4", ".mkv"):
        out = tmp_path / f"out{suffix}"
        mux(cut, click(1.5, 1.0), 44_100, out)
        frame = read_frames(out, frame_rate_hz=25.0, start_s=peak_s(read_sound(out, sample_rate_hz=44_100)))
        assert numbers(frame)[0] == 40  # the click at 1.0 s sounds with frame 15 + 25


def test_mux_clips_a_sound_that_is_too_loud(tmp_path, video):
    tone = 3 * torch.sin(2 * math.pi * 200 * torch.arange(44_100) / 44_100)[None]
    mux(video("even.mp4"), tone, 44_100, tmp_path / "out.mp4")
    wave = read_sound(tmp_path / "out.mp4", sample_rate_hz=44_100, n_channels=1, duration_s=1.0)
    assert wave.abs().max() < 1.5
    assert wave.abs().median() == pytest.approx(1.0, abs=0.1)


@pytest.mark.real
def test_mux_replaces_the_sound_of_a_real_video(tmp_path, shared):
    source = shared / "real/videos/hitting_bag.mp4"
    mux(source, click(6.0, 2.5).repeat(2, 1), 44_100, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
    assert packets_of(tmp_path / "out.mp4") == packets_of(source)
    wave = read_sound(tmp_path / "out.mp4", sample_rate_hz=44_100, duration_s=6.0)
    assert peak_s(wave) == pytest.approx(2.5, abs=1e-3)
    assert astuple(probe(tmp_path / "out.mp4"))[1:] == astuple(probe(source))[1:]


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


def _bad_files(folder: Path, good: Path) -> dict[str, Path]:
    """Files that are no media, by what is wrong with them."""
    content = good.read_bytes()
    index_first = folder / "index_first.mp4"
    with av.open(str(good)) as source, av.open(str(index_first), "w", options={"movflags": "faststart"}) as target:
        copied = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copied
                target.mux(packet)
    bad = {
        "missing": folder / "missing.mp4",
        "folder": folder,
        "empty": folder / "empty.mp4",
        "text": folder / "text.mp4",
        "note": folder / "note.txt",
        "no index": folder / "no_index.mp4",
        "cut off": folder / "cut_off.mp4",
    }
    bad["empty"].write_bytes(b"")
    bad["text"].write_text("hello\n" * 100)
    bad["note"].write_text("hello\n" * 100)
    bad["no index"].write_bytes(content[: len(content) // 2])
    bad["cut off"].write_bytes(index_first.read_bytes()[: len(content) * 2 // 3])
    return bad


@pytest.mark.parametrize("read", [
    probe,
    lambda path: read_frames(path, frame_rate_hz=4.0),
    lambda path: read_sound(path, sample_rate_hz=44_100),
    lambda path: mux(path, torch.zeros(2, 44_100), 44_100, path.parent / "never" / "out.mp4"),
], ids=["probe", "read_frames", "read_sound", "mux"])  # fmt: skip
@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "note", "no index", "cut off"])
def test_files_that_are_no_media_are_named(tmp_path, video, read, kind):
    path = _bad_files(tmp_path, video("even.mp4"))[kind]
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert ": " in message.removeprefix(str(path))  # a remedy follows
    assert "\n" not in message


def test_damaged_frames_are_an_input_error(tmp_path, video):
    content = bytearray(video("keys.mp4").read_bytes())
    for position in range(content.find(b"mdat") + 2000, len(content) * 2 // 3, 3):
        content[position] ^= 0xFF
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged\.mp4 cannot be read"):
        read_frames(path, frame_rate_hz=25.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_sound_with_values_that_are_no_numbers_is_refused(tmp_path, value):
    samples = np.zeros(1000, dtype=np.float32)
    samples[500] = value
    soundfile.write(tmp_path / "sound.wav", samples, 44_100, subtype="FLOAT")
    with pytest.raises(InputError, match="not finite"):
        read_sound(tmp_path / "sound.wav", sample_rate_hz=44_100)


@pytest.mark.parametrize(("call", "told"), [
    (lambda path, _: read_sound(path, sample_rate_hz=44_100), "holds no sound"),
    (lambda path, _: read_frames(path, frame_rate_hz=4.0, start_s=9.0), "ends before 9.0 s"),
    (lambda path, _: read_frames(path, frame_rate_hz=4.0, start_s=-1.0), "from -1.0 s"),
    (lambda path, _: read_sound(path, sample_rate_hz=4, start_s=math.nan), "from nan s"),
    (lambda path, _: read_sound(path, sample_rate_hz=4, n_channels=3), "3 channels"),
    (lambda path, _: read_frames(path, frame_rate_hz=0.0), "rate 0.0"),
    (lambda path, out: mux(path, torch.zeros(2, 9), 44_100, out / "o.avi"), "suffix `.avi`"),
    (lambda path, out: mux(path, torch.zeros(2, 9), 44_101, out / "o.mp4"), "AAC cannot hold 44101 .* to one of"),
    (lambda path, out: mux(path, torch.zeros(2, 0), 44_100, out / "o.mp4"), r"shape \(2, 0\)"),
    (lambda path, out: mux(path, torch.zeros(9), 44_100, out / "o.mp4"), r"shape \(9,\)"),
    (lambda path, out: mux(path, torch.full((1, 9), math.nan), 44_100, out / "o.mp4"), "not finite"),
    (lambda path, _: mux(path, torch.zeros(2, 9), 44_100, path), "is the video itself"),
    (lambda _, out: write_wav(out / "o.mp3", torch.zeros(2, 9), 44_100), "suffix `.mp3`"),
    (lambda _, out: write_wav(out / "o.wav", torch.full((1, 9), math.inf), 44_100), "not finite"),
])  # fmt: skip
def test_impossible_wishes_are_refused_and_leave_nothing(tmp_path, video, call, told):
    before = video("even.mp4").read_bytes()
    with pytest.raises(InputError, match=told):
        call(video("even.mp4"), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert video("even.mp4").read_bytes() == before


def test_output_that_cannot_hold_the_picture_is_named(tmp_path):
    source = make_video(tmp_path / "vp8.mkv", codec="libvpx")
    with pytest.raises(InputError, match=r"suffix \.mkv"):
        mux(source, torch.zeros(2, 44_100), 44_100, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == [source]


def test_mp3_is_small_and_in_time():
    time_s = torch.arange(2 * 44_100) / 44_100
    tone = 0.5 * torch.sin(2 * torch.pi * 440 * time_s)[None] * (time_s > 1)
    encoded = mp3_bytes(tone, 44_100)
    decoded, rate_hz = soundfile.read(io.BytesIO(encoded))
    assert rate_hz == 44_100
    assert len(encoded) < 40_000
    assert decoded.shape == pytest.approx((2 * 44_100,), abs=2_500)
    assert np.flatnonzero(np.abs(decoded) > 0.1)[0] / 44_100 == pytest.approx(1, abs=0.03)
    with pytest.raises(InputError, match="finite"):
        mp3_bytes(torch.full((1, 100), math.nan), 44_100)


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
