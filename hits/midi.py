"""Hits as notes of a MIDI file, and any MIDI file as hits: a drummer's take over a video is an envelope."""

from collections import defaultdict, deque
from pathlib import Path

import torch

from common.errors import InputError, check_range
from common.files import atomic_path, check_readable, damaged
from hits.find import USUAL_DECAY_S
from hits.grid import FASTEST_BPM, LAST_TIME_S, SLOWEST_BPM
from hits.level import LONGEST_DECAY_S, QUIET, SHORTEST_DECAY_S, Hits

LOUDEST_VELOCITY = 127
NOTE, CHANNEL = 60, 0
TICKS_PER_BEAT = 960
USUAL_TEMPO_BPM = 120.0


def velocity_of(level: float) -> int:
    """Return the velocity of a level: 127 times its square root, 1 to 127; half the velocity is 12 dB less.

    Source:
        Downloadable Sounds Level 1 (DLS): a velocity is 20 log10(127² / velocity²) dB below full level. MIDI itself
        defines no curve.
    """
    return min(max(round(LOUDEST_VELOCITY * level**0.5), 1), LOUDEST_VELOCITY)


def level_of(velocity: int) -> float:
    """Return the level of a velocity, (velocity / 127)², the inverse of `velocity_of`."""
    return (velocity / LOUDEST_VELOCITY) ** 2


def write_midi(path: Path, hits: Hits, tempo_bpm: float = USUAL_TEMPO_BPM) -> None:
    """Write hits as notes of one pitch, C4; a note lasts until its hit has fallen by 20 dB, or the next one begins.

    Args:
        path: File to write.
        hits: The hits; time 0 is the start of the first bar.
        tempo_bpm: Tempo in quarter notes a minute, 10 to 1000; times are rounded to 1/960 of a quarter.

    Raises:
        InputError: The tempo is outside its range, or the file cannot be written.
    """
    import mido  # not above: only this needs it

    check_range("--tempo", tempo_bpm, SLOWEST_BPM, FASTEST_BPM)
    tempo_us = mido.bpm2tempo(tempo_bpm)  # whole microseconds, so the ticks are counted in these
    events: list[tuple[int, int, mido.Message]] = []
    starts = [mido.second2tick(max(0.0, time_s), TICKS_PER_BEAT, tempo_us) for time_s in hits.times_s.tolist()]
    ends = [*starts[1:], None][: len(starts)]
    for start, following, level, decay_s in zip(starts, ends, hits.rms.tolist(), hits.decay_s.tolist(), strict=True):
        length = mido.second2tick(QUIET * decay_s, TICKS_PER_BEAT, tempo_us)
        end = start + max(1, length if following is None else min(length, following - start))
        note = {"note": NOTE, "channel": CHANNEL}
        events.append((start, 1, mido.Message("note_on", velocity=velocity_of(level), **note)))
        events.append((end, 0, mido.Message("note_off", velocity=0, **note)))
    track = mido.MidiTrack([mido.MetaMessage("track_name", name="hits"), mido.MetaMessage("set_tempo", tempo=tempo_us)])
    now = 0
    for tick, _, message in sorted(events, key=lambda event: event[:2]):
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track"))
    with atomic_path(path) as temporary:
        mido.MidiFile(type=0, ticks_per_beat=TICKS_PER_BEAT, tracks=[track]).save(temporary)


def read_midi(path: Path) -> Hits:
    """Read the notes of a MIDI file, of all tracks and pitches, as hits; changes of tempo count.

    The decay follows from the length of a note as in `write_midi`.

    Raises:
        InputError: The file cannot be read, holds no note or one after 24 h, or counts time in film frames.
    """
    import mido  # not above: only this needs it

    check_readable(path)
    rows: list[list[float]] = []
    sounding: dict[tuple[int, int], deque[list[float]]] = defaultdict(deque)
    now_s = 0.0
    try:
        file = mido.MidiFile(path, clip=True)
        if file.ticks_per_beat <= 0:
            raise InputError(f"{path} counts time in film frames: export it with a tempo (ticks per quarter note)")
        for message in file:
            now_s += message.time
            if message.type == "note_on" and message.velocity > 0:
                row = [now_s, level_of(message.velocity), USUAL_DECAY_S]
                rows.append(row)
                sounding[message.channel, message.note].append(row)
            elif message.type in ("note_on", "note_off") and sounding[message.channel, message.note]:
                row = sounding[message.channel, message.note].popleft()
                row[2] = min(max((now_s - row[0]) / QUIET, SHORTEST_DECAY_S), LONGEST_DECAY_S)
    except InputError:
        raise
    except Exception as error:
        raise damaged(path, "a MIDI file", error) from error
    if not rows:
        raise InputError(f"{path} holds no notes: record some, or give another file")
    check_range(f"{path}: a note at", rows[-1][0], 0, LAST_TIME_S)
    times_s, levels, decays_s = torch.tensor(rows, dtype=torch.float64).unbind(1)
    return Hits(times_s, levels, decays_s, torch.ones_like(times_s))
