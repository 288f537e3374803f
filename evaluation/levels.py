"""How loud, and when: both published E-L1s, correlation of envelopes, and silence.

Sounds are (..., C, N), full scale ±1; two that are compared have one shape, but for C, and give a value a pair (...).
"""

import torch.nn.functional as F
import torchaudio.functional
from torch import Tensor

from media.envelope import fine_envelope

WINDOW_SAMPLES = 512
HOP_SAMPLES = 128
STABLE_V2A_RATE_HZ = 44_100
SILENT_PEAK = 1e-3


def e_l1_stable_v2a(generated: Tensor, reference: Tensor, sample_rate_hz: int) -> Tensor:
    """Return E-L1 at 44.1 kHz: mean absolute difference of `rms_44khz`, at least 0.

    Source:
        Stable-V2A (arXiv 2412.15023), results page.
    """
    return (rms_44khz(generated, sample_rate_hz) - rms_44khz(reference, sample_rate_hz)).abs().mean(dim=-1)


def rms_44khz(wave: Tensor, sample_rate_hz: int) -> Tensor:
    """Return the RMS (..., 1 + N' // 128) of the mono sound at 44.1 kHz (N' samples) over 512 samples every 128.

    Value i is centred on sample 128 i, with zeros beyond the ends (`librosa.feature.rms` as it comes).
    """
    mono = torchaudio.functional.resample(wave.mean(dim=-2), sample_rate_hz, STABLE_V2A_RATE_HZ)
    centred = F.pad(mono, (WINDOW_SAMPLES // 2, WINDOW_SAMPLES // 2))
    return centred.unfold(-1, WINDOW_SAMPLES, HOP_SAMPLES).square().mean(dim=-1).sqrt()


def e_l1_video_foley(generated: Tensor, reference: Tensor, sample_rate_hz: int) -> Tensor:
    """Return E-L1 at 16 kHz, at least 0: mean absolute difference of the fine envelopes, reflected at the ends.

    Source:
        Video-Foley (arXiv 2408.11915).
    """
    return (fine_envelope(generated, sample_rate_hz).rms - fine_envelope(reference, sample_rate_hz).rms).abs().mean(-1)


def rms_correlation(generated: Tensor, reference: Tensor, sample_rate_hz: int) -> Tensor:
    """Return the Pearson correlation of the fine envelopes, -1 to 1; not a number where an envelope is constant."""
    first, second = (fine_envelope(wave, sample_rate_hz).rms.double() for wave in (generated, reference))
    first, second = (rms - rms.mean(dim=-1, keepdim=True) for rms in (first, second))
    return (first * second).sum(-1) / (first.square().sum(-1) * second.square().sum(-1)).sqrt()


def is_silent(wave: Tensor) -> bool:
    """Return whether no sample of a sound (C, N) reaches -60 dB of full scale."""
    return float(wave.abs().amax()) < SILENT_PEAK
