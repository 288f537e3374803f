"""Owns the whole model: backbone, control branch and conditioners, from inputs to a prediction of v and to latents.

Sub-modules are named as in the published checkpoints: ``model.model`` (transformer), ``model.controlnet``,
``conditioner.conditioners.<id>``, ``pretransform`` (latent codec).

Shapes: as in ``stable_foley.codec`` and ``stable_foley.dit``.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import InputError
from common.weights import load_into, refuse_differences
from stable_foley import diffusion, sampler
from stable_foley.backbone import CONDITIONERS, DIT, Backbone
from stable_foley.conditioners.base import Conditioner
from stable_foley.conditions import CONTROL_ID, Conditioners, Conditions
from stable_foley.controlnet import ControlledDiT, ControlNet
from stable_foley.guidance import GuidanceHead
from stable_foley.overlap import Overlap

Trainable = Literal["control", "control_and_projections", "all"]
CROSS_ATTENTION = (".to_cond_embed.", ".cross_attn.", ".cross_attend_norm.")
"""Parts of names of transformer weights that only cross-attention tokens use."""
CONTROL = "model.controlnet."
GUIDANCE = "guidance."
CONTROL_PARTS = (CONTROL, f"{CONDITIONERS}{CONTROL_ID}.", GUIDANCE)
"""Prefixes of the names of the control branch, of its conditioner, and of the guidance head."""


class FoleyModel(nn.Module):
    """A diffusion transformer with its latent codec, a control branch and conditioners.

    Args:
        backbone: transformer and codec, weights loaded.
        control_layers: layers of the control branch; 0 builds none (to train the transformer itself).
        conditioners: conditioners by id; None values are ignored.
        trainable: ``control``: the control branch and the envelope's projection; ``control_and_projections``: also the
            projections of the other conditioners; ``all``: also transformer and seconds.
        guidance: applies the guidance scale in a distilled model, always trained; None: guidance takes a second
            evaluation.

    Raises:
        InputError: see ``Conditioners``; or there is a control branch without an envelope conditioner or the reverse.
    """

    def __init__(
        self,
        backbone: Backbone,
        control_layers: int,
        conditioners: Mapping[str, nn.Module | None],
        trainable: Trainable = "control_and_projections",
        guidance: GuidanceHead | None = None,
    ) -> None:
        super().__init__()
        built = {key: value for key, value in conditioners.items() if value is not None}
        _check_control(built, control_layers)
        self.backbone = backbone
        self.pretransform = backbone.codec
        controlnet = ControlNet(backbone.dit, control_layers) if control_layers else None
        self.model = ControlledDiT(backbone.dit, controlnet)
        self.conditioner = Conditioners(built, backbone.codec)
        self.guidance = guidance
        self._frozen_dtype: torch.dtype | None = None
        if backbone.weights is not None:
            self._load_from_backbone()
        self._trained_prefixes = self._prefixes(trainable)
        reads_tokens = any(each.place == "cross_attention" for each in self.conditioners.values())
        for name, parameter in self.named_parameters():
            is_read = reads_tokens or not any(part in name for part in CROSS_ATTENTION)
            parameter.requires_grad_(is_read and name.startswith(self._trained_prefixes))

    def _load_from_backbone(self) -> None:
        """Load the conditioners that are part of the backbone, and others that the backbone was trained with."""
        weights, source = self.backbone.conditioner_weights, self.backbone.weights
        for key, conditioner in self.conditioners.items():
            own = {name: value for name, value in weights.items() if name.startswith(f"{key}.")}
            if conditioner.belongs_to_backbone or (own and key != CONTROL_ID):
                frozen = [name for name in conditioner.state_dict() if not name.startswith(conditioner.trained)]
                load_into(conditioner, own, prefix=f"{key}.", source=source, optional=frozen)

    def _prefixes(self, trainable: Trainable) -> tuple[str, ...]:
        """Return the prefixes of the names of all trained weights."""
        own = [key for key, conditioner in self.conditioners.items() if conditioner.belongs_to_backbone]
        projections = [key for key in self.conditioners if key not in (*own, CONTROL_ID)]
        groups = {
            "control": CONTROL_PARTS,
            "control_and_projections": self._trained_names(projections),
            "all": (DIT, *self._trained_names(own)),
        }
        if trainable not in groups:
            raise InputError(f"model.trainable is {trainable!r}; expected one of {', '.join(groups)}: correct it.")
        names = list(groups)
        return sum((groups[name] for name in names[: names.index(trainable) + 1]), ())

    def _trained_names(self, ids: Iterable[str]) -> tuple[str, ...]:
        return tuple(f"{CONDITIONERS}{key}.{part}" for key in ids for part in self.conditioners[key].trained)

    @property
    def conditioners(self) -> Mapping[str, Conditioner]:
        """The conditioners by id."""
        return self.conditioner.by_id

    @property
    def device(self) -> torch.device:
        """Device of the transformer."""
        return next(self.model.model.parameters()).device

    def trained_state(self) -> dict[str, Tensor]:
        """Return weights and buffers of the trained parts by name, as stored in checkpoints."""
        return {key: value for key, value in self.state_dict().items() if key.startswith(self._trained_prefixes)}

    def load_trained_state(self, state: Mapping[str, Tensor], source: object) -> None:
        """Load a result of ``trained_state``.

        Raises:
            InputError: a weight is missing, unexpected or of another shape.
        """
        # published checkpoints also store the conditioners of the backbone
        own = tuple(f"{CONDITIONERS}{key}." for key, each in self.conditioners.items() if each.belongs_to_backbone)
        extra = [key for key in state if not key.startswith((*self._trained_prefixes, *own))]
        refuse_differences([f"not expected {key}" for key in extra], source)
        frozen = [key for key in self.state_dict() if not key.startswith(self._trained_prefixes)]
        load_into(self, state, source=source, optional=frozen)

    def train(self, mode: bool = True) -> "FoleyModel":
        """Set training mode on the trained parts; frozen ones stay in eval mode."""
        super().train(mode)
        for name, module in self.named_modules():
            if not f"{name}.".startswith(self._trained_prefixes):
                module.training = False
        return self

    def store_frozen(self, dtype: torch.dtype) -> None:
        """Keep the frozen matrices of the layers in the type in which a mixed-precision training multiplies them.

        Autocast would convert them in every step, with the same result. Sampling then uses this type too. What is
        outside of the layers is small, and stable-audio-tools takes the type of its input from there.
        """
        for module in self.backbone.dit.transformer.layers.modules():
            own = list(module.parameters(recurse=False))
            if isinstance(module, nn.Linear | nn.Conv1d) and not any(each.requires_grad for each in own):
                module.to(dtype)
        self._frozen_dtype = dtype

    def check_sound(self, sample_rate_hz: int, n_channels: int) -> None:
        """Refuse sound in another form than the latent codec needs.

        Raises:
            InputError: sample rate or number of channels differ.
        """
        expected = (self.pretransform.sample_rate_hz, self.pretransform.n_audio_channels)
        if (sample_rate_hz, n_channels) != expected:
            raise InputError(
                f"dataset.spec asks for {n_channels} channels at {sample_rate_hz} Hz; this backbone works with "
                f"{expected[1]} at {expected[0]} Hz: set dataset.spec to these values."
            )

    def padded_length(self, n_samples: int) -> int:
        """Return the length in samples of the fewest whole tokens that cover ``n_samples``."""
        return math.ceil(n_samples / self.backbone.samples_per_token) * self.backbone.samples_per_token

    def padded(self, wave: Tensor) -> Tensor:
        """Pad sound (B, C, N) with silence at its end to whole tokens."""
        return F.pad(wave, (0, self.padded_length(wave.shape[-1]) - wave.shape[-1]))

    def forward(self, x: Tensor, t: Tensor, conditions: Conditions, control_strength: float = 1.0) -> Tensor:
        """Predict v (B, Z, L) without guidance for noised latents (B, Z, L) at noise levels t (B,)."""
        if self.guidance is not None:
            return self._distilled_v(x, t, conditions, self.guidance.lowest, control_strength)
        return self.model(x, t, **_inputs(conditions, control_strength))

    def _distilled_v(
        self, x: Tensor, t: Tensor, conditions: Conditions, cfg_scale: float | Tensor, control_strength: float
    ) -> Tensor:
        """Predict v with guidance in one evaluation."""
        assert self.guidance is not None
        v, hidden = self.model.forward_with_hidden(x, t, **_inputs(conditions, control_strength))
        return v + self.guidance(hidden, torch.as_tensor(cfg_scale, device=x.device).expand(len(x)))

    def guided_v(
        self,
        x: Tensor,
        t: Tensor,
        conditions: Conditions,
        cfg_scale: float | Tensor,
        negative: Conditions | None = None,
        control_strength: float = 1.0,
    ) -> Tensor:
        """Predict v with classifier-free guidance over frames and prompt; the envelope acts in both halves.

        A distilled model does it in one evaluation, unless it is led away from other conditions.

        Args:
            x: noised latents (B, Z, L).
            t: noise levels (B,).
            conditions: conditions of the guided half.
            cfg_scale: guidance scale, one for all clips or (B,); the number 1 runs the model once, without guidance.
            negative: conditions of the other half; None: no guidance, or, in a distilled model, guidance away from
                dropped prompts.
            control_strength: scale of the control residuals.
        """
        if negative is None and self.guidance is not None:
            return self._distilled_v(x, t, conditions, cfg_scale, control_strength)
        if negative is None or (not isinstance(cfg_scale, Tensor) and cfg_scale == 1):
            return self(x, t, conditions, control_strength)
        both = conditions.then(negative)
        conditional, unconditional = self(torch.cat([x, x]), torch.cat([t, t]), both, control_strength).chunk(2)
        scale = cfg_scale[:, None, None] if isinstance(cfg_scale, Tensor) else cfg_scale
        return diffusion.guided(conditional.float(), unconditional.float(), scale)

    @torch.no_grad()
    def sample(
        self,
        conditions: Conditions,
        n_samples: int,
        settings: sampler.SamplerSettings,
        generators: list[torch.Generator],
        *,
        negative: Conditions | None = None,
        control_strength: float = 1.0,
        progress: sampler.Progress = iter,
        overlap: Overlap | None = None,
    ) -> Tensor:
        """Sample latents.

        Args:
            conditions: for one clip (batch size 1) or for as many as there are generators.
            n_samples: length of the sound.
            settings: sampler, steps, schedule, guidance.
            generators: CPU noise source of each clip; a clip does not depend on the others in the batch.
            negative: conditions that guidance leads away from, see ``guided_v``.
            control_strength: scale of the control residuals.
            progress: wraps the range of steps, to show progress.
            overlap: what these latents share with those before and after them in time; None: nothing.

        Returns:
            Latents (B, Z, L), float32.
        """
        n_steps = self.padded_length(n_samples) // self.pretransform.samples_per_step
        shape = (self.pretransform.n_latent_channels, n_steps)

        def noise(_: Any = None) -> Tensor:
            drawn = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(self.device)
            return drawn if overlap is None else overlap.noise(drawn)

        n_clips = len(generators)
        batch = conditions.expand(n_clips)
        others = None if negative is None else negative.expand(n_clips)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            level = diffusion.sigma_to_level(sigma).expand(n_clips)
            scaled = x / torch.sqrt(1 + sigma**2)
            cfg_scale = settings.cfg_scale_at(float(sigma))
            with torch.autocast(self.device.type, self._frozen_dtype, enabled=self._frozen_dtype is not None):
                v = self.guided_v(scaled, level, batch, cfg_scale, others, control_strength)
            clean = diffusion.denoised_from_v(x, v.float(), sigma)
            return clean if overlap is None else overlap.prediction(clean)

        sigmas = sampler.polyexponential_sigmas(settings.n_steps, settings.sigma_min, settings.sigma_max)
        sigmas = sigmas.float().to(self.device)
        run: Callable[..., Tensor] = sampler.FUNCTIONS[settings.name]
        return run(denoise, noise() * sigmas[0], sigmas, noise, progress)


def _inputs(conditions: Conditions, control_strength: float) -> dict[str, Any]:
    """Return the arguments of ``ControlledDiT`` for some conditions."""
    return {
        "tokens": conditions.tokens,
        "global_embed": conditions.global_embed,
        "control": None if conditions.control is None else conditions.control.mT,
        "control_strength": control_strength,
    }


def _check_control(conditioners: Mapping[str, nn.Module], control_layers: int) -> None:
    if bool(control_layers) != (CONTROL_ID in conditioners):
        raise InputError(
            f"model.control_layers is {control_layers}, but the conditioners are {', '.join(conditioners)}; expected "
            f"an {CONTROL_ID!r} conditioner with a control branch, and only with one: set both or neither."
        )
