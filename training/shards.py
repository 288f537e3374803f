"""Write cached features as shards: ``python -m training.shards exp=NAME dataset.cache=DIR --output-url DIR``.

The options are those of the training whose cache ``python -m training.cache`` has filled. The result is for
``dataset=shards``; it can lie in a bucket (``s3://bucket/folder``, with s3fs installed). Killed and started again it
goes on; jobs divide the files with --shard, and --join then writes the index, once all are there.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from common.errors import end_on_interrupt

    end_on_interrupt()

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from tqdm import tqdm

from common.errors import InputError, user_errors
from common.options import add_join, add_number, add_shard, command_parser
from data.cache import FeatureCache, tensor_name
from data.chunks import ChunkDataset
from data.datamodule import ChunkDataModule
from data.shard_module import json_form
from data.shards import ShardFile, ShardFolder, ShardIndex, pack
from training.config import compose, instantiate
from training.module import build_training

log = logging.getLogger("training.shards")
N_WITH_SOUND = 8
"""Validation chunks that keep their sound, for samples while training."""
_ORDER_SEED = 0


@dataclass(frozen=True)
class TarPlan:
    """A tar file to write: its name, and the chunks of a data set that go into it."""

    file: ShardFile
    dataset: ChunkDataset[Any]
    chunks: Sequence[int]
    factors: Sequence[float]
    n_with_sound: int


def build_parser() -> argparse.ArgumentParser:
    """Return all options, with their defaults."""
    parser = command_parser("python -m training.shards", __doc__)
    options = "the options of the training, dataset.cache=DIR among them"
    parser.add_argument("options", nargs="+", metavar="KEY=VALUE", help=options)
    url = "folder to write to, or its address in a bucket"
    parser.add_argument("--output-url", required=True, metavar="URL", help=url)
    add_number(parser, "--clips-per-file", 1, 100_000, default=1000, help="chunks in a tar file")
    add_shard(parser)
    add_join(parser)
    return parser


def plans(
    name: str, dataset: ChunkDataset[Any], factors: Sequence[float], cache: FeatureCache, n: int
) -> list[TarPlan]:
    """Return the tar files of a set, ``n`` chunks each, in an order that is random once and for all.

    A file's name depends on all that its content depends on, so what is there is never stale.

    Raises:
        InputError: features are missing.
    """
    cache.check(dataset.chunks, factors)
    n_chunks = len(dataset.chunks)
    order = range(n_chunks) if name == "val" else np.random.default_rng(_ORDER_SEED).permutation(n_chunks)
    found = []
    for number, first in enumerate(range(0, n_chunks, n)):
        chunks = [int(index) for index in order[first : first + n]]
        n_with_sound = N_WITH_SOUND if name == "val" and number == 0 else 0
        content = [[str(cache.path(dataset.chunks[index]).name) for index in chunks], cache.encoders, [*factors]]
        digest = hashlib.sha256(json.dumps([*content, n_with_sound]).encode()).hexdigest()[:12]
        file = ShardFile(f"{name}-{number:06d}-{digest}.tar", len(chunks))
        found.append(TarPlan(file, dataset, chunks, factors, n_with_sound))
    return found


def packed(plan: TarPlan, cache: FeatureCache) -> Iterator[bytes]:
    """Yield the chunks of a tar file.

    Raises:
        InputError: features, or the sound of one of those that keep it, cannot be read.
    """
    for place, index in enumerate(plan.chunks):
        features: dict[str, Tensor] = {}
        for factor in plan.factors:
            read = cache.read(plan.dataset.chunks[index], factor)
            features |= {tensor_name(name, factor): value for name, value in read.items()}
        item = plan.dataset.item(index, sound=False)
        if place < plan.n_with_sound and hasattr(item, "wave"):
            item = plan.dataset.item(index, sound=True)
        yield pack(item, features)


def run(config: DictConfig, args: argparse.Namespace) -> None:
    """Write the tar files of a shard of the work that are missing; with all of them there, the index.

    Raises:
        InputError: an option, the cache or the folder does not fit, or with ``--join`` a tar file is missing.
    """
    if OmegaConf.select(config, "dataset.cache") is None:
        raise InputError("dataset.cache is not set; name the folder of the cache with dataset.cache=DIR.")
    datamodule = instantiate(config.dataset)
    if not isinstance(datamodule, ChunkDataModule):
        raise InputError(f"dataset builds a {type(datamodule).__name__}; shards are made of recordings: choose others.")
    cache = datamodule.feature_cache(build_training(config).encoder_ids())
    folder = ShardFolder(args.output_url)
    sets = list(zip(("train", "val"), datamodule.sets_to_encode(), strict=True))
    every: dict[str, list[TarPlan]] = {}
    for name, (dataset, factors) in sets:
        every[name] = plans(name, dataset, factors, cache, args.clips_per_file)
        dataset.use_cache(cache)
    in_order = [plan for name in every for plan in every[name]]
    there = folder.names()
    own = [] if args.join else [plan for plan in args.shard.of(in_order) if plan.file.name not in there]
    for plan in tqdm(own, desc="writing", unit="file"):
        folder.write_tar(plan.file.name, packed(plan, cache))
    if args.shard.count > 1 and not args.join:
        log.info("part %s of %s is there; --join writes the index when all parts are", args.shard, folder.url)
        return
    missing = [plan.file.name for plan in in_order if plan.file.name not in folder.names()]
    if missing:
        raise InputError(
            f"{folder.url} lacks {len(missing)} of {len(in_order)} files, {missing[0]} the first: run all parts."
        )
    files = {name: [plan.file for plan in of_set] for name, of_set in every.items()}
    spec = json_form(asdict(datamodule.spec))
    folder.write_index(ShardIndex(files, cache.encoders, spec, list(datamodule.factors)))
    log.info("%d chunks are in %d files in %s", sum(p.file.n_items for p in in_order), len(in_order), folder.url)


@user_errors()
def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = build_parser().parse_args(arguments)
    run(compose(*args.options), args)


if __name__ == "__main__":
    sys.exit(main())
