"""What a model is given: chunks as sound and frames, or features of them, onsets and a text; alone and in batches."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class FoleyItem:
    """One chunk.

    Args:
        wave: Sound (C, N), float32, at most 1 in magnitude, or None where features stand for it.
        frames: Frames (T, 3, H, W), float32, 0 to 1, or None where not asked for.
        onsets: Times of the hits in seconds from the start of the chunk (K,), float32, in order.
        label: Text for what is heard, "" where nothing is annotated.
        clip_id: Recording the chunk is from.
        start_s: Start of the chunk in the recording.
        duration_s: Seconds of the chunk that are from the recording; silence follows.
        features: What frozen encoders made of sound and frames, by name, from a cache; None without one.
    """

    wave: Tensor | None
    frames: Tensor | None
    onsets: Tensor
    label: str
    clip_id: str
    start_s: float
    duration_s: float
    features: dict[str, Tensor] | None = None


@dataclass(frozen=True, eq=False)
class FoleyBatch:
    """Several chunks; what the fields mean is told at `FoleyItem`.

    Args:
        wave: (B, C, N), float32, or None.
        frames: (B, T, 3, H, W), float32, or None.
        onsets: B tensors (K,), float32, each of its own length.
        labels: B texts.
        clip_ids: B names.
        start_s: (B,), float32.
        duration_s: (B,), float32.
        features: By name (B, …), or None.
    """

    wave: Tensor | None
    frames: Tensor | None
    onsets: tuple[Tensor, ...]
    labels: tuple[str, ...]
    clip_ids: tuple[str, ...]
    start_s: Tensor
    duration_s: Tensor
    features: dict[str, Tensor] | None = None

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.clip_ids)

    @property
    def seconds_start(self) -> Tensor:
        """Where each clip starts in its sound (B,): at 0, since a chunk is a sound of its own."""
        return torch.zeros_like(self.duration_s)

    @property
    def seconds_total(self) -> Tensor:
        """How long the sound of each clip is (B,)."""
        return self.duration_s

    def clips(self, first: int, end: int) -> "FoleyBatch":
        """The batch of the clips from ``first`` on, before ``end``."""

        def cut(part: Any) -> Any:
            if isinstance(part, dict):
                return {name: value[first:end] for name, value in part.items()}
            return part[first:end]

        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: cut(part) for name, part in parts.items() if part is not None})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "FoleyBatch":
        """The same batch with its tensors on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "FoleyBatch":
        """The same batch with its tensors in page-locked memory; `DataLoader(pin_memory=True)` calls it."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> "FoleyBatch":
        return replace(
            self,
            wave=None if self.wave is None else change(self.wave),
            frames=None if self.frames is None else change(self.frames),
            onsets=tuple(change(onsets) for onsets in self.onsets),
            start_s=change(self.start_s),
            duration_s=change(self.duration_s),
            features=self.features and {name: change(value) for name, value in self.features.items()},
        )


def collate_undamaged(items: Sequence[FoleyItem | None]) -> FoleyBatch | None:
    """Joins the items that are there (None: a damaged chunk) into a batch; None where there is none."""
    undamaged = [item for item in items if item is not None]
    return collate(undamaged) if undamaged else None


def collate(items: Sequence[FoleyItem]) -> FoleyBatch:
    """Joins items of one data set into a batch."""

    def stack(parts: Iterable[Tensor | None]) -> Tensor | None:
        there = [part for part in parts if part is not None]
        return torch.stack(there) if there else None

    features = [item.features for item in items if item.features is not None]
    return FoleyBatch(
        wave=stack(item.wave for item in items),
        frames=stack(item.frames for item in items),
        onsets=tuple(item.onsets for item in items),
        labels=tuple(item.label for item in items),
        clip_ids=tuple(item.clip_id for item in items),
        start_s=torch.tensor([item.start_s for item in items]),
        duration_s=torch.tensor([item.duration_s for item in items]),
        features={name: torch.stack([each[name] for each in features]) for name in features[0]} if features else None,
    )
