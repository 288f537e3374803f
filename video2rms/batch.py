"""Owns what training reads: frames at 30 a second or features of them, and level and onsets of the sound."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from media.envelope import FINE_RATE_HZ


@dataclass(frozen=True, eq=False)
class VideoItem:
    """One clip with its truth.

    Args:
        frames: Frames on a grid of 30 a second (T, 3, H, W), uint8, RGB, or None where features stand for them.
        lateness_s: Grid time less the time at which each frame was really shown (T,), float32.
        rms: Level of the sound in slots of 8 ms (N,), of a sound whose peak is 1.
        rms_44khz: The same every 128 samples of 44.1 kHz (M,), see `evaluation.levels.rms_44khz`.
        onsets_s: Times of the onsets (K,).
        clip_id: Its name.
        features: What a frozen extractor made of the frames (T, D), from a cache; None without one.
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
    """Clips of one length together: as `VideoItem`, with a batch axis B in front; onsets differ in number."""

    frames: Tensor | None
    lateness_s: Tensor
    rms: Tensor
    rms_44khz: Tensor
    onsets_s: tuple[Tensor, ...]
    clip_ids: tuple[str, ...]
    features: Tensor | None = None

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.clip_ids)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "VideoBatch":
        """The same batch with its tensors on a device; times of onsets stay where they are."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "VideoBatch":
        """The same batch with its tensors in page-locked memory; `DataLoader(pin_memory=True)` calls it."""
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
    """Joins clips of one length, all with frames or all with features."""
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
    """Joins the clips that are there (None: a damaged one); None where there is none."""
    undamaged = [item for item in items if item is not None]
    return collate_videos(undamaged) if undamaged else None


def _stack(parts: Sequence[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.stack(there) if there else None


def onset_heights(onsets_s: Sequence[Tensor], n_slots: int, width_s: float) -> Tensor:
    """What the onset head is trained on: a bell of height 1 around each onset.

    Args:
        onsets_s: Times of the onsets, a tensor (K,) a clip.
        n_slots: Number N of slots of 8 ms.
        width_s: Standard deviation of a bell.

    Returns:
        Heights 0 to 1 (B, N), the largest where bells meet.
    """
    middle_s = (torch.arange(n_slots) + 0.5) / FINE_RATE_HZ
    heights = torch.zeros(len(onsets_s), n_slots)
    for row, times_s in zip(heights, onsets_s, strict=True):
        if len(times_s):
            distance = (middle_s - times_s.float()[:, None]) / width_s
            row.copy_(torch.exp(-0.5 * distance.square()).amax(dim=0))
    return heights
