"""Work that several jobs divide over a folder: locks, what each job says of its part, and the check that all are there.

A job takes part I of N of the work. At its end it writes a report; joining reads all of them.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import atomic_path, damaged, locked, only_run_in, remove_abandoned, remove_free_locks
from common.options import Shard

_REPORT = re.compile(r"\.shard-(\d+)-of-(\d+)\.json")
_LISTED = 10


@dataclass(frozen=True)
class ShardReport:
    """What a job says of its part.

    Attributes:
        settings: what the parts of one result have in common.
        n_jobs: number of things to make, in all parts together.
        failed: names of those of this part that could not be made, with the reasons.
    """

    settings: Mapping[str, Any]
    n_jobs: int
    failed: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def only_job_of(folder: Path, shard: Shard) -> Iterator[None]:
    """Keep other jobs of the same part, and runs over the whole, out of a folder; remove what killed ones left.

    Raises:
        InputError: another works there, or the folder cannot be written.
    """
    whole = folder / ".lock"
    if shard.count == 1:
        with only_run_in(folder):
            for left in folder.glob(".lock-*"):  # of parts; a lock of a killed job can be taken
                with locked(left):
                    pass
            yield
        return
    with locked(folder / f".lock-{shard.index}-of-{shard.count}"):
        if whole.exists():
            with locked(whole):
                pass
        report_path(folder, shard).unlink(missing_ok=True)
        remove_abandoned(folder)
        yield


def report_path(folder: Path, shard: Shard) -> Path:
    """Return the file of a part's report."""
    return folder / f".shard-{shard.index}-of-{shard.count}.json"


def write_report(folder: Path, shard: Shard, report: ShardReport) -> None:
    """Say that a part is finished.

    Raises:
        InputError: the folder cannot be written.
    """
    with atomic_path(report_path(folder, shard)) as temporary:
        temporary.write_text(json.dumps(asdict(report), indent=2, default=str) + "\n", encoding="utf-8")


def read_reports(folder: Path) -> list[ShardReport]:
    """Return the reports of all parts of a folder, in order.

    Raises:
        InputError: there are none, some are missing, or they are of different work.
    """
    found: dict[Shard, ShardReport] = {}
    for path in folder.glob(".shard-*.json"):
        if match := _REPORT.fullmatch(path.name):
            found[Shard(int(match[1]), int(match[2]))] = _read(path)
    counts = sorted({shard.count for shard in found})
    if not counts:
        raise InputError(f"{folder} holds no finished part: run all parts first, with --shard 0/N and so on.")
    if len(counts) > 1:
        raise InputError(
            f"{folder} holds parts of {' and of '.join(map(str, counts))}: remove the .shard-*.json of the one that "
            "you do not mean."
        )
    every = [Shard(index, counts[0]) for index in range(counts[0])]
    missing = [str(shard) for shard in every if shard not in found]
    if missing:
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        listed = ", ".join(missing[:_LISTED])
        raise InputError(f"{folder} lacks {len(missing)} of {counts[0]} parts: run --shard {listed}{more} first.")
    for shard in every[1:]:
        _check_alike(folder, every[0], found[every[0]], shard, found[shard])
    return [found[shard] for shard in every]


def remove_reports(folder: Path) -> None:
    """Remove all reports, once their parts are joined, and the locks of jobs that are gone."""
    for path in folder.glob(".shard-*.json"):
        path.unlink(missing_ok=True)
    remove_free_locks(folder)


def _check_alike(folder: Path, one: Shard, first: ShardReport, other: Shard, second: ShardReport) -> None:
    """Refuse two parts of different work."""
    for key in sorted(first.settings.keys() | second.settings.keys()):
        then, now = first.settings.get(key), second.settings.get(key)
        if then != now:
            raise InputError(
                f"{folder} holds parts that do not belong together: {key} is {then} in {one} and {now} in {other}: run "
                "one of them again."
            )
    if first.n_jobs != second.n_jobs:
        raise InputError(
            f"{folder} holds parts that do not belong together: part {one} is of {first.n_jobs} things, part {other} "
            f"of {second.n_jobs}, so that the data changed in between: run all parts again, which does what is missing."
        )


def _read(path: Path) -> ShardReport:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return ShardReport(dict(content["settings"]), int(content["n_jobs"]), dict(content["failed"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, "the report of a part", error) from error
