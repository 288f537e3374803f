"""Measure what a training item costs, from recordings and from a feature cache: ``python -m benchmarks.feature_cache``.

Ten-second chunks of tones with the frames that CAVP sees; features of the sizes of Stable Audio Open's VAE, CLAP and
CAVP, of random values, since only their reading is timed.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from benchmarks.tools import table
from common.options import command_parser
from data.cache import FeatureCache
from data.chunks import cut_all
from data.dataset import FoleyDataset
from data.greatest_hits import list_clips
from media.clip import ClipSpec
from media.writing import write_sound

N_CLIPS = 8
DURATION_S = 30.0
SIZES = {"sound": (128, 216), "envelope": (128, 216), "audio": (512,), "frames": (40, 512)}


def make_clips(root: Path, spec: ClipSpec) -> None:
    """Write recordings in the processed layout: a tone and frames of noise, 320 x 240."""
    generator = torch.Generator().manual_seed(0)
    for number in range(N_CLIPS):
        clip_id = f"clip{number}"
        time_s = torch.arange(round(DURATION_S * spec.sample_rate_hz)) / spec.sample_rate_hz
        tone = torch.sin(2 * torch.pi * (200 + 50 * number) * time_s).expand(2, -1)
        write_sound(root / clip_id / "audio" / f"{clip_id}.resampled.wav", tone, spec.sample_rate_hz)
        frames = root / clip_id / "frames"
        frames.mkdir()
        for index in range(round(DURATION_S * spec.frame_rate_hz)):
            image = torch.randint(0, 255, (15, 20, 3), dtype=torch.uint8, generator=generator).numpy()
            Image.fromarray(image).resize((320, 240)).save(frames / f"{clip_id}.frame_{index + 1:06d}.jpg")


def milliseconds(dataset: FoleyDataset) -> float:
    """Median time of an item, each read twice and the second time counted: from the memory of the system."""
    times_s: list[float] = []
    for _ in range(2):
        times_s = []
        for index in range(len(dataset)):
            start_s = time.perf_counter()
            dataset[index]
            times_s.append(time.perf_counter() - start_s)
    return 1000 * statistics.median(times_s)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make recordings and features, time both, print a table."""
    command_parser("python -m benchmarks.feature_cache", __doc__).parse_args(arguments)
    spec = ClipSpec()
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder) / "clips", FeatureCache(Path(folder) / "cache", spec, dict.fromkeys(SIZES, "none"))
        make_clips(root, spec)
        dataset = FoleyDataset(root, None, spec)
        for chunk in cut_all(list_clips(root), spec.duration_s):
            sizes = {name: SIZES[name.split()[0]] for name in cache.tensor_names([1.0])}
            cache.write(chunk, {name: torch.rand(size) for name, size in sizes.items()})
        from_recordings = milliseconds(dataset)
        dataset.use_cache(cache)
        from_cache = milliseconds(dataset)
    print(f"{len(dataset)} chunks of {spec.duration_s:g} s, median of one item, files in the system's memory")
    rows = {"recordings": f"{from_recordings:.1f}", "cache": f"{from_cache:.2f}"}
    rows["ratio"] = f"{from_recordings / from_cache:.0f}"
    print(table(["from", "ms"], rows.items()), end="")


if __name__ == "__main__":
    main()
