"""How data sets become batches: the order of an epoch, and the processes that read."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from pytorch_lightning import Trainer
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from common.errors import check_range, check_seed
from common.parallel import check_workers


class EpochDataset(Protocol):
    """A data set whose items differ from epoch to epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the items asked for from now on."""

    def __len__(self) -> int: ...


class EpochSampler(DistributedSampler[Any]):
    """Shuffles by seed and epoch, and passes the epoch, which Lightning announces to samplers, on to the data set.

    Args:
        dataset: What is shuffled.
        trainer: Tells how many processes share an epoch, and with which epoch a run goes on; None: one, and the first.
        seed: Seed of the order.
    """

    def __init__(self, dataset: EpochDataset, trainer: Trainer | None, seed: int) -> None:
        n_ranks, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        super().__init__(dataset, num_replicas=n_ranks, rank=rank, shuffle=True, seed=seed)  # type: ignore[arg-type]
        self._epoch_dataset = dataset
        self._trainer = trainer
        # reading starts before Lightning announces the first epoch, which is not 0 when a run is resumed
        self.set_epoch(trainer.current_epoch if trainer else 0)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: the trainer's; Lightning announces one too many after a run with max_steps is resumed."""
        epoch = self._trainer.current_epoch if self._trainer else epoch
        super().set_epoch(epoch)
        self._epoch_dataset.set_epoch(epoch)


def check_batches(batch_size: int, num_workers: int, seed: int, *, least: int = 1) -> None:
    """Refuse numbers of a training's data that are too small, or that no machine has the memory for.

    Args:
        batch_size: Items a batch.
        num_workers: Processes that read.
        seed: Seed of the order.
        least: Smallest batch.

    Raises:
        InputError: Naming the value.
    """
    check_range("batch_size", batch_size, least, 4096, whole=True)
    check_workers(num_workers, "num_workers")
    check_seed(seed, "seed")


def check_epoch(samples_per_epoch: int | None) -> None:
    """Refuse a number of items an epoch, unless it is None, that is too small or whose order takes too much memory.

    Raises:
        InputError: Naming the value.
    """
    if samples_per_epoch is not None:
        check_range("samples_per_epoch", samples_per_epoch, 1, 10_000_000, whole=True)


def loader(
    dataset: Dataset[Any],
    sampler: EpochSampler | None,
    *,
    batch_size: int,
    num_workers: int,
    collate: Callable[..., Any] | None = None,
    drop_last: bool = False,
) -> DataLoader[Any]:
    """Batches of a data set, read by processes that outlive an epoch.

    Args:
        dataset: Gives the items.
        sampler: Order of the items; None: as they are.
        batch_size: Items a batch.
        num_workers: Processes that read; 0 reads in the main process.
        collate: Joins items; None: torch's own way.
        drop_last: Whether an incomplete last batch is left out.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        collate_fn=collate,
        drop_last=drop_last,
    )
