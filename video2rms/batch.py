"""Owns the input of training: frames at 30 per second or features of them, and level and onsets of the sound."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class VideoItem:
    """One clip with its ground truth.

    Args:
        frames: Frames on a grid of 30 per second (T, 3, H, W), uint8, RGB; None if `features` replace them.
        lateness_s: Grid time minus the time at which each frame was shown (T,), seconds, float32.
        rms: Level of the sound, whose peak is 1, in slots of 8 ms (N,).
        rms_44khz: Level every 128 samples at 44.1 kHz (M,), see `evaluation.levels.rms_44khz`.
        onsets_s: Times of the onsets (K,).
        clip_id: Name of the clip.
        features: Features of the frames by a frozen extractor (T, D), from a cache; or None.
    """

    frames: Tensor | None
    lateness_s: Tensor
    rms: Tensor
    rms_44khz: Tensor
    onsets_s: Tensor
    clip_id: str
    features: Tensor | None = None


@dataclass(frozen=True, eq=False)
class VideoBatch:
    """Clips of equal length: the fields of `VideoItem` with a batch axis B in front; the number of onsets differs."""

    frames: Tensor | None
    lateness_s: Tensor
    rms: Tensor
    rms_44khz: Tensor
    onsets_s: tuple[Tensor, ...]
    clip_ids: tuple[str, ...]
    features: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.clip_ids)

    def clips(self, first: int, end: int) -> "VideoBatch":
        """Return the batch of the clips from ``first`` on, before ``end``."""
        part = self._map(lambda tensor: tensor[first:end])
        return replace(part, onsets_s=self.onsets_s[first:end], clip_ids=self.clip_ids[first:end])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "VideoBatch":
        """Return a copy of the batch with its tensors on a device; onset times are not moved."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "VideoBatch":
        """Return a copy of the batch in page-locked memory; `DataLoader(pin_memory=True)` calls it."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> "VideoBatch":
        return replace(
            self,
            frames=None if self.frames is None else change(self.frames),
            lateness_s=change(self.lateness_s),
            rms=change(self.rms),
            rms_44khz=change(self.rms_44khz),
            features=None if self.features is None else change(self.features),
        )


def collate_videos(items: Sequence[VideoItem]) -> VideoBatch:
    """Join clips of equal length, all with frames or all with features."""
    return VideoBatch(
        _stack([item.frames for item in items]),
        torch.stack([item.lateness_s for item in items]),
        torch.stack([item.rms for item in items]),
        torch.stack([item.rms_44khz for item in items]),
        tuple(item.onsets_s for item in items),
        tuple(item.clip_id for item in items),
        _stack([item.features for item in items]),
    )


def collate_undamaged_videos(items: Sequence[VideoItem | None]) -> VideoBatch | None:
    """Join the clips that are not None (None: a damaged clip); return None if there is none."""
    undamaged = [item for item in items if item is not None]
    return collate_videos(undamaged) if undamaged else None


def _stack(parts: Sequence[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.stack(there) if there else None
