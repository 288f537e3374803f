"""Owns the whole model: backbone, control branch and conditioners, from raw inputs to a prediction of v and to sound.

Sub-modules are named as in the published checkpoints: ``model.model`` (transformer), ``model.controlnet``,
``conditioner.conditioners.<id>``, ``pretransform`` (latent codec).

Shapes: as in ``stable_foley.backbone``.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import InputError
from common.weights import load_into, refuse_differences
from media.envelope import Envelope
from stable_foley import diffusion, sampler
from stable_foley.backbone import Backbone
from stable_foley.conditioners.envelope import EnvelopeConditioner
from stable_foley.controlnet import ControlledDiT, ControlNet

Trainable = Literal["control", "control_and_projections", "all"]
PROMPT_IDS = ("frames", "audio")  # what training drops and guidance acts on
SECONDS_IDS = ("seconds_start", "seconds_total")
CONTROL_ID = "envelope"
CROSS_ATTENTION = (".to_cond_embed.", ".cross_attn.", ".cross_attend_norm.")
"""Parts of the names of the transformer's weights that only cross-attention tokens reach."""
_SECONDS = tuple(f"conditioner.conditioners.{key}." for key in SECONDS_IDS)  # published checkpoints keep them too


@dataclass(frozen=True)
class Conditions:
    """What the transformer is conditioned on.

    Attributes:
        tokens: cross-attention tokens (B, T, D), or None.
        global_embed: global condition (B, D), or None.
        control: control latent (B, L, Z), or None.
    """

    tokens: Tensor | None = None
    global_embed: Tensor | None = None
    control: Tensor | None = None


class Conditioner(nn.Module):
    """The conditioners of a model by id, under the name that published checkpoints give them.

    Args:
        conditioners: by id.
    """

    def __init__(self, conditioners: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.conditioners = nn.ModuleDict(dict(conditioners))


class FoleyModel(nn.Module):
    """A diffusion transformer with its latent codec, a control branch and conditioners.

    Args:
        backbone: transformer and codec, weights loaded.
        control_layers: layers of the control branch; 0 builds none (to train the transformer itself).
        conditioners: by id, among ``seconds_start``, ``seconds_total``, ``frames``, ``audio``, ``envelope``; those
            that are not there, or None, are not built.
        trainable: ``control``: the control branch and the envelope's projection; ``control_and_projections``: also the
            projections of frames and sound to the transformer's width; ``all``: also transformer and seconds.

    Raises:
        InputError: an unknown conditioner, or a control branch without an envelope or the reverse.
    """

    def __init__(
        self,
        backbone: Backbone,
        control_layers: int,
        conditioners: Mapping[str, nn.Module | None],
        trainable: Trainable = "control_and_projections",
    ) -> None:
        super().__init__()
        built = {key: value for key, value in conditioners.items() if value is not None}
        _check_conditioners(built, control_layers)
        self.backbone = backbone
        self.pretransform = backbone.codec
        controlnet = ControlNet(backbone.dit, control_layers) if control_layers else None
        self.model = ControlledDiT(backbone.dit, controlnet)
        self.conditioner = Conditioner(built)
        if backbone.weights is not None:
            seconds = nn.ModuleDict({k: v for k, v in self.conditioners.items() if k in SECONDS_IDS})
            load_into(seconds, _named(backbone.conditioner_weights, SECONDS_IDS), source=backbone.weights)
            for key in PROMPT_IDS:  # a backbone that was trained with these knows how to read them
                known = _named(backbone.conditioner_weights, (key,))
                if key in self.conditioners and known:
                    load_into(
                        self.conditioners[key].proj_out, known, prefix=f"{key}.proj_out.", source=backbone.weights
                    )
        self._trained_prefixes = trained_prefixes(trainable)
        reads_tokens = any(key in built and key not in self._global_prompts for key in PROMPT_IDS)
        for name, parameter in self.named_parameters():
            is_read = reads_tokens or not any(part in name for part in CROSS_ATTENTION)
            parameter.requires_grad_(is_read and name.startswith(self._trained_prefixes))

    @property
    def conditioners(self) -> Mapping[str, Any]:
        """The conditioners by id."""
        return cast("Mapping[str, Any]", self.conditioner.conditioners)

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return next(self.model.model.parameters()).device

    def trained_state(self) -> dict[str, Tensor]:
        """Weights and buffers of the trained parts by name: what a checkpoint holds."""
        return {key: value for key, value in self.state_dict().items() if key.startswith(self._trained_prefixes)}

    def load_trained_state(self, state: Mapping[str, Tensor], source: object) -> None:
        """Load what ``trained_state`` gave.

        Raises:
            InputError: a weight is missing, left over or of another shape.
        """
        extra = [key for key in state if not key.startswith((*self._trained_prefixes, *_SECONDS))]
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

    def check_sound(self, sample_rate_hz: int, n_channels: int) -> None:
        """Refuse sound of another form than the latent codec takes.

        Raises:
            InputError: sample rate or number of channels differ.
        """
        expected = (self.pretransform.sample_rate_hz, self.pretransform.n_audio_channels)
        if (sample_rate_hz, n_channels) != expected:
            raise InputError(
                f"dataset.spec asks for {n_channels} channels at {sample_rate_hz} Hz; this backbone works with "
                f"{expected[1]} at {expected[0]} Hz: set these."
            )

    def padded_length(self, n_samples: int) -> int:
        """Smallest whole number of tokens that covers ``n_samples``, in samples."""
        return math.ceil(n_samples / self.backbone.samples_per_token) * self.backbone.samples_per_token

    def padded(self, wave: Tensor) -> Tensor:
        """Sound (B, C, N) with silence after it to whole tokens."""
        return F.pad(wave, (0, self.padded_length(wave.shape[-1]) - wave.shape[-1]))

    def envelope_parameters(self, envelope: Envelope, n_samples: int) -> Tensor:
        """What embeddings of an envelope, for sound of ``n_samples``, are drawn from."""
        conditioner: EnvelopeConditioner = self.conditioners[CONTROL_ID]
        signal = conditioner.control_signal(envelope, self.padded_length(n_samples), self.pretransform)
        return conditioner.parameters_of(signal, self.pretransform)

    def null_control(self, n_samples: int) -> Tensor:
        """Embedding (1, L, D) of a dropped envelope, for sound of a padded length ``n_samples``."""
        envelope: EnvelopeConditioner = self.conditioners[CONTROL_ID]
        return envelope.null(n_samples, self.pretransform, self.device)

    @torch.no_grad()
    def embed(
        self, raw: Mapping[str, Any], n_samples: int, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Run the frozen encoders: raw inputs by conditioner id → embeddings by id.

        Args:
            raw: seconds (B,), frames (B, T, 3, H, W) in 0..1, audio: sound (B, C, N), envelope: an ``Envelope``.
            n_samples: padded length of the sound.
            generator: noise source of the VAE, where it encodes the envelope.

        Raises:
            InputError: an input for which this model has no conditioner.
        """
        embeddings = {}
        for key, value in raw.items():
            if key not in self.conditioners:
                there = ", ".join(self.conditioners)
                raise InputError(f"This model has no {key!r} conditioner, only {there}; leave it out.")
            if key == CONTROL_ID:
                embeddings[key] = self.conditioners[key].embed(value, n_samples, self.pretransform, generator)
            else:
                embeddings[key] = self.conditioners[key].embed(value)
        return embeddings

    def conditions(self, embeddings: Mapping[str, Tensor], kept: Mapping[str, Tensor] | None = None) -> Conditions:
        """Embeddings by conditioner id → what the transformer reads; ids that are not there are left out.

        Args:
            embeddings: by id; a prompt that is part of the global condition has to be there, kept or not.
            kept: by id, which of the clips keep that condition (B,); the others get zeros for it. None: all.
        """
        kept = kept or {}
        assert embeddings.keys() >= set(self._global_prompts)

        def tokens(ids: Sequence[str]) -> Iterator[Tensor]:
            for key in ids:
                if key in embeddings:
                    found = self.conditioners[key](embeddings[key])
                    yield found * kept[key][:, None, None] if key in kept else found

        cross = list(tokens([key for key in PROMPT_IDS if key not in self._global_prompts]))
        global_ = list(tokens([*SECONDS_IDS, *self._global_prompts]))
        control = list(tokens((CONTROL_ID,)))
        return Conditions(
            tokens=torch.cat(cross, dim=1) if cross else None,
            global_embed=torch.cat(global_, dim=-1).squeeze(1) if global_ else None,
            control=control[0] if control else None,
        )

    @property
    def _global_prompts(self) -> list[str]:
        """Prompts that are part of the global condition, after the seconds, instead of the cross-attention tokens."""
        prompts = [key for key in PROMPT_IDS if key in self.conditioners]
        return [key for key in prompts if getattr(self.conditioners[key], "is_global", False)]

    def unprompted(self, conditions: Conditions) -> Conditions:
        """The same conditions without frames and sound or text prompt, as training drops them."""
        tokens, global_embed = conditions.tokens, conditions.global_embed
        width = sum(self.conditioners[key].proj_out.out_features for key in self._global_prompts)
        if width:
            assert global_embed is not None
            global_embed = torch.cat([global_embed[:, :-width], torch.zeros_like(global_embed[:, -width:])], dim=1)
        return Conditions(None if tokens is None else torch.zeros_like(tokens), global_embed, conditions.control)

    def forward(self, x: Tensor, t: Tensor, conditions: Conditions, control_strength: float = 1.0) -> Tensor:
        """Predict v (B, Z, L) for noised latents (B, Z, L) at noise levels t (B,)."""
        control = None if conditions.control is None else conditions.control.mT
        return self.model(
            x,
            t,
            tokens=conditions.tokens,
            global_embed=conditions.global_embed,
            control=control,
            control_strength=control_strength,
        )

    def guided_v(
        self,
        x: Tensor,
        t: Tensor,
        conditions: Conditions,
        cfg_scale: float,
        negative: Conditions | None = None,
        control_strength: float = 1.0,
    ) -> Tensor:
        """Predict v with classifier-free guidance over frames and prompt; the envelope acts in both halves.

        Args:
            x: noised latents (B, Z, L).
            t: noise levels (B,).
            conditions: of the guided half.
            cfg_scale: guidance scale; 1 runs the model once, without guidance.
            negative: conditions of the other half; None: ``unprompted``.
            control_strength: scale of the control residuals.
        """
        if cfg_scale == 1 or (conditions.tokens is None and not self._global_prompts):
            return self(x, t, conditions, control_strength)
        other = negative or self.unprompted(conditions)
        both = Conditions(
            tokens=_both(conditions.tokens, other.tokens),
            global_embed=_both(conditions.global_embed, other.global_embed),
            control=_both(conditions.control, other.control),
        )
        conditional, unconditional = self(torch.cat([x, x]), torch.cat([t, t]), both, control_strength).chunk(2)
        return diffusion.guided(conditional.float(), unconditional.float(), cfg_scale)

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
    ) -> Tensor:
        """Sample latents.

        Args:
            conditions: for one clip (batch size 1) or for as many as there are generators.
            n_samples: length of the sound.
            settings: sampler, steps, schedule, guidance.
            generators: CPU noise source of each clip; a clip does not depend on the others in the batch.
            negative: see ``guided_v``; for as many clips.
            control_strength: scale of the control residuals.
            progress: wraps the range of steps, to show progress.

        Returns:
            Latents (B, Z, L), float32.
        """
        n_steps = self.padded_length(n_samples) // self.pretransform.samples_per_step
        shape = (self.pretransform.n_latent_channels, n_steps)

        def noise(_: Any = None) -> Tensor:
            return torch.stack([torch.randn(shape, generator=g) for g in generators]).to(self.device)

        n_clips = len(generators)
        batch = _expand(conditions, n_clips)
        others = None if negative is None else _expand(negative, n_clips)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            level = diffusion.sigma_to_level(sigma).expand(n_clips)
            scaled = x / torch.sqrt(1 + sigma**2)
            v = self.guided_v(scaled, level, batch, settings.cfg_scale, others, control_strength)
            return diffusion.denoised_from_v(x, v.float(), sigma)

        sigmas = sampler.polyexponential_sigmas(settings.n_steps, settings.sigma_min, settings.sigma_max)
        sigmas = sigmas.float().to(self.device)
        run: Callable[..., Tensor] = sampler.SAMPLERS[settings.name]
        return run(denoise, noise() * sigmas[0], sigmas, noise, progress)


def trained_prefixes(trainable: Trainable) -> tuple[str, ...]:
    """Beginnings of the names of all weights that are trained."""
    conditioner = "conditioner.conditioners."
    groups = {
        "control": ("model.controlnet.", f"{conditioner}{CONTROL_ID}."),
        "control_and_projections": tuple(f"{conditioner}{key}.proj_out." for key in PROMPT_IDS),
        "all": ("model.model.", *(f"{conditioner}{key}." for key in SECONDS_IDS)),
    }
    if trainable not in groups:
        raise InputError(f"model.trainable is {trainable!r}; expected one of {', '.join(groups)}: correct it.")
    names = list(groups)
    return sum((groups[name] for name in names[: names.index(trainable) + 1]), ())


def _check_conditioners(conditioners: Mapping[str, nn.Module], control_layers: int) -> None:
    known = (*SECONDS_IDS, *PROMPT_IDS, CONTROL_ID)
    unknown = [key for key in conditioners if key not in known]
    if unknown:
        raise InputError(f"model.conditioners names {', '.join(unknown)}; expected {', '.join(known)}: correct it.")
    if bool(control_layers) != (CONTROL_ID in conditioners):
        raise InputError(
            f"model.control_layers is {control_layers}, but the conditioners are {', '.join(conditioners)}; expected "
            f"an {CONTROL_ID!r} conditioner with a control branch, and only with one: set both or neither."
        )


def _named(weights: Mapping[str, Tensor], ids: tuple[str, ...]) -> dict[str, Tensor]:
    """The weights of some conditioners."""
    return {name: value for name, value in weights.items() if name.startswith(ids)}


def _both(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        assert first is second, "both halves have the same kinds of conditions"
        return None
    return torch.cat([first, second])


def _expand(conditions: Conditions, n_clips: int) -> Conditions:
    """Conditions for ``n_clips`` clips, of one clip or of as many."""
    parts = (conditions.tokens, conditions.global_embed, conditions.control)
    return Conditions(*(None if part is None else part.expand(n_clips, *part.shape[1:]) for part in parts))
