"""Envelopes made audible, so that their onsets can be compared with those of recordings by the same detector."""

import torch
from torch import Tensor

from media.clip import count_at_rate
from media.envelope import Envelope, control_envelope


def noise_along(envelope: Envelope, sample_rate_hz: int, duration_s: float | None = None, *, seed: int = 0) -> Tensor:
    """White noise that is as loud as an envelope says.

    Args:
        envelope: One envelope, rms (T,).
        sample_rate_hz: Samples a second of the sound.
        duration_s: Length of the sound, above 0, silent after the envelope's end; None: the envelope's.
        seed: Of the noise.

    Returns:
        Sound (1, N), float32.
    """
    n_samples = count_at_rate(duration_s or envelope.duration_s, sample_rate_hz)
    level = control_envelope(
        envelope, n_samples=n_samples, sample_rate_hz=sample_rate_hz, window_samples=1, smoothing_samples=1
    )
    return level[None] * torch.randn(n_samples, generator=torch.Generator().manual_seed(seed)).to(level.device)
