"""Levels of a sound: perceived loudness, true peak, and clipping."""

import math

import numpy as np
import pyloudnorm
import torch
from scipy.signal import resample_poly
from torch import Tensor

FULL_SCALE = 0.9999
CLIPPED_RUN_SAMPLES = 3
LOUDNESS_BLOCK_S = 0.4
OVERSAMPLING = 8
"""Values a sample for true peaks; ITU-R BS.1770-4 asks for at least 4 at 48 kHz."""
_BLOCK_SAMPLES = 2**19
_MARGIN_SAMPLES = 32  # more than the interpolation reaches


def count_clipped_runs(wave: Tensor) -> int:
    """Count the runs of at least three samples at full scale (±0.9999) in all channels of a sound (C, N)."""
    if wave.shape[-1] < CLIPPED_RUN_SAMPLES:
        return 0
    in_run = (wave.abs() >= FULL_SCALE).unfold(-1, CLIPPED_RUN_SAMPLES, 1).all(dim=-1)
    starts = in_run & ~torch.nn.functional.pad(in_run, (1, 0))[..., :-1]
    return int(starts.sum())


def loudness_lufs(wave: Tensor, sample_rate_hz: int) -> float | None:
    """Return the integrated loudness (ITU-R BS.1770-4) of a sound (C, N), C 1 or 2, full scale ±1, in LUFS.

    It is None where it is undefined: below 0.4 s, or without a block above -70 LUFS.
    """
    if wave.shape[-1] < math.ceil(LOUDNESS_BLOCK_S * sample_rate_hz):
        return None
    loudness = float(pyloudnorm.Meter(sample_rate_hz).integrated_loudness(wave.T.double().numpy()))
    return loudness if math.isfinite(loudness) else None


def true_peaks(wave: Tensor) -> np.ndarray:
    """Return, for each sample of a sound (C, N), the highest magnitude (N,) that a player's converter reaches near it.

    The sound is interpolated to 8 values a sample; those within half a sample count, in any channel.

    Source:
        ITU-R BS.1770-4, annex 2.
    """
    parts = [np.zeros(0)]
    for start in range(0, wave.shape[-1], _BLOCK_SAMPLES):  # the interpolated sound as a whole takes too much memory
        first = max(0, start - _MARGIN_SAMPLES)
        found = _true_peaks(wave[:, first : start + _BLOCK_SAMPLES + _MARGIN_SAMPLES])
        parts.append(found[start - first :][:_BLOCK_SAMPLES])
    return np.concatenate(parts)


def _true_peaks(wave: Tensor) -> np.ndarray:
    """Return the highest magnitudes (N,) near the samples of a sound (C, N), which counts as silent around itself."""
    half = OVERSAMPLING // 2
    fine = np.abs(resample_poly(wave.double().numpy(), OVERSAMPLING, 1, axis=-1)).max(axis=0)
    around = np.pad(fine, (half, half + 1))  # value i of `fine` is at i + half
    return np.lib.stride_tricks.sliding_window_view(around, OVERSAMPLING + 1)[::OVERSAMPLING][: wave.shape[-1]].max(-1)


def true_peak_db(wave: Tensor) -> float | None:
    """Return the true peak of a sound (C, N) in dB of full scale (dBTP); None for silence."""
    highest = float(true_peaks(wave).max(initial=0.0))
    return 20 * math.log10(highest) if highest > 0 else None
