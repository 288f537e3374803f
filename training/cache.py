"""Run frozen encoders over a data set once: ``python -m training.cache exp=NAME dataset.cache=DIR``.

The options are those of the training; it then reads the features that are in the folder and runs no frozen encoder.
Killed and started again it goes on; machines that share the folder divide the recordings with --shard.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from common.errors import end_on_interrupt

    end_on_interrupt()

import argparse
import logging
import re
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, cast

from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from common.devices import pick_device
from common.errors import InputError, user_errors
from common.files import locked
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
    """All options, with their defaults."""
    parser = argparse.ArgumentParser(
        prog="python -m training.cache",
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("options", nargs="+", metavar="KEY=VALUE", help="the options of the training, dataset.cache=DIR among them")
    add("--shard", default="0/1", metavar="I/N", help="the I-th, from 0 on, of N parts of the recordings")
    add("--batch-size", type=int, default=4, help="chunks at once")
    add("--num-workers", type=int, default=1, help="processes that read; 0 reads in the main process")
    add("--device", help="cuda, mps or cpu; None: the first of these that is there")
    return parser


def parse_shard(text: str) -> tuple[int, int]:
    """Number and count of a part, from ``I/N``.

    Raises:
        InputError: there is no such part.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise InputError(f"--shard {text} is no part; give I/N, I from 0 to N - 1, for instance 0/4.")
    return int(match[1]), int(match[2])


def collate_with_gaps(
    collate: Callable[[Sequence[Any]], Any], items: Sequence[Any | None]
) -> tuple[list[bool], Any | None]:
    """Which chunks could be read, and the batch of these."""
    return [item is not None for item in items], collate(items)


def missing_batches(
    dataset: Encodable,
    cache: FeatureCache,
    factors: Sequence[float],
    clip_ids: Collection[str],
    batch_size: int,
) -> list[list[int]]:
    """Chunks of some recordings in batches, of which only those of which features are missing.

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
    num_workers: int,
) -> None:
    """Encode batches of chunks and write their features.

    Raises:
        InputError: a chunk cannot be read, or the cache cannot be written.
    """
    with_gaps = partial(collate_with_gaps, collate)
    loader = DataLoader(
        cast("Dataset[Any]", dataset), batch_sampler=batches, num_workers=num_workers, collate_fn=with_gaps
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
    number, count = parse_shard(args.shard)
    if args.batch_size < 1 or args.num_workers < 0:
        raise InputError(
            f"--batch-size {args.batch_size}, --num-workers {args.num_workers} do not work; give at least 1 and 0."
        )
    if OmegaConf.select(config, "dataset.cache") is None:
        raise InputError("dataset.cache is not set; name the folder to fill with dataset.cache=DIR.")
    device = pick_device(args.device)
    datamodule = instantiate(config.dataset)
    sets = datamodule.sets_to_encode()
    training = build_training(config)
    cache: FeatureCache = datamodule.feature_cache(training.encoder_ids())
    training.eval().requires_grad_(False).to(device)
    clip_ids = sorted({chunk.clip.clip_id for dataset, _ in sets for chunk in dataset.chunks})[number::count]
    for left in cache.folder.glob(".lock-*"):  # of runs that were killed
        with suppress(InputError), locked(left):
            pass
    with locked(cache.folder / f".lock-{number}-of-{count}"):
        cache.clean_up(clip_ids)
        for dataset, factors in sets:
            batches = missing_batches(dataset, cache, factors, clip_ids, args.batch_size)
            log.info("%d of %d chunks to encode", sum(map(len, batches)), len(dataset.chunks))
            if batches:
                fill(training, dataset, datamodule.collate, cache, factors, batches, args.num_workers)
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
