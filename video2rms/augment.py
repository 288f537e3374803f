"""Changes of training frames that keep the truth: mirrored, and other exposures, contrasts and tones."""

from collections.abc import Sequence

import cv2
import torch
from torch import Tensor

MIRRORED_SHARE = 0.5
NEGATIVE_SHARE = 1 / 12
LOG_GAMMA_STD, LOG_GAIN_STD, LIFT_STD = 0.2, 0.25, 0.06
"""Spread of the tone curves; like the shares above this project's own choice, of no published source."""


def augment(frames: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Change each clip in its own way, all of its frames alike.

    Args:
        frames: Frames (B, T, 3, H, W), uint8.
        generators: CPU noise source of each clip.

    Returns:
        Frames of the same shape, uint8: some of the clips mirrored, some as a negative, each with its own tone curve
        (gamma, gain and lift around 1, 1 and 0).
    """
    levels = torch.linspace(0, 1, 256)
    changed = []
    for clip, generator in zip(frames, generators, strict=True):
        mirrored, negative = torch.rand(2, generator=generator)
        gamma, gain = torch.exp(torch.randn(2, generator=generator) * torch.tensor([LOG_GAMMA_STD, LOG_GAIN_STD]))
        lift = LIFT_STD * torch.randn(1, generator=generator)
        curve = (levels**gamma * gain + lift).clamp(0, 1)
        curve = 1 - curve if negative < NEGATIVE_SHARE else curve
        clip = clip.flip(-1) if mirrored < MIRRORED_SHARE else clip
        table = (255 * curve).round().to(torch.uint8).numpy()
        toned = cv2.LUT(clip.cpu().reshape(-1, clip.shape[-1]).numpy(), table)  # 25 times as fast as indexing
        changed.append(torch.from_numpy(toned).view_as(clip))
    return torch.stack(changed).to(frames.device)
