"""Owns the diffusion process as pure functions: noising, the v objective, noise levels and guidance.

Source: T. Salimans and J. Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", 2022 (arXiv 2202.00512)
for v-prediction; J. Ho and T. Salimans, "Classifier-Free Diffusion Guidance", 2022 (arXiv 2207.12598).
"""

import math

import torch
from torch import Tensor


def alpha_sigma(t: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights of signal and noise at level ``t`` (0 clean, 1 noise): cos and sin of t · pi / 2."""
    return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)


def noised(x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Mix a latent (B, C, L) with noise of the same shape at levels ``t`` (B,)."""
    alpha, sigma = (w[:, None, None] for w in alpha_sigma(t))
    return alpha * x + sigma * noise


def v_target(x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Return the training target alpha · noise - sigma · x for latents (B, C, L) at levels ``t`` (B,)."""
    alpha, sigma = (w[:, None, None] for w in alpha_sigma(t))
    return alpha * noise - sigma * x


def logit_normal_levels(n: int, generator: torch.Generator, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Draw ``n`` noise levels in 0..1 as the sigmoid of a normal variable.

    Redundant latents, such as neighbouring bands and steps of a spectrogram, remain visible through more noise and need
    a higher mean.
    """
    return torch.sigmoid(mean + std * torch.randn(n, generator=generator))


def logit_normal_quantiles(n: int, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Return rising noise levels (n,), at evenly spaced quantiles of the distribution of ``logit_normal_levels``."""
    quantiles = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)
    return torch.sigmoid(mean + std * quantiles).float()


def guided(conditional: Tensor, unconditional: Tensor, scale: float | Tensor) -> Tensor:
    """Apply classifier-free guidance: scale 1 gives the conditional prediction, 0 the unconditional one."""
    return unconditional + scale * (conditional - unconditional)


def sigma_to_level(sigma: Tensor) -> Tensor:
    """Return the noise level t in 0..1 of a noise-to-signal ratio ``sigma`` ≥ 0."""
    return torch.atan(sigma) * (2 / math.pi)


def denoised_from_v(x: Tensor, v: Tensor, sigma: Tensor) -> Tensor:
    """Return the clean latent for ``x = clean + sigma · noise`` and the model's v at ``x / sqrt(1 + sigma²)``."""
    return x / (1 + sigma**2) - v * sigma / torch.sqrt(1 + sigma**2)


def v_from_step(x: Tensor, end: Tensor, sigma: Tensor, sigma_end: Tensor) -> Tensor:
    """Return the model's v at ``x / sqrt(1 + sigma²)`` with which an Euler step from ``x`` to ``sigma_end`` ends there.

    Args:
        x: clean + sigma · noise (B, C, L).
        end: where the step ends (B, C, L).
        sigma: noise-to-signal ratios of ``x`` (B, 1, 1).
        sigma_end: those of the end, smaller.
    """
    clean = x + (end - x) * sigma / (sigma - sigma_end)
    return (x / (1 + sigma**2) - clean) * torch.sqrt(1 + sigma**2) / sigma
