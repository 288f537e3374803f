"""Measure what a training item costs, from recordings, a cache and shards: ``python -m benchmarks.feature_cache``.

Ten-second chunks of tones with the frames that CAVP sees; features of the sizes of Stable Audio Open's VAE, CLAP and
CAVP, of random values, since only their reading is timed. One process reads; shards lie in a local folder and in
fsspec's memory, which is what a bucket would give without its network.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from PIL import Image

from benchmarks.tools import table
from common.options import command_parser
from data.cache import FeatureCache, tensor_name
from data.chunks import cut_all
from data.dataset import FoleyDataset
from data.greatest_hits import list_clips
from data.shard_module import FoleyShardModule, ShardDataset, json_form
from data.shards import ShardFile, ShardFolder, ShardIndex, pack
from media.clip import ClipSpec
from media.writing import write_sound

N_CLIPS = 8
N_PER_FILE = 12
N_PASSES = 20
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


def per_second(dataset: ShardDataset) -> float:
    """Return how many items of shards are read in a second, in the faster of two epochs."""
    speeds = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        start_s = time.perf_counter()
        n_read = sum(1 for _ in dataset)
        speeds.append(n_read / (time.perf_counter() - start_s))
    return max(speeds)


def from_shards(url: str, dataset: FoleyDataset, cache: FeatureCache, spec: ClipSpec) -> float:
    """Write the items of a cache as shards, twelve a file, and return how many are read in a second."""
    folder = ShardFolder(url)
    items = [pack(dataset.item(index, sound=False), named(dataset, cache, index)) for index in range(len(dataset))]
    files = []
    for first in range(0, len(items), N_PER_FILE):
        part = items[first : first + N_PER_FILE]
        files.append(ShardFile(f"train-{first}.tar", len(part)))
        folder.write_tar(files[-1].name, part)
    folder.write_index(ShardIndex({"train": files, "val": files[:1]}, cache.encoders, json_form(asdict(spec)), [1.0]))
    module = FoleyShardModule(url, spec)
    module.setup("fit")
    module.open_cache(cache.encoders)
    n_items = N_PASSES * len(items)
    return per_second(
        ShardDataset(folder, module.index, module.item, batch_size=12, n_items=n_items, n_held=len(items), seed=0)
    )


def named(dataset: FoleyDataset, cache: FeatureCache, index: int) -> dict[str, torch.Tensor]:
    """Return the features of a chunk under the names that they have in shards."""
    return {tensor_name(name, 1.0): value for name, value in cache.read(dataset.chunks[index], 1.0).items()}


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
        speeds = {"recordings": 1000 / from_recordings, "cache, a file a chunk": 1000 / from_cache}
        speeds["shards in a folder"] = from_shards(str(Path(folder) / "shards"), dataset, cache, spec)
        speeds["shards in memory://"] = from_shards("memory://benchmark", dataset, cache, spec)
        n_bytes = sum(value.nbytes for value in named(dataset, cache, 0).values())
    print(f"{len(dataset)} chunks of {spec.duration_s:g} s, {n_bytes / 1000:.0f} kB of features each; one process")
    rows = [
        (name, f"{1000 / speed:.2f}", f"{speed:.0f}", f"{speed * n_bytes / 1e6:.0f}" if name != "recordings" else "")
        for name, speed in speeds.items()
    ]
    print(table(["from", "ms an item", "items a second", "MB a second"], rows), end="")


if __name__ == "__main__":
    main()
