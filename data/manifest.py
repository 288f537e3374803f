"""What a processed folder says of itself: manifest.json, and the split files that follow from it."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import InputError
from common.files import atomic_path
from data.greatest_hits import SPLITS, find_recordings, split_ids
from data.process_clip import JPEG_QUALITY, SOUND_BITS, ProcessSettings

MANIFEST = "manifest.json"
SPLIT_FRACTIONS = (0.7, 0.1, 0.2)
_FORMAT = 1
_PACKAGES = ("av", "numpy", "pillow", "torch")
_OPTIONS = {
    "fps": "--fps",
    "frame_size": "--frame-size",
    "sample_rate_hz": "--sample-rate",
    "denoise": "--denoise",
    "reader": "--reader",
    "split_seed": "--seed",
}
_FORMER = {"reader": "pyav"}  # of folders made before there was a choice
_logger = logging.getLogger(__name__)
Splits = dict[str, list[str]]


@dataclass(frozen=True)
class Manifest:
    """What a processed folder was made with.

    Args:
        settings: What all its clips have in common; two runs with others never write to one folder.
        versions: Packages on which the bytes of a clip depend; others give almost the same clips.
        splits: Clips of train, val and test as this project has divided them; None before it did.
    """

    settings: dict[str, Any]
    versions: dict[str, str]
    splits: Splits | None = None

    def write(self, out_dir: Path) -> None:
        """Write the manifest of a folder."""
        values = {"format": _FORMAT, "settings": self.settings, "versions": self.versions, "splits": self.splits}
        with atomic_path(out_dir / MANIFEST) as temporary:
            temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def new_manifest(settings: ProcessSettings, seed: int) -> Manifest:
    """Return the manifest that a run with these settings would write to an empty folder."""
    values = {
        "fps": settings.frame_rate_hz,
        "frame_size": f"{settings.frame_width_px}x{settings.frame_height_px}",
        "jpeg_quality": JPEG_QUALITY,
        "sample_rate_hz": settings.sample_rate_hz,
        "sound_bits": SOUND_BITS,
        "denoise": settings.denoise,
        "reader": "decord" if settings.reader == "decord" else "pyav",
        "split_seed": seed,
        "split_fractions": list(SPLIT_FRACTIONS),
    }
    packages = _PACKAGES + (("noisereduce", "scipy") if settings.denoise else ())
    packages += ("decord",) if settings.reader == "decord" else ()
    return Manifest(values, {name: version(name) for name in packages})


def open_manifest(out_dir: Path, wanted: Manifest) -> Manifest:
    """Read the manifest of a folder, or write a first one.

    Args:
        out_dir: The folder.
        wanted: What the run that begins would write.

    Returns:
        The manifest now in the folder. Where other versions of packages are in it, they stay, with a warning.

    Raises:
        InputError: The folder was made with other settings, or by something else.
    """
    path = out_dir / MANIFEST
    if not path.exists():
        others = find_recordings(out_dir)
        if others:
            raise InputError(f"{out_dir} holds {next(iter(others))!r} but no {MANIFEST}: give another --output-dir")
        wanted.write(out_dir)
        return wanted
    found = _read(path)
    for name in wanted.settings | found.settings:
        then, now = (manifest.settings.get(name, _FORMER.get(name)) for manifest in (found, wanted))
        if then != now:
            raise InputError(
                f"{out_dir} was made with {_OPTIONS.get(name, name)} {_shown(then)}, not {_shown(now)}: "
                "give the same, or another --output-dir"
            )
    for name, now in wanted.versions.items():
        if found.versions.get(name) != now:
            _logger.warning("%s was begun with %s %s, this is %s: new clips can differ slightly from those there",
                            out_dir, name, found.versions.get(name), now)  # fmt: skip
    return found


def update_splits(out_dir: Path, manifest: Manifest, clip_ids: Iterable[str], seed: int) -> None:
    """Write train.txt, val.txt and test.txt, or add clips to them.

    A clip that is in one stays in it; new ones fill up the shares at random. Files that were written or changed by
    someone else stay as they are, all three, and what is missing in them is logged. Deleted files are written again
    from the manifest. Killed at any moment and called again, this gives the same files.
    """
    clip_ids = sorted(clip_ids)
    if not clip_ids:
        return
    present = {name: _lines(out_dir / f"{name}.txt") for name in SPLITS}
    ours = manifest.splits or {}
    foreign = [name for name, lines in present.items() if lines is not None and lines != ours.get(name)]
    if foreign:
        named = {line.strip() for lines in present.values() for line in lines or ()}
        without = [clip_id for clip_id in clip_ids if clip_id not in named]
        _logger.info("split files stay as they are, since %s.txt was not written here", ".txt, ".join(foreign))
        if without:
            _logger.warning("%d clips are in no split file: %s", len(without), ", ".join(without))
        return
    splits = extend_splits(ours, clip_ids, seed)
    if splits != ours:
        for name in SPLITS:  # first, so that no file can differ from the manifest
            (out_dir / f"{name}.txt").unlink(missing_ok=True)
        Manifest(manifest.settings, manifest.versions, splits).write(out_dir)
    for name, members in splits.items():
        if splits != ours or present[name] is None:
            with atomic_path(out_dir / f"{name}.txt") as temporary:
                temporary.write_text("".join(f"{clip_id}\n" for clip_id in members), encoding="utf-8")


def extend_splits(splits: Splits, clip_ids: Sequence[str], seed: int) -> Splits:
    """Divide clips at random, apart from those that are divided already.

    Args:
        splits: Earlier clips of train, val and test; what is no longer among `clip_ids` is left out.
        clip_ids: All clips.
        seed: Seed of the shuffle.

    Returns:
        Sorted clips of train, val and test. Without earlier ones, those of `data.greatest_hits.split_ids`.
    """
    there = set(clip_ids)
    extended = {name: [clip_id for clip_id in splits.get(name, ()) if clip_id in there] for name in SPLITS}
    new = sorted(there.difference(*extended.values()))
    shuffled = [new[i] for i in np.random.default_rng(seed).permutation(len(new))]
    shares = split_ids(clip_ids, seed, SPLIT_FRACTIONS)
    for name, members in extended.items():
        n_free = max(0, len(shares[name]) - len(members))
        extended[name], shuffled = sorted(members + shuffled[:n_free]), shuffled[n_free:]
    return extended


def _read(path: Path) -> Manifest:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = values["format"]
        splits = {name: list(values["splits"][name]) for name in SPLITS} if values["splits"] else None
        manifest = Manifest(dict(values["settings"]), dict(values["versions"]), splits)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no manifest of a processed folder ({error!r}): give another folder") from error
    if found != _FORMAT:
        raise InputError(f"{path} has the format {found}, this version writes {_FORMAT}: give another --output-dir")
    return manifest


def _lines(path: Path) -> list[str] | None:
    """Return the lines of a split file, None where there is none."""
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else None


def _shown(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value}"
