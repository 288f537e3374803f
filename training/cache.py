"""Run frozen encoders over a data set once: ``python -m training.cache exp=NAME dataset.cache=DIR``.

The options are those of the training; it then reads the features that are in the folder and runs no frozen encoder.
Killed and started again it goes on; machines that share the folder divide the recordings with --shard.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from common.errors import end_on_interrupt

    end_on_interrupt()

import argparse
import logging
import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Protocol, cast

from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from common.devices import pick_device
from common.errors import InputError, user_errors
from common.files import locked, remove_free_locks
from common.options import add_batch_size, add_device, add_shard, add_workers, command_parser
from data.cache import FeatureCache, SourceChunk
from data.chunks import ChunkDataset
from training.config import compose, instantiate
from training.module import Training, build_training

log = logging.getLogger("data.cache")


class Encodable(Protocol):
    """Items of which features are made: `data.chunks.ChunkDataset`, or `synthetic.SyntheticChunks`."""

    @property
    def chunks(self) -> Sequence[SourceChunk]:
        """What a cache knows them by, in order."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Any: ...


def build_parser() -> argparse.ArgumentParser:
    """Return all options, with their defaults."""
    parser = command_parser("python -m training.cache", __doc__)
    options = "the options of the training, dataset.cache=DIR among them"
    parser.add_argument("options", nargs="+", metavar="KEY=VALUE", help=options)
    add_shard(parser)
    add_batch_size(parser, default=4)
    add_workers(parser, default=1)
    add_device(parser)
    return parser


def collate_with_gaps(
    collate: Callable[[Sequence[Any]], Any], items: Sequence[Any | None]
) -> tuple[list[bool], Any | None]:
    """Return which of the chunks could be read, and the batch of those."""
    return [item is not None for item in items], collate(items)


def missing_batches(
    dataset: Encodable,
    cache: FeatureCache,
    factors: Sequence[float],
    clip_ids: Collection[str],
    batch_size: int,
) -> list[list[int]]:
    """Return the chunks of some recordings whose features are missing, in batches.

    A batch is of one recording, and does not depend on what is there already: the last digits of features, which differ
    from batch to batch, are the same however often the work was interrupted or divided.
    """
    of_clip: dict[str, list[int]] = {clip_id: [] for clip_id in clip_ids}
    for index, chunk in enumerate(dataset.chunks):
        if chunk.clip.clip_id in of_clip:
            of_clip[chunk.clip.clip_id].append(index)
    batches = [each[i : i + batch_size] for each in of_clip.values() for i in range(0, len(each), batch_size)]
    progress = tqdm(batches, desc="looking into the cache", unit="batch", delay=2, leave=False)
    return [batch for batch in progress if not all(cache.holds(dataset.chunks[i], factors) for i in batch)]


def fill(
    training: Training,
    dataset: Encodable,
    collate: Callable[[Sequence[Any]], Any],
    cache: FeatureCache,
    factors: Sequence[float],
    batches: list[list[int]],
    n_workers: int,
) -> None:
    """Encode batches of chunks and write their features.

    Raises:
        InputError: a chunk cannot be read, or the cache cannot be written.
    """
    with_gaps = partial(collate_with_gaps, collate)
    loader = DataLoader(
        cast("Dataset[Any]", dataset), batch_sampler=batches, num_workers=n_workers, collate_fn=with_gaps
    )
    with tqdm(total=sum(map(len, batches)), desc="encoding", unit="chunk", smoothing=0) as progress:
        for indices, (there, batch) in zip(batches, loader, strict=True):
            if batch is not None:
                tensors = training.encode(batch.to(training.device), factors)
                undamaged = [index for index, is_there in zip(indices, there, strict=True) if is_there]
                for row, index in enumerate(undamaged):
                    cache.write(dataset.chunks[index], {name: value[row].cpu() for name, value in tensors.items()})
            progress.update(len(indices))


def run(config: DictConfig, args: argparse.Namespace) -> None:
    """Encode what is missing of the training and validation chunks, and say what is there.

    Raises:
        InputError: an option, a file or a recording does not fit.
    """
    if OmegaConf.select(config, "dataset.cache") is None:
        raise InputError("dataset.cache is not set; name the folder to fill with dataset.cache=DIR.")
    device = pick_device(args.device)
    datamodule = instantiate(config.dataset)
    sets = datamodule.sets_to_encode()
    training = build_training(config)
    cache: FeatureCache = datamodule.feature_cache(training.encoder_ids())
    training.eval().requires_grad_(False).to(device)
    clip_ids = args.shard.of(sorted({chunk.clip.clip_id for dataset, _ in sets for chunk in dataset.chunks}))
    remove_free_locks(cache.folder)
    with locked(cache.folder / f".lock-{args.shard.index}-of-{args.shard.count}"):
        cache.clean_up(clip_ids)
        for dataset, factors in sets:
            batches = missing_batches(dataset, cache, factors, clip_ids, args.batch_size)
            log.info("%d of %d chunks to encode", sum(map(len, batches)), len(dataset.chunks))
            if batches:
                fill(training, dataset, datamodule.collate, cache, factors, batches, args.workers)
            if isinstance(dataset, ChunkDataset):
                dataset.warn_of_damage()
    log.info("features are in %s", cache.folder)


@user_errors()
def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = build_parser().parse_args(arguments)
    run(compose(*args.options), args)


if __name__ == "__main__":
    sys.exit(main())
