"""Owns sampling: noise schedules and samplers as pure functions of a denoiser, a start, a schedule and a noise source.

A denoiser maps (x, sigma) to the clean latent it expects, where x = clean + sigma · noise. Schedules fall and end in 0.

Sources: T. Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022 (arXiv 2206.00364);
C. Lu et al., "DPM-Solver++", 2022 (arXiv 2211.01095).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from data.errors import InputError

Denoiser = Callable[[Tensor, Tensor], Tensor]
NoiseSource = Callable[[Tensor], Tensor]
Progress = Callable[[range], Iterable[int]]


def polyexponential_sigmas(n_steps: int, sigma_min: float, sigma_max: float, rho: float = 1.0) -> Tensor:
    """Schedule (n_steps + 1,) from ``sigma_max`` to ``sigma_min``, then 0; evenly spaced logarithms for ``rho`` 1."""
    ramp = torch.linspace(1, 0, n_steps, dtype=torch.float64) ** rho
    ratio = torch.tensor(sigma_max / sigma_min, dtype=torch.float64)
    return torch.cat([sigma_min * ratio**ramp, torch.zeros(1, dtype=torch.float64)])


def euler(denoise: Denoiser, x: Tensor, sigmas: Tensor, noise: NoiseSource, progress: Progress = iter) -> Tensor:
    """First-order deterministic steps along the probability-flow equation; ``noise`` is not drawn from."""
    del noise
    for i in progress(range(len(sigmas) - 1)):
        slope = (x - denoise(x, sigmas[i])) / sigmas[i]
        x = x + slope * (sigmas[i + 1] - sigmas[i])
    return x


def dpmpp_2m(denoise: Denoiser, x: Tensor, sigmas: Tensor, noise: NoiseSource, progress: Progress = iter) -> Tensor:
    """DPM-Solver++(2M) in its Heun form: second-order multistep, deterministic; ``noise`` is not drawn from."""
    return _multistep(denoise, x, sigmas, noise, progress, order=2, eta=0.0)


def dpmpp_3m_sde(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, noise: NoiseSource, progress: Progress = iter, eta: float = 1.0
) -> Tensor:
    """DPM-Solver++(3M) SDE: third-order multistep with fresh noise in every step, scaled by ``eta`` (0: none)."""
    return _multistep(denoise, x, sigmas, noise, progress, order=3, eta=eta)


def _multistep(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, noise: NoiseSource, progress: Progress, *, order: int, eta: float
) -> Tensor:
    """Exponential integrator in log-SNR with up to ``order`` - 1 remembered predictions of the clean latent.

    With h the step in -log sigma and g = h · (1 + eta), each step is exact for a constant prediction; differences of
    past predictions add the first and second derivative.
    """
    past: list[tuple[Tensor, Tensor]] = []  # (clean prediction, step that led to it), latest first
    for i in progress(range(len(sigmas) - 1)):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        clean = denoise(x, sigma)
        if sigma_next == 0:
            x = clean
            continue  # not return: a progress bar is to see the end
        h = (sigma / sigma_next).log()
        g = h * (1 + eta)
        x = torch.exp(-g) * x - torch.expm1(-g) * clean + _derivative_terms(clean, past, h, g)
        if eta > 0:
            x = x + noise(x) * sigma_next * torch.sqrt(-torch.expm1(-2 * eta * h))
        past = [(clean, h), *past][: order - 1]
    return x


def _derivative_terms(clean: Tensor, past: list[tuple[Tensor, Tensor]], h: Tensor, g: Tensor) -> Tensor | float:
    """Contribution of the prediction's derivatives in the step, from the remembered predictions."""
    if not past:
        return 0.0
    phi_2 = torch.expm1(-g) / g + 1
    before, h_1 = past[0]
    slope_1 = (clean - before) / (h_1 / h)
    if len(past) == 1:
        return phi_2 * slope_1
    earlier, h_2 = past[1]
    r_0, r_1 = h_1 / h, h_2 / h
    slope_2 = (before - earlier) / r_1
    curvature = (slope_1 - slope_2) / (r_0 + r_1)
    slope = slope_1 + curvature * r_0
    phi_3 = phi_2 / g - 0.5
    return phi_2 * slope - phi_3 * curvature


MAX_STEPS = 10_000
SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "dpmpp-3m-sde": dpmpp_3m_sde,
    "dpmpp-2m": dpmpp_2m,
    "euler": euler,
}


@dataclass(frozen=True)
class SamplerSettings:
    """How a sound is generated.

    Attributes:
        name: one of ``SAMPLERS``.
        n_steps: denoising steps, 1 to ``MAX_STEPS``.
        sigma_min: last noise-to-signal ratio before 0.
        sigma_max: first noise-to-signal ratio.
        cfg_scale: guidance scale; 1 is no guidance.
        level_match_db: how many dB louder the sound may be made afterwards, wherever it is softer than its envelope
            asks for; where it is louder it is made softer. 0 leaves it as it is, as published. Training's samples and
            evaluations show what the model does by itself: they leave it out.

    Raises:
        InputError: a value is out of its range.
    """

    name: str = "dpmpp-3m-sde"
    n_steps: int = 100
    sigma_min: float = 0.3
    sigma_max: float = 500.0
    cfg_scale: float = 7.0
    level_match_db: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in SAMPLERS:
            raise InputError(f"sampler {self.name!r} is not known; expected one of {', '.join(SAMPLERS)}.")
        if not isinstance(self.n_steps, int) or not 1 <= self.n_steps <= MAX_STEPS:
            raise InputError(f"{self.n_steps} sampling steps are not possible; give a whole number, 1 to {MAX_STEPS}.")
        if not math.isfinite(self.cfg_scale):
            raise InputError(f"guidance scale {self.cfg_scale} is not possible; give a finite number, 1 for none.")
        if not 0 <= self.level_match_db < math.inf:
            raise InputError(f"a level match of {self.level_match_db} dB is not possible; give 0 (none) or more.")
        if not 0 < self.sigma_min < self.sigma_max:
            raise InputError(
                f"sigma_min {self.sigma_min}, sigma_max {self.sigma_max} do not fit; expected 0 < min < max."
            )

    def changed(self, **given: str | float | None) -> "SamplerSettings":
        """These settings, those that are given (not None) in their place."""
        return replace(self, **{key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]
