"""Synthetic clips straight into training, without a disk: rendered when asked for, new ones in every epoch."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from data.errors import InputError
from data.loaders import EpochSampler, loader

Item = TypeVar("Item")


class SyntheticDataset(Dataset[Item]):
    """Clips in the form of a training, rendered when asked for.

    Args:
        render: Makes the item of a number, from 0 on; the same number gives the same item.
        n_clips: Clips an epoch, at least 1; an epoch begins where the one before ended.
    """

    def __init__(self, render: Callable[[int], Item], n_clips: int) -> None:
        self._render, self._n_clips = render, n_clips
        # in shared memory, so that workers that outlive an epoch see the next one
        self._epoch = torch.tensor(0, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the items asked for from now on, in this process and in its workers."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Clips an epoch."""
        return self._n_clips

    def __getitem__(self, index: int) -> Item:
        """A clip of the epoch."""
        return self._render(int(self._epoch) * self._n_clips + index)


class SyntheticDataModule(LightningDataModule, ABC):
    """Synthetic clips to train on, new ones in every epoch, and some that stay the same for validation.

    Sub-classes say what an item is.

    Args:
        batch_size: Clips a batch and device.
        samples_per_epoch: Training clips an epoch, at least `batch_size`.
        n_val_clips: Clips to validate on, of another seed; kept in memory.
        num_workers: Processes that render; 0 renders in the main process.
        seed: Seed of the training clips, at least 0; validation clips have the next one.

    Raises:
        InputError: A number is too small.
    """

    def __init__(
        self, *, batch_size: int, samples_per_epoch: int, n_val_clips: int, num_workers: int = 1, seed: int = 0
    ) -> None:
        super().__init__()
        if not 1 <= batch_size <= samples_per_epoch or n_val_clips < 1 or min(num_workers, seed) < 0:
            raise InputError(
                f"batch_size {batch_size}, samples_per_epoch {samples_per_epoch}, n_val_clips {n_val_clips}, "
                f"num_workers {num_workers} and seed {seed} do not work: give at least 1 each (workers, seed: 0), and "
                "batches no larger than an epoch"
            )
        self._samples_per_epoch, self._n_val_clips = samples_per_epoch, n_val_clips
        self._batch_size, self._num_workers, self._seed = batch_size, num_workers, seed
        self._val_items: list[Any] = []

    @property
    @abstractmethod
    def render(self) -> Callable[[int, int], Any]:
        """What makes the item of a seed and a number; goes to other processes."""

    @staticmethod
    @abstractmethod
    def collate(items: Sequence[Any]) -> Any:
        """Joins items into a batch."""

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of new clips."""
        dataset = SyntheticDataset(partial(self.render, self._seed), self._samples_per_epoch)
        return loader(
            dataset,
            EpochSampler(dataset, self.trainer, self._seed),
            batch_size=self._batch_size,
            num_workers=self._num_workers,
            collate=self.collate,
            drop_last=True,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches of the clips that stay the same."""
        items: Any = self.val_items(self._n_val_clips)
        return loader(items, None, batch_size=self._batch_size, num_workers=0, collate=self.collate)

    def val_items(self, n_clips: int) -> list[Any]:
        """The first clips to validate on, at most all of them; rendered once."""
        n_clips = min(n_clips, self._n_val_clips)
        missing = range(len(self._val_items), n_clips)
        self._val_items += [
            self.render(self._seed + 1, i)
            for i in tqdm(missing, desc="validation clips", unit="clip", disable=not missing)
        ]
        return self._val_items[:n_clips]
