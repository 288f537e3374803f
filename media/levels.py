"""Levels of a sound: perceived loudness, and clipping."""

import math

import pyloudnorm
import torch
from torch import Tensor

FULL_SCALE = 0.9999
CLIPPED_RUN_SAMPLES = 3
LOUDNESS_BLOCK_S = 0.4


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
