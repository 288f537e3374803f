"""Changes of training frames that keep the truth: mirrored, and other exposures, contrasts and tones."""

import torch
from torch import Tensor


def augment(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Changes each clip in its own way, all of its frames alike.

    Args:
        frames: Frames (B, T, 3, H, W), uint8.
        generator: CPU noise source.

    Returns:
        Frames of the same shape, uint8: half of the clips mirrored, each with a tone curve of its own (gamma, gain and
        lift around 1, 1 and 0), one in twelve as a negative.
    """
    levels = torch.linspace(0, 1, 256)
    changed = []
    for clip in frames:
        mirrored, negative = torch.rand(2, generator=generator)
        gamma, gain = torch.exp(torch.randn(2, generator=generator) * torch.tensor([0.2, 0.25]))
        lift = 0.06 * torch.randn(1, generator=generator)
        curve = (levels**gamma * gain + lift).clamp(0, 1)
        curve = 1 - curve if negative < 1 / 12 else curve
        clip = clip.flip(-1) if mirrored < 0.5 else clip
        changed.append((255 * curve).round().to(torch.uint8).to(frames.device)[clip.int()])
    return torch.stack(changed)
