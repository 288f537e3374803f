"""Sounds and videos as they are written: packets, times, lengths, texts, and nothing left behind after a failure."""

import io
import math
import resource
from dataclasses import astuple
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
import torch

from common.errors import InputError
from media.clip import count_at_rate
from media.muxing import MuxPlan, plan_mux
from media.probe import probe
from media.reading import opened, origin_s, read_frames, read_sound
from media.writing import mp3_bytes, mux, write_sound, write_video
from tests.media.clips import (
    MANY_KEYS,
    SIZE,
    UNEVEN_S,
    click,
    copy_from,
    make_video,
    numbers,
    packets_of,
    peak_s,
    picture,
)

FILM = Fraction(1001, 30_000)
VIDEOS = {
    "h264.mp4": {"options": MANY_KEYS},  # B-frames: decoding times before 0
    "h264.mkv": {"options": MANY_KEYS},
    "hevc.mp4": {"codec": "libx265"},
    "hevc.mkv": {"codec": "libx265"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "vp9.mp4": {"codec": "libvpx-vp9"},
    "av1.mp4": {"codec": "libsvtav1"},
    "av1.webm": {"codec": "libsvtav1"},
    "part4.avi": {"codec": "mpeg4"},
    "uneven.mp4": {"times_s": UNEVEN_S, "options": MANY_KEYS},
    "uneven.mkv": {"times_s": UNEVEN_S, "options": MANY_KEYS},
    "film.mp4": {"times_s": [k * FILM for k in range(40)], "time_base": FILM, "options": MANY_KEYS},
    "turned.mp4": {"rotation": 90, "pixel_aspect": Fraction(4, 3)},
    "turned.mkv": {"rotation": -90, "pixel_aspect": Fraction(4, 3)},
    "mirrored.mov": {"rotation": 90, "flips": (True, False)},
    "late.mp4": {"times_s": [0.5 + k / 25 for k in range(40)], "options": MANY_KEYS},
    "after_sound.mp4": {"times_s": [0.5 + k / 25 for k in range(40)], "sound": click(2.0, 1.0).numpy()},
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}, "options": MANY_KEYS},
}


def shown_packets(path):
    """Bytes, time from the start of the file and kind of each packet of the picture."""
    with opened(path) as container:
        origin = origin_s(container)
        packets = [packet for packet in container.demux(video=0) if packet.size]
        return [(bytes(p), p.pts * p.time_base - origin, p.is_keyframe, p.is_discard) for p in packets]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("name", VIDEOS)
def test_mux_keeps_the_picture_and_times_the_sound(tmp_path, video, name, suffix):
    if suffix == ".mov" and name.startswith(("av1", "vp9")):
        with pytest.raises(InputError, match="--codec h264"):  # QuickTime holds neither
            plan_mux(video(name), suffix=suffix, codec="copy")
        assert list(tmp_path.iterdir()) == []
        return
    source, out = video(name), tmp_path / f"out{suffix}"
    before = probe(source)
    wave = click(before.duration_s, 1.0)
    mux(source, wave, 44_100, out)

    tolerance_s = 0.0005 if suffix == ".mkv" else 0  # Matroska counts milliseconds
    packets, source_packets = shown_packets(out), shown_packets(source)
    assert [packet[0] for packet in packets] == [packet[0] for packet in source_packets]
    assert [packet[2:] for packet in packets] == [packet[2:] for packet in source_packets]
    assert all(abs(a[1] - b[1]) <= tolerance_s for a, b in zip(packets, source_packets, strict=True))

    after = probe(out)
    assert after.duration_s == pytest.approx(before.duration_s, abs=1e-4 + tolerance_s)
    assert (after.width, after.height, after.rotation_deg) == (before.width, before.height, before.rotation_deg)
    grid = {"frame_rate_hz": 12.0, "duration_s": 2.0}
    assert numbers(read_frames(out, **grid)) == numbers(read_frames(source, **grid))

    read = read_sound(out, sample_rate_hz=44_100, n_channels=1)
    n_more = read.shape[1] - wave.shape[1]
    assert (0 <= n_more < 1024) if suffix == ".mkv" else n_more == 0
    assert peak_s(read) == pytest.approx(1.0, abs=1e-3)
    assert (read[:, : wave.shape[1]] - wave).abs().max() < 0.2


@pytest.mark.parametrize("duration_s", [0.2, 5.0])
@pytest.mark.parametrize(("n_channels", "rate_hz"), [(2, 44_100), (1, 48_000)])
def test_sound_becomes_as_long_as_the_picture(tmp_path, video, duration_s, n_channels, rate_hz):
    tone = 0.5 * torch.sin(2 * math.pi * 300 * torch.arange(round(duration_s * rate_hz)) / rate_hz)
    mux(video("h264.mp4"), tone.repeat(n_channels, 1), rate_hz, tmp_path / "out.mp4")
    info = probe(tmp_path / "out.mp4")
    assert (info.sample_rate_hz, info.n_channels) == (rate_hz, n_channels)
    read = read_sound(tmp_path / "out.mp4", sample_rate_hz=rate_hz, n_channels=n_channels)
    assert read.shape == (n_channels, count_at_rate(2.4, rate_hz))
    assert read[:, round(min(duration_s, 2.4) * rate_hz) - 2000 :][:, :1000].abs().max() == pytest.approx(0.5, abs=0.05)
    assert (read[:, round(0.3 * rate_hz) :].abs().max() < 0.01) == (duration_s == 0.2)
    with av.open(str(tmp_path / "out.mp4")) as container:
        lengths = [stream.duration * stream.time_base for stream in container.streams]
    assert abs(lengths[0] - lengths[1]) <= Fraction(1, rate_hz)


def test_hevc_gets_the_tag_that_players_of_apple_want(tmp_path, video):
    for suffix, tag in ((".mp4", "hvc1"), (".mov", "hvc1"), (".mkv", "\0\0\0\0")):
        mux(video("hevc.mp4"), click(1.0, 0.5), 44_100, tmp_path / f"out{suffix}")
        with av.open(str(tmp_path / f"out{suffix}")) as container:
            assert container.streams.video[0].codec_context.codec_tag == tag


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_texts_and_chapters_are_kept(tmp_path, suffix):
    source = tmp_path / f"source{suffix}"
    chapters = [
        {"id": 1, "start": 0, "end": 1000, "time_base": Fraction(1, 1000), "metadata": {"title": "one"}},
        {"id": 2, "start": 1000, "end": 2400, "time_base": Fraction(1, 1000), "metadata": {"title": "two"}},
    ]
    with av.open(str(source), "w") as container:
        container.metadata["title"] = "strikes"
        container.set_chapters(chapters)
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = SIZE
        stream.metadata["language"] = "ita"
        for number in range(60):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(stream.encode(None))
    mux(source, click(1.0, 0.5), 44_100, tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        assert container.metadata["title"] == "strikes"
        assert container.streams.video[0].metadata["language"] == "ita"
        kept = [(c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]) for c in container.chapters()]
    assert kept == [(0, 1, {"title": "one"}), (1, Fraction(12, 5), {"title": "two"})]


def test_shape_of_pixels_that_only_the_container_knows(tmp_path):
    source = make_video(tmp_path / "wide.mp4", codec="libvpx-vp9", pixel_aspect=Fraction(4, 3))
    mux(source, click(1.0, 0.5), 44_100, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").width == probe(source).width == 85
    with pytest.raises(InputError, match=r"pixel shape.*another --format"):
        plan_mux(source, suffix=".mkv", codec="copy")


def test_start_codes_of_a_transport_stream_become_lengths(tmp_path):
    source = make_video(tmp_path / "video.ts", options=MANY_KEYS)
    mux(source, click(1.0, 0.5), 44_100, tmp_path / "out.mp4")
    assert torch.equal(read_frames(tmp_path / "out.mp4", frame_rate_hz=25.0), read_frames(source, frame_rate_hz=25.0))


def test_mux_of_a_single_frame_without_decoding_time(tmp_path):
    source = make_video(tmp_path / "one.mkv", times_s=[0.0])
    mux(source, torch.zeros(1, 4410), 44_100, tmp_path / "out.mp4")
    assert packets_of(tmp_path / "out.mp4") == packets_of(source)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_mux_of_a_cut_clip_stays_in_time(tmp_path, video, suffix):
    cut, out = copy_from(video("h264.mp4"), tmp_path / "cut.mp4", 0.6), tmp_path / f"out{suffix}"
    mux(cut, click(1.5, 1.0), 44_100, out)
    assert packets_of(out) == packets_of(cut)
    frame = read_frames(out, frame_rate_hz=25.0, start_s=peak_s(read_sound(out, sample_rate_hz=44_100)))
    assert numbers(frame)[0] == 40  # the click at 1.0 s sounds with frame 15 + 25


def test_mux_clips_a_sound_that_is_too_loud(tmp_path, video):
    tone = 3 * torch.sin(2 * math.pi * 200 * torch.arange(44_100) / 44_100)[None]
    mux(video("h264.mp4"), tone, 44_100, tmp_path / "out.mp4")
    wave = read_sound(tmp_path / "out.mp4", sample_rate_hz=44_100, n_channels=1, duration_s=1.0)
    assert wave.abs().max() < 1.5
    assert wave.abs().median() == pytest.approx(1.0, abs=0.1)


@pytest.mark.real
@pytest.mark.parametrize("name", ["hitting_bag", "drum", "tennis"])
def test_mux_replaces_the_sound_of_a_real_video(tmp_path, shared, name):
    source, out = shared / f"real/videos/{name}.mp4", tmp_path / "out.mp4"
    before = probe(source)
    mux(source, click(before.duration_s, 2.5).repeat(2, 1), 44_100, out)
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
    assert shown_packets(out) == shown_packets(source)
    wave = read_sound(out, sample_rate_hz=44_100)
    assert wave.shape[1] == pytest.approx(before.duration_s * 44_100, abs=1)
    assert peak_s(wave) == pytest.approx(2.5, abs=1e-3)
    assert astuple(probe(out))[1:6] == pytest.approx(astuple(before)[1:6], abs=1e-4)


def test_wav_round_trip_and_clipping(tmp_path):
    path = tmp_path / "new" / "sound.wav"
    wave = torch.cat([torch.linspace(-1, 1, 1001), torch.tensor([1.5, -1.5, 100.0])]).repeat(2, 1)
    write_sound(path, wave, 44_100)
    assert soundfile.info(path).subtype == "PCM_24"
    read = read_sound(path, sample_rate_hz=44_100)
    assert read.shape == wave.shape
    assert (read - wave.clamp(-1, 1)).abs().max() <= 2**-22


@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
def test_video_round_trip(tmp_path, size):
    frames = torch.stack([torch.from_numpy(picture(k, (64, 48))[: size[1], : size[0]]) for k in range(20)])
    write_video(tmp_path / "video.mkv", frames.permute(0, 3, 1, 2), 21.5)
    read = read_frames(tmp_path / "video.mkv", frame_rate_hz=21.5)
    assert read.shape == (20, 3, 48, 64)
    assert numbers(read) == list(range(20))


@pytest.mark.parametrize("largest_file", [2_000, 20_000, 60_000])
@pytest.mark.parametrize("write", [
    lambda path, wave, out: mux(path, wave, 44_100, out / "o.mp4"),
    lambda path, wave, out: mux(path, wave, 44_100, out / "o.mkv"),
    lambda _, wave, out: write_sound(out / "o.wav", wave, 44_100),
    lambda _, wave, out: write_video(out / "o.mp4", (wave[0, :432_000].reshape(75, 3, 40, 48) * 255).byte(), 25.0),
], ids=["mp4", "mkv", "wav", "video"])  # fmt: skip
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, video, write, largest_file):
    wave = torch.rand(2, 441_000, generator=torch.Generator().manual_seed(0))
    before, (soft, hard) = video("uneven.mp4").read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, hard))
    try:
        with pytest.raises(
            InputError, match=r"^[^\n]* \([^\n]*\): (make room, or )?give another (folder|output)[^\n]*$"
        ):
            write(video("uneven.mp4"), wave, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    assert video("uneven.mp4").read_bytes() == before


@pytest.mark.parametrize(("call", "told"), [
    (lambda path, out: mux(path, torch.zeros(2, 9), 44_100, out / "o.avi"), "suffix `.avi`"),
    (lambda path, out: mux(path, torch.zeros(2, 9), 44_101, out / "o.mp4"), "AAC cannot hold 44101 .* to one of"),
    (lambda path, out: mux(path, torch.zeros(2, 0), 44_100, out / "o.mp4"), r"shape \(2, 0\)"),
    (lambda path, out: mux(path, torch.zeros(9), 44_100, out / "o.mp4"), r"shape \(9,\)"),
    (lambda path, out: mux(path, torch.full((1, 9), math.nan), 44_100, out / "o.mp4"), "not finite"),
    (lambda path, _: mux(path, torch.zeros(2, 9), 44_100, path), "is the video itself"),
    (lambda path, out: mux(path, torch.zeros(2, 9), 44_100, path / "below" / "o.mp4"), "cannot be written"),
    (lambda _, out: write_sound(out / "o.mp3", torch.zeros(2, 9), 44_100), "suffix `.mp3`"),
    (lambda _, out: write_sound(out / "o.wav", torch.full((1, 9), math.inf), 44_100), "not finite"),
])  # fmt: skip
def test_impossible_wishes_are_refused_and_leave_nothing(tmp_path, video, call, told):
    before = video("h264.mp4").read_bytes()
    with pytest.raises(InputError, match=told):
        call(video("h264.mp4"), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert video("h264.mp4").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "codec"), [("vp8.mkv", "libvpx"), ("flash.flv", "flv"), ("windows.wmv", "wmv2"), ("film.mov", "prores_ks")]
)
def test_a_picture_that_cannot_be_copied_is_named_before_it_is_copied(tmp_path, name, codec):
    pixels = {"prores_ks": "yuv422p10le"}.get(codec, "yuv420p")
    source, out = tmp_path / name, tmp_path / "out.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream(codec, rate=25, width=64, height=48, pix_fmt=pixels)
        for number in range(10):
            image = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            container.mux(stream.encode(image.reformat(format=pixels)))
        container.mux(stream.encode(None))
    sound = torch.zeros(2, 44_100)
    with pytest.raises(InputError, match=f"{name} .*another --format, or --codec h264"):
        plan_mux(source, suffix=out.suffix, codec="copy")
    with pytest.raises(InputError, match=f"{name} .*convert the video first"):  # another video than was planned
        mux(source, sound, 44_100, out, MuxPlan(".mp4", "copy", None, ()))
    assert list(tmp_path.iterdir()) == [source]
    assert plan_mux(source, suffix=out.suffix).codec == "h264"


@pytest.mark.parametrize("name", VIDEOS)
def test_a_picture_that_can_be_copied_is_not_refused(tmp_path, video, name):
    plan_mux(video(name), suffix=".mp4")
    assert list(tmp_path.iterdir()) == []


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
