"""What it sounds like, frequency by frequency: distances of spectrograms."""

from dataclasses import dataclass

import librosa
import numpy as np
import torch
from torch import Tensor

STFT_SIZES = (512, 1024, 2048)
MAGNITUDE_FLOOR = 1e-4
MEL_POWER_FLOOR = 1e-8


@dataclass(frozen=True)
class StftDistance:
    """Multi-resolution STFT distance, each value the mean over the FFT sizes 512, 1024 and 2048.

    Args:
        spectral_convergence: ‖R − G‖ / ‖R‖ of the magnitudes (Frobenius); None where the reference is silent.
        log_magnitude: Mean of |ln R − ln G|, magnitudes below 1e-4 counting as that.
    """

    spectral_convergence: float | None
    log_magnitude: float

    @property
    def total(self) -> float | None:
        """Sum of both; None where the first is not defined."""
        return None if self.spectral_convergence is None else self.spectral_convergence + self.log_magnitude


def stft_distance(generated: Tensor, reference: Tensor) -> StftDistance:
    """Return the distance of the magnitude spectra of two mono sounds (N,), Hann windows every quarter of their length.

    Both have one rate, 44.1 kHz in this project.

    Source:
        Yamamoto et al., "Parallel WaveGAN", 2020, equations 4 to 6.
    """
    log_magnitudes, convergences = [], []
    for n_fft in STFT_SIZES:
        first, second = _magnitudes(generated, n_fft), _magnitudes(reference, n_fft)
        logs = (part.clamp(min=MAGNITUDE_FLOOR).log() for part in (first, second))
        log_magnitudes.append(float(torch.sub(*logs).abs().mean()))
        norm = float(second.norm())
        convergences.append(float((first - second).norm()) / norm if norm > 0 else None)
    defined = [value for value in convergences if value is not None]
    convergence = float(np.mean(defined)) if len(defined) == len(STFT_SIZES) else None
    return StftDistance(convergence, float(np.mean(log_magnitudes)))


def _magnitudes(mono: Tensor, n_fft: int) -> Tensor:
    window = torch.hann_window(n_fft)
    return torch.stft(mono, n_fft, n_fft // 4, window=window, pad_mode="constant", return_complex=True).abs()


def log_mel_db(mono: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Return the levels (128, 1 + N // 512) of mel bands of a sound (N,), FFT 2048, hop 512, in dB, at least -80."""
    power = librosa.feature.melspectrogram(
        y=mono, sr=sample_rate_hz, n_fft=2048, hop_length=512, n_mels=128, pad_mode="constant"
    )
    return librosa.power_to_db(power, ref=1.0, amin=MEL_POWER_FLOOR, top_db=None)


def log_mel_distance_db(generated: np.ndarray, reference: np.ndarray, sample_rate_hz: int) -> float:
    """Return the mean absolute difference of `log_mel_db` of two sounds (N,), in dB."""
    return float(np.abs(log_mel_db(generated, sample_rate_hz) - log_mel_db(reference, sample_rate_hz)).mean())
