"""Lightning data modules for Video2RMS."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from data.cache import ENVELOPE, FRAMES, tensor_name
from data.datamodule import ChunkDataModule
from data.shard_module import ShardModule
from synthetic import SyntheticDataModule, SyntheticSpec
from video2rms.batch import VideoBatch, VideoItem, collate_undamaged_videos, collate_videos
from video2rms.recordings import LATENESS, RMS_44KHZ, RecordingDataset
from video2rms.synthetic import render_video


class RecordingModule(ChunkDataModule):
    """Chunks of recordings with their frames, or with features of them from a cache; see `ChunkDataModule`."""

    @staticmethod
    def collate(items: Sequence[VideoItem | None]) -> VideoBatch | None:
        """Join the undamaged clips into a batch; return None if there is none."""
        return collate_undamaged_videos(items)

    def _items(self, split: str | None) -> RecordingDataset:
        return RecordingDataset(self._root, split, self.spec, skip_damaged=self.skip_damaged, reader=self._reader)

    def _training_items(self) -> RecordingDataset:
        return RecordingDataset(
            self._root,
            self._train_split,
            self.spec,
            samples_per_epoch=self._samples_per_epoch,
            skip_damaged=self.skip_damaged,
            reader=self._reader,
        )


class RecordingShardModule(ShardModule):
    """Chunks of recordings with features of their frames, from shards; see `ShardModule`."""

    @staticmethod
    def collate(items: Sequence[VideoItem]) -> VideoBatch:
        """Join items into a batch."""
        return collate_videos(items)

    def item(self, known: dict[str, Any], features: dict[str, Tensor], generator: torch.Generator | None) -> VideoItem:
        """Make an item; nothing of it is random."""
        del generator
        read = {name: features[tensor_name(name, 1.0)] for name in (FRAMES, LATENESS, ENVELOPE, RMS_44KHZ)}
        return VideoItem(
            frames=None,
            lateness_s=read[LATENESS],
            rms=read[ENVELOPE],
            rms_44khz=read[RMS_44KHZ],
            onsets_s=known["onsets_s"],
            clip_id=known["clip_id"],
            features=read[FRAMES],
        )


class SyntheticVideoModule(SyntheticDataModule):
    """Synthetic strikes, new ones in every epoch, and a fixed set for validation.

    Sound and picture of the clips should agree (`max_offset_s` of 0), since a random offset cannot be learned.

    Args:
        spec: Form of the clips; 4 s of 112x64 pixels take 2.6 MB each.
        **common: Batches and seeds, see `SyntheticDataModule`.
    """

    def __init__(self, spec: SyntheticSpec, **common: Any) -> None:
        super().__init__(**common)
        self._spec = spec

    @property
    def render(self) -> Callable[[int, int], VideoItem]:
        """Function that makes a training item."""
        return partial(render_video, self._spec)

    @staticmethod
    def collate(items: Sequence[VideoItem]) -> VideoBatch:
        """Join items into a batch."""
        return collate_videos(items)
