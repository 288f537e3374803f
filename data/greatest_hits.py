"""The Greatest Hits data set on disk: annotated hits, raw and processed layout, splits, and texts for what is heard."""

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common.errors import InputError
from common.files import atomic_path
from common.spreadsheet import guarded, unguarded
from media.probe import MediaInfo, probe

# fmt: off
MATERIALS = frozenset({
    "carpet", "ceramic", "cloth", "dirt", "drywall", "glass", "grass", "gravel", "leaf", "metal", "paper", "plastic",
    "plastic-bag", "rock", "tile", "water", "wood",
})
# fmt: on
ACTIONS = frozenset({"hit", "scratch"})
REACTIONS = frozenset({"deform", "static", "rigid-motion", "splash", "scatter"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi"})
SPLITS = ("train", "val", "test")
PROCESSED_FRAME_RATE_HZ = 4.0

_ACTION_PHRASES = {"hit": "hitting", "scratch": "scratching", None: "touching"}
_RECORDING_SUFFIX = re.compile(r"_(mic|denoised)$")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hit:
    """One contact of the drumstick at a time from the start of the clip; a word left open (`None` in the file) is None.

    The material, the action and the reaction are normally of `MATERIALS`, `ACTIONS` and `REACTIONS`.
    """

    time_s: float
    material: str | None
    action: str | None
    reaction: str | None


@dataclass(frozen=True)
class SourceClip:
    """Where one recording lies on disk, and what is annotated in it.

    Args:
        clip_id: Name of the recording, unique in its folder.
        sound_path: File with the sound; the video itself in a raw folder.
        frames_dir: Folder of numbered jpgs, or None.
        video_path: The video, or None where only jpgs are stored.
        hits: Annotated hits in order of time; empty without annotation.
        duration_s: Duration of the recording, above 0.
        frames_rate_hz: Stored jpgs a second; of no meaning without `frames_dir`.
    """

    clip_id: str
    sound_path: Path
    frames_dir: Path | None
    video_path: Path | None
    hits: tuple[Hit, ...]
    duration_s: float
    frames_rate_hz: float = PROCESSED_FRAME_RATE_HZ


def recording_id(name: str) -> str:
    """Return the name of a recording: that of one of its files, without suffix, less `_mic` or `_denoised`."""
    return _RECORDING_SUFFIX.sub("", name)


def processed_sound(folder: Path) -> Path | None:
    """Return the sound of a clip's folder in the processed layout; None where `folder` is no such folder."""
    path = folder / "audio" / f"{folder.name}.resampled.wav"
    return path if path.is_file() else None


def read_hits(path: Path) -> tuple[Hit, ...]:
    """Read an annotation, `time material action reaction` a line, separated by white space or commas.

    Args:
        path: `<id>_times.txt` (raw layout) or `<id>.times.csv` (processed layout, with or without a header).

    Returns:
        The hits in order of time. Words outside the vocabulary are kept, with a warning.

    Raises:
        InputError: The file cannot be read, or a line is not understood.
    """
    hits: list[Hit] = []
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        words = line.replace(",", " ").split()
        is_header = not hits and words[:1] == ["time"]
        if words and not is_header:
            hits.append(_parse_hit(words, f"{path}, line {number}, {line.strip()!r}"))
    if unknown := unknown_words(hits):
        _logger.warning("%s uses words outside the vocabulary: %s", path, ", ".join(unknown))
    return tuple(sorted(hits, key=lambda hit: hit.time_s))


def unknown_words(hits: Sequence[Hit]) -> list[str]:
    """Return the words of an annotation that are outside the vocabulary, in order."""
    words = {(hit.material, MATERIALS) for hit in hits} | {(hit.action, ACTIONS) for hit in hits}
    words |= {(hit.reaction, REACTIONS) for hit in hits}
    return sorted({word for word, known in words if word is not None and word not in known})


def write_hits(path: Path, hits: Sequence[Hit]) -> None:
    """Write an annotation in the processed layout's form, `time,material action reaction`, which `read_hits` reads.

    A material that a spreadsheet would run as a formula is guarded, see `common.spreadsheet.guarded`.

    Raises:
        InputError: The path cannot be written.
    """
    lines = [f"{hit.time_s:.6f},{guarded(f'{hit.material} {hit.action} {hit.reaction}')}\n" for hit in hits]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def find_recordings(root: Path) -> dict[str, Path]:
    """Find the recordings of a folder, in any form that `list_clips` reads, whatever they hold.

    Returns:
        Id of every recording → its folder (processed layout) or its video (the denoised one of two), by name.

    Raises:
        InputError: The folder cannot be listed, or two recordings have one id.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: give the folder that holds the data set")
    try:
        paths = sorted(root.iterdir())
    except OSError as error:
        raise InputError(f"{root} cannot be listed ({error.strerror}): give a folder that you may read") from error
    found: dict[str, list[Path]] = {}
    for path in paths:
        if processed_sound(path):
            found.setdefault(path.name, []).append(path)
        elif path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir() and not path.name.startswith("."):
            found.setdefault(recording_id(path.stem), []).append(path)
    for clip_id, alike in found.items():
        if len(alike) > 1 and [path.stem for path in alike] != [f"{clip_id}_denoised", f"{clip_id}_mic"]:
            names = " and ".join(map(str, alike))
            raise InputError(f"{names} are the same recording, {clip_id!r}: rename them or keep one")
    return {clip_id: alike[0] for clip_id, alike in found.items()}


def list_clips(root: Path, split: str | Path | None = None, *, skip_damaged: bool = False) -> list[SourceClip]:
    """List the recordings of a folder in any of three forms, without reading sound or frames.

    Processed layout: `<id>/audio/<id>.resampled.wav`, `<id>/frames/<id>.frame_000001.jpg` …, `<id>/<id>.times.csv`,
    `<id>/<id>.metadata.json`. Raw layout: `<id>_denoised.mp4` or `<id>_mic.mp4` (the first where both are there) with
    `<id>_times.txt`. Or any folder of videos. Annotation may be absent. Videos without sound are left out, with a
    warning.

    Args:
        root: The folder.
        split: Take the clips named in `<root>/<split>.txt`, in its order; where there is no split file at all, train,
            val and test are those of `split_ids`. A path takes the clips named in that file. None takes all, in order
            of their names.
        skip_damaged: Whether recordings whose files cannot be read are left out, with a warning.

    Returns:
        At least one clip.

    Raises:
        InputError: The folder or the split is missing or empty, two files are one recording, a clip of the split is not
            there or named twice, or a file is broken.
    """
    found = find_recordings(root)
    if not found:
        raise InputError(f"{root} holds neither videos nor clips in the processed layout: give the data set's folder")
    if isinstance(split, Path):
        clip_ids = _read_split(split)
    else:
        clip_ids = list(found) if split is None else _clips_of_split(root, split, list(found))
    missing = [clip_id for clip_id in clip_ids if clip_id not in found]
    if missing:
        raise InputError(
            f"{len(missing)} of the {len(clip_ids)} clips of split {str(split)!r} are not in {root}, {missing[0]!r} is "
            "the first: put them there or take them out of the split"
        )
    progress = tqdm(clip_ids, desc="listing clips", unit="clip", delay=2, leave=False)
    clips = [_clip_or_none(i, found[i], skip_damaged=skip_damaged) for i in progress]
    with_sound = [clip for clip in clips if clip is not None]
    if not with_sound:
        raise InputError(f"no recording of {root} that can be read has sound: give recordings with their sound")
    return with_sound


def need_pictures(clips: Sequence[SourceClip], root: Path) -> None:
    """Refuse recordings of a folder that have sound alone.

    Raises:
        InputError: There are some.
    """
    blind = [clip.clip_id for clip in clips if clip.frames_dir is None and clip.video_path is None]
    if blind:
        raise InputError(
            f"{len(blind)} clips of {root} have neither frames nor a video, {blind[0]} is the first: add their frames, "
            "or work without frames"
        )


def read_clip(path: Path) -> SourceClip:
    """Find one recording: a video file, with or without sound, or the folder of a clip in the processed layout.

    Raises:
        InputError: It is not there, no video, or broken.
    """
    if path.is_dir():
        if processed_sound(path) is None:
            raise InputError(
                f"{path} is no processed clip: give a video, or a folder with audio/{path.name}.resampled.wav"
            )
        return _processed_clip(path)
    info = probe(path)
    if not info.has_video:
        raise InputError(f"{path} holds no picture: give a video")
    return _video_clip(recording_id(path.stem), info)


def label_of(hits: Sequence[Hit]) -> str:
    """Return a text for what is heard, from the most frequent pair of action and material (the earlier of equals).

    For example "hitting ceramic with a drumstick"; "" where no hit names an action or a material.
    """
    pairs = Counter((hit.action, hit.material) for hit in hits if hit.action or hit.material)
    if not pairs:
        return ""
    (action, material), _ = pairs.most_common(1)[0]
    target = (material or "something").replace("-", " ")
    return f"{_ACTION_PHRASES.get(action, action)} {target} with a drumstick"


def split_ids(
    ids: Sequence[str], seed: int = 42, fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
) -> dict[str, list[str]]:
    """Divide recordings at random into train, val and test: sorted names, no name in two of them.

    The result depends on the set of ids, not on their order. Chunks of one recording resemble each other: divide
    recordings, then cut them.

    Args:
        ids: Names of the recordings.
        seed: Seed of the shuffle.
        fractions: Shares of train, val and test, each at least 0, together 1.

    Raises:
        InputError: The fractions are negative or do not add up to 1.
    """
    if min(fractions) < 0 or not math.isclose(sum(fractions), 1):
        raise InputError(f"split fractions {tuple(fractions)} do not add up to 1: give shares of train, val and test")
    names = sorted(set(ids))
    shuffled = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    stops = [round(sum(fractions[:count]) * len(names)) for count in (1, 2)]
    parts = dict(zip(SPLITS, (shuffled[: stops[0]], shuffled[stops[0] : stops[1]], shuffled[stops[1] :]), strict=True))
    return {name: sorted(part) for name, part in parts.items()}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text ({error}): check the file") from error


def _parse_hit(words: list[str], where: str) -> Hit:
    remedy = "expected `time material action reaction` with a time in seconds of at least 0: correct the line"
    if len(words) != 4:
        raise InputError(f"{where} has {len(words)} words, {remedy}")
    try:
        time_s = float(words[0])
    except ValueError:
        time_s = math.nan
    if not (math.isfinite(time_s) and time_s >= 0):
        raise InputError(f"{where} has the time {words[0]!r}, {remedy}")
    material, action, reaction = (None if word == "None" else word for word in (unguarded(words[1]), *words[2:]))
    return Hit(time_s, material, action, reaction)


def _clips_of_split(root: Path, split: str, clip_ids: list[str]) -> list[str]:
    splits = split_ids(clip_ids)
    there = [name for name in splits if (root / f"{name}.txt").is_file()]
    if there and split in splits and split not in there:
        option = "--split " if split == "test" else f"dataset.{split}_split="
        raise InputError(
            f"{root} has {', '.join(f'{name}.txt' for name in there)} but no {split}.txt: give {option}{there[0]}, or "
            f"write the ids of the {split} clips into {split}.txt, one a line"
        )
    if split not in splits or there:
        return _read_split(root / f"{split}.txt")
    if not splits[split]:
        raise InputError(f"{root} has too few clips ({len(clip_ids)}) for a split {split!r}: take all (split null)")
    _logger.info("%s has no split files; %r is the seeded share of its %d clips", root, split, len(clip_ids))
    return splits[split]


def split_lines(path: Path) -> list[str]:
    """Read the ids of a split file as it has them, repeated ones included.

    Raises:
        InputError: The file cannot be read.
    """
    lines = (line.strip() for line in _read_text(path).splitlines())
    return [line for line in lines if line]


def _read_split(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"the split file {path} is not there: write the ids of its clips into it, one a line")
    clip_ids = split_lines(path)
    if not clip_ids:
        raise InputError(f"{path} is empty: write the ids of its clips, one a line")
    twice = [clip_id for clip_id, count in Counter(clip_ids).items() if count > 1]
    if twice:
        raise InputError(f"{path} names {twice[0]!r} twice: name every clip once")
    return clip_ids


def _processed_clip(folder: Path) -> SourceClip:
    clip_id, frames_dir = folder.name, folder / "frames"
    sound_path = folder / "audio" / f"{clip_id}.resampled.wav"
    metadata = _read_metadata(folder / f"{clip_id}.metadata.json")
    return SourceClip(
        clip_id,
        sound_path,
        frames_dir=frames_dir if frames_dir.is_dir() else None,
        video_path=None,
        hits=_hits_if_any(folder / f"{clip_id}.times.csv"),
        duration_s=metadata.get("video_duration") or probe(sound_path).duration_s,
        frames_rate_hz=metadata.get("video_frame_rate") or PROCESSED_FRAME_RATE_HZ,
    )


def _hits_if_any(path: Path) -> tuple[Hit, ...]:
    return read_hits(path) if path.is_file() else ()


def _read_metadata(path: Path) -> dict[str, float]:
    """Read the `processed` part of a metadata file; empty where there is no file."""
    if not path.is_file():
        return {}
    try:
        processed = json.loads(_read_text(path))["processed"]
        values = {key: float(processed[key]) for key in ("video_duration", "video_frame_rate") if key in processed}
        if not all(0 < value < math.inf for value in values.values()):
            raise ValueError(f"{values} must be above 0")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not metadata of a processed clip ({error!r}): process the clip again") from error
    return values


def _clip_or_none(clip_id: str, path: Path, *, skip_damaged: bool) -> SourceClip | None:
    """Return a recording; None where it is left out, which is logged."""
    try:
        return _processed_clip(path) if path.is_dir() else _raw_clip(clip_id, path)
    except InputError as error:
        if not skip_damaged:
            raise
        _logger.warning("left out: %s", error)
        return None


def _raw_clip(clip_id: str, video_path: Path) -> SourceClip | None:
    info = probe(video_path)
    if not info.has_sound:
        _logger.warning("%s has no sound and is left out", video_path)
        return None
    return _video_clip(clip_id, info)


def _video_clip(clip_id: str, info: MediaInfo) -> SourceClip:
    hits = _hits_if_any(info.path.with_name(f"{clip_id}_times.txt"))
    return SourceClip(clip_id, info.path, None, info.path, hits, info.duration_s)
