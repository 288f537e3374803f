"""Synthetic clips straight into training, without a disk: rendered when asked for."""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from torch.utils.data import DataLoader
from tqdm import tqdm

from common.errors import InputError, check_range
from data.loaders import BatchModule, EpochDataset, check_epoch

Item = TypeVar("Item")


class SyntheticDataset(EpochDataset[Item]):
    """Clips in the form of a training, rendered when asked for.

    Args:
        render: Makes the item of a number, from 0 on; the same number gives the same item.
        n_clips: Clips an epoch, at least 1.
        n_distinct: After how many clips they come again, at least 1; None: never.
    """

    def __init__(self, render: Callable[[int], Item], n_clips: int, n_distinct: int | None = None) -> None:
        super().__init__(n_clips)
        self._render, self._n_distinct = render, n_distinct

    def __getitem__(self, index: int) -> Item:
        """Render a clip of the epoch."""
        number = self._number(index)
        return self._render(number if self._n_distinct is None else number % self._n_distinct)


class SyntheticDataModule(BatchModule):
    """Synthetic clips to train on, and some that stay the same for validation.

    Sub-classes say what an item is.

    Args:
        batch_size: Clips a batch and device.
        samples_per_epoch: Training clips an epoch, at least `batch_size`.
        n_val_clips: Clips to validate on, of another seed; kept in memory.
        n_train_clips: Clips to train on, which come again and again; None: new ones in every epoch.
        num_workers: Processes that render; 0 renders in the main process.
        seed: Seed of the training clips, at least 0; validation clips have the next one.

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
                f"batch_size {batch_size} is larger than samples_per_epoch {samples_per_epoch}: lower it, or raise that"
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
        """What makes the item of a seed and a number; goes to other processes."""

    def train_dataloader(self) -> DataLoader[Any]:
        """Load batches of the clips to train on, complete ones alone."""
        dataset = SyntheticDataset(partial(self.render, self._seed), self._samples_per_epoch, self._n_train_clips)
        return self._train_loader(dataset, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Load batches of the clips that stay the same."""
        items: Any = self.val_items(self._n_val_clips)
        return self._loader(items, 0)

    def val_items(self, n_clips: int) -> list[Any]:
        """Return the first clips to validate on, at most all of them; each is rendered once."""
        n_clips = min(n_clips, self._n_val_clips)
        missing = range(len(self._val_items), n_clips)
        self._val_items += [
            self.render(self._seed + 1, i)
            for i in tqdm(missing, desc="validation clips", unit="clip", disable=not missing)
        ]
        return self._val_items[:n_clips]
