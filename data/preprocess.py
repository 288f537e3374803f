"""Convert raw videos to the processed layout: ``python -m data.preprocess --root DIR --output-dir DIR``.

Takes Greatest Hits (``<id>_mic.mp4`` or ``<id>_denoised.mp4`` with ``<id>_times.txt``) or any folder of videos with
sound. Killed and started again it does what is missing; what cannot be processed gets a row with the reason.
Jobs that share the folder divide the videos with --shard; --join then checks that all are there and writes the splits.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from common.errors import end_on_interrupt

    end_on_interrupt()

import argparse
import json
import logging
import os
import sys
import time
from dataclasses import dataclass
from errno import ENAMETOOLONG
from functools import partial
from pathlib import Path

from tqdm import tqdm

from common.errors import InputError, user_errors
from common.files import locked, only_run_in
from common.options import (
    add_frame_size,
    add_join,
    add_output_dir,
    add_root,
    add_seed,
    add_shard,
    add_workers,
    command_parser,
)
from common.parallel import for_each
from common.shards import ShardReport, only_job_of, read_reports, remove_reports, write_report
from data.greatest_hits import SPLITS, find_recordings, processed_sound
from data.manifest import MANIFEST, Manifest, new_manifest, open_manifest, update_splits
from data.process_clip import ProcessSettings, RawClip, process_clip
from media.reading import READERS

log = logging.getLogger("preprocess")
_RESERVED = {"", MANIFEST, *(f"{name}.txt" for name in SPLITS)}
_TIMES = "_times.txt"


@dataclass(frozen=True)
class Failure:
    """A video that could not be processed, and why."""

    raw: RawClip
    reason: str


def build_parser() -> argparse.ArgumentParser:
    """Return all options, with their defaults."""
    settings = ProcessSettings()
    parser = command_parser("python -m data.preprocess", __doc__)
    add = parser.add_argument
    add_root(parser, help="folder of videos with sound: raw Greatest Hits or any others")
    add_output_dir(parser)
    add("--fps", type=float, metavar="HZ", default=settings.frame_rate_hz, help="frames a second")
    add_frame_size(parser, default=(settings.frame_width_px, settings.frame_height_px))
    add("--sample-rate", type=int, metavar="HZ", default=settings.sample_rate_hz, help="samples a second of the sound")
    add("--denoise", action="store_true", help="take stationary noise out of the sound")
    add("--reader", choices=READERS, default=settings.reader, help="what reads the frames")
    add_workers(parser)
    add_seed(parser, "the division into train, val and test", default=42)
    add_shard(parser)
    add_join(parser)
    return parser


def check_folders(raw_dir: Path, out_dir: Path) -> None:
    """Refuse folders between which files could get lost, before anything is written.

    Raises:
        InputError: naming the folder.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise InputError(f"--output-dir {out_dir} is a file: give a folder")
    if raw_dir.resolve().is_relative_to(out_dir.resolve()):
        raise InputError(f"--root {raw_dir} lies in --output-dir {out_dir}: give an --output-dir of its own")


def find_raw_clips(raw_dir: Path) -> list[RawClip]:
    """Return the videos of a folder.

    Raises:
        InputError: There is none, or two of them have one id.
    """
    videos = {clip_id: path for clip_id, path in find_recordings(raw_dir).items() if not path.is_dir()}
    if not videos:
        raise InputError(f"--root {raw_dir} holds no videos (folders in it are not searched): give another")
    annotations = {path.name.removesuffix(_TIMES): path for path in raw_dir.glob(f"*{_TIMES}")}
    alone = [path.name for clip_id, path in sorted(annotations.items()) if clip_id not in videos]
    if alone:
        log.warning("%d annotations have no video: %s", len(alone), ", ".join(alone))
    return [RawClip(clip_id, path, annotations.get(clip_id)) for clip_id, path in videos.items()]


def is_done(raw: RawClip, out_dir: Path) -> bool:
    """Return whether a clip's folder is there and made of the files as they are now.

    Raises:
        InputError: The name cannot be that of a folder or a line in a split file, or belongs to something else.
    """
    clip_id = raw.clip_id
    if not clip_id.isprintable() or clip_id != clip_id.strip() or clip_id in _RESERVED:
        raise InputError(f"{clip_id!r} cannot be the name of a clip: rename {raw.video_path}")
    folder = out_dir / clip_id
    if not os.path.lexists(folder):
        return False
    try:
        made_of = json.loads((folder / f"{clip_id}.metadata.json").read_text(encoding="utf-8"))["source"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} was not made by this command: move it away") from error
    if made_of == raw.source():
        return True
    log.info("%s has changed since it was processed: it is processed again", raw.video_path)
    return False


def attempt(raw: RawClip, out_dir: Path, settings: ProcessSettings) -> Failure | None:
    """Process a clip; a fault of its own is returned, since it does not concern the others.

    Raises:
        InputError: The output cannot be written.
    """
    try:
        process_clip(raw, out_dir, settings)
    except InputError as error:
        return Failure(raw, str(error))
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == ENAMETOOLONG:
            return Failure(raw, f"{raw.video_path} gives files whose names are too long: rename it")
        remedy = "see to it and give the same command again"
        raise InputError(f"--output-dir {out_dir} cannot be written ({reason}): {remedy}") from error
    return None


@dataclass(frozen=True)
class Work:
    """What a run has to do: videos, the largest first, so that no worker is left with it at the end."""

    to_do: list[RawClip]
    n_skipped: int
    failures: list[Failure]


def find_work(clips: list[RawClip], out_dir: Path) -> Work:
    """Find out what is missing."""
    to_do: list[RawClip] = []
    failures: list[Failure] = []
    for raw in tqdm(clips, desc="looking for what is done", unit="clip", delay=2, leave=False):
        try:
            if not is_done(raw, out_dir):
                to_do.append(raw)
        except InputError as error:
            failures.append(Failure(raw, str(error)))
    to_do.sort(key=lambda raw: raw.video_path.stat().st_size if raw.video_path.exists() else 0, reverse=True)
    return Work(to_do, len(clips) - len(to_do) - len(failures), failures)


def run(args: argparse.Namespace) -> list[Failure]:
    """Process what is missing, and return what failed.

    Raises:
        InputError: an option or a folder does not fit.
    """
    start_s = time.monotonic()
    width_px, height_px = args.frame_size
    settings = ProcessSettings(args.fps, width_px, height_px, args.sample_rate, args.denoise, args.reader)
    check_folders(args.root, args.output_dir)
    clips = find_raw_clips(args.root)
    wanted = new_manifest(settings, args.seed)
    if args.join:
        return join(args.output_dir, clips, wanted, args.seed)
    own = list(args.shard.of(clips))
    with only_job_of(args.output_dir, args.shard):
        manifest = shared_manifest(args.output_dir, wanted)
        work = find_work(own, args.output_dir)
        function = partial(attempt, out_dir=args.output_dir, settings=settings)
        results = list(for_each(function, work.to_do, args.workers, "videos", few_jobs=2))
        failures = [*work.failures, *(failure for failure in results if failure is not None)]
        if args.shard.count == 1:
            finish(args.output_dir, manifest, args.seed)
        else:
            failed = {failure.raw.clip_id: failure.reason for failure in failures}
            write_report(args.output_dir, args.shard, ShardReport(wanted.settings, len(clips), failed))
    seconds = f"{time.monotonic() - start_s:.1f} s, "
    say(results.count(None), work.n_skipped, failures, f"{seconds}result in {args.output_dir}")
    return failures


def shared_manifest(out_dir: Path, wanted: Manifest) -> Manifest:
    """Read the manifest of a folder, or write a first one, one job after the other.

    Raises:
        InputError: see ``open_manifest``.
    """
    with locked(out_dir / ".manifest-lock", wait=True):
        return open_manifest(out_dir, wanted)


def finish(out_dir: Path, manifest: Manifest, seed: int) -> None:
    """Write the splits of all clips that are there, and remove the reports of parts."""
    update_splits(out_dir, manifest, [path.name for path in out_dir.iterdir() if processed_sound(path)], seed)
    remove_reports(out_dir)


def join(out_dir: Path, clips: list[RawClip], wanted: Manifest, seed: int) -> list[Failure]:
    """Write the splits once every part is finished, and return what failed in all of them.

    Raises:
        InputError: a part is missing or of other settings, or a video is neither there nor reported.
    """
    with only_run_in(out_dir):
        reports = read_reports(out_dir)
        manifest = open_manifest(out_dir, wanted)
        failed = {clip_id: reason for report in reports for clip_id, reason in report.failed.items()}
        work = find_work([raw for raw in clips if raw.clip_id not in failed], out_dir)
        if work.to_do or reports[0].n_jobs != len(clips):
            parts = sorted({clips.index(raw) % len(reports) for raw in work.to_do})
            again = ", ".join(f"{part}/{len(reports)}" for part in parts[:10]) or f"0/{len(reports)} and all others"
            raise InputError(
                f"{len(work.to_do)} of {len(clips)} videos are not in {out_dir}, since the videos changed: run --shard "
                f"{again} again, which does what is missing."
            )
        finish(out_dir, manifest, seed)
    failures = [Failure(raw, failed[raw.clip_id]) for raw in clips if raw.clip_id in failed] + work.failures
    say(0, work.n_skipped, failures, f"{len(reports)} parts, result in {out_dir}")
    return failures


def say(n_done: int, n_skipped: int, failures: list[Failure], end: str) -> None:
    """Print the closing table."""
    lines = [
        f"done    {n_done:5d}",
        f"skipped {n_skipped:5d}  (there already)",
        f"failed  {len(failures):5d}",
        *sorted(f"  {failure.raw.video_path.name}: {failure.reason}" for failure in failures),
        end,
    ]
    sys.stdout.write("\n".join(lines) + "\n")


@user_errors()
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; status 2 where a video failed."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = build_parser().parse_args(arguments)
    try:
        failed = run(args)
    except KeyboardInterrupt:
        log.warning("what is done stays in %s: the same command goes on from there", args.output_dir)
        raise
    if failed:
        raise SystemExit(2)


if __name__ == "__main__":
    main()
