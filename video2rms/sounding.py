"""Sonification of envelopes, so that one detector can find onsets in them and in recordings."""

import torch
from torch import Tensor

from media.clip import count_at_rate
from media.envelope import Envelope, control_envelope


def noise_along(envelope: Envelope, sample_rate_hz: int, duration_s: float | None = None, *, seed: int = 0) -> Tensor:
    """Return white noise whose level follows an envelope.

    Args:
        envelope: One envelope, rms (T,).
        sample_rate_hz: Samples per second of the sound.
        duration_s: Duration of the sound, above 0, silent after the envelope's end; None: the envelope's.
        seed: Seed of the noise.

    Returns:
        Sound (1, N), float32.
    """
    n_samples = count_at_rate(duration_s or envelope.duration_s, sample_rate_hz)
    level = control_envelope(
        envelope, n_samples=n_samples, sample_rate_hz=sample_rate_hz, window_samples=1, smoothing_samples=1
    )
    return level[None] * torch.randn(n_samples, generator=torch.Generator().manual_seed(seed)).to(level.device)
