"""Parts of sounds: the texts that name them, which parts a file has, and what is read of it."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from common.errors import InputError
from common.files import is_web_address
from media import reading
from media.container import decoded
from media.reading import read_sound
from media.sound_part import SoundPart, read_part, read_part_for, sound_end_s
from tests.media.clips import click, make_video, peak_s, picture, sound_packets

RATE_HZ = 44_100
CLICKS_S = (0.5, 1.0, 1.5)
"""The time of the click in each sound track of `tracks`."""


@pytest.fixture(scope="module", params=[".mp4", ".mkv"])
def tracks(request, tmp_path_factory):
    """A video of 2.4 s with three sound tracks of 2 s."""
    path = tmp_path_factory.mktemp("tracks") / f"tracks{request.param}"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sounds = [container.add_stream("aac", rate=RATE_HZ, layout="mono") for _ in CLICKS_S]
        packets = []
        for number in range(60):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += video.encode(frame)
        packets += video.encode(None)
        for stream, at_s in zip(sounds, CLICKS_S, strict=True):
            packets += sound_packets(stream, click(2.0, at_s).numpy(), RATE_HZ, 0.0, "mono")
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def hours_of_silence(path, n_hours, clicks_s, rate_hz=8000):
    """A WAV of some hours whose silence takes no room on the disk."""
    n_bytes = 2 * rate_hz * 3600 * n_hours
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    with path.open("wb") as file:
        file.write(struct.pack("<4sI4s", b"RIFF", 36 + n_bytes, b"WAVE") + form + struct.pack("<4sI", b"data", n_bytes))
        for at_s in clicks_s:
            file.seek(44 + 2 * round(rate_hz * at_s))
            file.write(struct.pack("<h", 30_000))
        file.truncate(44 + n_bytes)
    return path


@pytest.fixture
def decoded_s(monkeypatch):
    """Counts the seconds of sound that are decoded."""
    seconds = []

    def watched(*args, **options):
        for frame in decoded(*args, **options):
            seconds.append(frame.samples / frame.sample_rate)
            yield frame

    monkeypatch.setattr(reading, "decoded", watched)
    return seconds


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a.wav", SoundPart(Path("a.wav"))),
        ("a.mp4#track=2", SoundPart(Path("a.mp4"), 2)),
        ("a.mp4#from=1.5", SoundPart(Path("a.mp4"), 1, 1.5)),
        ("a.mp4#from=0", SoundPart(Path("a.mp4"), 1, 0.0)),
        ("a.mp4#to=3", SoundPart(Path("a.mp4"), 1, None, 3.0)),
        ("a.mp4#track=2,from=1.5,to=3", SoundPart(Path("a.mp4"), 2, 1.5, 3.0)),
        ("a.mp4#to=3, track=2, from=.5", SoundPart(Path("a.mp4"), 2, 0.5, 3.0)),
        ("b#c/take#1.wav#from=1e-3", SoundPart(Path("b#c/take#1.wav"), 1, 0.001)),
        ("take#1.wav", SoundPart(Path("take#1.wav"))),
        ("b#x=1/take.wav", SoundPart(Path("b#x=1/take.wav"))),
        ("C:\\clips\\a b.mp4#track=2", SoundPart(Path("C:\\clips\\a b.mp4"), 2)),
        ("C:\\clips\\a b.mp4", SoundPart(Path("C:\\clips\\a b.mp4"))),
        ("#1.wav", SoundPart(Path("#1.wav"))),
        (f"{300 * 'a'}#b", SoundPart(Path(f"{300 * 'a'}#b"))),
        (f"{300 * 'a'}#to=1", SoundPart(Path(300 * "a"), to_s=1.0)),
    ],
)
def test_a_text_names_a_part(text, part):
    assert SoundPart.parse(text) == part
    assert SoundPart.of(Path(text)) == part
    assert SoundPart.of(part) is part


@pytest.mark.parametrize("path", ["a.wav", "take#1.wav", "take#track=2.wav", "a.wav#track=2", "b#c/d.wav", "#", "#a"])
@pytest.mark.parametrize("values", [(1, None, None), (2, None, None), (1, 0.0, None), (3, 1 / 3, 1e6), (1, None, 1e-9)])
def test_the_text_of_a_part_names_it_again(path, values):
    part = SoundPart(Path(path), *values)
    assert SoundPart.parse(str(part)) == part


@pytest.mark.parametrize("name", ["take#track=2", "a.wav#track=2", "take#1.wav"])
def test_an_existing_name_is_taken_as_it_is(tmp_path, name):
    (tmp_path / "take").touch()
    (tmp_path / "a.wav").touch()
    (tmp_path / name).touch()
    assert SoundPart.parse(str(tmp_path / name)) == SoundPart(tmp_path / name)
    part = SoundPart(tmp_path / name, 2, 1.0)
    assert SoundPart.parse(str(part)) == part


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("colour=2", "colour"),
        ("Track=2", "Track"),
        ("track=", "track="),
        ("track=two", "two"),
        ("track=0", "0"),
        ("track=-1", "-1"),
        ("track=1.5", "1.5"),
        ("track=1,track=2", "track"),
        ("from=-1", "-1"),
        ("from=nan", "nan"),
        ("from=inf", "inf"),
        ("from=1e999", "inf"),
        ("from=1_0", "1_0"),
        ("from=0:30", "0:30"),
        ("from=1,5", "5"),
        ("to=0", "0"),
        ("from=2,to=1", "1"),
        ("from=2,to=2", "2"),
        ("from=1,", "from=1,"),
        ("from=1;to=2", "1;to=2"),
        ("2", "2"),
        ("", "there.wav#"),
    ],
)
def test_what_is_no_part_is_refused(tmp_path, options, named):
    (tmp_path / "there.wav").touch()
    with pytest.raises(InputError) as refusal:
        SoundPart.parse(f"{tmp_path / 'there.wav'}#{options}")
    assert "there.wav" in str(refusal.value)
    assert named in str(refusal.value).replace(str(tmp_path), "")


@pytest.mark.parametrize("values", [(0,), (1, -1.0), (1, float("nan")), (1, None, float("inf")), (1, 2.0, 1.0)])
def test_a_part_that_is_not_possible_is_refused(values):
    with pytest.raises(InputError, match=r"a\.wav"):
        SoundPart(Path("a.wav"), *values)


def test_web_addresses_are_recognised_as_texts_and_paths():
    for address in ("https://example.org/a.mp4#t=3", "HTTP://example.org", "rtsp://example.org/x"):
        assert is_web_address(address)
        assert is_web_address(Path(address))
        assert is_web_address(SoundPart.of(Path(address)).path)
    for path in ("http", "https.mp4", "C:/a.mp4", "C:\\a.mp4", "/https:/a.mp4", "a/b:c.mp4", "s3/a.wav"):
        assert not is_web_address(path)


@pytest.mark.parametrize("track", [1, 2, 3])
@pytest.mark.parametrize("start_s", [0.0, 0.3])
def test_each_track_is_read_in_time(tracks, track, start_s):
    sound = read_sound(tracks, sample_rate_hz=RATE_HZ, start_s=start_s, duration_s=1.7, track=track)
    assert peak_s(sound) == pytest.approx(CLICKS_S[track - 1] - start_s, abs=1e-3)
    part = SoundPart(tracks, track, start_s or None, 1.7)
    torch.testing.assert_close(read_part(part, sample_rate_hz=RATE_HZ), sound[:, : round((1.7 - start_s) * RATE_HZ)])


@pytest.mark.parametrize("track", [0, 4])
def test_a_missing_track_is_refused_with_their_number(tracks, track):
    with pytest.raises(InputError, match="3 sound tracks") as refusal:
        read_sound(tracks, sample_rate_hz=RATE_HZ, track=track)
    assert str(track) in str(refusal.value)


@pytest.mark.parametrize("options", ["track=4", "from=2.6", "from=1e9", "to=2.6", "track=2,from=0.5,to=99"])
def test_a_part_outside_the_file_is_refused(tracks, options):
    with pytest.raises(InputError, match=tracks.name):
        sound_end_s(SoundPart.parse(f"{tracks}#{options}"))


@pytest.mark.parametrize(("options", "end_s"), [("to=1.25", 1.25), ("track=3", 2.0), ("from=1,to=2.45", 2.0)])
def test_a_part_ends_with_its_track(tracks, options, end_s):
    """Matroska states the end of the file alone, which is 0.4 s later here."""
    found_s = sound_end_s(SoundPart.parse(f"{tracks}#{options}"))
    assert end_s - 0.03 <= found_s <= end_s + (0.45 if tracks.suffix == ".mkv" and end_s == 2.0 else 0.03)


def test_what_lacks_a_sound_is_refused(tmp_path):
    silent = make_video(tmp_path / "silent.mp4")
    soundfile.write(tmp_path / "empty.wav", np.zeros((0, 2)), RATE_HZ)
    for path in (silent, tmp_path / "empty.wav"):
        with pytest.raises(InputError, match=path.name):
            sound_end_s(SoundPart(path))


def test_silence_follows_a_part_where_more_is_needed(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, (2 * RATE_HZ, 2)).astype(np.float32)
    soundfile.write(tmp_path / "noise.wav", noise, RATE_HZ, subtype="FLOAT")
    part = SoundPart(tmp_path / "noise.wav", from_s=0.5, to_s=1.25)
    expected = torch.from_numpy(noise.T[:, RATE_HZ // 2 : RATE_HZ * 5 // 4].copy())
    torch.testing.assert_close(read_part(part, sample_rate_hz=RATE_HZ), expected)
    torch.testing.assert_close(read_part(part, sample_rate_hz=RATE_HZ, at_most_s=0.5), expected[:, : RATE_HZ // 2])
    longer = read_part_for(part, 2.0, sample_rate_hz=RATE_HZ)
    assert longer.shape == (2, 2 * RATE_HZ)
    torch.testing.assert_close(longer[:, : expected.shape[1]], expected)
    assert not longer[:, expected.shape[1] :].any()
    torch.testing.assert_close(read_part_for(part, 0.5, sample_rate_hz=RATE_HZ), expected[:, : RATE_HZ // 2])


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_of_hours_only_the_part_is_decoded(tmp_path, decoded_s, suffix):
    """A little more is: decoders of sound are given a second before the first sample."""
    path = hours_of_silence(tmp_path / "hours.wav", 3, clicks_s=(9000.0, 9001.0))
    if suffix == "flac":
        with soundfile.SoundFile(path) as wav, soundfile.SoundFile(path.with_suffix(".flac"), "w", 8000, 1) as flac:
            for block in wav.blocks(2**20, dtype="int16"):
                flac.write(block)
        path = path.with_suffix(".flac")
    part = SoundPart.parse(f"{path}#from=8999.5,to=9000.5")
    assert sound_end_s(part) == 9000.5
    sound = read_part(part, sample_rate_hz=8000)
    assert sound.shape[1] == 8000
    assert peak_s(sound, 8000) == pytest.approx(0.5)
    assert sum(decoded_s) < 3
    decoded_s.clear()
    assert read_part(SoundPart(path), sample_rate_hz=8000, at_most_s=60.0).shape[1] == 60 * 8000
    assert sum(decoded_s) < 62


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff", "w64", "ogg", "mp3"])
@pytest.mark.parametrize("start_s", [0.4567, 1.0, 7.77, 18.98])
def test_a_part_is_the_same_as_in_the_whole(tmp_path, suffix, start_s):
    noise = np.random.default_rng(0).normal(0, 0.1, (20 * RATE_HZ, 2))
    path = tmp_path / f"noise.{suffix}"
    soundfile.write(path, noise, RATE_HZ)
    whole = read_sound(path, sample_rate_hz=RATE_HZ)
    part = read_part(SoundPart(path, from_s=start_s, to_s=start_s + 1), sample_rate_hz=RATE_HZ)
    first = round(start_s * RATE_HZ)
    torch.testing.assert_close(part, whole[:, first : first + RATE_HZ], atol=1e-6, rtol=0)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize(("rate_hz", "duration_s"), [(8000, 0.02), (11_025, 0.5), (192_000, 0.02), (192_000, 0.5)])
def test_sounds_of_any_rate_and_format_are_read(tmp_path, subtype, rate_hz, duration_s):
    n_samples = round(rate_hz * duration_s)
    tone = 0.3 * np.sin(2 * np.pi * 500 * np.arange(n_samples) / rate_hz)
    soundfile.write(tmp_path / "tone.wav", tone, rate_hz, subtype=subtype)
    part = SoundPart(tmp_path / "tone.wav")
    sound = read_part(part, sample_rate_hz=RATE_HZ)
    assert sound_end_s(part) == pytest.approx(duration_s, abs=1e-3)
    assert sound.shape[1] == pytest.approx(duration_s * RATE_HZ, abs=3)
    assert sound.square().mean().sqrt().item() == pytest.approx(0.3 / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("n_channels", range(1, 9))
def test_each_channel_is_heard(tmp_path, n_channels, suffix):
    """Except the one for low effects (LFE), which players leave out when they mix 5.1, 6.1 and 7.1 down."""
    clicks = np.zeros((RATE_HZ, n_channels))
    for channel in range(n_channels):
        clicks[round((0.1 * channel + 0.05) * RATE_HZ), channel] = 0.9
    soundfile.write(tmp_path / f"clicks.{suffix}", clicks, RATE_HZ)
    sound = read_part(SoundPart(tmp_path / f"clicks.{suffix}"), sample_rate_hz=RATE_HZ)
    slots = sound.abs().amax(0)[: round(0.1 * n_channels * RATE_HZ)].unflatten(0, (n_channels, -1)).amax(-1)
    heard = [channel for channel in range(n_channels) if slots[channel] > 0.1]
    low = {("wav", 3): 2}.get((suffix, n_channels), 3 if n_channels >= 6 else None)  # FFmpeg takes 3 as 2.1
    assert heard == [channel for channel in range(n_channels) if channel != low]
