"""Which files belong together: sounds of several folders and annotations, paired by the names of their clips."""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from data.greatest_hits import VIDEO_SUFFIXES, processed_sound, recording_id

SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aif", ".aiff")
SUFFIXES = (*SOUND_SUFFIXES, *sorted(VIDEO_SUFFIXES))
ANNOTATION_NAMES = ("{0}.times.csv", "{0}_times.txt", "{0}/{0}.times.csv")
LOOSE_ANNOTATION_NAMES = ("{0}.csv", "{0}.txt")


@dataclass(frozen=True)
class SoundFile:
    """A sound or a video of a folder; `unread` are the names of further sounds of the same name."""

    path: Path
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClipFiles:
    """The files of one clip: real sound, generated ones by the name of the system, annotation, each if there is one."""

    clip_id: str
    reference: SoundFile | None
    generated: dict[str, SoundFile]
    annotation: Path | None = None


def name_systems(folders: Sequence[Path]) -> dict[str, Path]:
    """Return folders by the shortest names that tell them apart: their own, else with as many parents as it takes.

    Raises:
        InputError: A folder is given twice.
    """
    paths = [folder.resolve() for folder in folders]
    for i, path in enumerate(paths):
        if path in paths[:i]:
            raise InputError(f"--generated {folders[i]} is given twice: give each folder once")
    for n_parts in itertools.count(1):
        names = ["/".join(path.parts[-n_parts:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, folders, strict=True))


def pair_folders(reference: Path, systems: dict[str, Path], annotations: Path | None = None) -> list[ClipFiles]:
    """Pair the clips of a reference folder with those of generated ones.

    A folder holds sounds or videos named after their clips, or clips in the processed Greatest Hits layout. Of several
    files of one name a sound is taken before a video. Names must agree up to the suffix; where they do not, `_mic` and
    `_denoised` at their ends are left away. An annotation is `<id>.times.csv`, `<id>_times.txt` or
    `<id>/<id>.times.csv`, in `annotations` (there also `<id>.csv` or `<id>.txt`), else in the reference folder.

    Returns:
        All clips in order of their names, also those without a partner.

    Raises:
        InputError: A folder is missing or holds no sound, or no clip has a partner.
    """
    if annotations is not None and not annotations.is_dir():
        raise InputError(f"--annotations {annotations} is not a folder: give the folder that holds <id>.times.csv")
    originals = _list_sounds(reference, "--reference")
    generated: dict[str, dict[str, SoundFile]] = {}
    for system, folder in systems.items():
        sounds = _list_sounds(folder, "--generated")
        for clip_id, name in _partners(sounds, originals).items():
            generated.setdefault(clip_id, {})[system] = sounds[name]
    if not originals.keys() & generated.keys():
        raise InputError(
            f"no file in {', '.join(map(str, systems.values()))} has the name of one in {reference}: "
            "name generated sounds after their clips"
        )
    return [
        ClipFiles(i, originals.get(i), generated.get(i, {}), _find_annotation(i, reference, annotations))
        for i in sorted(originals.keys() | generated.keys())
    ]


def _list_sounds(folder: Path, option: str) -> dict[str, SoundFile]:
    """Return the sounds of a folder by name, the best of each name."""
    if not folder.is_dir():
        raise InputError(f"{option} {folder} is not a folder: give a folder of sounds or videos")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        sound = processed_sound(path)
        if sound is not None:
            found.setdefault(path.name, []).append(sound)
        elif path.suffix.lower() in SUFFIXES and not path.is_dir() and not path.name.startswith("."):
            found.setdefault(path.stem, []).append(path)
    if not found:
        raise InputError(f"{option} {folder} holds neither sounds nor videos: give a folder of {', '.join(SUFFIXES)}")
    sounds = {}
    for name, paths in found.items():
        best, *others = sorted(paths, key=lambda path: SUFFIXES.index(path.suffix.lower()))
        sounds[name] = SoundFile(best, tuple(p.name for p in others if p.suffix.lower() in SOUND_SUFFIXES))
    return sounds


def _partners(names: Collection[str], originals: Collection[str]) -> dict[str, str]:
    """Return clip → name of its sound; a name without partner is a clip of its own."""
    partners = {name: name for name in names if name in originals}
    by_recording = {recording_id(clip_id): clip_id for clip_id in sorted(originals, reverse=True)}
    for name in names:
        clip_id = by_recording.get(recording_id(name), name)
        if name not in partners:
            partners[name if clip_id in partners else clip_id] = name
    return partners


def _find_annotation(clip_id: str, reference: Path, annotations: Path | None) -> Path | None:
    """Return the first annotation of a clip that is there."""
    ids = dict.fromkeys((clip_id, recording_id(clip_id)))
    places = [reference / form.format(i) for i in ids for form in ANNOTATION_NAMES]
    if annotations is not None:
        forms = ANNOTATION_NAMES + LOOSE_ANNOTATION_NAMES
        places = [annotations / form.format(i) for i in ids for form in forms] + places
    return next((path for path in places if path.is_file()), None)
