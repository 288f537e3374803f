"""Measure how fast folders are evaluated: ``python -m benchmarks.evaluation``.

The folders hold pairs of synthetic sounds of 10 s; CLAP is left out.
"""

import resource
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks.mel_latent import strikes
from common.errors import user_errors
from common.options import add_clips, add_workers, command_parser
from common.parallel import for_each
from evaluation.clip import compare_clip
from evaluation.folders import pair_folders
from evaluation.measures import MEASURES
from evaluation.report import write_report
from evaluation.summary import summarise
from media.writing import write_sound

SAMPLE_RATE_HZ = 44_100
DURATION_S = 10.0
TEST_SPLIT_CLIPS = 600
N_WORST = 20


def write_pairs(root: Path, n_clips: int) -> None:
    """Stereo 24-bit strikes in `real`, others in `made`."""
    for i in range(n_clips):
        for name, seed in (("real", i), ("made", n_clips + i)):
            folder = root / name
            folder.mkdir(exist_ok=True)
            write_sound(folder / f"{i:04d}.wav", strikes(seed, DURATION_S).expand(2, -1), SAMPLE_RATE_HZ)


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = command_parser("python -m benchmarks.evaluation", __doc__)
    add_clips(parser, default=40)
    add_workers(parser)
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary_folder:
        root = Path(temporary_folder)
        write_pairs(root, args.clips)
        start = time.perf_counter()
        systems = {"made": root / "made"}
        clips = pair_folders(root / "real", systems)
        results = for_each(partial(compare_clip, systems=("made",)), clips, args.workers, "clips")
        first = next(results)  # the workers are up
        started = time.perf_counter()
        rows = [row for result in results for row in result]
        measured = time.perf_counter()
        evaluation = summarise(root / "real", systems, [*first, *rows], {})
        summarised = time.perf_counter()
        write_report(root / "report.html", evaluation, clips, MEASURES[1], N_WORST, args.workers)
        end = time.perf_counter()
        size_mib = (root / "report.html").stat().st_size / 2**20
    clips_per_s = len(rows) / (measured - started)
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    whole_s = TEST_SPLIT_CLIPS / clips_per_s + (started - start) + (end - measured)
    print(f"{args.clips} pairs of {DURATION_S:g} s, {args.workers} workers, torch {torch.__version__}")
    print(
        f"{clips_per_s:.2f} pairs/s after {started - start:.1f} s until the first; a worker's peak {peak_mib:.0f} MiB"
    )
    print(f"overall figures {summarised - measured:.1f} s, report of {min(N_WORST, args.clips)} clips ", end="")
    print(f"{end - summarised:.1f} s, {size_mib:.1f} MiB")
    print(f"{TEST_SPLIT_CLIPS} pairs would take {whole_s / 60:.1f} min")


if __name__ == "__main__":
    main()
