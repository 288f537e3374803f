"""Training and validation items: chunks of the recordings of a data set, read from disk or from a feature cache."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common.errors import InputError
from data.augment import Remix
from data.batch import FoleyItem
from data.chunks import Chunk, ChunkDataset
from data.greatest_hits import SourceClip, label_of
from media.clip import ClipSpec, count_at_rate
from media.frames import FrameWindow, Size
from media.reading import Reader, iter_frames, read_sound


class FoleyDataset(ChunkDataset[FoleyItem]):
    """Chunks of all recordings of a split as sound and frames, or as cached features.

    The last chunk of a recording is padded with silence and the last frame. Each chunk is scaled to a peak of 1,
    silence stays silence. After an augmentation it is scaled again only where it would exceed 1, so that quiet clips
    occur. An item depends on the seed, the epoch and its index alone, however many workers read.

    Args:
        root: Folder of the data set.
        split: Name of the split, a file of ids, or None for all recordings.
        spec: Form of the items.
        augment: Draws a new clip from the recorded part of a chunk; None takes the chunk as it is.
        seed: Seed of the augmentation, and of the factor drawn for each item and epoch, at least 0.
        **common: All else that `ChunkDataset` takes; without frames those of items are None.

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
        seed: int = 0,
        **common: Any,
    ) -> None:
        super().__init__(root, split, spec, **common)
        self._augment = augment
        self._seed = seed

    def item(self, index: int, *, sound: bool = True) -> FoleyItem:
        """Return one item of the present epoch, see `ChunkDataset`; `sound` is read beside cached features."""
        chunk = self.chunks[self._chunk_number(index)]
        onsets = torch.tensor([hit.time_s for hit in chunk.hits])
        duration_s = self._spec.duration_s if self._augment is None else chunk.duration_s
        generator = self._generator(index)
        wave, frames = self._read(chunk, duration_s) if sound else (None, None)
        if self._augment is not None and wave is not None:
            wave, frames, onsets = self._augment(wave, frames, onsets, self._spec, generator)
            wave = wave / wave.abs().amax().clamp(min=1)
        factor = self._factors[int(torch.randint(len(self._factors), (), generator=generator))]
        return FoleyItem(
            wave=None if wave is None else factor * wave,
            frames=None if frames is None else frames.float() / 255,
            onsets=onsets,
            label=label_of(chunk.hits),
            clip_id=chunk.clip.clip_id,
            start_s=chunk.start_s,
            duration_s=chunk.duration_s if self._augment is None else self._spec.duration_s,
            features=None if self._cache is None else self._cache.read(chunk, factor),
        )

    def _generator(self, index: int) -> torch.Generator:
        """Return the source of chance for an item of the present epoch."""
        entropy = np.random.SeedSequence((self._seed, int(self._epoch), index)).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(entropy[0]))

    def _read(self, chunk: Chunk, duration_s: float) -> tuple[Tensor, Tensor | None]:
        """Read sound (C, N) with a peak of 1 or 0 and frames (T, 3, H, W), uint8, from the start of the chunk on."""
        wave = read_chunk_sound(chunk, self._spec, duration_s)
        if not self._frames:
            return wave, None
        rate_hz, size_px = self._spec.frame_rate_hz, self._spec.frame_size_px
        return wave, read_timed_frames(
            chunk.clip, chunk.start_s, duration_s, frame_rate_hz=rate_hz, size_px=size_px, reader=self._reader
        ).frames


def read_chunk_sound(chunk: Chunk, spec: ClipSpec, duration_s: float) -> Tensor:
    """Read the sound (C, N), float32, from the start of a chunk on, with a peak of 1, or 0 where it is silent.

    Past the end of the recording there is silence.

    Raises:
        InputError: The sound cannot be read.
    """
    wave = read_sound(
        chunk.clip.sound_path,
        sample_rate_hz=spec.sample_rate_hz,
        n_channels=spec.n_channels,
        start_s=chunk.start_s,
        duration_s=duration_s,
    )
    peak = wave.abs().amax()
    return wave / torch.where(peak > 0, peak, 1.0)


def read_timed_frames(
    clip: SourceClip,
    start_s: float,
    duration_s: float,
    *,
    frame_rate_hz: float,
    size_px: Size = None,
    reader: Reader = "auto",
) -> FrameWindow:
    """Read frames of a recording on an even grid of times, from its jpgs where it has them, else from its video.

    Args:
        clip: A recording with frames or a video.
        start_s: Time of the first frame in seconds.
        duration_s: Seconds to read; past the end the last frame is repeated.
        frame_rate_hz: Frames a second of the result; of stored jpgs the nearest in time are taken.
        size_px: Width and height that frames get by smooth scaling, or one number for both (the aspect is not kept);
            None keeps them as they are.
        reader: What reads the frames of a video, see `media.reading.read_frames`.

    Returns:
        All frames, and how late each is.

    Raises:
        InputError: The frames cannot be read.
    """
    if clip.frames_dir is not None:
        times_s = start_s + np.arange(count_at_rate(duration_s, frame_rate_hz)) / frame_rate_hz
        return _read_jpgs(clip, clip.frames_dir, times_s, size_px)
    if clip.video_path is None:
        raise InputError(f"{clip.clip_id} has neither frames nor a video: add its frames or work without frames")
    form: Any = {"frame_rate_hz": frame_rate_hz, "size_px": size_px, "start_s": start_s, "duration_s": duration_s}
    windows = list(iter_frames(clip.video_path, **form, reader=reader))
    frames, lateness_s = (torch.cat([getattr(each, name) for each in windows]) for name in ("frames", "lateness_s"))
    return FrameWindow(0, frames, lateness_s)


def _read_jpgs(clip: SourceClip, frames_dir: Path, times_s: np.ndarray, size_px: Size) -> FrameWindow:
    """Read the stored frames nearest to the times, each read once; the last one stands for all that would follow."""
    n_stored = sum(1 for _ in frames_dir.glob("*.frame_*.jpg"))
    if n_stored == 0:
        raise InputError(f"{frames_dir} holds no frames: process the clip again or work without frames")
    shown = np.floor(times_s * clip.frames_rate_hz + 0.5).astype(int).clip(0, n_stored - 1)
    stored, places = np.unique(shown, return_inverse=True)
    paths = [frames_dir / f"{clip.clip_id}.frame_{number + 1:06d}.jpg" for number in stored]
    frames = torch.stack([_read_jpg(path, size_px) for path in paths])[torch.from_numpy(places)]
    return FrameWindow(0, frames, torch.from_numpy(times_s - shown / clip.frames_rate_hz))


def _read_jpg(path: Path, size_px: Size) -> Tensor:
    try:
        with Image.open(path) as image:
            colour = image.convert("RGB")
    except OSError as error:
        raise InputError(f"{path} cannot be read as an image ({error}): process its clip again") from error
    if size_px is not None:
        # Pillow widens the filter when it shrinks, which is what others call antialiasing
        size = (size_px, size_px) if isinstance(size_px, int) else size_px
        colour = colour.resize(size, Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(colour)).permute(2, 0, 1)
