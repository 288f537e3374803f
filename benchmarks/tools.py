"""What benchmarks share: tables in Markdown, times taken in turn, and the videos of a folder."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import InputError


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table with a line break at its end."""
    lines = [f"| {' | '.join(map(str, line))} |\n" for line in (header, *rows)]
    return "".join([lines[0], f"|{'---|' * len(header)}\n", *lines[1:]])


def seconds_in_turn(ways: Mapping[str, Callable[[], Any]], n_rounds: int) -> dict[str, list[float]]:
    """Return the seconds that each way takes in every round; the ways take turns, so that all see the same machine."""
    times_s: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(n_rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            start_s = time.perf_counter()
            ways[name]()
            times_s[name].append(time.perf_counter() - start_s)
    return times_s


def ratio(first_s: Sequence[float], second_s: Sequence[float], decimals: int = 2) -> str:
    """Return the median ratio of pairs of times, with the lowest and the highest."""
    ratios = [a / b for a, b in zip(first_s, second_s, strict=True)]
    middle, low, high = (f"{value:.{decimals}f}" for value in (statistics.median(ratios), min(ratios), max(ratios)))
    return f"{middle} ({low} to {high})"


def find_videos(folder: Path) -> list[Path]:
    """Return the videos with sound in a folder.

    Raises:
        InputError: There is none.
    """
    from data.greatest_hits import VIDEO_SUFFIXES  # not above: the processes of benchmarks.speed start small
    from media.probe import probe

    files = sorted(folder.iterdir()) if folder.is_dir() else []
    videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES and probe(path).has_sound]
    if not videos:
        raise InputError(f"{folder} holds no video with sound: give a folder that does")
    return videos
