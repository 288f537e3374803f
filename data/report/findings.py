"""What deserves a look in a data set and in its division into splits, with advice."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from data.greatest_hits import SPLITS, split_ids, split_lines, unknown_words
from data.report.recording import Recording

LARGEST_DIFFERENCE_S = 0.25
_CHUNK_SUFFIX = re.compile(r"_\d{3,}s$")  # of a chunk's name, which is that of its recording and its start


@dataclass(frozen=True)
class Splits:
    """The division of a data set.

    Args:
        names: Recordings of each split as its file has them, repeated ones included.
        are_files: Whether there are such files; False: the seeded shares that training then takes.
    """

    names: dict[str, list[str]]
    are_files: bool


def read_splits(root: Path, split: str | None, clip_ids: Collection[str]) -> Splits:
    """Read train.txt, val.txt and test.txt, those that are there; without any of them take the seeded shares.

    Args:
        root: Folder of the data set.
        split: A split that must be there, also one of another name; None for none.
        clip_ids: Names of the recordings in the folder.

    Raises:
        InputError: There is no `split`, or it is empty, or a file cannot be read.
    """
    paths = {name: root / f"{name}.txt" for name in SPLITS if (root / f"{name}.txt").is_file()}
    if split is not None and (paths or split not in SPLITS):
        paths[split] = root / f"{split}.txt"
    names = {name: split_lines(path) for name, path in paths.items()} or split_ids(sorted(clip_ids))
    if split is not None and not names[split]:
        raise InputError(f"--split {split} of {root} holds no clip: write names into {split}.txt, or leave it away")
    return Splits(names, bool(paths))


@dataclass(frozen=True)
class Finding:
    """A thing to look at, with advice, and the name of each recording or split that it concerns, with a detail."""

    title: str
    advice: str
    rows: tuple[tuple[str, str], ...]


def find(recordings: Sequence[Recording], splits: Splits, clip_ids: Collection[str]) -> list[Finding]:
    """Return everything that deserves a look; `clip_ids` are the names of all recordings in the folder."""
    of_recordings = [
        Finding(title, advice, tuple((row.clip_id, text) for row in recordings if (text := detail(row))))
        for title, advice, detail in _CHECKS
    ]
    return [finding for finding in [*of_recordings, *_of_splits(splits, clip_ids)] if finding.rows]


def _other_length(row: Recording) -> str:
    """Compare sound and jpgs with the duration of the recording."""
    lengths_s = {"sound": row.sound.duration_s} if row.sound else {}
    if row.picture and row.picture.n_frames is not None:
        lengths_s["frames"] = row.picture.n_frames / row.picture.frame_rate_hz
    others = [f"{name} {s:.2f} s" for name, s in lengths_s.items() if abs(s - row.duration_s) > LARGEST_DIFFERENCE_S]
    return f"{row.duration_s:.2f} s, but {' and '.join(others)}" if others else ""


def _late_hits(row: Recording) -> str:
    late_s = [hit.time_s for hit in row.hits if hit.time_s > row.duration_s]
    if not late_s:
        return ""
    return f"{len(late_s)} of {len(row.hits)} hits after {row.duration_s:.2f} s, the last at {late_s[-1]:.2f} s"


_CHECKS: tuple[tuple[str, str, Callable[[Recording], str | None]], ...] = (
    (
        "Damaged",
        "In no figure of this page. Training stops at them: repair them or take them away.",
        lambda row: row.problem,
    ),
    (
        "Without sound",
        "In no figure about sound. Training leaves them out.",
        lambda row: "no sound" if row.problem is None and row.sound is None else None,
    ),
    (
        "Silent",
        "Every sample is zero: there is nothing to learn from them.",
        lambda row: f"{row.sound.duration_s:.2f} s of zeros" if row.sound and row.sound.peak == 0 else None,
    ),
    (
        "Without picture",
        "They can only be used without frames.",
        lambda row: "neither frames nor a video" if row.problem is None and row.picture is None else None,
    ),
    (
        "Clipped",
        "A channel stays at full scale for three samples or more.",
        lambda row: f"{row.sound.n_clipped_runs:,} times" if row.sound and row.sound.n_clipped_runs else None,
    ),
    (
        "Lengths that differ",
        f"By more than {LARGEST_DIFFERENCE_S} s. Silence, or the last frame, stands for what is missing.",
        _other_length,
    ),
    ("Hits after the end", "The annotation may belong to another recording.", _late_hits),
    (
        "Words outside the vocabulary",
        "Counted as they are: check their spelling.",
        lambda row: ", ".join(unknown_words(row.hits)),
    ),
)


def _of_splits(splits: Splits, clip_ids: Collection[str]) -> list[Finding]:
    members = [(clip_id, split) for split, names in splits.names.items() for clip_id in names]
    chunks = [(_CHUNK_SUFFIX.sub("", clip_id), split) for clip_id, split in members if _CHUNK_SUFFIX.search(clip_id)]
    assigned = {clip_id for clip_id, _ in members}
    missing = {clip_id: split for clip_id, split in members if clip_id not in clip_ids}
    absent = [(name, f"no file {name}.txt") for name in SPLITS if name not in splits.names]
    repeated = [(i, f"{n} times in {split}") for (i, split), n in Counter(members).items() if n > 1]
    unassigned = [(clip_id, "in no split") for clip_id in clip_ids if clip_id not in assigned]
    return [
        Finding("Not in the folder", "A split names them: training on it stops.", tuple(missing.items())),
        Finding("Splits without file", "Where one split file is there, training needs its own, too.", tuple(absent)),
        Finding("In several splits", "What was trained on says little when tested on.", _in_several(members)),
        Finding("Divided recordings", "Chunks of one recording resemble each other.", _in_several(chunks)),
        Finding("Named more than once", "In one split: one line each is enough.", tuple(repeated)),
        Finding("In no split", "They are used only where a command takes the whole folder.", tuple(unassigned)),
    ]


def _in_several(members: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return name and splits of everything that is in more than one."""
    splits: dict[str, dict[str, None]] = {}
    for name, split in members:
        splits.setdefault(name, {})[split] = None
    return tuple((name, ", ".join(found)) for name, found in splits.items() if len(found) > 1)
