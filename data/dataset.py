"""Training and validation items: chunks of recordings as sound, frames, onsets and a text, and batches of them."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from data.augment import Remix
from data.clip import ClipSpec, count_at_rate
from data.errors import InputError
from data.greatest_hits import Hit, SourceClip, label_of, list_clips
from data.media import read_frames, read_sound

_logger = logging.getLogger(__name__)


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


@dataclass(frozen=True, eq=False)
class FoleyItem:
    """One chunk.

    Args:
        wave: Sound (C, N), float32, at most 1 in magnitude.
        frames: Frames (T, 3, H, W), float32, 0 to 1, or None where not asked for.
        onsets: Times of the hits in seconds from the start of the chunk (K,), float32, in order.
        label: Text for what is heard, "" where nothing is annotated.
        clip_id: Recording the chunk is from.
        start_s: Start of the chunk in the recording.
        duration_s: Seconds of the chunk that are from the recording; silence follows.
    """

    wave: Tensor
    frames: Tensor | None
    onsets: Tensor
    label: str
    clip_id: str
    start_s: float
    duration_s: float


@dataclass(frozen=True, eq=False)
class FoleyBatch:
    """Several chunks; what the fields mean is told at `FoleyItem`.

    Args:
        wave: (B, C, N), float32.
        frames: (B, T, 3, H, W), float32, or None.
        onsets: B tensors (K,), float32, each of its own length.
        labels: B texts.
        clip_ids: B names.
        start_s: (B,), float32.
        duration_s: (B,), float32.
    """

    wave: Tensor
    frames: Tensor | None
    onsets: tuple[Tensor, ...]
    labels: tuple[str, ...]
    clip_ids: tuple[str, ...]
    start_s: Tensor
    duration_s: Tensor

    def clips(self, first: int, end: int) -> "FoleyBatch":
        """The batch of the clips from ``first`` on, before ``end``."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: part[first:end] for name, part in parts.items() if part is not None})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "FoleyBatch":
        """The same batch with its tensors on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "FoleyBatch":
        """The same batch with its tensors in page-locked memory; `DataLoader(pin_memory=True)` calls it."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> "FoleyBatch":
        return replace(
            self,
            wave=change(self.wave),
            frames=None if self.frames is None else change(self.frames),
            onsets=tuple(change(onsets) for onsets in self.onsets),
            start_s=change(self.start_s),
            duration_s=change(self.duration_s),
        )


def collate(items: Sequence[FoleyItem]) -> FoleyBatch:
    """Joins items of one data set into a batch."""
    frames = [item.frames for item in items if item.frames is not None]
    return FoleyBatch(
        wave=torch.stack([item.wave for item in items]),
        frames=torch.stack(frames) if frames else None,
        onsets=tuple(item.onsets for item in items),
        labels=tuple(item.label for item in items),
        clip_ids=tuple(item.clip_id for item in items),
        start_s=torch.tensor([item.start_s for item in items]),
        duration_s=torch.tensor([item.duration_s for item in items]),
    )


class FoleyDataset(Dataset[FoleyItem]):
    """Chunks of all recordings of a split, read from disk each time they are asked for.

    Recordings are cut every `spec.duration_s`; what is left at the end is a chunk too, padded with silence and the last
    frame, if it fills at least half of one. Each chunk is scaled to a peak of 1, silence stays silence. After an
    augmentation it is scaled again only where it would exceed 1, so that quiet clips occur.

    An item depends on the seed, the epoch and its index alone, however many workers read.

    Args:
        root: Folder of the data set, see `data.greatest_hits.list_clips`.
        split: Name of the split, a file of ids, or None for all recordings.
        spec: Form of the items.
        augment: Draws a new clip from the recorded part of a chunk; None takes the chunk as it is.
        frames: Whether frames are read; False gives items whose frames are None.
        samples_per_epoch: Items an epoch, at least 1; chunks come in turn, from one epoch into the next. None gives
            every chunk once.
        seed: Seed of the augmentation, at least 0.

    Raises:
        InputError: The data set cannot be read, or holds no chunk or no frames; also when an item is read.
    """

    def __init__(
        self,
        root: Path,
        split: str | Path | None,
        spec: ClipSpec,
        *,
        augment: Remix | None = None,
        frames: bool = True,
        samples_per_epoch: int | None = None,
        seed: int = 0,
    ) -> None:
        if samples_per_epoch is not None and samples_per_epoch < 1:
            raise InputError(f"samples_per_epoch is {samples_per_epoch}, expected at least 1: leave it out for all")
        clips = list_clips(root, split)
        blind = [clip for clip in clips if clip.frames_dir is None and clip.video_path is None]
        if frames and blind:
            raise InputError(
                f"{len(blind)} clips of {root} have neither frames nor a video, {blind[0].clip_id} is the first: "
                "add their frames or work without frames"
            )
        self.chunks = _cut_all(clips, spec.duration_s)
        self._spec = spec
        self._augment = augment
        self._frames = frames
        self._length = samples_per_epoch or len(self.chunks)
        self._seed = seed
        # in shared memory, so that workers that outlive an epoch see the next one
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the items asked for from now on, in this process and in its workers."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> FoleyItem:
        if not 0 <= index < self._length:
            raise IndexError(f"item {index} of {self._length}")
        epoch = int(self._epoch)
        chunk = self.chunks[(epoch * self._length + index) % len(self.chunks)]
        onsets = torch.tensor([hit.time_s for hit in chunk.hits])
        duration_s = self._spec.duration_s if self._augment is None else chunk.duration_s
        wave, frames = self._read(chunk, duration_s)
        if self._augment is not None:
            entropy = np.random.SeedSequence((self._seed, epoch, index)).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(entropy[0]))
            wave, frames, onsets = self._augment(wave, frames, onsets, self._spec, generator)
            wave = wave / wave.abs().amax().clamp(min=1)
        return FoleyItem(
            wave=wave,
            frames=None if frames is None else frames.float() / 255,
            onsets=onsets,
            label=label_of(chunk.hits),
            clip_id=chunk.clip.clip_id,
            start_s=chunk.start_s,
            duration_s=chunk.duration_s if self._augment is None else self._spec.duration_s,
        )

    def _read(self, chunk: Chunk, duration_s: float) -> tuple[Tensor, Tensor | None]:
        """Sound (C, N) with a peak of 1 or 0 and frames (T, 3, H, W), uint8, from the start of the chunk on."""
        wave = read_sound(
            chunk.clip.sound_path,
            sample_rate_hz=self._spec.sample_rate_hz,
            n_channels=self._spec.n_channels,
            start_s=chunk.start_s,
            duration_s=duration_s,
        )
        peak = wave.abs().amax()
        wave = wave / torch.where(peak > 0, peak, 1.0)
        return wave, self._read_frames(chunk, duration_s) if self._frames else None

    def _read_frames(self, chunk: Chunk, duration_s: float) -> Tensor:
        rate_hz, size_px = self._spec.frame_rate_hz, self._spec.frame_size_px
        return read_clip_frames(chunk.clip, chunk.start_s, duration_s, frame_rate_hz=rate_hz, size_px=size_px)


def _cut_all(clips: Sequence[SourceClip], duration_s: float) -> tuple[Chunk, ...]:
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


def read_clip_frames(
    clip: SourceClip, start_s: float, duration_s: float, *, frame_rate_hz: float, size_px: int | None = None
) -> Tensor:
    """Frames of a recording on an even grid of times, from its jpgs where it has them, else from its video.

    Args:
        clip: A recording with frames or a video.
        start_s: Time of the first frame in seconds.
        duration_s: Seconds to read; past the end the last frame is repeated.
        frame_rate_hz: Frames a second of the result; of stored jpgs the nearest in time are taken.
        size_px: Width and height they get by smooth scaling (the aspect is not kept); None keeps them as they are.

    Returns:
        Frames (T, 3, H, W), uint8.

    Raises:
        InputError: The frames cannot be read.
    """
    if clip.frames_dir is not None:
        return _read_jpgs(clip, clip.frames_dir, start_s + _grid_s(duration_s, frame_rate_hz), size_px)
    if clip.video_path is None:
        raise InputError(f"{clip.clip_id} has neither frames nor a video: add its frames or work without frames")
    grid = {"frame_rate_hz": frame_rate_hz, "start_s": start_s, "duration_s": duration_s}
    return read_frames(clip.video_path, size_px=size_px, **grid)


def _grid_s(duration_s: float, rate_hz: float) -> np.ndarray:
    return np.arange(count_at_rate(duration_s, rate_hz)) / rate_hz


def _read_jpgs(clip: SourceClip, frames_dir: Path, times_s: np.ndarray, size_px: int | None) -> Tensor:
    """Stored frames nearest to the times; the last one stands for all that would follow."""
    n_stored = sum(1 for _ in frames_dir.glob("*.frame_*.jpg"))
    if n_stored == 0:
        raise InputError(f"{frames_dir} holds no frames: process the clip again or work without frames")
    numbers = np.floor(times_s * clip.frames_rate_hz + 0.5).astype(int).clip(0, n_stored - 1) + 1
    paths = [frames_dir / f"{clip.clip_id}.frame_{number:06d}.jpg" for number in numbers]
    return torch.stack([_read_jpg(path, size_px) for path in paths])


def _read_jpg(path: Path, size_px: int | None) -> Tensor:
    try:
        with Image.open(path) as image:
            colour = image.convert("RGB")
    except OSError as error:
        raise InputError(f"{path} cannot be read as an image ({error}): process its clip again") from error
    if size_px is not None:
        # Pillow widens the filter when it shrinks, which is what others call antialiasing
        colour = colour.resize((size_px, size_px), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(colour)).permute(2, 0, 1)
