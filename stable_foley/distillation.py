"""Owns the distillation of a Foley model: a student that needs few steps and no second evaluation for guidance."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.errors import InputError, check_range
from common.weights import load_into
from data.batch import FoleyBatch
from stable_foley import diffusion, sampler
from stable_foley.checkpoint import load_model
from stable_foley.conditions import PROMPT_ID
from stable_foley.model import GUIDANCE, FoleyModel
from stable_foley.module import FoleyTraining
from stable_foley.sampler import SamplerSettings
from training.across import preceding
from training.config import instantiate
from training.noise import ClipNoise

_LAST_SIGMA = 1e-3  # in place of 0, of which there is no logarithm


class Distillation(FoleyTraining):
    """Teaches a model to go in one step, with guidance, where its teacher goes in several.

    The student's schedule has as many intervals as ``schedule`` has steps. From a noised recording at the start of one
    of them, the teacher goes to its end in ``n_substeps`` steps of DPM-Solver++(2M), each with guidance of a random
    scale, and the student's single Euler step of that scale must end there. It starts as a copy of the teacher.

    A distilled teacher, which is at home only at the noise levels of its own schedule, takes ``n_substeps`` of its own
    Euler steps instead, and the student gets every ``n_substeps``-th of these levels.

    Args:
        model: the student, with ``guidance``.
        teacher: checkpoint of a model with the same parts, with ``guidance`` or without.
        schedule: settings with which the student is sampled; its sampler must be ``euler``.
        n_substeps: steps of the teacher in an interval, at least 1.
        other_prompts: probability that a training clip gets the sound prompt of another clip. What the teacher makes of
            any prompt can be learned, and people ask for other sounds than those of the recording.
        **common: dropped conditions, optimiser and so on, see ``FoleyTraining``.

    Raises:
        InputError: the student has no ``guidance``, the teacher does not fit, or the schedule is another.

    Sources: T. Salimans and J. Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", 2022 (arXiv
    2202.00512); Meng et al., "On Distillation of Guided Diffusion Models", 2023 (arXiv 2210.03142).
    """

    def __init__(
        self,
        model: FoleyModel,
        teacher: str,
        schedule: SamplerSettings,
        n_substeps: int = 2,
        other_prompts: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(model, **common)
        if model.guidance is None:
            raise InputError("A student needs a head for guidance; train it with model=distilled.")
        if schedule.name != "euler":
            raise InputError(f"A student steps as it is taught; give sampler.name=euler, not {schedule.name}.")
        check_range("training.n_substeps", n_substeps, 1, 100, whole=True)
        check_range("training.other_prompts", other_prompts, 0, 1)
        taught_by, taught_with = load_model(Path(teacher))
        own = [name for name in model.state_dict() if name.startswith(GUIDANCE)]
        load_into(model, taught_by.state_dict(), source=teacher, optional=own)
        if taught_by.guidance is None:
            self._levels = _divided(_levels(schedule), n_substeps)
        else:
            lowest, highest = taught_by.guidance.lowest, taught_by.guidance.highest
            if (model.guidance.lowest, model.guidance.highest) != (lowest, highest):
                raise InputError(
                    f"The guidance scales of student and teacher differ: give model.guidance.lowest={lowest} "
                    f"model.guidance.highest={highest}."
                )
            self._levels = _levels(instantiate(taught_with.sampler))
            _check_schedule(schedule, self._levels, n_substeps)
        self._teacher = [taught_by]  # in a list, so it is not a sub-module and is not stored
        self.n_substeps = n_substeps
        self.other_prompts = other_prompts

    @property
    def teacher(self) -> FoleyModel:
        """The teacher, on the device of the student."""
        return self._teacher[0].to(self.device)

    def validation_losses(self, batch: FoleyBatch, noise: ClipNoise, levels: Tensor) -> list[Tensor]:
        """Return losses of a batch in several intervals, which are drawn instead of ``levels``."""
        return [self.loss(batch, noise) for _ in range(levels.shape[1])]

    def recorded(
        self, batch: FoleyBatch, noise: ClipNoise, *, dropping: bool
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Return what ``FoleyTraining`` does, some clips with the sound prompt of another one."""
        latent, embeddings, kept = super().recorded(batch, noise, dropping=dropping)
        if dropping and PROMPT_ID in embeddings:
            prompts = embeddings[PROMPT_ID]
            other = noise.uniform().to(prompts.device) < self.other_prompts
            embeddings[PROMPT_ID] = torch.where(other[:, None], preceding(prompts), prompts)
        return latent, embeddings, kept

    def error(
        self,
        latent: Tensor,
        embeddings: dict[str, Tensor],
        kept: dict[str, Tensor],
        noise: ClipNoise,
        levels: Tensor | None,
    ) -> Tensor:
        """Return the error of the student's v, in intervals of its schedule that are drawn instead of ``levels``."""
        del levels
        assert self.model.guidance is not None
        scale = torch.cat([self.model.guidance.draw(1, each) for each in noise.generators]).to(latent)
        sigmas = self._draw_levels(noise).to(latent)[..., None, None]
        sigma = sigmas[0]
        x = latent + sigma * noise.normal(*latent.shape[1:]).to(latent)
        with torch.no_grad():
            teacher = self.teacher.conditioner
            conditions = teacher(embeddings, kept)
            distilled = self.teacher.guidance is not None
            dropped = teacher.dropped(teacher.prompts, len(latent))
            negative = None if distilled else teacher(embeddings, kept | dropped)

            def denoise(x: Tensor, sigma: Tensor) -> Tensor:
                level = diffusion.sigma_to_level(sigma.flatten())
                scaled = x / torch.sqrt(1 + sigma**2)
                v = self.teacher.guided_v(scaled, level, conditions, scale, negative)
                return diffusion.denoised_from_v(x, v.float(), sigma)

            go = sampler.euler if distilled else sampler.dpmpp_2m
            target = diffusion.v_from_step(x, go(denoise, x, sigmas, torch.zeros_like), sigma, sigmas[-1])
        v = self.model.guided_v(
            x / torch.sqrt(1 + sigma**2),
            diffusion.sigma_to_level(sigma.flatten()),
            self.model.conditioner(embeddings, kept),
            scale,
        )
        return (self.model.pretransform.loss_weights * (v.float() - target).square()).mean()

    def _draw_levels(self, noise: ClipNoise) -> Tensor:
        """Draw an interval for each clip: the noise-to-signal ratios of the teacher's steps (n_substeps + 1, B)."""
        n_intervals = (len(self._levels) - 1) // self.n_substeps
        first = self.n_substeps * noise.integers(n_intervals)
        return self._levels[first + torch.arange(self.n_substeps + 1)[:, None]]


def _levels(settings: SamplerSettings) -> Tensor:
    """Return the noise-to-signal ratios (n_steps + 1,) of a schedule."""
    sigmas = sampler.polyexponential_sigmas(settings.n_steps, settings.sigma_min, settings.sigma_max).float()
    sigmas[-1] = _LAST_SIGMA
    return sigmas


def _divided(levels: Tensor, n: int) -> Tensor:
    """Return levels with each interval divided into ``n``, evenly in logarithms."""
    share = torch.arange(n) / n
    parts = levels[:-1, None] * (levels[1:] / levels[:-1])[:, None] ** share
    return torch.cat([parts.flatten(), levels[-1:]])


def _check_schedule(schedule: SamplerSettings, levels: Tensor, n_substeps: int) -> None:
    """Refuse a schedule that is not every ``n_substeps``-th level of a distilled teacher."""
    n_steps = (len(levels) - 1) // n_substeps
    wanted = levels[::n_substeps]
    fits = n_steps > 1 and n_steps * n_substeps == len(levels) - 1
    if not fits:
        raise InputError(
            f"training.n_substeps is {n_substeps}; the teacher is distilled to {len(levels) - 1} steps: give a number "
            "that divides it into two or more."
        )
    if schedule.n_steps != n_steps or not torch.allclose(_levels(schedule), wanted, rtol=0.01):
        raise InputError(
            f"The teacher is distilled, and the student has to share its noise levels: give sampler.n_steps={n_steps} "
            f"sampler.sigma_min={float(wanted[-2]):.4g} sampler.sigma_max={float(wanted[0]):.4g}."
        )
