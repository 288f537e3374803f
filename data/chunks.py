"""Chunks: the stretches of recordings that models work on, cut, counted by epoch, and read from disk or a cache."""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from common.errors import InputError
from data.cache import FeatureCache
from data.epochs import EpochDataset, check_epoch
from data.greatest_hits import Hit, SourceClip, list_clips, need_pictures
from media.clip import ClipSpec
from media.reading import Reader

_logger = logging.getLogger(__name__)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Chunk:
    """A stretch of a recording, `duration_s` long; shorter than the model's clips only at the end of a recording."""

    clip: SourceClip
    start_s: float
    duration_s: float

    @property
    def hits(self) -> tuple[Hit, ...]:
        """Annotated hits within, timed from the start of the stretch."""
        end_s = self.start_s + self.duration_s
        inside = (hit for hit in self.clip.hits if self.start_s <= hit.time_s < end_s)
        return tuple(replace(hit, time_s=hit.time_s - self.start_s) for hit in inside)


def cut_all(clips: Sequence[SourceClip], duration_s: float) -> tuple[Chunk, ...]:
    """Cut recordings every `duration_s`; what is left at the end is a chunk if it fills at least half of one.

    Raises:
        InputError: Every recording is shorter than half of one.
    """
    chunks = []
    for clip in clips:
        n_chunks = math.floor(clip.duration_s / duration_s + 0.5)
        if n_chunks == 0:
            _logger.warning("%s is left out: it lasts less than half of %g s", clip.clip_id, duration_s)
        for start_s in (i * duration_s for i in range(n_chunks)):
            chunks.append(Chunk(clip, start_s, min(duration_s, clip.duration_s - start_s)))
    if not chunks:
        raise InputError(f"every clip lasts less than half of duration_s {duration_s}: give longer clips or lower it")
    return tuple(chunks)


class ChunkDataset(EpochDataset[Item | None], ABC):
    """Chunks of all recordings of a split, read from disk or from a cache each time they are asked for.

    Recordings are cut as by `cut_all`. An item depends on the epoch and its index alone, however many workers read.

    Args:
        root: Folder of the data set, see `data.greatest_hits.list_clips`.
        split: Name of the split, a file of ids, or None for all recordings.
        spec: Form of the items.
        frames: Whether frames are read; if so, every recording must have some.
        factors: The sound of an item is multiplied by one of these.
        samples_per_epoch: Items an epoch, at least 1; chunks come in turn, from one epoch into the next. None gives
            every chunk once.
        skip_damaged: Whether a chunk that cannot be read gives None and is counted, instead of an error.
        reader: What reads the frames of videos.

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
        reader: Reader = "auto",
    ) -> None:
        check_epoch(samples_per_epoch)
        clips = list_clips(root, split, skip_damaged=skip_damaged)
        if frames:
            need_pictures(clips, root)
        self.chunks = cut_all(clips, spec.duration_s)
        super().__init__(samples_per_epoch or len(self.chunks))
        self._spec, self._frames, self._reader = spec, frames, reader
        self._factors = tuple(factors)
        self._skip_damaged = skip_damaged
        self._cache: FeatureCache | None = None
        # in shared memory, so that workers tell what they met
        self._damaged = torch.zeros(len(self.chunks), dtype=torch.bool).share_memory_()

    @abstractmethod
    def item(self, index: int, *, sound: bool = True) -> Item:
        """Return one item of the present epoch.

        Args:
            index: 0 to the number of items.
            sound: Whether sound, and frames if asked for, are read; False: cached features stand for them.

        Raises:
            InputError: The chunk cannot be read.
        """

    @abstractmethod
    def _read(self, chunk: Chunk, duration_s: float) -> Any:
        """Read sound, and frames if asked for, from the start of a chunk on."""

    def use_cache(self, cache: FeatureCache) -> None:
        """Take features from a cache from now on, instead of sound and frames.

        Where damaged chunks are skipped, they may be missing.

        Raises:
            InputError: Some are missing.
        """
        cache.check(self.chunks, self._factors, self._is_left_out)
        self._cache = cache

    @property
    def damaged_chunks(self) -> list[Chunk]:
        """Chunks met so far, by this process and its workers, that could not be read."""
        return [chunk for chunk, damaged in zip(self.chunks, self._damaged.tolist(), strict=True) if damaged]

    def warn_of_damage(self) -> None:
        """Log how many chunks were left out, and of which recordings."""
        if damaged := self.damaged_chunks:
            ids = ", ".join(sorted({chunk.clip.clip_id for chunk in damaged}))
            _logger.warning("%d of %d chunks were left out, of %s", len(damaged), len(self.chunks), ids)

    def __getitem__(self, index: int) -> Item | None:
        return self.item_or_none(index, sound=self._cache is None)

    def item_or_none(self, index: int, *, sound: bool) -> Item | None:
        """Return what `item` gives; None if the chunk is damaged and such are skipped, which is logged once a chunk."""
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
        """Return whether a chunk is damaged and damaged ones are skipped."""
        if self._skip_damaged and not self._damaged[number]:
            try:
                self._read(self.chunks[number], self._spec.duration_s)
            except InputError as error:
                self._leave_out(number, error)
        return bool(self._damaged[number])

    def _chunk_number(self, index: int) -> int:
        return self._number(index) % len(self.chunks)
