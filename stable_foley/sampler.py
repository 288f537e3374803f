"""Owns sampling: noise schedules and samplers as pure functions of a denoiser, a start, a schedule and a noise source.

A denoiser maps (x, sigma) to the expected clean latent, where x = clean + sigma · noise. Schedules fall, and those of a
whole sampling end in 0; every clip may have one of its own, (n_steps + 1, B, 1, 1).

Sources: T. Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022 (arXiv 2206.00364);
C. Lu et al., "DPM-Solver++", 2022 (arXiv 2211.01095).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from common.choices import SAMPLERS
from common.errors import InputError, check_range

Denoiser = Callable[[Tensor, Tensor], Tensor]
NoiseSource = Callable[[Tensor], Tensor]
Progress = Callable[[range], Iterable[int]]


def polyexponential_sigmas(n_steps: int, sigma_min: float, sigma_max: float, rho: float = 1.0) -> Tensor:
    """Return a schedule (n_steps + 1,) from ``sigma_max`` to ``sigma_min``, then 0; even in log for ``rho`` 1."""
    ramp = torch.linspace(1, 0, n_steps, dtype=torch.float64) ** rho
    ratio = torch.tensor(sigma_max / sigma_min, dtype=torch.float64)
    return torch.cat([sigma_min * ratio**ramp, torch.zeros(1, dtype=torch.float64)])


def euler(denoise: Denoiser, x: Tensor, sigmas: Tensor, noise: NoiseSource, progress: Progress = iter) -> Tensor:
    """Sample by first-order deterministic steps along the probability-flow equation; ``noise`` is not used."""
    del noise
    for i in progress(range(len(sigmas) - 1)):
        slope = (x - denoise(x, sigmas[i])) / sigmas[i]
        x = x + slope * (sigmas[i + 1] - sigmas[i])
    return x


def dpmpp_2m(denoise: Denoiser, x: Tensor, sigmas: Tensor, noise: NoiseSource, progress: Progress = iter) -> Tensor:
    """Sample by DPM-Solver++(2M) in its Heun form: second-order multistep, deterministic; ``noise`` is not used."""
    return _multistep(denoise, x, sigmas, noise, progress, order=2, eta=0.0)


def dpmpp_3m_sde(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, noise: NoiseSource, progress: Progress = iter, eta: float = 1.0
) -> Tensor:
    """Sample by DPM-Solver++(3M) SDE: third-order multistep, new noise in every step, scaled by ``eta`` (0: none)."""
    return _multistep(denoise, x, sigmas, noise, progress, order=3, eta=eta)


def _multistep(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, noise: NoiseSource, progress: Progress, *, order: int, eta: float
) -> Tensor:
    """Integrate exponentially in log-SNR with up to ``order`` - 1 stored predictions of the clean latent.

    With h the step in -log sigma and g = h · (1 + eta), each step is exact for a constant prediction; differences of
    past predictions add the first and second derivative.
    """
    past: list[tuple[Tensor, Tensor]] = []  # (clean prediction, step that led to it), latest first
    for i in progress(range(len(sigmas) - 1)):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        clean = denoise(x, sigma)
        if not sigma_next.any():
            x = clean
            continue  # not return: the progress bar must reach the end
        h = (sigma / sigma_next).log()
        g = h * (1 + eta)
        x = torch.exp(-g) * x - torch.expm1(-g) * clean + _derivative_terms(clean, past, h, g)
        if eta > 0:
            x = x + noise(x) * sigma_next * torch.sqrt(-torch.expm1(-2 * eta * h))
        past = [(clean, h), *past][: order - 1]
    return x


def _derivative_terms(clean: Tensor, past: list[tuple[Tensor, Tensor]], h: Tensor, g: Tensor) -> Tensor | float:
    """Return the contribution of the prediction's derivatives to the step, from the stored predictions."""
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


FUNCTIONS: dict[str, Callable[..., Tensor]] = dict(zip(SAMPLERS, (dpmpp_3m_sde, dpmpp_2m, euler), strict=True))
"""The sampler of each name."""


@dataclass(frozen=True)
class SamplerSettings:
    """Settings of the sampler.

    Attributes:
        name: one of ``SAMPLERS``.
        n_steps: denoising steps, 1 to 1000.
        sigma_min: last noise-to-signal ratio before 0, 1e-5 to 1e5.
        sigma_max: first noise-to-signal ratio, above ``sigma_min``, at most 1e5.
        cfg_scale: guidance scale, 0 to 100; 1 is no guidance.
        cfg_interval: lowest and highest noise-to-signal ratio at which there is guidance; outside of them a step needs
            half of the evaluations. (T. Kynkäänniemi et al., "Applying Guidance in a Limited Interval Improves Sample
            and Distribution Quality in Diffusion Models", 2024, arXiv 2404.07724.)
        level_match_db: largest gain in dB, 0 to 200, that is applied afterwards where the sound is softer than its
            envelope; louder parts are attenuated. 0 changes nothing, as published.
        colour_match_db: largest gain and loss in dB, 0 to 40, with which broad bands are brought to the spectrum of
            sound prompts afterwards; the level of each moment stays. 0 changes nothing, as published. Samples and
            evaluations during training use neither match, since they measure the model alone.

    Raises:
        InputError: a value is out of its range.
    """

    name: str = "dpmpp-3m-sde"
    n_steps: int = 100
    sigma_min: float = 0.3
    sigma_max: float = 500.0
    cfg_scale: float = 7.0
    cfg_interval: tuple[float, float] = (0.0, 1e5)
    level_match_db: float = 0.0
    colour_match_db: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in SAMPLERS:
            raise InputError(f"sampler {self.name!r} is not known; expected one of {', '.join(SAMPLERS)}.")
        check_range("n_steps (--steps)", self.n_steps, 1, 1000, whole=True)
        check_range("cfg_scale (--cfg)", self.cfg_scale, 0, 100)
        check_range("level_match_db (--level-match)", self.level_match_db, 0, 200)
        check_range("colour_match_db", self.colour_match_db, 0, 40)
        check_range("sigma_min", self.sigma_min, 1e-5, 1e5)
        check_range("sigma_max", self.sigma_max, 1e-5, 1e5)
        object.__setattr__(self, "cfg_interval", tuple(self.cfg_interval))  # a list in a configuration
        if len(self.cfg_interval) != 2 or not 0 <= self.cfg_interval[0] <= self.cfg_interval[1]:
            raise InputError(
                f"cfg_interval is {list(self.cfg_interval)}; expected two noise-to-signal ratios of at least 0, the "
                "lower one first: give for instance [0.5,50]."
            )
        if self.sigma_min >= self.sigma_max:
            raise InputError(f"sigma_min {self.sigma_min} is not below sigma_max {self.sigma_max}: lower sigma_min.")

    def cfg_scale_at(self, sigma: float) -> float:
        """Return the guidance scale at a noise-to-signal ratio: 1, no guidance, outside the interval."""
        lowest, highest = self.cfg_interval
        return self.cfg_scale if lowest <= sigma <= highest else 1.0

    def changed(self, **given: str | float | None) -> "SamplerSettings":
        """Return these settings with the given values (not None) replaced."""
        return replace(self, **{key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]
