"""Synthetic strikes as training data: clips at the frame rates of cameras, on the grid of 30 frames per second."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from evaluation.levels import rms_44khz
from media.clip import count_at_rate
from synthetic import SAMPLE_RATE_HZ, SyntheticClip, SyntheticSpec, render_clip
from video2rms.batch import VideoItem
from video2rms.features.base import FRAME_RATE_HZ

CAMERA_RATES_HZ = {12.0: 1, 15.0: 4, 20.0: 2, 23.976: 2, 25.0: 4, 27.5: 1, 30_000 / 1001: 6}
"""Frame rates of the clips with their weights: a choice of this project among those of cinema, television, web cameras
and telephones. Faster cameras would look the same on the grid."""
_RATES_HZ = list(CAMERA_RATES_HZ)
_SHARES = np.array(list(CAMERA_RATES_HZ.values())) / sum(CAMERA_RATES_HZ.values())


def render_video(spec: SyntheticSpec, seed: int, number: int) -> VideoItem:
    """Render a clip with `synthetic.render_clip`, at a frame rate drawn for it.

    Args:
        spec: Form of the clip; its frame rate is replaced by one from `CAMERA_RATES_HZ`.
        seed: Seed of the clips, at least 0.
        number: Number of the clip, at least 0.

    Returns:
        The item.
    """
    rate_hz = float(np.random.default_rng((seed, number, 1)).choice(_RATES_HZ, p=_SHARES))
    return video_item(render_clip(replace(spec, frame_rate_hz=rate_hz), seed, number), rate_hz)


def video_item(clip: SyntheticClip, camera_rate_hz: float) -> VideoItem:
    """Convert a clip to a training item.

    Args:
        clip: A clip with sound and picture.
        camera_rate_hz: Frame rate of the clip.

    Returns:
        The item; every grid time has the frame nearest to it.
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
    """Return the frames nearest to T = `n_grid` grid times (the earlier one in a tie), and their lateness.

    Args:
        n_frames: Number of frames of the camera.
        camera_rate_hz: Frame rate of the camera.
        n_grid: Number of grid times, at 30 per second.

    Returns:
        Frame numbers (T,), and grid time minus frame time in seconds (T,).
    """
    times_s = torch.arange(n_grid, dtype=torch.float64) / FRAME_RATE_HZ
    shown = torch.ceil(times_s * camera_rate_hz - 0.5 - 1e-6).long().clamp(0, n_frames - 1)
    return shown, (times_s - shown / camera_rate_hz).float()
