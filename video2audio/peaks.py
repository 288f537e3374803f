"""What becomes of peaks above full scale: they are limited or cut off, or the whole sound is made softer."""

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import minimum_filter1d
from scipy.signal import fftconvolve
from scipy.signal.windows import hann
from torch import Tensor

from common.errors import InputError

log = logging.getLogger(__name__)

PEAK_DB = -0.1
"""Peak of a sound that would exceed full scale, in dB of full scale."""
FADE_S = 0.005
"""Time in which the limiter lowers its gain before a peak, and raises it again after it."""
PEAKS = ("limit", "soften", "clip")


@dataclass(frozen=True, eq=False)
class Levelled:
    """A sound, and what was done to its peaks.

    Args:
        sound: The sound (C, N), full scale ±1.
        gain_db: Lowest gain that was applied, at most 0.
        n_clipped: Number of samples that still exceed full scale and are cut off when the sound is written.
    """

    sound: Tensor
    gain_db: float
    n_clipped: int


def within_full_scale(sound: Tensor, sample_rate_hz: int, peaks: str = "limit") -> Levelled:
    """Bring a sound within full scale.

    Args:
        sound: Sound (C, N), full scale ±1.
        sample_rate_hz: Samples per second.
        peaks: `limit` lowers the gain within 5 ms of each peak above full scale; `soften` makes the whole sound
            softer, which keeps all proportions; `clip` leaves the peaks to be cut off when the sound is written.

    Raises:
        InputError: `peaks` is none of these.
    """
    check_peaks(peaks)
    highest = float(sound.abs().max()) if sound.numel() else 0.0
    if highest <= 1:
        return Levelled(sound, 0.0, 0)
    if peaks == "clip":
        n_clipped = int((sound.abs() > 1).sum())
        log.warning("%d of %d samples exceed full scale and are cut off", n_clipped, sound.numel())
        return Levelled(sound, 0.0, n_clipped)
    gain_db = PEAK_DB - 20 * math.log10(highest)
    if peaks == "soften":
        log.warning("the sound exceeds full scale, so all of it is made %.1f dB softer", -gain_db)
        return Levelled(sound * 10 ** (gain_db / 20), gain_db, 0)
    log.info("peaks exceed full scale by up to %.1f dB and are limited; see --peaks", -gain_db)
    return Levelled(limited(sound, sample_rate_hz), gain_db, 0)


def check_peaks(peaks: str) -> None:
    """Refuse a name that is none of `PEAKS`.

    Raises:
        InputError: It is none of them.
    """
    if peaks not in PEAKS:
        raise InputError(f"--peaks is {peaks!r}: give one of {', '.join(PEAKS)}")


def limited(sound: Tensor, sample_rate_hz: int) -> Tensor:
    """Limit the peaks of a sound to `PEAK_DB` by a gain that looks ahead.

    The gain that a sample needs holds for 2.5 ms before and after it and is then averaged over 5 ms. So it has arrived
    at the peak, and samples further than 5 ms from any peak stay as they are. All channels have the same gain.

    Args:
        sound: Sound (C, N), full scale ±1.
        sample_rate_hz: Samples per second.
    """
    highest = sound.abs().amax(dim=0).double().numpy()
    ceiling = 10 ** (PEAK_DB / 20)
    needed = np.minimum(1.0, ceiling / np.maximum(highest, ceiling))
    half = max(1, round(FADE_S * sample_rate_hz / 2))
    fade = hann(2 * half + 3)[1:-1]
    held = np.pad(minimum_filter1d(needed, 2 * half + 1), half, mode="edge")
    gain = 1 - fftconvolve(1 - held, fade / fade.sum(), mode="valid")
    gain = np.minimum(gain, needed)  # rounding of the convolution
    return sound * torch.from_numpy(gain).to(sound)
