"""Measure how fast synthetic clips are made, and whether memory stays flat: ``python -m benchmarks.synthetic``.

One process, one thread, processor time, so that the numbers hold per core: 4 s clips of 112x64 pixels at 30 frames a
second without encoding, and sounds of 10 s. Prints a Markdown table.
"""

import gc
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.tools import table
from common.errors import user_errors
from common.options import add_clips, command_parser
from synthetic import SyntheticSpec, render_clip

PICTURE = SyntheticSpec(duration_s=4.0, width=112, height=64)
SOUND = SyntheticSpec(duration_s=10.0)
N_WARM_UP = 10


def resident_mib() -> float:
    """Memory that this process holds now; where the system does not tell, the most it has held."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds_each(make: Callable[[int], object], n_clips: int) -> tuple[float, float]:
    """Processor time of a clip in seconds, and by how many MiB the process grows from the first third on."""
    held: list[float] = []
    for index in range(N_WARM_UP):
        make(index)
    start = time.process_time()
    for index in range(n_clips):
        make(N_WARM_UP + index)
        if index == n_clips // 3:
            gc.collect()
            held.append(resident_mib())
    spent = (time.process_time() - start) / n_clips
    gc.collect()
    return spent, resident_mib() - held[0]


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = command_parser("python -m benchmarks.synthetic", __doc__)
    add_clips(parser, default=150)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    picture_s, picture_mib = seconds_each(lambda i: render_clip(PICTURE, 0, i, sound=False), args.clips)
    sound_s, sound_mib = seconds_each(lambda i: render_clip(SOUND, 0, i, picture=False), args.clips)
    both_s, both_mib = seconds_each(lambda i: render_clip(PICTURE, 0, i), args.clips)
    rows = [
        ("pictures of 4 s, 112x64, 30 fps", f"{1 / picture_s:.1f} clips", f"{picture_mib:+.0f} MiB"),
        ("sounds and envelopes", f"{SOUND.duration_s / sound_s:.0f} s of sound", f"{sound_mib:+.0f} MiB"),
        ("both, 4 s", f"{1 / both_s:.1f} clips", f"{both_mib:+.0f} MiB"),
    ]
    print(table(["what", "a second of one core makes", "growth of memory"], rows), end="")


if __name__ == "__main__":
    main()
