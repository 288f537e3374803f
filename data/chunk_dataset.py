"""What data sets of chunks share: which chunk an item of an epoch is, cached features, and damaged recordings."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.data import Dataset

from common.errors import InputError
from data.cache import FeatureCache
from data.chunks import Chunk, cut_all
from data.greatest_hits import list_clips, need_pictures
from data.loaders import check_epoch
from media.clip import ClipSpec

_logger = logging.getLogger(__name__)
Item = TypeVar("Item")


class ChunkDataset(Dataset[Item | None], ABC):
    """Chunks of all recordings of a split, read from disk or from a cache each time they are asked for.

    Recordings are cut as by `data.chunks.cut_all`. An item depends on the epoch and its index alone, however many
    workers read.

    Args:
        root: Folder of the data set, see `data.greatest_hits.list_clips`.
        split: Name of the split, a file of ids, or None for all recordings.
        spec: Form of the items.
        frames: Whether frames are read; if so, every recording must have some.
        factors: The sound of an item is multiplied by one of these.
        samples_per_epoch: Items an epoch, at least 1; chunks come in turn, from one epoch into the next. None gives
            every chunk once.
        skip_damaged: Whether a chunk that cannot be read gives None and is counted, instead of an error.

    Attributes:
        chunks: All chunks, in order.

    Raises:
        InputError: The data set cannot be read, or holds no chunk or no frames; also when an item is read.
    """

    def __init__(
        self,
        root: Path,
        split: str | Path | None,
        spec: ClipSpec,
        *,
        frames: bool = True,
        factors: Sequence[float] = (1.0,),
        samples_per_epoch: int | None = None,
        skip_damaged: bool = False,
    ) -> None:
        check_epoch(samples_per_epoch)
        clips = list_clips(root, split, skip_damaged=skip_damaged)
        if frames:
            need_pictures(clips, root)
        self.chunks = cut_all(clips, spec.duration_s)
        self._spec = spec
        self._factors = tuple(factors)
        self._length = samples_per_epoch or len(self.chunks)
        self._skip_damaged = skip_damaged
        self._cache: FeatureCache | None = None
        # in shared memory, so that workers that outlive an epoch see the next one and tell what they met
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._damaged = torch.zeros(len(self.chunks), dtype=torch.bool).share_memory_()

    @abstractmethod
    def item(self, index: int, *, sound: bool = True) -> Item:
        """One item of the present epoch.

        Args:
            index: 0 to the number of items.
            sound: Whether sound, and frames if asked for, are read; False: cached features stand for them.

        Raises:
            InputError: The chunk cannot be read.
        """

    @abstractmethod
    def _read(self, chunk: Chunk, duration_s: float) -> Any:
        """Sound, and frames if asked for, from the start of a chunk on."""

    def use_cache(self, cache: FeatureCache) -> None:
        """Takes features from a cache from now on, instead of sound and frames.

        Where damaged chunks are skipped, they may be missing.

        Raises:
            InputError: Some are missing.
        """
        cache.check(self.chunks, self._factors, self._is_left_out)
        self._cache = cache

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the items asked for from now on, in this process and in its workers."""
        self._epoch.fill_(epoch)

    @property
    def damaged_chunks(self) -> list[Chunk]:
        """Chunks met so far, by this process and its workers, that could not be read."""
        return [chunk for chunk, damaged in zip(self.chunks, self._damaged.tolist(), strict=True) if damaged]

    def warn_of_damage(self) -> None:
        """Says how many chunks were left out, and of which recordings."""
        if damaged := self.damaged_chunks:
            ids = ", ".join(sorted({chunk.clip.clip_id for chunk in damaged}))
            _logger.warning("%d of %d chunks were left out, of %s", len(damaged), len(self.chunks), ids)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Item | None:
        return self.item_or_none(index, sound=self._cache is None)

    def item_or_none(self, index: int, *, sound: bool) -> Item | None:
        """What `item` gives; None where the chunk is damaged and such are skipped, of which the first time is said."""
        try:
            return self.item(index, sound=sound)
        except InputError as error:
            if not self._skip_damaged:
                raise
            self._leave_out(self._chunk_number(index), error)
            return None

    def _leave_out(self, number: int, error: InputError) -> None:
        if not self._damaged[number]:
            _logger.warning("left out: %s", error)
        self._damaged[number] = True

    def _is_left_out(self, number: int) -> bool:
        """Whether a chunk is damaged and such are skipped."""
        if self._skip_damaged and not self._damaged[number]:
            try:
                self._read(self.chunks[number], self._spec.duration_s)
            except InputError as error:
                self._leave_out(number, error)
        return bool(self._damaged[number])

    def _chunk_number(self, index: int) -> int:
        if not 0 <= index < self._length:
            raise IndexError(f"item {index} of {self._length}")
        return (int(self._epoch) * self._length + index) % len(self.chunks)
