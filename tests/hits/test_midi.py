"""MIDI files: what is written, read by a parser of its own; what is read, written by mido and by hand."""

import struct

import mido
import pytest
import torch

from common.errors import InputError
from hits.files import read_envelope
from hits.level import QUIET, level_of_hits
from hits.midi import level_of, read_midi, velocity_of, write_midi
from tests.hits.test_level import hits

ROWS = [(0.5, 0.4, 0.04), (1.2, 0.1, 0.15), (1.5, 0.3, 0.05), (3.0, 0.02, 0.03)]


def parsed(path):
    """Notes of a MIDI file of one track: start and end in ticks, pitch, velocity; ticks a beat and tempo in µs."""
    data = path.read_bytes()
    assert data[:8] == b"MThd\x00\x00\x00\x06"
    kind, n_tracks, ticks_per_beat = struct.unpack(">HHH", data[8:14])
    assert (kind, n_tracks) == (0, 1)
    assert data[14:18] == b"MTrk"
    track = list(data[22 : 22 + struct.unpack(">I", data[18:22])[0]])

    def number():
        value = 0
        while True:
            byte = track.pop(0)
            value = (value << 7) | (byte & 0x7F)
            if byte < 0x80:
                return value

    now, status, tempo, begun, notes = 0, None, None, {}, []
    while track:
        now += number()
        status = track.pop(0) if track[0] >= 0x80 else status
        if status == 0xFF:
            meta, length = track.pop(0), number()
            content = bytes(track.pop(0) for _ in range(length))
            tempo = int.from_bytes(content, "big") if meta == 0x51 else tempo
            continue
        pitch, velocity = track.pop(0), track.pop(0)
        if status & 0xF0 == 0x90 and velocity:
            begun[pitch] = (now, velocity)
        else:
            start, loudness = begun.pop(pitch)
            notes.append((start, now, pitch, loudness))
    assert not begun
    return notes, ticks_per_beat, tempo


@pytest.mark.parametrize("tempo_bpm", [120.0, 93.7, 10.0, 1000.0])
def test_notes_have_time_velocity_and_length_of_the_hits(tmp_path, tempo_bpm):
    write_midi(tmp_path / "hits.mid", hits(*ROWS), tempo_bpm)
    notes, ticks_per_beat, tempo_us = parsed(tmp_path / "hits.mid")
    assert tempo_us == pytest.approx(60e6 / tempo_bpm, abs=1)
    tick_s = tempo_us / 1e6 / ticks_per_beat
    assert len(notes) == len(ROWS)
    for (start, end, _, velocity), (time_s, level, decay_s) in zip(notes, ROWS, strict=True):
        assert start * tick_s == pytest.approx(time_s, abs=0.51 * tick_s)
        assert velocity == round(127 * level**0.5)
        length_s = 0.3 if time_s == 1.2 else decay_s * QUIET  # the next hit ends that note
        assert (end - start) * tick_s == pytest.approx(length_s, abs=1.01 * tick_s)


def test_hits_come_back_from_midi(tmp_path):
    write_midi(tmp_path / "hits.mid", hits(*ROWS))
    found = read_midi(tmp_path / "hits.mid")
    true = hits(*ROWS)
    torch.testing.assert_close(found.times_s.float(), true.times_s, atol=0.0003, rtol=0)
    half_a_step = [1 / velocity_of(level) for _, level, _ in ROWS]
    for level, (_, expected, _), error in zip(found.rms.tolist(), ROWS, half_a_step, strict=True):
        assert level == pytest.approx(expected, rel=1.05 * error)
    expected_s = [0.04, 0.3 / QUIET, 0.05, 0.03]
    assert found.decay_s.tolist() == pytest.approx(expected_s, abs=0.0006)


def test_every_velocity_is_the_one_of_its_level():
    assert [velocity_of(level_of(velocity)) for velocity in range(1, 128)] == list(range(1, 128))
    assert (velocity_of(1.0), velocity_of(4.0), velocity_of(1e-9)) == (127, 127, 1)


def test_a_take_with_changes_of_tempo_and_many_pitches_is_an_envelope(tmp_path):
    kick, snare = mido.MidiTrack(), mido.MidiTrack()
    kick += [
        mido.MetaMessage("set_tempo", tempo=500_000),
        mido.Message("note_on", note=36, velocity=100, time=480),  # 0.5 s
        mido.Message("note_on", note=36, velocity=0, time=96),  # 0.1 s long
        mido.MetaMessage("set_tempo", tempo=1_000_000, time=384),  # at 1 s
        mido.Message("note_on", note=36, velocity=64, time=480),  # 2 s, and never ends
    ]
    snare += [
        mido.Message("note_on", channel=9, note=38, velocity=127, time=720),  # 0.75 s
        mido.Message("note_off", channel=9, note=38, time=24),  # 25 ms
    ]
    mido.MidiFile(type=1, ticks_per_beat=480, tracks=[kick, snare]).save(tmp_path / "take.mid")
    found = read_midi(tmp_path / "take.mid")
    assert found.times_s.tolist() == pytest.approx([0.5, 0.75, 2.0])
    assert found.rms.tolist() == pytest.approx([(100 / 127) ** 2, 1.0, (64 / 127) ** 2])
    assert found.decay_s.tolist() == pytest.approx([0.1 / QUIET, 0.025 / QUIET, 0.05])
    envelope = read_envelope(tmp_path / "take.mid", 3.0)
    assert torch.equal(envelope.rms, level_of_hits(found, 375))


def damaged_files():
    header = b"MThd\x00\x00\x00\x06\x00\x00\x00\x01"
    yield "empty", b""
    yield "no MIDI", b"RIFF" + bytes(40)
    yield "cut", header + b"\x01\xe0MTrk\x00\x00\x00\x10\x00\x90"
    yield "film frames", header + b"\xe7\x28MTrk\x00\x00\x00\x04\x00\xff\x2f\x00"
    yield "no notes", header + b"\x01\xe0MTrk\x00\x00\x00\x04\x00\xff\x2f\x00"
    yield "bad key", header + b"\x01\xe0MTrk\x00\x00\x00\x0a\x00\xff\x59\x02\x50\x05\x00\xff\x2f\x00"


@pytest.mark.parametrize(("name", "content"), list(damaged_files()))
def test_what_is_no_take_is_refused(tmp_path, name, content):
    (tmp_path / "take.mid").write_bytes(content)
    with pytest.raises(InputError, match=r"take\.mid"):
        read_midi(tmp_path / "take.mid")


def test_a_tempo_outside_its_range_writes_nothing(tmp_path):
    with pytest.raises(InputError, match="5000"):
        write_midi(tmp_path / "hits.mid", hits(*ROWS), 5000.0)
    assert not list(tmp_path.iterdir())
