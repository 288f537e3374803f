"""Training and validation items for contrastive learning: short segments of each recording, at different times."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from common.errors import InputError, check_range
from data.datamodule import RecordingBatches
from data.dataset import read_timed_frames
from data.epochs import EpochDataset, check_epoch
from data.greatest_hits import SourceClip, label_of, list_clips, need_pictures
from media.clip import ClipSpec
from media.reading import Reader, read_sound

_logger = logging.getLogger(__name__)


class Segments(NamedTuple):
    """K segments of a recording, or, with a first axis R more in each field, of R recordings.

    Attributes:
        wave: Sound (K, N), float32, mono, at the level of the recording.
        frames: Frames (K, T, 3, H, W), uint8.
        start_s: Starts in the recording in seconds (K,), float64, rising.
        recording: Place of the recording in `SegmentDataset.clips`, (), int64.
        label: Text for what is heard in the recording, "" where nothing is annotated; of R recordings a list.
    """

    wave: Tensor
    frames: Tensor
    start_s: Tensor
    recording: Tensor
    label: Any = ""


class SegmentDataset(EpochDataset[Segments]):
    """Segments of every recording of a split: an item is `segments_per_recording` of one recording.

    The segments start at multiples of the time between frames, at least `min_shift_s` apart, so that they may overlap.
    For training their starts are drawn, every possible choice with the same probability, from the seed, the epoch and
    the index alone, however many workers read. For validation they are spread evenly over the recording.

    A recording too short for so many segments so far apart is left out, as the log says.

    Args:
        root: Folder of the data set, see `data.greatest_hits.list_clips`.
        split: Name of the split, a file of ids, or None for all recordings.
        spec: Form of a segment; its sound is mono.
        segments_per_recording: Segments an item, 1 to 1000.
        min_shift_s: Least time between the starts of two segments in seconds, 0.001 to 3600.
        random_starts: Whether starts are drawn; False spreads them evenly.
        samples_per_epoch: Items an epoch, at least 1; recordings come in turn, from one epoch into the next. None gives
            every recording once.
        reader: What reads the frames of videos.
        seed: Seed of the starts, at least 0.

    Attributes:
        clips: The recordings.

    Raises:
        InputError: The data set cannot be read, or no recording is long enough, or a value lies outside what is stated
            above; also when an item is read.
    """

    def __init__(
        self,
        root: Path,
        split: str | Path | None,
        spec: ClipSpec,
        *,
        segments_per_recording: int = 3,
        min_shift_s: float = 2.0,
        random_starts: bool = True,
        samples_per_epoch: int | None = None,
        reader: Reader = "auto",
        seed: int = 0,
    ) -> None:
        if spec.n_channels != 1:
            raise InputError(f"spec.n_channels is {spec.n_channels}, expected 1: segments are heard in mono")
        check_range("segments_per_recording", segments_per_recording, 1, 1000, whole=True)
        check_range("min_shift_s", min_shift_s, 0.001, 3600)
        check_epoch(samples_per_epoch)
        self._spec, self._reader = spec, reader
        self._n_segments = segments_per_recording
        self._min_shift = math.ceil(min_shift_s * spec.frame_rate_hz)
        self.clips = self._long_enough(list_clips(root, split), root)
        super().__init__(samples_per_epoch or len(self.clips))
        self._random_starts = random_starts
        self._seed = seed

    def __getitem__(self, index: int) -> Segments:
        recording = self._number(index) % len(self.clips)
        clip = self.clips[recording]
        starts_s = self._starts(clip, (self._seed, int(self._epoch), index)) / self._spec.frame_rate_hz
        segments = [self._read(clip, float(start_s)) for start_s in starts_s]
        return Segments(
            wave=torch.cat([wave for wave, _ in segments]),
            frames=torch.stack([frames for _, frames in segments]),
            start_s=torch.from_numpy(starts_s),
            recording=torch.tensor(recording),
            label=label_of(clip.hits),
        )

    def _long_enough(self, clips: Sequence[SourceClip], root: Path) -> tuple[SourceClip, ...]:
        """Return the recordings that hold all segments."""
        need_pictures(clips, root)
        long_enough = tuple(clip for clip in clips if self._n_free(clip) >= 0)
        needed_s = self._spec.duration_s + (self._n_segments - 1) * self._min_shift / self._spec.frame_rate_hz
        if not long_enough:
            raise InputError(
                f"no clip of {root} lasts the {needed_s:g} s that {self._n_segments} segments need: give longer clips, "
                "or lower segments_per_recording, min_shift_s or spec.duration_s"
            )
        if len(long_enough) < len(clips):
            n_short = len(clips) - len(long_enough)
            _logger.warning("%d of %d clips of %s are left out: under %g s", n_short, len(clips), root, needed_s)
        return long_enough

    def _n_free(self, clip: SourceClip) -> int:
        """Return by how many frames the last segment can start later than as early as possible; negative: too short."""
        last_start = math.floor((clip.duration_s - self._spec.duration_s) * self._spec.frame_rate_hz + 1e-6)
        return last_start - (self._n_segments - 1) * self._min_shift

    def _starts(self, clip: SourceClip, key: tuple[int, ...]) -> np.ndarray:
        """Return the starts of the segments (K,), in frames, rising by at least the least shift."""
        n_free, order = self._n_free(clip), np.arange(self._n_segments)
        if self._random_starts:
            # K different places among n_free + K are as many as there are ways to start K segments this far apart
            chosen = np.random.default_rng(key).choice(n_free + self._n_segments, self._n_segments, replace=False)
            return np.sort(chosen) + order * (self._min_shift - 1)
        return order * self._min_shift + order * n_free // max(1, self._n_segments - 1)

    def _read(self, clip: SourceClip, start_s: float) -> tuple[Tensor, Tensor]:
        """Read sound (1, N) and frames (T, 3, H, W) of the segment that starts there."""
        spec, duration_s = self._spec, self._spec.duration_s
        rate_hz, size_px = spec.frame_rate_hz, spec.frame_size_px
        wave = read_sound(
            clip.sound_path, sample_rate_hz=spec.sample_rate_hz, n_channels=1, start_s=start_s, duration_s=duration_s
        )
        frames = read_timed_frames(
            clip, start_s, duration_s, frame_rate_hz=rate_hz, size_px=size_px, reader=self._reader
        ).frames
        return wave, frames


class SegmentDataModule(RecordingBatches):
    """Batches of `Segments`: for training shuffled, with drawn starts and complete, for validation none of these.

    Args:
        root: Folder of the data set.
        spec: Form of a segment.
        segments_per_recording: Segments of each recording, at least 1.
        min_shift_s: Least time between the starts of two segments of a recording in seconds.
        batch_size: Recordings a batch and device, at least 2: segments are told apart from those of others.
        **common: All else that `RecordingBatches` takes; an item is a recording.

    Raises:
        InputError: A number is too small or too large; in `setup`, there is but one recording to train on.
    """

    train_set: SegmentDataset

    def __init__(
        self,
        root: str | Path,
        spec: ClipSpec,
        *,
        segments_per_recording: int = 3,
        min_shift_s: float = 2.0,
        batch_size: int = 30,
        **common: Any,
    ) -> None:
        super().__init__(root, spec, batch_size=batch_size, least_batch=2, **common)
        self._segments = {"segments_per_recording": segments_per_recording, "min_shift_s": min_shift_s}

    def _items(self, split: str | None, **drawing: Any) -> SegmentDataset:
        drawing = {"random_starts": False, **self._segments, **drawing}
        return SegmentDataset(self._root, split, self.spec, reader=self._reader, **drawing)

    def _training_items(self) -> SegmentDataset:
        drawing = {"random_starts": True, "samples_per_epoch": self._samples_per_epoch, "seed": self._seed}
        items = self._items(self._train_split, **drawing)
        if len(items.clips) < 2:
            raise InputError(f"1 recording of {self._root} is long enough to train on, expected 2 or more: add some")
        return items

    def train_dataloader(self) -> DataLoader[Segments]:
        """Load the training batches; what is left of an epoch after full ones is dropped."""
        return self._train_loader(self.train_set, drop_last=True)
