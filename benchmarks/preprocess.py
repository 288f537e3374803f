"""Measure how fast videos are preprocessed: ``python -m benchmarks.preprocess``.

Beside it, the usual two passes of ffmpeg over the same files are timed.
"""

import importlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np

from benchmarks.mel_latent import strikes
from common.errors import user_errors
from common.options import add_clips, add_number, add_workers, command_parser

SAMPLE_RATE_HZ = 44_100
FRAME_RATE_HZ = 30
HEIGHT_PX, WIDTH_PX = 1080, 1920
NO_FFMPEG = "no ffmpeg to compare with: install it, or `pip install imageio-ffmpeg`"


@dataclass(frozen=True)
class Cost:
    """What one way of preprocessing took.

    Args:
        wall_s: Seconds that passed.
        cpu_s: Seconds of all its processes on all cores.
    """

    wall_s: float
    cpu_s: float


def write_clips(folder: Path, n_clips: int, duration_s: float) -> None:
    """Write an H.264 + AAC video of a moving texture with camera noise, under many names."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 255, (HEIGHT_PX // 8 + 32, WIDTH_PX // 8 + 32, 3), np.uint8)
    texture = av.VideoFrame.from_ndarray(coarse).reformat(WIDTH_PX + 256, HEIGHT_PX + 256).to_ndarray(format="rgb24")
    noise = random.integers(0, 24, (16, HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    first = folder / "clip_000.mp4"
    with av.open(str(first), "w") as target:
        video = target.add_stream("libx264", rate=FRAME_RATE_HZ, options={"preset": "veryfast"})
        video.width, video.height, video.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        sound = target.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="stereo")
        wave = np.ascontiguousarray(strikes(0, duration_s).expand(2, -1).numpy())
        samples = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
        samples.sample_rate, samples.pts, samples.time_base = SAMPLE_RATE_HZ, 0, Fraction(1, SAMPLE_RATE_HZ)
        target.mux([*sound.encode(samples), *sound.encode(None)])
        for i in range(round(duration_s * FRAME_RATE_HZ)):
            y, x = (round(128 + 127 * np.sin(2 * np.pi * i / period)) for period in (75, 130))
            picture = texture[y : y + HEIGHT_PX, x : x + WIDTH_PX] // 2 + 40 + noise[random.integers(16)]
            target.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        target.mux(video.encode(None))
    for i in range(1, n_clips):
        shutil.copy(first, folder / f"clip_{i:03d}.mp4")


def find_ffmpeg() -> str | None:
    """Return the program of the system, else that of imageio-ffmpeg, else None."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        return str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except ImportError:
        return None


def cost_of(work: Callable[[], None]) -> Cost:
    """Time of something that works in processes of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start_s = time.perf_counter()
    work()
    wall_s = time.perf_counter() - start_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def preprocess(raw_dir: Path, out_dir: Path, n_workers: int) -> None:
    """Return this project's command."""
    options = [f"--root={raw_dir}", f"--output-dir={out_dir}", f"--workers={n_workers}"]
    subprocess.run([sys.executable, "-m", "data.preprocess", *options], check=True, stdout=subprocess.DEVNULL)


def two_passes(ffmpeg: str, raw_dir: Path, out_dir: Path, n_workers: int) -> None:
    """Frames, then sound, of so many videos at a time."""

    def both(video: Path) -> None:
        folder = out_dir / video.stem
        folder.mkdir(parents=True)
        start = [ffmpeg, "-nostdin", "-v", "error", "-i", str(video)]
        frames = ["-vf", "fps=4,scale=320:240", "-q:v", "2", f"{folder}/%06d.jpg"]
        subprocess.run([*start, *frames], check=True)
        subprocess.run([*start, "-ar", str(SAMPLE_RATE_HZ), f"{folder}/sound.wav"], check=True)

    with ThreadPoolExecutor(n_workers) as executor:
        list(executor.map(both, sorted(raw_dir.iterdir())))


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = command_parser("python -m benchmarks.preprocess", __doc__)
    add_clips(parser, default=12)
    add_number(parser, "--duration", 1, 3600, default=30.0, help="duration of a clip in seconds", metavar="S")
    add_workers(parser, default=2)
    args = parser.parse_args(arguments)
    ffmpeg = find_ffmpeg()
    with tempfile.TemporaryDirectory() as temporary_folder:
        root = Path(temporary_folder)
        for name, n_clips, duration_s in (("short", 2, 1.0), ("raw", args.clips, args.duration)):
            (root / name).mkdir()
            write_clips(root / name, n_clips, duration_s)
        size_mib = (root / "raw" / "clip_000.mp4").stat().st_size / 2**20
        start_up = cost_of(partial(preprocess, root / "short", root / "first", args.workers))
        costs = {"data.preprocess": cost_of(partial(preprocess, root / "raw", root / "ours", args.workers))}
        if ffmpeg is not None:
            work = partial(two_passes, ffmpeg, root / "raw", root / "its", args.workers)
            costs["ffmpeg, two passes"] = cost_of(work)
    kind = f"1080p{FRAME_RATE_HZ}, {8 * size_mib / args.duration:.1f} Mibit/s"
    print(f"{args.clips} clips of {args.duration:g} s, {kind}, {args.workers} workers")
    print(f"{'':20} {'s':>7} {'clips/min':>10} {'CPU s':>7} {'busy':>6}")
    for name, cost in costs.items():
        per_min, busy = 60 * args.clips / cost.wall_s, cost.cpu_s / cost.wall_s / args.workers
        print(f"{name:20} {cost.wall_s:7.1f} {per_min:10.1f} {cost.cpu_s:7.1f} {busy:6.0%}")
    print(f"{'start of the former':20} {start_up.wall_s:7.1f} {'':10} {start_up.cpu_s:7.1f}")
    if ffmpeg is None:
        print(NO_FFMPEG)
    else:
        ours, its = costs.values()
        for measure, all_ours, its_own, start in (
            ("time", ours.wall_s, its.wall_s, start_up.wall_s),
            ("CPU time", ours.cpu_s, its.cpu_s, start_up.cpu_s),
        ):
            steady = its_own / (all_ours - start)
            print(f"{measure} of {Path(ffmpeg).name} / ours: {its_own / all_ours:.2f}, {steady:.2f} without the start")


if __name__ == "__main__":
    main()
