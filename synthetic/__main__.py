"""Writes synthetic clips in the raw layout of Greatest Hits: ``python -m synthetic --out-dir DIR --hours 1``."""

import argparse
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common.errors import check_range, check_seed, user_errors
from common.files import only_run_in
from common.parallel import check_workers, for_each
from synthetic.spec import SyntheticSpec
from synthetic.write import TRUTH, Job, write_clip, write_manifest

LEAST_HOURS, MOST_HOURS = 0.0001, 1000


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 320x180")
    return int(match[1]), int(match[2])


def _parser() -> argparse.ArgumentParser:
    defaults = SyntheticSpec()
    parser = argparse.ArgumentParser(prog="python -m synthetic", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--out-dir", type=Path, required=True, help="folder to write to; clips that are there are kept")
    add("--hours", type=float, default=1.0, help="length of all clips together (default: %(default)s)")
    add("--seed", type=int, default=0, help="draws all clips (default: %(default)s)")
    add("--workers", type=int, default=2, help="processes; 0 uses none but this one (default: %(default)s)")
    add("--duration", type=float, default=defaults.duration_s, help="seconds of a clip (default: %(default)s)")
    add(
        "--fps",
        type=float,
        nargs="+",
        default=[defaults.frame_rate_hz],
        help="frame rates, taken in turn (default: %(default)s)",
    )
    add("--size", type=_size, default=(defaults.width, defaults.height), help="WIDTHxHEIGHT (default: 320x180)")
    add(
        "--lure-share",
        type=float,
        default=defaults.lure_share,
        help="of movements without sound (default: %(default)s)",
    )
    add("--max-offset", type=float, default=defaults.max_offset_s, help="of the sound, in s (default: %(default)s)")
    return parser


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write what is missing, and say where everything is."""
    args = _parser().parse_args(arguments)
    check_range("--hours", args.hours, LEAST_HOURS, MOST_HOURS)
    check_seed(args.seed)
    check_workers(args.workers)
    width, height = args.size
    spec = SyntheticSpec(args.duration, args.fps[0], width, height, args.lure_share, args.max_offset)
    specs = [replace(spec, frame_rate_hz=rate_hz) for rate_hz in args.fps]
    n_clips = math.ceil(round(args.hours * 3600 / spec.duration_s, 6))
    jobs = [Job(specs[i % len(specs)], args.seed, i, args.out_dir) for i in range(n_clips)]
    with only_run_in(args.out_dir, args.out_dir / TRUTH):
        write_manifest(args.out_dir, spec, args.fps, args.seed)
        missing = [job for job in jobs if not job.video_path.exists()]
        for _ in for_each(write_clip, missing, args.workers, "synthetic clips"):
            pass
    sys.stdout.write(f"{args.out_dir}: {len(missing)} clips written, {n_clips - len(missing)} were there.\n")


if __name__ == "__main__":
    main()
