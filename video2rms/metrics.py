"""Metrics of a predicted envelope: both published E-L1s, and correlation."""

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.levels import HOP_SAMPLES, STABLE_V2A_RATE_HZ
from media.envelope import FINE_RATE_HZ, Envelope, control_envelope


def level_metrics(rms: Tensor, true_rms: Tensor, true_rms_44khz: Tensor) -> dict[str, Tensor]:
    """Compare predicted levels with those of the sound.

    Args:
        rms: Predicted level in slots of 8 ms (B, N).
        true_rms: Level of the sound (B, N).
        true_rms_44khz: Level of the sound every 128 samples at 44.1 kHz (B, M), see `evaluation.levels.rms_44khz`.

    Returns:
        For each clip (B,): `e_l1` as in Video-Foley at 16 kHz; `e_l1_44khz` as in Stable-V2A, with the prediction
        sampled at the middles of the windows; `rms_correlation`, Pearson's, 0 if a level is constant.
    """
    pairs = torch.stack([rms, true_rms], dim=1)
    pairs = F.normalize(pairs - pairs.mean(dim=-1, keepdim=True), dim=-1, eps=1e-6)
    at_samples = control_envelope(
        Envelope(rms, FINE_RATE_HZ),
        n_samples=(true_rms_44khz.shape[-1] - 1) * HOP_SAMPLES + 1,
        sample_rate_hz=STABLE_V2A_RATE_HZ,
        window_samples=1,
        smoothing_samples=1,
    )
    return {
        "e_l1": (rms - true_rms).abs().mean(dim=-1),
        "e_l1_44khz": (at_samples[:, ::HOP_SAMPLES] - true_rms_44khz).abs().mean(dim=-1),
        "rms_correlation": (pairs[:, 0] * pairs[:, 1]).sum(dim=-1),
    }
