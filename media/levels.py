"""Levels of a sound: perceived loudness, true peak, and clipping."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyloudnorm
import torch
from scipy.signal import resample_poly
from torch import Tensor

from media.stored import Sound, parts_with_margins

FULL_SCALE = 0.9999
CLIPPED_RUN_SAMPLES = 3
LOUDNESS_BLOCK_S = 0.4
OVERSAMPLING = 8
"""Values a sample for true peaks; ITU-R BS.1770-4 asks for at least 4 at 48 kHz."""
PEAK_MARGIN_SAMPLES = 32
"""Samples on each side that decide on the true peak near a sample."""
_BLOCK_STEP_S = 0.1
_QUIETEST_BLOCK_LUFS, _RELATIVE_GATE_LU = -70.0, -10.0


def count_clipped_runs(wave: Tensor) -> int:
    """Count the runs of at least three samples at full scale (±0.9999) in all channels of a sound (C, N)."""
    if wave.shape[-1] < CLIPPED_RUN_SAMPLES:
        return 0
    in_run = (wave.abs() >= FULL_SCALE).unfold(-1, CLIPPED_RUN_SAMPLES, 1).all(dim=-1)
    starts = in_run & ~torch.nn.functional.pad(in_run, (1, 0))[..., :-1]
    return int(starts.sum())


def loudness_lufs(wave: Sound, sample_rate_hz: int) -> float | None:
    """Return the integrated loudness (ITU-R BS.1770-4) of a sound (C, N), C 1 or 2, full scale ±1, in LUFS.

    It is None where it is undefined: below 0.4 s, or without a block above -70 LUFS.
    """
    if wave.shape[-1] < math.ceil(LOUDNESS_BLOCK_S * sample_rate_hz):
        return None
    energies = np.concatenate([*_block_energies(wave, sample_rate_hz)])
    energies = energies[energies >= _energy(_QUIETEST_BLOCK_LUFS)]
    if not len(energies):
        return None
    return _lufs(energies[energies > energies.mean() * 10 ** (_RELATIVE_GATE_LU / 10)].mean())


def _block_energies(wave: Sound, sample_rate_hz: int) -> Iterator[np.ndarray]:
    """Yield the energies (n,), weighted for the ear, of the blocks of 0.4 s that start every 0.1 s in a sound (C, N).

    Blocks are measured 100 at a time, and a second before them, in which the filters forget that they started late.
    """
    n_blocks = round((wave.shape[-1] / sample_rate_hz - LOUDNESS_BLOCK_S) / _BLOCK_STEP_S) + 1
    for first in range(0, n_blocks, 100):
        n_before = min(first, 10)
        end = min(first + 100, n_blocks)
        start, stop = (round(n * _BLOCK_STEP_S * sample_rate_hz) for n in (first - n_before, end + 3))
        meter = pyloudnorm.Meter(sample_rate_hz)
        meter.integrated_loudness(wave[:, start : None if end == n_blocks else stop].T.double().numpy())
        yield _energy(np.array(meter.blockwise_loudness[n_before:]))


def _energy(lufs: Any) -> Any:
    """Return the weighted energy of a loudness, in the units of the standard."""
    return 10 ** ((lufs + 0.691) / 10)


def _lufs(energy: float) -> float:
    return float(10 * np.log10(energy) - 0.691)


def true_peaks(wave: Sound) -> np.ndarray:
    """Return, for each sample of a sound (C, N), the highest magnitude (N,) that a player's converter reaches near it.

    The sound is interpolated to 8 values a sample; those within half a sample count, in any channel.

    Source:
        ITU-R BS.1770-4, annex 2.
    """
    found = parts_with_margins(wave, PEAK_MARGIN_SAMPLES)  # the interpolated sound as a whole takes too much memory
    return np.concatenate([_true_peaks(part)[place] for part, place in found])


def _true_peaks(wave: Tensor) -> np.ndarray:
    """Return the highest magnitudes (N,) near the samples of a sound (C, N), which counts as silent around itself."""
    half = OVERSAMPLING // 2
    fine = np.abs(resample_poly(wave.double().numpy(), OVERSAMPLING, 1, axis=-1)).max(axis=0)
    around = np.pad(fine, (half, half + 1))  # value i of `fine` is at i + half
    return np.lib.stride_tricks.sliding_window_view(around, OVERSAMPLING + 1)[::OVERSAMPLING][: wave.shape[-1]].max(-1)


def true_peak_db(wave: Sound) -> float | None:
    """Return the true peak of a sound (C, N) in dB of full scale (dBTP); None for silence."""
    found = parts_with_margins(wave, PEAK_MARGIN_SAMPLES)
    highest = max(float(_true_peaks(part)[place].max(initial=0.0)) for part, place in found)
    return 20 * math.log10(highest) if highest > 0 else None
