"""The log-mel spectrogram that the audio tower reads, computed on the device of the sound."""

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from common.errors import InputError

WINDOW_SAMPLES = 1024
HOP_SAMPLES = 256
LOWEST_HZ, HIGHEST_HZ = 125.0, 7600.0
FLOOR = 1e-5
"""Smallest magnitude before the logarithm; it is below the lower end of the scale, so silence becomes 0."""


class LogMel(nn.Module):
    """Log-mel spectrogram in 0..1: 0 for magnitudes up to 0.0001, 1 for magnitudes of 10 and above.

    Args:
        sample_rate_hz: samples per second of the sound, at least 15,200; 16,000 in the published model.
        n_mels: mel bands (Slaney's scale and area normalisation) from 125 to 7600 Hz; 128 in the published model.

    Raises:
        InputError: the sample rate is too low.

    Source: Iashin and Rahtu, "Taming Visually Guided Sound Generation" (SpecVQGAN), 2021; Diff-Foley keeps its scale.
    """

    def __init__(self, sample_rate_hz: int = 16_000, n_mels: int = 128) -> None:
        super().__init__()
        if sample_rate_hz < 2 * HIGHEST_HZ:
            raise InputError(
                f"spectrogram.sample_rate_hz is {sample_rate_hz}, expected at least {2 * HIGHEST_HZ:g}, twice the "
                "highest frequency of the spectrogram: give 16000"
            )
        self.mel = MelSpectrogram(
            sample_rate_hz,
            n_fft=WINDOW_SAMPLES,
            hop_length=HOP_SAMPLES,
            f_min=LOWEST_HZ,
            f_max=HIGHEST_HZ,
            n_mels=n_mels,
            power=1.0,
            norm="slaney",
            mel_scale="slaney",
        )

    def forward(self, wave: Tensor) -> Tensor:
        """Compute the spectrogram.

        Args:
            wave: (B, N), mono, more than 512 samples.

        Returns:
            (B, 1, N // 256 + 1, n_mels), float32 even under autocast.
        """
        with torch.autocast(wave.device.type, enabled=False):
            level_db = 20 * self.mel(wave.float()).clamp(min=FLOOR).log10()
            return ((level_db - 20 + 100) / 100).clamp(0, 1).mT.unsqueeze(1)
