"""Hits as labels: a label track of Audacity, and regions and markers of Reaper."""

import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path

import torch

from common.errors import InputError
from common.files import atomic_path, check_readable
from hits.find import USUAL_DECAY_S
from hits.grid import LAST_TIME_S
from hits.level import LONGEST_DECAY_S, QUIET, SHORTEST_DECAY_S, Hits

USUAL_LEVEL = 0.1
"""Level of a label that does not state one."""
REAPER_HEADER = ("#", "Name", "Start", "End", "Length")
_DB = re.compile(r"([-+\u2212]?\d+(?:[.,]\d+)?)\s*dB\b", re.IGNORECASE)
_HIGHEST_DB = 60.0


def label_of(level: float) -> str:
    """Return the text of a label, the level in dB of full scale."""
    return f"{20 * math.log10(level):.2f} dB"


def write_labels(path: Path, hits: Hits) -> None:
    """Write hits with a level above 0 as labels, from the contact to where they have fallen by 20 dB.

    Args:
        path: File to write: with the suffix .txt a label track of Audacity, with .csv markers and regions of Reaper.
        hits: The hits.

    Raises:
        InputError: The suffix is another one, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in (".txt", ".csv"):
        raise InputError(f"{path} ends with {path.suffix!r}: give .txt for Audacity or .csv for Reaper")
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        if suffix == ".txt":
            file.writelines(f"{start_s:.6f}\t{end_s:.6f}\t{text}\n" for start_s, end_s, text in _labels(hits))
            return
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(REAPER_HEADER)
        for number, (start_s, end_s, text) in enumerate(_labels(hits), start=1):
            writer.writerow((f"M{number}", text, _clock(start_s), "", ""))
            writer.writerow((f"R{number}", text, _clock(start_s), _clock(end_s), _clock(end_s - start_s)))


def read_labels(path: Path) -> Hits:
    """Read a label track of Audacity as hits.

    A hit is at the start of its label. The level is what the text states in dB, such as ``-14.5 dB``, and otherwise 0.1
    (-20 dB). The decay follows from the length as in `write_labels`; a label without length has 50 ms.

    Raises:
        InputError: The file cannot be read, or holds no labels.
    """
    check_readable(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read as text ({error}): export the labels again") from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    rows = sorted(_row(path, number, line) for number, line in lines if not line.startswith("\\"))  # \: frequencies
    if not rows:
        raise InputError(f"{path} holds no labels: give a label track exported from Audacity")
    times_s, levels, decays_s = torch.tensor(rows, dtype=torch.float64).unbind(1)
    return Hits(times_s, levels, decays_s, torch.ones_like(times_s))


def _labels(hits: Hits) -> Iterator[tuple[float, float, str]]:
    """Yield start, end and text of each label."""
    for time_s, level, decay_s in zip(hits.times_s.tolist(), hits.rms.tolist(), hits.decay_s.tolist(), strict=True):
        if level > 0:
            yield time_s, time_s + QUIET * decay_s, label_of(level)


def _clock(time_s: float) -> str:
    """Return hours, minutes, seconds and milliseconds, as Reaper reads them whatever its ruler shows."""
    ms = round(1000 * time_s)
    return f"{ms // 3_600_000}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"


def _row(path: Path, number: int, line: str) -> tuple[float, float, float]:
    """Read a line: start, end and text, separated by tabs."""
    cells = line.split("\t")
    try:
        start_s, end_s = (float(cell.strip().replace(",", ".")) for cell in cells[:2])
    except ValueError:
        raise InputError(f"{path}, line {number}, `{line[:80]}`, is no label: give start, end and text") from None
    if not 0 <= start_s <= end_s <= LAST_TIME_S:
        raise InputError(f"{path}, line {number}, `{line[:80]}`, has impossible times: give 0 <= start <= end, seconds")
    stated = _DB.search("\t".join(cells[2:]))
    level = USUAL_LEVEL
    if stated is not None:
        db = float(stated[1].replace(",", ".").replace("\u2212", "-"))
        if abs(db) > 2 * _HIGHEST_DB or db > _HIGHEST_DB:
            raise InputError(f"{path}, line {number}, `{line[:80]}`, states {db:g} dB: give -120 to {_HIGHEST_DB:g}")
        level = 10 ** (db / 20)
    decay_s = (
        min(max((end_s - start_s) / QUIET, SHORTEST_DECAY_S), LONGEST_DECAY_S) if end_s > start_s else USUAL_DECAY_S
    )
    return start_s, level, decay_s
