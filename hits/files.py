"""Files that hold hits, tables ``time_s,level,decay_s``, MIDI and labels; and any file that holds an envelope."""

import csv
import io
from pathlib import Path

import torch

from common.errors import InputError
from common.files import atomic_path
from common.spreadsheet import Line, has_header, read_table
from hits.edit import HIGHEST_LEVEL, HitEnvelope, envelope_of_hits
from hits.find import ends_s
from hits.labels import read_labels
from hits.level import LONGEST_DECAY_S, SHORTEST_DECAY_S, Hits
from hits.midi import read_midi
from media.envelope import LAST_CSV_TIME_S, Envelope, fine_envelope, read_envelope_csv
from media.sound_part import SoundPart, read_part

HEADER = ("time_s", "level", "decay_s")
_RATE_HZ = 44_100
_READERS = {".mid": read_midi, ".midi": read_midi, ".txt": read_labels}


def is_table(path: Path) -> bool:
    """Return whether a path names an envelope as a table or as hits, rather than a sound."""
    return path.suffix.lower() in (".csv", *_READERS)


def read_hits(path: Path) -> Hits | None:
    """Read a file of hits, with times of the video: a table, MIDI (.mid) or a label track of Audacity (.txt).

    Returns:
        The hits, in order of time; None if the file is a table of an envelope.

    Raises:
        InputError: The file cannot be read, or a value is outside its range.
    """
    if reader := _READERS.get(path.suffix.lower()):
        return reader(path)
    if has_header(path, HEADER):
        rows = sorted(_row(path, line) for line in read_table(path, HEADER))
        times_s, levels, decays_s = torch.tensor(rows, dtype=torch.float64).unbind(1)
        return Hits(times_s, levels, decays_s, torch.ones_like(times_s))
    return None


def read_envelope(path: Path, duration_s: float | None = None, start_s: float = 0.0) -> Envelope:
    """Read an envelope from a table of it, or from a file of hits; arguments and errors as in `read_envelope_csv`."""
    hits = read_hits(path)
    if hits is None:
        return read_envelope_csv(path, duration_s, start_s)
    if start_s > 0 and ends_s(hits) <= start_s:
        raise InputError(
            f"{path} has its last hit at {hits.times_s[-1]:g} s, but the part starts at {start_s:g} s: give hits with "
            "the times of the video, or an earlier start"
        )
    return envelope_of_hits(hits, duration_s, start_s)


def open_envelope(name: str, duration_s: float | None = None) -> HitEnvelope:
    """Read hits from a file of them, from a table of an envelope, or from a sound that is measured.

    Args:
        name: The file; of a sound, as in `media.sound_part.SoundPart.parse`.
        duration_s: Duration of an envelope that is made of hits; None: until the last one has fallen by 60 dB.

    Raises:
        InputError: The file cannot be used.
    """
    part = SoundPart.parse(name)
    if not is_table(part.path):
        sound = read_part(part, sample_rate_hz=_RATE_HZ)
        return HitEnvelope.of(fine_envelope(sound, _RATE_HZ))
    hits = read_hits(part.path)
    return HitEnvelope.of(read_envelope_csv(part.path)) if hits is None else HitEnvelope.of_hits(hits, duration_s)


def hit_table(edited: HitEnvelope) -> str:
    """Return a table of the hits as CSV; muted hits have the level 0."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows((f"{hit.time_s:.6f}", f"{hit.level:.6g}", f"{hit.decay_s:.6g}") for hit in edited.hits)
    return text.getvalue()


def write_hit_table(path: Path, edited: HitEnvelope) -> None:
    """Write a table of hits, which is an envelope too.

    Raises:
        InputError: There are no hits, or the file cannot be written.
    """
    if not edited.hits:
        raise InputError(f"{path} would hold no hits: the envelope has none")
    with atomic_path(path) as temporary:
        temporary.write_text(hit_table(edited), encoding="utf-8")


def _row(path: Path, line: Line) -> tuple[float, float, float]:
    """Read one line of a table of hits."""
    try:
        time_s, level, decay_s = (float(cell.replace(",", ".")) for cell in line.cells)
    except ValueError:
        raise InputError(f"{path}, {line} holds no numbers: give {', '.join(HEADER)}") from None
    ranges = (0, LAST_CSV_TIME_S), (0, HIGHEST_LEVEL), (SHORTEST_DECAY_S, LONGEST_DECAY_S)
    for name, value, (least, most) in zip(HEADER, (time_s, level, decay_s), ranges, strict=True):
        if not least <= value <= most:  # also refuses NaN
            raise InputError(f"{path}, {line} has {name} {value:g}: give {least:g} to {most:,g}")
    return time_s, level, decay_s
