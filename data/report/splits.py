"""Which recordings belong to which part of a data set, as its files say it."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from data.greatest_hits import SPLITS, split_ids


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
    """Reads train.txt, val.txt and test.txt, those that are there; without any of them takes the seeded shares.

    Args:
        root: Folder of the data set.
        split: A split that must be there, also one of another name; None for none.
        clip_ids: Names of the recordings in the folder.

    Returns:
        The splits.

    Raises:
        InputError: There is no `split`, or it is empty, or a file cannot be read.
    """
    paths = {name: root / f"{name}.txt" for name in SPLITS if (root / f"{name}.txt").is_file()}
    if split is not None and (paths or split not in SPLITS):
        paths[split] = root / f"{split}.txt"
    splits = Splits({name: _lines(path) for name, path in paths.items()} or split_ids(sorted(clip_ids)), bool(paths))
    if split is not None and not splits.names[split]:
        raise InputError(f"--split {split} of {root} holds no clip: write names into {split}.txt, or leave it away")
    return splits


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a split ({error}): write names of clips, one a line") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
