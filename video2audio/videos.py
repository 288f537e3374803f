"""Which videos a command line means: files, folders, and patterns; and the name of each result."""

import glob
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import InputError
from common.files import check_no_address
from data.greatest_hits import processed_sound, recording_id
from media.images import find_images
from video2audio.film import film_name

_IS_VIDEO = re.compile(
    r"[^.].*\.(3g2|3gp|apng|asf|avi|divx|dv|f4v|flv|gif|m2ts|m2v|m4v|mjpe?g|mkv|mov|mp4|mpe?g|mts|mxf|nut|ogm|ogv|ts|"
    r"vob|webm|webp|wmv|y4m)",
    re.IGNORECASE,
)
"""Names of files in a folder that count as videos; hidden files do not."""


@dataclass(frozen=True)
class Job:
    """A video, and the place of its result.

    Args:
        video: Video file, or folder of a clip in the processed layout.
        folder: Folder of the result.
        name: NAME in the names of its files.
    """

    video: Path
    folder: Path
    name: str


def find_jobs(given: Sequence[Path], output_dir: Path) -> list[Job]:
    """Return the videos that are meant, each once, in order, with a name for each result.

    A folder of image files is one video, and so is a pattern of them with a number, such as `frames/f_%04d.png`. Any
    other folder means all videos below it, and their results go to folders of the same names in `output_dir`, which is
    left out if it is below that folder. A pattern with `*`, `?`, `[…]` or `**` means the files that match.

    A result has the name of its video. Where several would share one, they get the suffix of the video too, and then
    the name of its folder.

    Args:
        given: Files, folders and patterns.
        output_dir: Folder of the results.

    Raises:
        InputError: A path does not exist, a folder or a pattern holds no video, or two results would share a name.
    """
    jobs: dict[Path, Job] = {}
    for path in given:
        for video, below in _expanded(path, output_dir):
            jobs.setdefault(video.resolve(), Job(video, output_dir / below, ""))
    return _named(list(jobs.values()))


def is_several(given: Sequence[Path]) -> bool:
    """Return whether a command line may mean more than one video, by its form."""
    return len(given) > 1 or not _is_one(given[0])


def _is_one(path: Path) -> bool:
    """Return whether a path is a video, a processed clip or a sequence of images."""
    if path.is_file() or processed_sound(path) is not None:
        return True
    if path.is_dir() and any(_IS_VIDEO.fullmatch(each.name) for each in path.iterdir()):
        return False
    return not glob.has_magic(str(path)) and find_images(path) is not None


def _expanded(path: Path, output_dir: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the videos that a path means, and the folder of each relative to the path."""
    check_no_address(path)
    try:
        path.exists()
    except OSError as error:  # a name that no file can have
        raise InputError(f"{str(path)[:80]} cannot be opened ({error.strerror}): check the path") from error
    if _is_one(path):
        yield path, Path()
    elif path.is_dir():
        results = output_dir.resolve()
        is_within = results != path.resolve() and results.is_relative_to(path.resolve())
        found = [video for video in _videos_below(path) if not (is_within and video.resolve().is_relative_to(results))]
        if not found:
            raise InputError(f"{path} holds no video: give a folder with files such as .mp4 or .mov, or a video")
        yield from ((video, video.parent.relative_to(path)) for video in found)
    elif glob.has_magic(str(path)):
        matching = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 (absolute too)
        videos = [video for video in matching if video.is_file() or processed_sound(video)]
        if not videos:
            raise InputError(f"{path} matches no file: check the pattern")
        yield from ((video, Path()) for video in videos)
    else:
        raise InputError(f"{path} does not exist: give a video, a folder of videos or a pattern such as 'clips/*.mp4'")


def _videos_below(folder: Path) -> list[Path]:
    """Return the videos and processed clips below a folder, sorted; hidden files and folders are left out."""
    videos: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            videos += [path] if processed_sound(path) else _videos_below(path)
        elif _IS_VIDEO.fullmatch(path.name):
            videos.append(path)
    return videos


def _named(jobs: list[Job]) -> list[Job]:
    """Give each result the shortest of its possible names that no other one has."""
    choices = [
        [recording_id(stem), stem, f"{stem}_{suffix}", f"{job.video.absolute().parent.name}_{stem}_{suffix}"]
        for job in jobs
        for stem, suffix in [(film_name(job.video), job.video.suffix[1:].lower())]
    ]
    ranks = [0] * len(jobs)
    while True:
        named = [replace(job, name=names[rank]) for job, names, rank in zip(jobs, choices, ranks, strict=True)]
        counts = Counter((job.folder, job.name) for job in named)
        shared = [i for i, job in enumerate(named) if counts[job.folder, job.name] > 1]
        if not shared:
            return named
        if all(ranks[i] == len(choices[i]) - 1 for i in shared):
            first, second = (named[i].video for i in shared[:2])
            raise InputError(f"{first} and {second} would have results of the same name: process them separately")
        ranks = [min(rank + (i in shared), len(choices[i]) - 1) for i, rank in enumerate(ranks)]
