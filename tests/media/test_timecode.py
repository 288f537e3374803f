"""Time of day of files, with OpenTimelineIO as the oracle for timecode; broadcast waves."""

import struct

import av
import numpy as np
import opentimelineio as otio
import pytest
import soundfile
import torch

from common.errors import InputError
from media.timecode import start_of_day_s, timecode_s
from media.writing import write_sound


@pytest.mark.parametrize("rate_hz", [24.0, 25.0, 30.0, 24_000 / 1001, 30_000 / 1001, 60_000 / 1001])
@pytest.mark.parametrize("text", ["00:00:00:00", "01:02:03:04", "10:10:00:00", "23:59:59:20"])
def test_timecode_without_drop_frames(text, rate_hz):
    assert timecode_s(text, rate_hz) == pytest.approx(otio.opentime.from_timecode(text, rate_hz).to_seconds())


@pytest.mark.parametrize("rate_hz", [30_000 / 1001, 60_000 / 1001])
@pytest.mark.parametrize("text", ["00:00:00;00", "00:01:00;04", "00:10:00;00", "01:02:03;04", "23:59:59;20"])
def test_drop_frame_timecode(text, rate_hz):
    assert timecode_s(text, rate_hz) == pytest.approx(otio.opentime.from_timecode(text, rate_hz).to_seconds())


@pytest.mark.parametrize("text", ["", "noon", "1:2:3:4", "00:00:00"])
def test_what_is_no_timecode_is_midnight(text):
    assert timecode_s(text, 25.0) == 0


def chunks(path):
    """Chunks of a WAV file by name."""
    data, place, found = path.read_bytes(), 12, {}
    assert (data[:4], data[8:12]) == (b"RIFF", b"WAVE")
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    while place < len(data):
        name, size = data[place : place + 4], struct.unpack("<I", data[place + 4 : place + 8])[0]
        found[name] = data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    return found


@pytest.mark.parametrize("bit_depth", [16, 24, 32])
@pytest.mark.parametrize(("rate_hz", "n_channels"), [(44_100, 2), (48_000, 1)])
def test_a_broadcast_wave_has_the_same_samples_and_a_time_reference(tmp_path, bit_depth, rate_hz, n_channels):
    wave = 2.2 * torch.rand(n_channels, 150_001, generator=torch.Generator().manual_seed(0)) - 1.1
    write_sound(tmp_path / "plain.wav", wave, rate_hz, bit_depth)
    write_sound(tmp_path / "stem.wav", wave, rate_hz, bit_depth, start_of_day_s=36_000.25)
    plain, stem = (soundfile.read(tmp_path / name, dtype="float64")[0] for name in ("plain.wav", "stem.wav"))
    np.testing.assert_array_equal(stem, plain)
    info = soundfile.info(tmp_path / "stem.wav")
    assert (info.samplerate, info.channels) == (rate_hz, n_channels)
    assert info.subtype == {16: "PCM_16", 24: "PCM_24", 32: "FLOAT"}[bit_depth]
    bext = chunks(tmp_path / "stem.wav")[b"bext"]
    assert len(bext) >= 602
    low, high = struct.unpack("<II", bext[338:346])  # after description, originator, its reference, date and time
    assert (high << 32) + low == round(36_000.25 * rate_hz)
    assert bext[256:288].rstrip(b"\0") == b"Stable-Video2Audio"
    with av.open(str(tmp_path / "stem.wav")) as container:
        assert container.metadata["time_reference"] == str(round(36_000.25 * rate_hz))
    assert start_of_day_s(tmp_path / "stem.wav") == 36_000.25
    assert start_of_day_s(tmp_path / "plain.wav") == 0


def test_the_same_sound_gives_the_same_broadcast_wave(tmp_path):
    wave = torch.rand(2, 70_000) - 0.5
    for name in "ab":
        write_sound(tmp_path / f"{name}.wav", wave, 48_000, start_of_day_s=1.5)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


@pytest.mark.parametrize("start_s", [-1.0, 90_000.0, float("nan")])
def test_impossible_times_of_day_are_refused(tmp_path, start_s):
    with pytest.raises(InputError, match=str(start_s)):
        write_sound(tmp_path / "stem.wav", torch.zeros(1, 100), 48_000, start_of_day_s=start_s)
    assert not list(tmp_path.iterdir())
