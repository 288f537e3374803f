"""Write synthetic clips in the raw layout of Greatest Hits: ``python -m synthetic --output-dir DIR --hours 1``."""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace

from common.errors import user_errors
from common.files import only_run_in
from common.options import add_frame_size, add_number, add_output_dir, add_seed, add_workers, command_parser
from common.parallel import for_each
from synthetic.spec import SyntheticSpec
from synthetic.write import TRUTH, Job, write_clip, write_manifest

LEAST_HOURS, MOST_HOURS = 0.0001, 1000


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    defaults = SyntheticSpec()
    parser = command_parser("python -m synthetic", __doc__)
    add = parser.add_argument
    add_output_dir(parser)
    add_number(parser, "--hours", LEAST_HOURS, MOST_HOURS, default=1.0, help="hours of all clips together", metavar="H")
    add_seed(parser, "the clips")
    add_workers(parser)
    add("--duration", type=float, metavar="S", default=defaults.duration_s, help="duration of a clip in seconds")
    rates = "frames a second; several are taken in turn"
    add("--fps", type=float, nargs="+", metavar="HZ", default=[defaults.frame_rate_hz], help=rates)
    add_frame_size(parser, default=(defaults.width, defaults.height))
    lures = "share of movements that make no sound"
    add("--lure-share", type=float, metavar="SHARE", default=defaults.lure_share, help=lures)
    offset = "largest time between picture and sound, in seconds"
    add("--max-offset", type=float, metavar="S", default=defaults.max_offset_s, help=offset)
    return parser


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write the clips that are missing and report how many were written."""
    args = build_parser().parse_args(arguments)
    width, height = args.frame_size
    spec = SyntheticSpec(args.duration, args.fps[0], width, height, args.lure_share, args.max_offset)
    specs = [replace(spec, frame_rate_hz=rate_hz) for rate_hz in args.fps]
    n_clips = math.ceil(round(args.hours * 3600 / spec.duration_s, 6))
    jobs = [Job(specs[i % len(specs)], args.seed, i, args.output_dir) for i in range(n_clips)]
    with only_run_in(args.output_dir, args.output_dir / TRUTH):
        write_manifest(args.output_dir, spec, args.fps, args.seed)
        missing = [job for job in jobs if not job.video_path.exists()]
        for _ in for_each(write_clip, missing, args.workers, "synthetic clips"):
            pass
    sys.stdout.write(f"{args.output_dir}: {len(missing)} clips written, {n_clips - len(missing)} were there.\n")


if __name__ == "__main__":
    main()
