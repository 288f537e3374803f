"""Baselines for the network: a constant level, and hits where motion suddenly ends."""

from collections.abc import Iterable

import numpy as np
import scipy.ndimage
import scipy.signal
import torch

from hits.level import Hits
from media.envelope import FINE_RATE_HZ
from media.frames import FrameWindow
from video2rms.features.base import FRAME_RATE_HZ
from video2rms.levels import Levels
from video2rms.streaming import count_slots

DECAY_S = 0.06
LEAST_GAP_S = 0.2
LOWEST_PEAK = 0.25


def constant_levels(rms: float, windows: Iterable[FrameWindow]) -> Levels:
    """Return the same level for every slot, without onsets."""
    n_slots = count_slots(sum(len(window.frames) for window in windows))
    return Levels(torch.full((n_slots,), rms), torch.zeros(n_slots), Hits.silent(torch.zeros(0)))


def motion_levels(windows: Iterable[FrameWindow], peak_rms: float = 0.2) -> Levels:
    """Place a hit wherever the motion of the picture suddenly ends; a larger drop gives a louder hit.

    Motion is the mean change of brightness from the last different frame, divided by the time between the two.

    Args:
        windows: Frames at 30 per second.
        peak_rms: Level of the loudest hit.

    Returns:
        Hits that decay by 1 / e in 60 ms; their probability is the drop relative to the largest one.
    """
    frames, lateness_s = (
        np.concatenate(parts)
        for parts in zip(
            *((window.frames.float().mean(dim=1).numpy(), window.lateness_s.numpy()) for window in windows), strict=True
        )
    )
    n_slots = count_slots(len(frames))
    stamps_s = np.arange(len(frames)) / FRAME_RATE_HZ - lateness_s
    kept = np.flatnonzero(np.diff(stamps_s, prepend=-1.0) > 1e-3)
    onset, nothing = torch.zeros(n_slots), torch.zeros(n_slots)
    if len(kept) < 4:
        return Levels(nothing, onset, Hits.silent(torch.zeros(0)))
    gaps_s = np.diff(stamps_s[kept])
    speed = np.abs(np.diff(frames[kept], axis=0)).mean(axis=(1, 2)) / gaps_s
    speed = np.maximum(speed - np.quantile(speed, 0.1), 0)  # subtract the noise floor
    fall = np.maximum(scipy.ndimage.maximum_filter1d(speed[:-1], 2, origin=0) - speed[1:], 0)
    if fall.max() <= 0:
        return Levels(nothing, onset, Hits.silent(torch.zeros(0)))
    fall /= fall.max()
    distance = max(1, round(LEAST_GAP_S / float(np.median(gaps_s))))
    peaks = scipy.signal.find_peaks(np.pad(fall, 1), height=LOWEST_PEAK, distance=distance)[0] - 1
    times_s = torch.from_numpy(stamps_s[kept][peaks + 1].clip(min=0)).float()
    heights = torch.from_numpy(fall[peaks]).float()
    onset[(times_s * FINE_RATE_HZ).long().clamp(max=n_slots - 1)] = heights
    return Levels(
        nothing, onset, Hits(times_s, peak_rms * heights, torch.full_like(heights, DECAY_S), torch.ones_like(heights))
    )
