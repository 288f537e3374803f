"""Measures of single sounds that several benchmarks share, and of pairs of them."""

from dataclasses import replace

import numpy as np
import torch
import torchaudio.functional
from torch import Tensor
from torch.nn import functional as F

from evaluation.onsets import detect_onsets, onset_f1
from media.envelope import FINE_RATE_HZ, Envelope, fine_envelope
from synthetic import SAMPLE_RATE_HZ

NEAR_S = 0.04
BEFORE_S = (0.020, 0.005)
APART_S = 0.5
_RISEN = 0.3
_LONGEST_LAG_S = 1.0
_PULSE_SLOT = 64  # samples, 1.5 ms
_RIPPLE_SLOT, _RIPPLE_SLOTS = 220, 11  # 5 ms, and an odd number of them


def onset_times_s(sound: Tensor) -> np.ndarray:
    """Onset times of a sound (C, N) in seconds."""
    return detect_onsets(sound, SAMPLE_RATE_HZ).times_s


def f1_within_100_ms(reference_s: np.ndarray, estimate_s: np.ndarray) -> float:
    """F1 of onset times; 0 where there are none."""
    score = onset_f1(reference_s, estimate_s)
    return score.f1 if score else 0.0


def level_db(sound: Tensor, from_s: float = 0.0) -> float:
    """RMS level of a sound (C, N) from a time on, in dB of full scale, at least -120."""
    part = sound[:, round(from_s * SAMPLE_RATE_HZ) :]
    return 20 * float(np.log10(max(part.square().mean().sqrt().item(), 1e-6)))


def shifted(envelope: Envelope, shift_s: float) -> Envelope:
    """Return the envelope moved later by ``shift_s``; its first value fills the gap."""
    n = round(shift_s * envelope.rate_hz)
    rms = envelope.rms
    return replace(envelope, rms=torch.cat([rms[:1].expand(n), rms[: len(rms) - n]]))


def silenced(envelope: Envelope, from_s: float) -> Envelope:
    """Return the envelope with silence from a time on."""
    time_s = torch.arange(len(envelope.rms)) / envelope.rate_hz
    return replace(envelope, rms=envelope.rms * (time_s < from_s))


def lag_s(reference: Tensor, generated: Tensor) -> float:
    """By how much a sound (C, N) is later than another, at most 1 s: where their envelopes correlate most."""
    first, second = (fine_envelope(wave, SAMPLE_RATE_HZ).rms.double() for wave in (reference, generated))
    n = round(_LONGEST_LAG_S * FINE_RATE_HZ)
    padded = F.pad(second - second.mean(), (n, n))
    products = torchaudio.functional.fftconvolve(padded, (first - first.mean()).flip(0), mode="valid")
    return (int(products.argmax()) - n) / FINE_RATE_HZ


def pulsation_db(sound: Tensor, rate_hz: float) -> float:
    """Return how far a regular pulsation stands out of a steady sound (C, N), in dB: about 0 where there is none.

    The power of the envelope's line at ``rate_hz`` over the median of its surroundings, 1 to 6 Hz away.
    """
    power = sound.mean(dim=0).double().square().unfold(0, _PULSE_SLOT, _PULSE_SLOT).mean(dim=1)
    level = power.sqrt() - power.sqrt().mean()
    spectrum = torch.fft.rfft(level * torch.hann_window(len(level), dtype=level.dtype)).abs().square()
    away_hz = (torch.fft.rfftfreq(len(level), _PULSE_SLOT / SAMPLE_RATE_HZ) - rate_hz).abs()
    around = spectrum[(away_hz > 1) & (away_hz < 6)].median()
    return float(10 * torch.log10(spectrum[away_hz.argmin()] / around))


def ripple_db(sound: Tensor) -> float:
    """Return how uneven the level of a sound (C, N) is that should fall or rise smoothly, in dB.

    The standard deviation of the level in 5 ms around its mean over 55 ms; that of white noise is about 0.4.
    """
    energy = sound.mean(dim=0).double().unfold(0, _RIPPLE_SLOT, _RIPPLE_SLOT).square().mean(dim=1)
    level = 10 * (energy + 1e-12).log10()
    smooth = level.unfold(0, _RIPPLE_SLOTS, 1).mean(dim=1)
    return float((level[_RIPPLE_SLOTS // 2 : -(_RIPPLE_SLOTS // 2)] - smooth).std())


def pre_echo_db(sound: Tensor, hits_s: np.ndarray) -> list[float]:
    """Return the levels just before hits that stand alone, in dB above the peaks that follow; at least -120.

    A hit begins where the sound first reaches 0.3 of its peak within 40 ms of the given time; what is louder than that
    before it counts as the hit itself. Of hits within 0.5 s of another before, or near the start, nothing is said.

    Args:
        sound: Sound (C, N) at 44.1 kHz.
        hits_s: Times of all hits, rising.
    """
    mono = sound.mean(dim=0)
    gaps_s = np.diff(hits_s, prepend=-APART_S)
    found = []
    for time_s in hits_s[gaps_s > APART_S]:
        first = round((time_s - NEAR_S) * SAMPLE_RATE_HZ)
        earliest = first - round(BEFORE_S[0] * SAMPLE_RATE_HZ)
        near = mono[max(0, first) : first + round(2 * NEAR_S * SAMPLE_RATE_HZ)].abs()
        if earliest < 0 or not near.any():
            continue
        start = first + int((near > _RISEN * near.max()).nonzero()[0])
        begin, end = (start - round(before_s * SAMPLE_RATE_HZ) for before_s in BEFORE_S)
        before = mono[begin:end].square().mean().sqrt()
        found.append(float(20 * torch.log10((before / near.max()).clamp(min=1e-6))))
    return found
