"""Items that differ from epoch to epoch."""

from typing import TypeVar

import torch
from torch.utils.data import Dataset

from common.errors import check_range

Item = TypeVar("Item")


class EpochDataset(Dataset[Item]):
    """Items that differ from epoch to epoch; an epoch begins where the one before ended.

    Args:
        n_items: Items an epoch, at least 1.
    """

    def __init__(self, n_items: int) -> None:
        self._n_items = n_items
        # in shared memory, so that workers that outlive an epoch see the next one
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the items asked for from now on, in this process and in its workers."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Return the number of items an epoch."""
        return self._n_items

    def _number(self, index: int) -> int:
        """Return the number of an item of the present epoch among the items of all epochs."""
        if not 0 <= index < self._n_items:
            raise IndexError(f"item {index} of {self._n_items}")
        return int(self._epoch) * self._n_items + index


def check_epoch(samples_per_epoch: int | None) -> None:
    """Refuse a number of items an epoch, unless it is None, that is too small or whose order takes too much memory.

    Raises:
        InputError: Naming the value.
    """
    if samples_per_epoch is not None:
        check_range("samples_per_epoch", samples_per_epoch, 1, 10_000_000, whole=True)
