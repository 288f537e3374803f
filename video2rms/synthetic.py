"""Synthetic strikes as training material: clips at the frame rates of cameras, laid on the grid of 30 a second."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.clip import count_at_rate
from data.synthetic import SAMPLE_RATE_HZ, SyntheticClip, SyntheticSpec, render_clip
from evaluation.levels import rms_44khz
from video2rms.batch import VideoItem
from video2rms.model import FRAME_RATE_HZ

CAMERA_RATES_HZ = {12.0: 1, 15.0: 4, 20.0: 2, 23.976: 2, 25.0: 4, 27.5: 1, 30_000 / 1001: 6}
"""Frame rates of the clips, with their weights; faster cameras look the same on the grid."""


class SyntheticVideos(Dataset[VideoItem]):
    """Clips of a seed as `data.synthetic.render_clip` makes them, rendered when asked for; every epoch has new ones.

    Args:
        spec: Form of the clips; the frame rate of each is drawn from `camera_rates_hz`.
        seed: Seed of the clips, at least 0.
        n_clips: Clips an epoch, at least 1.
        camera_rates_hz: Frame rates with their weights.
    """

    def __init__(
        self, spec: SyntheticSpec, seed: int, n_clips: int, camera_rates_hz: Mapping[float, float] = CAMERA_RATES_HZ
    ) -> None:
        self._spec, self._seed, self._n_clips = spec, seed, n_clips
        self._rates_hz = list(camera_rates_hz)
        shares = np.array(list(camera_rates_hz.values()), float)
        self._shares = shares / shares.sum()
        self._epoch = torch.tensor(0, dtype=torch.int64).share_memory_()  # workers that outlive an epoch see it

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the items asked for from now on."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Clips an epoch."""
        return self._n_clips

    def __getitem__(self, index: int) -> VideoItem:
        """A clip of the epoch."""
        number = int(self._epoch) * self._n_clips + index
        rate_hz = float(np.random.default_rng((self._seed, number, 1)).choice(self._rates_hz, p=self._shares))
        return video_item(render_clip(replace(self._spec, frame_rate_hz=rate_hz), self._seed, number), rate_hz)


def video_item(clip: SyntheticClip, camera_rate_hz: float) -> VideoItem:
    """A clip in the form of training.

    Args:
        clip: A clip with sound and picture.
        camera_rate_hz: The rate of its frames.

    Returns:
        The item; every grid time shows the frame that was taken nearest to it.
    """
    assert clip.frames is not None
    assert clip.wave is not None
    assert clip.clean is not None
    assert clip.envelope is not None
    n_grid = count_at_rate(clip.wave.shape[1] / SAMPLE_RATE_HZ, FRAME_RATE_HZ)
    shown, lateness_s = nearest_frames(len(clip.frames), camera_rate_hz, n_grid)
    peak = clip.wave.abs().max()
    return VideoItem(
        frames=clip.frames[shown],
        lateness_s=lateness_s,
        rms=clip.envelope.rms / peak,
        rms_44khz=rms_44khz(clip.clean / peak, SAMPLE_RATE_HZ),
        onsets_s=torch.tensor([strike.time_s for strike in clip.plan.strikes]),
        clip_id=clip.clip_id,
    )


def nearest_frames(n_frames: int, camera_rate_hz: float, n_grid: int) -> tuple[Tensor, Tensor]:
    """Numbers of the frames nearest to T = `n_grid` grid times, of two as near the earlier, and how late they are.

    Args:
        n_frames: Frames of the camera.
        camera_rate_hz: How many it takes a second.
        n_grid: Grid times, 30 a second.

    Returns:
        Numbers (T,), and grid time less the frame's time in seconds (T,).
    """
    times_s = torch.arange(n_grid, dtype=torch.float64) / FRAME_RATE_HZ
    shown = torch.ceil(times_s * camera_rate_hz - 0.5 - 1e-6).long().clamp(0, n_frames - 1)
    return shown, (times_s - shown / camera_rate_hz).float()
