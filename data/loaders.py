"""How data sets become batches: their order, and the processes that read them."""

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, Trainer
from torch.utils.data import DataLoader, Dataset, DistributedSampler, default_collate

from common.errors import check_range, check_seed
from common.parallel import check_workers
from data.epochs import EpochDataset


def epoch_to_read(trainer: Trainer | None) -> int:
    """Return the epoch whose items are read next.

    The trainer's own number is one behind when a run is resumed after a whole epoch, since reading starts before it
    counts that epoch.
    """
    if trainer is None:
        return 0
    epochs: Any = trainer.fit_loop.epoch_progress.current
    batches = trainer.fit_loop.epoch_loop.batch_progress
    is_behind = batches.is_last_batch and batches.current.ready > 0 and epochs.processed > epochs.completed
    return trainer.current_epoch + is_behind


class EpochLoader(DataLoader[Any]):
    """Tells its sampler and its data set at every start which epoch it is."""

    trainer: Trainer | None = None

    def __iter__(self) -> Any:
        """Begin an epoch."""
        for part in (self.sampler, self.dataset):
            if self.trainer is not None and hasattr(part, "set_epoch"):
                part.set_epoch(epoch_to_read(self.trainer))
        return super().__iter__()


class EpochSampler(DistributedSampler[Any]):
    """Shuffles by seed and epoch, and passes the epoch, which Lightning announces to samplers, on to the data set.

    Args:
        dataset: What is shuffled.
        trainer: Tells how many processes share an epoch, and with which epoch a run goes on; None: one, and the first.
        seed: Seed of the order.
    """

    def __init__(self, dataset: EpochDataset[Any], trainer: Trainer | None, seed: int) -> None:
        n_ranks, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        super().__init__(dataset, num_replicas=n_ranks, rank=rank, shuffle=True, seed=seed)
        self._epoch_dataset = dataset
        self._trainer = trainer
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: the trainer's; Lightning announces one too many after a run with max_steps is resumed."""
        epoch = epoch_to_read(self._trainer) if self._trainer else epoch
        super().set_epoch(epoch)
        self._epoch_dataset.set_epoch(epoch)


class BatchModule(LightningDataModule):
    """Loads batches, for training in a new order every epoch.

    Args:
        batch_size: Items a batch and device, up to 4096.
        num_workers: Processes that read, which outlive an epoch; 0 reads in the main process.
        seed: Seed of the order, at least 0.
        least_batch: Smallest batch.

    Raises:
        InputError: A number is too small, or larger than any machine has the memory for.
    """

    def __init__(self, batch_size: int, num_workers: int, seed: int, *, least_batch: int = 1) -> None:
        super().__init__()
        check_range("batch_size", batch_size, least_batch, 4096, whole=True)
        check_workers(num_workers, "num_workers")
        check_seed(seed, "seed")
        self._batch_size, self._num_workers, self._seed = batch_size, num_workers, seed

    @staticmethod
    def collate(items: Sequence[Any]) -> Any:
        """Join items into a batch."""
        return default_collate(list(items))

    def _train_loader(self, dataset: EpochDataset[Any], *, drop_last: bool = False) -> DataLoader[Any]:
        """Load an epoch in random order, if asked for without an incomplete last batch, unless that is the only one."""
        sampler = EpochSampler(dataset, self.trainer, self._seed)
        drop_last = drop_last and len(sampler) >= self._batch_size
        return self._epoch_loader(dataset, sampler=sampler, drop_last=drop_last)

    def _epoch_loader(self, dataset: Dataset[Any], **options: Any) -> DataLoader[Any]:
        loader = self._loader(dataset, self._num_workers, kind=EpochLoader, **options)
        assert isinstance(loader, EpochLoader)
        loader.trainer = self.trainer
        return loader

    def _loader(
        self, dataset: Dataset[Any], num_workers: int, *, kind: type[DataLoader[Any]] = DataLoader, **options: Any
    ) -> DataLoader[Any]:
        return kind(
            dataset,
            batch_size=self._batch_size,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=self.collate,
            **options,
        )
