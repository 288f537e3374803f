"""What is told of files that are missing, damaged, cut off or empty: one sentence, and never a wrong frame for long.

| The file                                      | What happens                                                         |
| --------------------------------------------- | -------------------------------------------------------------------- |
| missing, a folder, empty, text, a picture     | refused when opened                                                  |
| MP4 without its index, or cut within its data | refused when opened                                                  |
| Matroska or WebM cut off                      | refused when opened; a live recording states no size, and is read    |
| MPEG-TS cut off                               | refused when the last frame is decoded, where it is cut within       |
| Matroska or MPEG-TS with a part overwritten   | refused where time and bytes are left out, or as the next            |
| packets overwritten                           | refused where the decoder notices: an error, a frame it marks, or    |
|                                               | three packets without a frame. Within the coded numbers of one frame |
|                                               | most decoders notice nothing, and it is shown                        |
| packets of length 0                           | are no frames; the nearest of the others are shown                   |
| frames before the first key frame             | left out                                                             |
| no picture, no sound, no decoder for it       | refused where it is needed                                           |
| no frame                                      | refused                                                              |
| one frame, 0.1 s                              | read                                                                 |
"""

import random
import struct

import av
import numpy as np
import pytest
import torch

from common.errors import InputError
from media.probe import probe
from media.reading import FrameWindow, iter_media, read_frames, read_sound
from media.writing import mux
from tests.media.clips import EVEN_S, MANY_KEYS, SIZE, click, make_video, numbers, sound_packets

READERS = {
    "probe": probe,
    "read_frames": lambda path: read_frames(path, frame_rate_hz=25.0),
    "read_frames_small": lambda path: read_frames(path, frame_rate_hz=25.0, size_px=16),
    "read_sound": lambda path: read_sound(path, sample_rate_hz=44_100),
    "iter_media": lambda path: list(iter_media(path, frame_rate_hz=25.0, size_px=16, sample_rate_hz=16_000)),
    "mux": lambda path: mux(path, torch.zeros(2, 44_100), 44_100, path.parent / "never" / "out.mp4"),
}
PICTURE_READERS = ["read_frames", "read_frames_small", "iter_media"]


def detailed(number, size=(160, 120)):
    """A picture with so much in it that its packets are large."""
    noise = np.random.default_rng(0).integers(0, 255, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)
    return np.ascontiguousarray(np.roll(noise.repeat(4, 0).repeat(4, 1), 3 * number, axis=1))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A sound video of every kind, with the index first and last, whose packets are large."""
    folder = tmp_path_factory.mktemp("videos")
    kinds = {
        "h264.mp4": ("libx264", MANY_KEYS, {}),
        "one_key.mp4": ("libx264", {}, {}),
        "first.mp4": ("libx264", MANY_KEYS, {"movflags": "faststart"}),
        "fragments.mp4": ("libx264", MANY_KEYS, {"movflags": "frag_keyframe+empty_moov"}),
        "hevc.mp4": ("libx265", {"x265-params": "log-level=none:keyint=30"}, {}),
        "h264.mkv": ("libx264", MANY_KEYS, {}),
        "live.mkv": ("libx264", MANY_KEYS, {"live": "1"}),
        "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, {}),
        "av1.mkv": ("libsvtav1", {"preset": "12", "svtav1-params": "lp=1"}, {}),
        "h264.ts": ("libx264", MANY_KEYS, {}),
    }
    for name, (codec, options, container_options) in kinds.items():
        with av.open(str(folder / name), "w", options=container_options) as container:
            stream = container.add_stream(codec, rate=25, options=options)
            stream.width, stream.height = 160, 120
            packets = []
            for number in range(60):
                packets += stream.encode(av.VideoFrame.from_ndarray(detailed(number), format="rgb24"))
            packets += stream.encode(None)
            if not name.endswith(".webm"):
                audio = container.add_stream("aac", rate=44_100, layout="mono")
                packets += sound_packets(audio, click(2.4, 1.0).numpy(), 44_100, 0.0, "mono")
            for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
                container.mux(packet)
    return folder


def assert_told(read, path):
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert ": " in message.removeprefix(str(path))  # a remedy follows
    assert "\n" not in message
    assert not (path.parent / "never" / "out.mp4").exists()
    return message


def no_media(kind, folder, videos):
    whole = (videos / "h264.mp4").read_bytes()
    path = folder / ("note.txt" if kind == "note" else "bad.mp4")
    content = {
        "empty": b"",
        "text": b"hello\n" * 100,
        "note": b"hello\n" * 100,
        "no index": whole[: whole.index(b"moov") - 4],
        "cut in the index": whole[: whole.index(b"moov") + 300],
        "cut in the data": (videos / "first.mp4").read_bytes()[: len(whole) * 2 // 3],
        "cut fragments": (videos / "fragments.mp4").read_bytes()[: len(whole) * 2 // 3],
        "random": random.Random(0).randbytes(10_000),
        "zeros": bytes(10_000),
    }
    if kind in content:
        path.write_bytes(content[kind])
    return folder if kind == "folder" else path


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", [
    "missing", "folder", "empty", "text", "note", "no index", "cut in the index", "cut in the data", "cut fragments",
    "random", "zeros",
])  # fmt: skip
def test_files_that_are_no_media_are_named(tmp_path, videos, reader, kind):
    assert_told(READERS[reader], no_media(kind, tmp_path, videos))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kept", [0.98, 0.6, 0.2])
@pytest.mark.parametrize("name", ["h264.mkv", "vp9.webm", "av1.mkv"])
def test_matroska_that_is_cut_off_is_refused(tmp_path, videos, reader, kept, name):
    whole = (videos / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: int(kept * len(whole))])
    assert "cut off" in assert_told(READERS[reader], path)


def test_recordings_that_state_no_size_are_read_to_where_they_end(tmp_path, videos):
    whole = (videos / "live.mkv").read_bytes()
    path = tmp_path / "live.mkv"
    path.write_bytes(whole[: len(whole) * 6 // 10])
    n = len(read_frames(path, frame_rate_hz=25.0, size_px=16))
    assert 20 <= n < 50
    assert probe(path).duration_s == pytest.approx(n / 25, abs=0.03)
    assert len(read_frames(videos / "live.mkv", frame_rate_hz=25.0, size_px=16)) == 60


@pytest.mark.parametrize("reader", PICTURE_READERS)
def test_a_transport_stream_cut_within_a_frame_is_refused(tmp_path, videos, reader):
    whole = (videos / "h264.ts").read_bytes()
    path = tmp_path / "h264.ts"
    path.write_bytes(whole[: len(whole) * 6 // 10])
    for _ in range(10):  # whichever thread is the first
        assert "damaged" in assert_told(READERS[reader], path)


@pytest.mark.parametrize("reader", PICTURE_READERS)
@pytest.mark.parametrize("name", ["h264.mp4", "one_key.mp4", "hevc.mp4", "h264.mkv", "vp9.webm", "av1.mkv", "h264.ts"])
@pytest.mark.parametrize("seed", range(3))
def test_pictures_overwritten_in_the_middle_are_refused(tmp_path, videos, reader, name, seed):
    with av.open(str(videos / name)) as container:
        places = sorted(packet.pos for packet in container.demux(video=0) if packet.size)
    content = bytearray((videos / name).read_bytes())
    first, end = places[20], places[40]
    content[first:end] = random.Random(seed).randbytes(end - first)
    path = tmp_path / name
    path.write_bytes(content)
    message = assert_told(READERS[reader], path)
    assert "damaged" in message or "cannot be read" in message


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mp4", "h264.mkv"])
def test_a_few_bad_bytes_are_refused_or_change_no_more_than_colours(tmp_path, videos, name, seed):
    content, draw = bytearray((videos / name).read_bytes()), random.Random(seed)
    for _ in range(3):
        content[draw.randrange(len(content) // 4, len(content) * 3 // 4)] = draw.randrange(256)
    path = tmp_path / name
    path.write_bytes(content)
    told, n_frames = "", 0
    try:
        for window in iter_media(path, frame_rate_hz=25.0, size_px=16, sample_rate_hz=16_000):
            n_frames += len(window.frames) if isinstance(window, FrameWindow) else 0
    except InputError as error:
        told = str(error)
    assert told.startswith(str(path)) or n_frames == 60


def test_what_a_decoder_marks_is_refused_in_a_video_with_one_key_frame(tmp_path):
    path = make_video(tmp_path / "one_key.mp4")
    content = bytearray(path.read_bytes())
    first = content.find(b"mdat") + 2000
    for position in range(first, len(content) * 2 // 3, 3):
        content[position] ^= 0xFF
    path.write_bytes(content)
    for reader in PICTURE_READERS:
        assert_told(READERS[reader], path)


def packets_removed(source, path, is_kept):
    """The picture of a video without some of its packets."""
    with av.open(str(source)) as container, av.open(str(path), "w") as target:
        copied = target.add_stream_from_template(container.streams.video[0])
        for number, packet in enumerate(packet for packet in container.demux(video=0) if packet.size):
            if is_kept(number):
                packet.stream = copied
                target.mux(packet)
    return path


@pytest.mark.parametrize(("codec", "suffix", "options"), [
    ("libx264", ".mkv", {"x264-params": "keyint=12:min-keyint=12:scenecut=0:open-gop=1"}),
    ("libx264", ".ts", {"x264-params": "keyint=12:min-keyint=12:scenecut=0:open-gop=1"}),
    ("libx265", ".ts", {"x265-params": "log-level=none:keyint=12:min-keyint=12:scenecut=0:open-gop=1"}),
    ("libvpx-vp9", ".mkv", {"deadline": "realtime", "cpu-used": "8", "g": "12"}),
    ("mpeg4", ".mkv", {"g": "12"}),  # its decoder shows such frames without a word, grey
])  # fmt: skip
def test_frames_before_the_first_key_frame_are_left_out(tmp_path, codec, suffix, options):
    source = make_video(tmp_path / f"source{suffix}", codec=codec, options=options)
    path = packets_removed(source, tmp_path / f"late{suffix}", lambda number: number >= 5)
    with av.open(str(path)) as container:
        first = next(packet for packet in container.demux(video=0) if packet.is_keyframe).pts
        origin = container.start_time / 1e6
        key = round((float(first * container.streams.video[0].time_base) - origin) * 25)
    shown = numbers(read_frames(path, frame_rate_hz=25.0))
    late = shown[-1] - len(shown) + 1  # frames that were removed before the start of the file
    assert shown[-1] == 59
    assert shown == [max(k, key) + late for k in range(len(shown))]
    assert key >= 3


def test_a_hole_in_matroska_is_refused(tmp_path):
    path = make_video(tmp_path / "long.mkv", [k / 25 for k in range(500)], options=MANY_KEYS)
    content = bytearray(path.read_bytes())
    clusters = [k for k in range(len(content)) if content[k : k + 4] == b"\x1f\x43\xb6\x75"]
    assert len(clusters) >= 4
    content[clusters[1] : clusters[2]] = bytes(clusters[2] - clusters[1])
    path.write_bytes(content)
    for reader in (*PICTURE_READERS, "mux"):
        assert "damaged" in assert_told(READERS[reader], path)


def patched(path, change):
    """Changes the sizes of the samples that an MP4 lists."""
    content = bytearray(path.read_bytes())
    table = content.index(b"stsz") + 4
    count = struct.unpack(">I", content[table + 8 : table + 12])[0]
    for number in range(count):
        at = table + 12 + 4 * number
        content[at : at + 4] = struct.pack(">I", change(number, struct.unpack(">I", content[at : at + 4])[0]))
    path.write_bytes(content)
    return path


def test_packets_of_length_0_are_no_frames(tmp_path):
    # only key frames, each in a chunk of its own between two packets of sound: nothing else moves
    sound = 0.1 * np.random.default_rng(0).standard_normal((1, 105_840))
    path = make_video(tmp_path / "short.mp4", options={"x264-params": "keyint=1:bframes=0"}, sound=sound)
    left_out = {7, 20, 21, 22, 23, 24, 58, 59}
    patched(path, lambda number, size: 0 if number in left_out else size)
    stored = [number for number in range(60) if number not in left_out]
    expected = [min(stored, key=lambda number: (abs(number - k), number)) for k in range(60)]
    windows = iter_media(path, frame_rate_hz=25.0, size_px=32, sample_rate_hz=16_000)
    shown = torch.cat([window.frames for window in windows if isinstance(window, FrameWindow)])
    assert numbers(shown) == numbers(read_frames(path, frame_rate_hz=25.0)) == expected


def test_packets_without_frames_are_refused(tmp_path):
    source = make_video(tmp_path / "source.mp4", codec="libx265")
    for n_lost in (1, 2, 3, 6):
        with av.open(str(source)) as container:
            places = [packet.pos for packet in container.demux(video=0) if packet.size]
        content = bytearray(source.read_bytes())
        for place in places[-n_lost:]:
            content[place + 4] = 41 << 1  # a reserved kind of unit, which decoders pass over
        path = tmp_path / "lost.mp4"
        path.write_bytes(content)
        if n_lost > 2:
            assert "damaged" in assert_told(READERS["iter_media"], path)
        else:
            assert len(read_frames(path, frame_rate_hz=25.0)) == 60


def test_a_video_without_frames_is_refused(tmp_path):
    path = make_video(tmp_path / "none.mp4")
    patched(path, lambda number, size: 0)
    for reader in (*PICTURE_READERS, "probe", "mux"):
        assert "no frame" in assert_told(READERS[reader], path)
    empty = tmp_path / "empty.mp4"
    with av.open(str(empty), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = SIZE
        container.start_encoding()
    for reader in (*PICTURE_READERS, "probe", "mux"):
        assert_told(READERS[reader], empty)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_videos_of_a_few_frames_are_read(tmp_path, suffix, n):
    path = make_video(tmp_path / f"short{suffix}", EVEN_S[:n], rate=25)
    assert numbers(read_frames(path, frame_rate_hz=25.0)) == list(range(n))
    windows = iter_media(path, frame_rate_hz=25.0, size_px=32, sample_rate_hz=16_000)
    assert numbers(torch.cat([window.frames for window in windows])) == list(range(n))
    mux(path, click(0.1, 0.01), 44_100, tmp_path / "out.mp4")
    assert numbers(read_frames(tmp_path / "out.mp4", frame_rate_hz=25.0)) == list(range(n))


def test_a_codec_without_decoder_is_named(tmp_path):
    path = make_video(tmp_path / "video.mp4", sound=click(2.4, 1.0).numpy())
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    for reader in (*PICTURE_READERS, "mux"):
        assert "moving picture that can be decoded" in assert_told(READERS[reader], path)
    assert probe(path).has_video is False
    assert read_sound(path, sample_rate_hz=44_100).shape == (2, 105_840)


def test_sound_only_and_picture_only(tmp_path):
    silent = make_video(tmp_path / "silent.mp4")
    assert "no sound" in assert_told(READERS["read_sound"], silent)
    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        audio = container.add_stream("aac", rate=44_100, layout="mono")
        container.mux(sound_packets(audio, click(1.0, 0.5).numpy(), 44_100, 0.0, "mono"))
    for reader in (*PICTURE_READERS, "mux"):
        assert "no moving picture" in assert_told(READERS[reader], path)
    assert read_sound(path, sample_rate_hz=44_100).shape == (2, 44_100)


def test_a_damaged_sound_is_refused(tmp_path):
    noise = 0.5 * np.random.default_rng(0).standard_normal((1, 105_840)).clip(-1, 1)
    path = make_video(tmp_path / "loud.mp4", sound=noise)
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.size]
    content = bytearray(path.read_bytes())
    for pos, size in places[20:60]:
        content[pos : pos + size] = random.Random(pos).randbytes(size)
    path.write_bytes(content)
    assert_told(READERS["read_sound"], path)
    assert_told(READERS["iter_media"], path)
    assert numbers(read_frames(path, frame_rate_hz=25.0)) == list(range(60))
