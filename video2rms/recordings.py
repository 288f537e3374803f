"""Recordings as training data: chunks of videos with sound, on the grid of 30 frames per second."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.errors import InputError
from data.cache import ENVELOPE, FRAMES
from data.chunks import Chunk, ChunkDataset
from data.dataset import read_chunk_sound, read_timed_frames
from evaluation.levels import rms_44khz
from media.clip import ClipSpec
from media.envelope import fine_envelope
from media.frames import FrameWindow
from media.reading import Reader
from video2rms.batch import VideoItem
from video2rms.features.base import FRAME_RATE_HZ

LATENESS: str = "lateness"
"""Name of the frames' lateness in a cache."""
RMS_44KHZ: str = "rms_44khz"
"""Name of the level at 44.1 kHz in a cache."""
LEAST_RATE_HZ = 12.0
"""Smallest frame rate of recordings that gives no warning."""
_logger = logging.getLogger(__name__)


class RecordingDataset(ChunkDataset[VideoItem]):
    """Chunks of recordings with the annotated hits and the level of their own sound, scaled to a peak of 1.

    The data are raw Greatest Hits, a folder of videos with sound, or the processed layout, whose 4 frames per second
    are too few for timing (a warning is logged). The last chunk of a recording is padded with silence and with repeats
    of the last frame, whose lateness grows. A silent chunk has the level 0.

    Args:
        root: Folder of the data set; for this and the following see `ChunkDataset`.
        split: Name of the split, a file of ids, or None for all recordings.
        spec: Form of the chunks, at 30 frames per second.
        samples_per_epoch: Items in an epoch; None gives every chunk once.
        skip_damaged: Whether an unreadable chunk gives None and is counted, instead of raising an error.
        reader: Reader of the videos' frames.

    Raises:
        InputError: The data set cannot be read or has no pictures, or the frame rate is another one; also when an item
            is read.
    """

    def __init__(
        self,
        root: Path,
        split: str | Path | None,
        spec: ClipSpec,
        *,
        samples_per_epoch: int | None = None,
        skip_damaged: bool = False,
        reader: Reader = "auto",
    ) -> None:
        if spec.frame_rate_hz != FRAME_RATE_HZ:
            raise InputError(
                f"dataset.spec.frame_rate_hz is {spec.frame_rate_hz}, expected {FRAME_RATE_HZ}, the rate of the "
                "network: correct it"
            )
        common: Any = {"samples_per_epoch": samples_per_epoch, "skip_damaged": skip_damaged, "reader": reader}
        super().__init__(root, split, spec, **common)
        clips = {chunk.clip.clip_id: chunk.clip for chunk in self.chunks}.values()
        rates_hz = [clip.frames_rate_hz for clip in clips if clip.frames_dir is not None]
        if any(rate_hz < LEAST_RATE_HZ for rate_hz in rates_hz):
            _logger.warning(
                "%d of %d recordings of %s have stored frames, at about %g per second, instead of videos: too few for "
                "exact timing",
                len(rates_hz),
                len(clips),
                root,
                min(rates_hz),
            )

    def item(self, index: int, *, sound: bool = True) -> VideoItem:
        """Return an item of the epoch, see `ChunkDataset`; without `sound` it has features instead of frames."""
        chunk = self.chunks[self._chunk_number(index)]
        onsets_s = torch.tensor([hit.time_s for hit in chunk.hits])
        clip_id = f"{chunk.clip.clip_id}-{chunk.start_s:.1f}s"
        if not sound:
            assert self._cache is not None
            known = self._cache.read(chunk, 1.0)
            levels = known[ENVELOPE], known[RMS_44KHZ]
            return VideoItem(None, known[LATENESS], *levels, onsets_s, clip_id, features=known[FRAMES])
        wave, window = self._read(chunk, self._spec.duration_s)
        levels = fine_envelope(wave, self._spec.sample_rate_hz).rms, rms_44khz(wave, self._spec.sample_rate_hz)
        return VideoItem(window.frames, window.lateness_s.float(), *levels, onsets_s, clip_id)

    def _read(self, chunk: Chunk, duration_s: float) -> tuple[Tensor, FrameWindow]:
        """Read sound (C, N), scaled to a peak of 1 unless silent, and frames, from the start of the chunk on."""
        wave = read_chunk_sound(chunk, self._spec, duration_s)
        rate_hz, size_px = self._spec.frame_rate_hz, self._spec.frame_size_px
        return wave, read_timed_frames(
            chunk.clip, chunk.start_s, duration_s, frame_rate_hz=rate_hz, size_px=size_px, reader=self._reader
        )
