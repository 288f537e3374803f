"""Level of the result: its loudness if one is asked for, and what becomes of peaks above full scale."""

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import minimum_filter1d
from scipy.signal import oaconvolve
from scipy.signal.windows import hann
from torch import Tensor

from common.choices import PEAKS
from common.errors import InputError, check_choice
from media.levels import LOUDNESS_BLOCK_S, PEAK_MARGIN_SAMPLES, loudness_lufs, true_peak_db, true_peaks
from media.stored import SomeSound, Sound, like, parts, parts_with_margins

log = logging.getLogger(__name__)

PEAK_DB = -0.1
"""Peak of a sound that would exceed full scale, in dB of full scale."""
FADE_S = 0.005
"""Time in which the limiter lowers its gain before a peak, and raises it again after it."""
TRUE_PEAK_DB = -1.0
"""Highest true peak of a sound that is brought to a loudness, in dBTP, as broadcasters and streaming services ask."""
QUIETEST_LUFS, LOUDEST_LUFS = -60.0, -5.0
_NEAR_LU = 0.05
_MOST_ROUNDS = 12
_MOST_GAIN_DB = 60.0
_LARGEST_STEP = 4.0


@dataclass(frozen=True, eq=False)
class Levelled:
    """A sound, and what was done to its peaks.

    Args:
        sound: The sound (C, N), full scale ±1.
        gain_db: Gain of the whole sound if a loudness was asked for; otherwise the lowest gain at any peak, at most 0.
        n_clipped: Number of samples that still exceed full scale and are cut off when the sound is written.
    """

    sound: Sound
    gain_db: float
    n_clipped: int


def within_full_scale(sound: Sound, sample_rate_hz: int, peaks: str = "limit") -> Levelled:
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
    highest = max(float(part.abs().max()) if part.numel() else 0.0 for part in parts(sound))
    if highest <= 1:
        return Levelled(sound, 0.0, 0)
    if peaks == "clip":
        n_clipped = _n_clipped(sound)
        log.warning("%d of %d samples exceed full scale and are cut off", n_clipped, math.prod(sound.shape))
        return Levelled(sound, 0.0, n_clipped)
    gain_db = PEAK_DB - 20 * math.log10(highest)
    if peaks == "soften":
        log.warning("the sound exceeds full scale, so all of it is made %.1f dB softer", -gain_db)
        return Levelled(_scaled(sound, gain_db), gain_db, 0)
    log.info("peaks exceed full scale by up to %.1f dB and are limited; see --peaks", -gain_db)
    return Levelled(limited(sound, sample_rate_hz), gain_db, 0)


def _n_clipped(sound: Sound) -> int:
    """Return the number of samples that exceed full scale."""
    return sum(int((part.abs() > 1).sum()) for part in parts(sound))


def _scaled(sound: SomeSound, gain_db: float) -> SomeSound:
    """Return a sound (C, N) with a gain."""
    return like(sound, (part * 10 ** (gain_db / 20) for part in parts(sound)))


def check_peaks(peaks: str) -> None:
    """Refuse a name that is none of `PEAKS`.

    Raises:
        InputError: It is none of them.
    """
    check_choice("--peaks", peaks, PEAKS)


def check_loudness(loudness_lufs: float, duration_s: float) -> None:
    """Refuse a loudness for a sound that is too short to have one.

    Raises:
        InputError: The sound is shorter than 0.4 s.
    """
    if duration_s < LOUDNESS_BLOCK_S:
        raise InputError(
            f"--loudness {loudness_lufs:g} is not possible for {duration_s:.2f} s of sound: loudness is defined from "
            f"{LOUDNESS_BLOCK_S} s on; leave it out"
        )


def at_loudness(sound: Sound, sample_rate_hz: int, wanted_lufs: float, peaks: str = "limit") -> Levelled:
    """Bring a sound to a loudness, with true peaks of at most -1 dBTP.

    Limiting peaks lowers the loudness, so gain and limiter are repeated until it is met within 0.05 LU. A warning says
    where it is not met.

    Args:
        sound: Sound (C, N), full scale ±1.
        sample_rate_hz: Samples per second.
        wanted_lufs: Integrated loudness (ITU-R BS.1770-4).
        peaks: `limit` lowers the gain around each peak; `soften` makes the whole sound softer until its peaks fit, so
            the loudness may not be reached; `clip` leaves the peaks to be cut off when the sound is written.

    Raises:
        InputError: `peaks` is none of these.
    """
    check_peaks(peaks)
    found_lufs = loudness_lufs(sound, sample_rate_hz)
    if found_lufs is None:
        log.warning("the sound is silent or too soft to have a loudness, so its level is not changed")
        return within_full_scale(sound, sample_rate_hz, peaks)
    gain_db, step, result = 0.0, 1.0, sound
    missing_lu = wanted_lufs - found_lufs
    for _ in range(_MOST_ROUNDS):
        asked_db = gain_db + step * missing_lu
        result, softened_db = _below_true_peak(_scaled(sound, asked_db), sample_rate_hz, peaks)
        before_lu, missing_lu = missing_lu, wanted_lufs - (loudness_lufs(result, sample_rate_hz) or -math.inf)
        if abs(missing_lu) <= _NEAR_LU or peaks != "limit" or asked_db > _MOST_GAIN_DB:
            break
        step = min(_LARGEST_STEP, max(1.0, (asked_db - gain_db) / max(before_lu - missing_lu, 1e-3)))  # secant
        gain_db = asked_db
    if missing_lu > _NEAR_LU:
        log.warning(
            "the sound is %.1f LU softer than %g LUFS, since its peaks reach full scale", missing_lu, wanted_lufs
        )
    return Levelled(result, asked_db + softened_db, _n_clipped(result))


def _below_true_peak(sound: Sound, sample_rate_hz: int, peaks: str) -> tuple[Sound, float]:
    """Limit true peaks to -1 dBTP or soften the whole sound for them; return the gain of the whole in dB too."""
    if peaks == "limit":
        sound = limited(sound, sample_rate_hz, TRUE_PEAK_DB, true_peaks)
    highest_db = true_peak_db(sound)
    gain_db = 0.0 if peaks == "clip" or highest_db is None else min(0.0, TRUE_PEAK_DB - highest_db)
    return _scaled(sound, gain_db), gain_db


def limited(
    sound: SomeSound,
    sample_rate_hz: int,
    ceiling_db: float = PEAK_DB,
    magnitudes_of: Callable[[Tensor], np.ndarray] | None = None,
) -> SomeSound:
    """Limit the peaks of a sound by a gain that looks ahead.

    The gain that a sample needs holds for 2.5 ms before and after it and is then averaged over 5 ms. So it has arrived
    at the peak, and samples further than 5 ms from any peak stay as they are. All channels have the same gain.

    Args:
        sound: Sound (C, N), full scale ±1.
        sample_rate_hz: Samples per second.
        ceiling_db: Highest magnitude of the result, in dB of full scale.
        magnitudes_of: Returns what counts as the magnitudes (n,) of samples (C, n), such as `true_peaks`; None: the
            sample in the loudest channel.
    """
    magnitudes_of = magnitudes_of or _magnitudes
    ceiling = 10 ** (ceiling_db / 20)
    half = max(1, round(FADE_S * sample_rate_hz / 2))
    fade = hann(2 * half + 3)[1:-1]

    def limited_parts() -> Iterator[Tensor]:
        for part, place in parts_with_margins(sound, 2 * half + PEAK_MARGIN_SAMPLES):
            needed = np.minimum(1.0, ceiling / np.maximum(magnitudes_of(part), ceiling))
            held = np.pad(minimum_filter1d(needed, 2 * half + 1), half, mode="edge")
            gain = 1 - oaconvolve(1 - held, fade / fade.sum(), mode="valid")
            gain = np.minimum(gain, needed)  # rounding of the convolution
            yield (part * torch.from_numpy(gain).to(part))[:, place]

    return like(sound, limited_parts())


def _magnitudes(sound: Tensor) -> np.ndarray:
    """Return the magnitudes (N,) of the samples of a sound (C, N) in the loudest channel."""
    magnitudes: np.ndarray = sound.abs().amax(dim=0).double().numpy()
    return magnitudes
