"""Owns the colour of sounds: their spectrum in broad bands, and the filter that gives one the colour of others."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torchaudio.functional
from torch import Tensor

_N_FFT, _HOP_SAMPLES = 2048, 512
_N_BANDS = 24  # about two an octave
_SILENT = 1e-4  # -40 dB of the loudest part: softer parts, such as noise between hits, do not count
_LEAST_SHARE = 1e-7  # of a band in the whole power, -70 dB


def colour_of(sound: Tensor, sample_rate_hz: int) -> Tensor:
    """Return the mean power of the loud parts of a sound (C, N) in mel bands (24,), 1 in all; zeros for silence."""
    mono = sound.mean(dim=0)
    window = torch.hann_window(_N_FFT, device=sound.device)
    spectra = torch.stft(mono, _N_FFT, _HOP_SAMPLES, window=window, pad_mode="constant", return_complex=True)
    power = spectra.abs().square()
    level = power.sum(dim=0)
    bands = _bands(sample_rate_hz).to(power) @ power[:, level >= _SILENT * level.max()].mean(dim=1)
    return bands / bands.sum().clamp(min=torch.finfo(bands.dtype).tiny)


def matching_filter(asked: Sequence[Tensor], made: Tensor, sample_rate_hz: int, most_db: float) -> Tensor:
    """Return the filter (taps,) that gives a sound the colour of others, without delay.

    The power of the loud parts of that sound stays as it was. If one of the sounds is silent, nothing is changed.

    Args:
        asked: one sound or more (C, N), the mean of whose colours is asked for.
        made: the sound to change (C, N).
        sample_rate_hz: sample rate of all sounds.
        most_db: largest gain of a band, and largest loss.
    """
    wanted = torch.stack([colour_of(sound.to(made.device), sample_rate_hz) for sound in asked]).mean(dim=0)
    found = colour_of(made, sample_rate_hz)
    if not (wanted.any() and found.any()):
        return torch.ones(1, device=made.device)
    gain_db = 10 * torch.log10(wanted.clamp(min=_LEAST_SHARE) / found.clamp(min=_LEAST_SHARE))
    return _minimum_phase(_between_bands(_balanced(gain_db, found, most_db), sample_rate_hz))


def filtered(sound: Tensor, taps: Tensor) -> Tensor:
    """Return a sound (C, N) through a filter (taps,), as long as before."""
    kernel = taps.to(sound).expand(sound.shape[0], -1)
    return torchaudio.functional.fftconvolve(sound, kernel)[:, : sound.shape[-1]]


def _bands(sample_rate_hz: int) -> Tensor:
    """Return the weights (24, F) with which the bands sum up a power spectrum."""
    return torchaudio.functional.melscale_fbanks(
        _N_FFT // 2 + 1, 0.0, sample_rate_hz / 2, _N_BANDS, sample_rate_hz, mel_scale="slaney"
    ).T


def _balanced(gain_db: Tensor, shares: Tensor, most_db: float) -> Tensor:
    """Return gains (24,) within limits in dB, moved alike so that they keep the power of bands with these shares."""
    gain_db, shares = gain_db.cpu().double(), shares.cpu().double()
    low_db, high_db = -most_db - gain_db.max(), most_db - gain_db.min()
    for _ in range(50):  # bisection: the power rises with the offset
        offset_db = (low_db + high_db) / 2
        limited_db = (gain_db + offset_db).clamp(-most_db, most_db)
        if (shares * 10 ** (limited_db / 10)).sum() > shares.sum():
            high_db = offset_db
        else:
            low_db = offset_db
    return limited_db


def _between_bands(gain_db: Tensor, sample_rate_hz: int) -> Tensor:
    """Return gains (F,) in dB at all frequencies, in straight lines between the middles of bands (24,)."""
    bands = _bands(sample_rate_hz)
    places = torch.arange(bands.shape[1], dtype=bands.dtype)
    middles = (bands @ places) / bands.sum(dim=1)
    return torch.from_numpy(np.interp(places, middles, gain_db))


def _minimum_phase(gain_db: Tensor) -> Tensor:
    """Return the shortest causal filter (2048,) with gains (F,) in dB, by folding its cepstrum."""
    half = len(gain_db) - 1
    cepstrum = torch.fft.irfft(gain_db * (math.log(10) / 20))[: half + 1]
    cepstrum[1:half] *= 2
    return torch.fft.irfft(torch.exp(torch.fft.rfft(cepstrum, 2 * half)))
