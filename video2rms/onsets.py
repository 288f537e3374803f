"""Times of onsets, from the probabilities of the onset head."""

import numpy as np
import torch
from torch import Tensor

from media.envelope import FINE_RATE_HZ

LEAST_GAP_S = 0.08
ONSET_THRESHOLD = 0.4
"""Lowest probability of an onset: this project's choice, made on synthetic clips alone (bundled/README.md)."""


HIT_THRESHOLD = 0.35
"""The same for `video2rms.event_network.EventNetwork`: the lowest, in steps of 0.05, whose F1 on synthetic clips at 12
frames a second and more is within 0.02 of the best, since a hit too many is easier to remove than a missing one to add
(bundled/README.md)."""


def pick_peaks(probabilities: Tensor, threshold: float) -> Tensor:
    """Return the slots (K,) at which the probability of a hit (N,) peaks, see `pick_onsets`."""
    from scipy.signal import find_peaks  # slow to import, so infer.py --help avoids it

    heights = np.pad(probabilities.float().cpu().numpy(), 1)
    peaks = find_peaks(heights, height=threshold, distance=round(LEAST_GAP_S * FINE_RATE_HZ))[0] - 1
    return torch.from_numpy(peaks)


def pick_onsets(probabilities: Tensor, threshold: float) -> Tensor:
    """Return the peaks of the onset probability, to a fraction of a slot.

    Args:
        probabilities: Probability of an onset in each slot of 8 ms (N,), 0 to 1.
        threshold: Smallest height of a peak, 0 to 1.

    Returns:
        Times in seconds (K,), at least 80 ms apart: of two closer peaks the higher one is kept.
    """
    heights = probabilities.float().cpu().numpy()
    peaks = pick_peaks(probabilities, threshold).numpy()
    padded = np.pad(heights, 1, mode="reflect") if len(heights) > 1 else np.pad(heights, 1)
    before, at, after = padded[peaks], padded[peaks + 1], padded[peaks + 2]
    bend = before - 2 * at + after  # a parabola through three points
    shift = np.divide(0.5 * (before - after), bend, out=np.zeros_like(bend), where=bend < 0)
    return torch.from_numpy((peaks + 0.5 + shift.clip(-0.5, 0.5)) / FINE_RATE_HZ).float()
