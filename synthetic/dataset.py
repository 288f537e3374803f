"""Synthetic clips for training, rendered on demand without using the disk."""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from torch.utils.data import DataLoader
from tqdm import tqdm

from common.errors import InputError, check_range
from data.epochs import EpochDataset, check_epoch
from data.loaders import BatchModule

Item = TypeVar("Item")


class SyntheticDataset(EpochDataset[Item]):
    """Training items of synthetic clips, rendered on demand.

    Args:
        render: Makes the item of a number, from 0 on; the same number gives the same item.
        n_clips: Clips in an epoch, at least 1.
        n_distinct: Number of distinct clips, at least 1, which repeat; None: clips never repeat.
    """

    def __init__(self, render: Callable[[int], Item], n_clips: int, n_distinct: int | None = None) -> None:
        super().__init__(n_clips)
        self._render, self._n_distinct = render, n_distinct

    def __getitem__(self, index: int) -> Item:
        """Render a clip of the epoch."""
        number = self._number(index)
        return self._render(number if self._n_distinct is None else number % self._n_distinct)


class SyntheticDataModule(BatchModule):
    """Synthetic clips to train on, and a fixed set of clips for validation.

    Sub-classes define the item.

    Args:
        batch_size: Clips in a batch, for each device.
        samples_per_epoch: Training clips in an epoch, at least `batch_size`.
        n_val_clips: Validation clips, drawn with another seed and kept in memory.
        n_train_clips: Distinct training clips, repeated in every epoch; None: every epoch has new ones.
        num_workers: Processes that render; 0 renders in the main process.
        seed: Seed of the training clips, at least 0; validation clips use the next seed.

    Raises:
        InputError: A number is too small or too large.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        samples_per_epoch: int,
        n_val_clips: int,
        n_train_clips: int | None = None,
        num_workers: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        check_epoch(samples_per_epoch)
        if batch_size > samples_per_epoch:
            raise InputError(
                f"batch_size {batch_size} is larger than samples_per_epoch {samples_per_epoch}: "
                "lower batch_size or raise samples_per_epoch"
            )
        check_range("n_val_clips", n_val_clips, 1, 10_000, whole=True)
        if n_train_clips is not None:
            check_range("n_train_clips", n_train_clips, 1, 10_000_000, whole=True)
        self._n_train_clips = n_train_clips
        self._samples_per_epoch, self._n_val_clips = samples_per_epoch, n_val_clips
        self._val_items: list[Any] = []

    @property
    @abstractmethod
    def render(self) -> Callable[[int, int], Any]:
        """Function that makes the item of a seed and a number; it must be picklable for worker processes."""

    def train_dataloader(self) -> DataLoader[Any]:
        """Load batches of the training clips; an incomplete last batch is dropped."""
        dataset = SyntheticDataset(partial(self.render, self._seed), self._samples_per_epoch, self._n_train_clips)
        return self._train_loader(dataset, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Load batches of the validation clips."""
        items: Any = self.val_items(self._n_val_clips)
        return self._loader(items, 0)

    def val_items(self, n_clips: int) -> list[Any]:
        """Return the first `n_clips` validation items, at most all of them; each is rendered only once."""
        n_clips = min(n_clips, self._n_val_clips)
        missing = range(len(self._val_items), n_clips)
        self._val_items += [
            self.render(self._seed + 1, i)
            for i in tqdm(missing, desc="validation clips", unit="clip", disable=not missing)
        ]
        return self._val_items[:n_clips]
