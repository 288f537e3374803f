"""Owns stable-audio-tools: wraps its diffusion transformer (DiT) and its VAE in this project's interfaces.

No other file imports ``stable_audio_tools``. Models are described in that library's ``model_config.json`` format, so
the published Stable Audio Open, the small ``mini`` and the ``debug`` model of the tests are built in the same way.

Shapes: B batch, C channels, N samples, Z latent channels (64 in Stable Audio Open), L latent steps,
T tokens, D width of the transformer.
"""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.choices import DTYPES
from common.errors import InputError
from common.weights import WeightSelection, check_sha256, load_into, read_weights, weights_sha256
from stable_foley.hub import backbone_file
from stable_foley.mel_latent import MelLatent


@contextlib.contextmanager
def _without_what_is_not_used() -> Iterator[None]:
    """Make imports of stable-audio-tools within the block silent, and three times as fast.

    The library would load torch's compiler to set its options, attention for sliding windows, for which it has another
    way, and Lightning for callbacks of its own training. If the compiler cannot be imported, it continues, but its
    message sets up logging for the whole program. It also prints a line for every CUDA kernel that is not installed.
    """
    handlers = list(logging.root.handlers)
    callbacks = ModuleType("stable_audio_tools.models.lora.callbacks")
    vars(callbacks).update(LoRASafetensorsCheckpoint=None, StepOffsetCallback=None)
    held_back = {callbacks.__name__: callbacks, "torch._dynamo": None, "torch.nn.attention.flex_attention": None}
    hidden = {name: module for name, module in held_back.items() if name not in sys.modules}
    sys.modules.update(hidden)  # type: ignore[arg-type]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.root.handlers[:] = handlers
        for name in hidden:
            del sys.modules[name]


with _without_what_is_not_used():
    from stable_audio_tools.models.adp import NumberEmbedder
    from stable_audio_tools.models.dit import DiffusionTransformer

log = logging.getLogger(__name__)

__all__ = ["Backbone", "DiT", "LatentCodec", "NumberEmbedder", "VaeLatent", "build_backbone"]

DIT, CODEC, CONDITIONERS = "model.model.", "pretransform.", "conditioner.conditioners."
SECONDS = f"{CONDITIONERS}seconds_"
PROJECTIONS = tuple(f"{CONDITIONERS}{key}.proj_out." for key in ("frames", "audio"))
"""Prefixes of the backbone's weights, in its own files and in whole models."""
VAE_PARTS = {"encoder": "oobleck", "decoder": "oobleck", "bottleneck": "vae"}
LIBRARY_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Exceptions that stable-audio-tools raises on sizes that do not fit each other, few of which it checks itself."""
MAX_LAYERS = 256
"""Ten times the depth of Stable Audio Open."""
LIGHTNING = "model."
"""Prefix of every name in a checkpoint of the published training."""


class LatentCodec(Protocol):
    """Interface between sound and latents: the published VAE or the fixed mel latent of ``mini``."""

    n_latent_channels: int
    samples_per_step: int
    sample_rate_hz: int
    n_audio_channels: int

    @property
    def loss_weights(self) -> Tensor | float:
        """Weight of the error of each latent channel in training (Z, 1), 1 on average."""

    def parameters_of(self, wave: Tensor) -> Tensor:
        """Map sound (B, C, N) to the parameters (B, P, L) of its latents, L = ceil(N / samples_per_step)."""

    def draw(self, parameters: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw latents (B, Z, L) from the result of ``parameters_of``."""

    def encode(self, wave: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Map sound (B, C, N) to latents (B, Z, L): ``parameters_of``, then ``draw``."""

    def settle(self, latent: Tensor, level: Tensor) -> Tensor:
        """Return generated latents (B, Z, L) as the codec corrects them for the level (B, N) that was asked for."""

    def decode(self, latent: Tensor) -> Tensor:
        """Map latents (B, Z, L) to sound (B, C, L · samples_per_step)."""


def codec_id(codec: LatentCodec) -> str:
    """Return an identifier of a codec: its class and the checksum of its weights and settings."""
    module = cast(nn.Module, codec)
    return f"{type(codec).__name__} {weights_sha256(module.state_dict() | dict(module.named_buffers()))}"


class DiT(DiffusionTransformer):
    """Diffusion transformer of stable-audio-tools that accepts the residuals of a control branch.

    Args:
        gradient_checkpointing: recompute the layers in the backward pass instead of keeping their activations.
        **config: the ``model.diffusion.config`` part of a ``model_config.json``.
    """

    def __init__(self, gradient_checkpointing: bool = False, **config: Any) -> None:
        super().__init__(**config)
        self.config = dict(config)
        self.gradient_checkpointing = gradient_checkpointing
        for index, layer in enumerate(self.transformer.layers):
            layer.register_forward_pre_hook(_AddResidual(index), with_kwargs=True)

    @property
    def depth(self) -> int:
        """Number of transformer layers."""
        return len(self.transformer.layers)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        tokens: Tensor | None = None,
        global_embed: Tensor | None = None,
        control_residuals: Sequence[Tensor] = (),
    ) -> Tensor:
        """Predict v.

        Args:
            x: noised latent (B, Z, L), L a multiple of the patch size.
            t: noise level (B,), 0 (clean) to 1 (noise).
            tokens: cross-attention tokens (B, T, cond_token_dim), or None for none.
            global_embed: global condition (B, global_cond_dim), or None.
            control_residuals: one (B, P + L / patch_size, D) for each controlled layer, added to that layer's input; P
                is 1 for the prepended global condition, 0 with adaLN.

        Returns:
            v (B, Z, L).
        """
        return self._evaluate(x, t, tokens, global_embed, control_residuals=tuple(control_residuals))

    def forward_with_hidden(
        self,
        x: Tensor,
        t: Tensor,
        tokens: Tensor | None,
        global_embed: Tensor | None,
        control_residuals: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Predict v (B, Z, L); return with it what it is read from: the last layer's output (B, L / patch_size, D).

        Arguments are as in ``forward``.
        """
        residuals = tuple(control_residuals)
        v, info = self._evaluate(x, t, tokens, global_embed, control_residuals=residuals, return_info=True)
        return v, info["hidden_states"][-1][:, -x.shape[-1] // self.patch_size :]

    def hidden_states(
        self, x: Tensor, t: Tensor, tokens: Tensor | None, global_embed: Tensor | None, **transformer_inputs: Any
    ) -> list[Tensor]:
        """Return the outputs (B, P + L / patch_size, D) of every layer; a prepended token, if any, comes first.

        Arguments are as in ``forward``; ``transformer_inputs`` are for hooks on the transformer inside.
        """
        last = self.depth - 1
        _, info = self._evaluate(x, t, tokens, global_embed, exit_layer_ix=last, return_info=True, **transformer_inputs)
        return info["hidden_states"]

    def _evaluate(
        self, x: Tensor, t: Tensor, tokens: Tensor | None, global_embed: Tensor | None, **options: Any
    ) -> Any:
        return super().forward(
            x,
            t,
            cross_attn_cond=tokens,
            global_embed=global_embed,
            use_checkpointing=self.gradient_checkpointing and torch.is_grad_enabled(),
            **options,
        )


@dataclass(frozen=True)
class _AddResidual:
    """Pre-hook of transformer layer ``index``: removes the residuals from the call and adds its own to the input.

    The residuals are arguments of the call, not state of the module, so gradient checkpointing replays them correctly.
    """

    index: int

    def __call__(self, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        residuals = kwargs.pop("control_residuals", ())
        if self.index < len(residuals):
            args = (args[0] + residuals[self.index], *args[1:])
        return args, kwargs


class _Snake(nn.Module):
    """The VAE's activation x + sin²(αx) / β with the same result in a third of the time: in place, without gradient.

    Args:
        snake: the library's activation, whose parameters it takes over.
    """

    def __init__(self, snake: Any) -> None:
        super().__init__()
        self.alpha: nn.Parameter = snake.alpha
        self.beta: nn.Parameter = snake.beta
        self.is_logarithm: bool = snake.alpha_logscale
        self.least: float = snake.no_div_by_zero

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, N) to (B, C, N)."""
        alpha, beta = (each.exp() if self.is_logarithm else each for each in (self.alpha, self.beta))
        y = x * alpha[:, None]
        return y.sin_().square_().mul_(1 / (beta[:, None] + self.least)).add_(x)


class VaeLatent(nn.Module):
    """The convolutional VAE ("oobleck") as a latent codec.

    Args:
        config: the ``model.pretransform.config`` part of a ``model_config.json``.
        sample_rate_hz: sample rate of the sound.
    """

    def __init__(self, config: Mapping[str, Any], sample_rate_hz: int) -> None:
        super().__init__()
        with _without_what_is_not_used():  # here, since it takes as long as torch, and mini needs none
            from stable_audio_tools.models.autoencoders import create_autoencoder_from_config
            from stable_audio_tools.models.blocks import SnakeBeta
        with warnings.catch_warnings():  # about the form of weight normalisation in published weights
            warnings.simplefilter("ignore", FutureWarning)
            self.model = create_autoencoder_from_config({"sample_rate": sample_rate_hz, "model": config})
        for parent in list(self.model.modules()):
            for name, child in parent.named_children():
                if isinstance(child, SnakeBeta):
                    setattr(parent, name, _Snake(child))
        self.n_latent_channels = int(config["latent_dim"])
        self.samples_per_step = int(config["downsampling_ratio"])
        self.sample_rate_hz = sample_rate_hz
        self.n_audio_channels = int(config["io_channels"])
        self.loss_weights = 1.0

    def parameters_of(self, wave: Tensor) -> Tensor:
        """Return mean, then unconstrained scale (B, 2 · 64, L) of sound (B, C, N); clip by clip to save memory."""
        wave = F.pad(wave, (0, -wave.shape[-1] % self.samples_per_step))
        return torch.cat([self.model.encoder(clip[None]) for clip in wave])

    def draw(self, parameters: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw a latent (B, Z, L) from mean and scale; ``generator`` is the noise source (default: torch's own)."""
        mean, scale = parameters.chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype).to(mean.device)
        return mean + noise * (F.softplus(scale) + 1e-4)

    def encode(self, wave: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw a latent (B, Z, L) for sound (B, C, N)."""
        return self.draw(self.parameters_of(wave), generator)

    def settle(self, latent: Tensor, level: Tensor) -> Tensor:
        """Return latents (B, Z, L) as they are: a step of this codec is not divided into places."""
        return latent

    def decode(self, latent: Tensor) -> Tensor:
        """Map latents (B, Z, L) to sound (B, C, L · samples_per_step); one clip at a time to save memory."""
        return torch.cat([self.model.decoder(one[None]) for one in latent])


@dataclass(frozen=True)
class Backbone:
    """A diffusion transformer with its latent codec.

    Attributes:
        dit: the transformer, its weights loaded.
        codec: the latent codec, frozen, in eval mode, in float32.
        conditioner_weights: weights by name of conditioners that are stored with the backbone (``seconds_start.…``, and
            the ``proj_out`` of those that it was trained with).
        weights: the file of the weights; None: random.
        sha256: checksum of transformer and codec, see ``weights_sha256``; None: random.
    """

    dit: DiT
    codec: LatentCodec
    conditioner_weights: dict[str, Tensor] = field(default_factory=dict)
    weights: Path | None = None
    sha256: str | None = None

    @property
    def samples_per_token(self) -> int:
        """Samples of sound that one token of the transformer covers."""
        return self.codec.samples_per_step * self.dit.patch_size


def build_backbone(
    model_config: Mapping[str, Any],
    weights: str | None = None,
    random_weights: bool = False,
    hub_id: str | None = None,
    sha256: str | None = None,
    gradient_checkpointing: bool = False,
    dtype: str = "float32",
) -> Backbone:
    """Build the transformer and its latent codec, and load their weights directly in the final precision.

    Args:
        model_config: in the format of stable-audio-tools; ``model.pretransform.type`` is ``autoencoder`` (the VAE) or
            ``mel`` (mel cepstra and fine levels, no weights).
        weights: a file with keys ``model.model.…`` (transformer), ``pretransform.…`` (VAE) and
            ``conditioner.conditioners.…``, as in Stable Audio Open and the output of ``exp=train_backbone.yaml``, or a
            folder with ``model.safetensors`` or ``model.ckpt``; a published Stable-Foley checkpoint contains them too.
        random_weights: whether random weights are allowed if ``weights`` is None.
        hub_id: the repository whose ``model.safetensors`` is downloaded if there are no ``weights`` and random ones are
            not allowed.
        sha256: expected checksum of transformer and codec; None accepts any.
        gradient_checkpointing: recompute activations in the backward pass.
        dtype: precision of the transformer, one of ``DTYPES``; the codec is always in float32, so that it adds no
            noise.

    Returns:
        The backbone, transformer trainable as built, codec frozen.

    Raises:
        InputError: the file is missing, cannot be downloaded, is damaged, of another size, or not the expected one.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not known; expected one of {', '.join(DTYPES)}.")
    path = None if random_weights and weights is None else backbone_file(weights, hub_id)
    where = contextlib.nullcontext() if path is None else torch.device("meta")  # loading allocates memory
    try:
        with where, default_dtype(getattr(torch, dtype)):
            dit = DiT(gradient_checkpointing=gradient_checkpointing, **dit_config(model_config))
        codec = build_codec(model_config["model"]["pretransform"], int(model_config["sample_rate"]))
        _check_channels(dit.postprocess_conv.out_channels, cast(LatentCodec, codec).n_latent_channels)
    except InputError:
        raise
    except LIBRARY_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"backbone.model_config describes no model ({type(error).__name__}: {reason}); expected a description in "
            "the format of stable-audio-tools, as in configs/backbone: correct it."
        ) from error
    if path is None:
        if not next(dit.parameters()).is_meta:
            log.warning("the backbone has random weights: train it or give weights before anything is trained with it")
        return Backbone(dit, cast(LatentCodec, codec))
    state = read_backbone(path)
    load_into(dit, state, prefix=DIT, source=path)
    if isinstance(codec, VaeLatent):
        load_into(codec, state, prefix=CODEC, source=path)
    found_sha256 = backbone_sha256(state)
    option = "backbone.weights" if hub_id is None else "paths.stable_audio_open"
    check_sha256(found_sha256, sha256, source=path, option=option, part="backbone")
    conditioner_weights = {key.removeprefix(CONDITIONERS): state[key] for key in state if _is_of_conditioner(key)}
    return Backbone(dit, cast(LatentCodec, codec), conditioner_weights, path, found_sha256)


def read_backbone(path: Path) -> WeightSelection:
    """Read the weights of a backbone from a file, by Stable Audio Open's names for them.

    A checkpoint of the published training contains them among others, with a prefix.

    Raises:
        InputError: the file is missing or damaged.
    """
    state = read_weights(path)
    prefix = LIGHTNING if any(key.startswith(LIGHTNING + DIT) for key in state) else ""
    names = {key.removeprefix(prefix): key for key in state}
    return WeightSelection(
        state, {name: key for name, key in names.items() if name.startswith((DIT, CODEC)) or _is_of_conditioner(name)}
    )


def _is_of_conditioner(name: str) -> bool:
    """Return whether a weight belongs to the trained part of a conditioner."""
    return name.startswith(SECONDS) or (name.startswith(CONDITIONERS) and ".proj_out." in name)


def backbone_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the checksum of transformer and codec among the weights of a backbone, see ``weights_sha256``."""
    return weights_sha256(WeightSelection(state, {key: key for key in state if key.startswith((DIT, CODEC))}))


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Give new floating-point tensors this type within the block."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def dit_config(model_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the transformer's arguments from a ``model_config.json``, without those of the published ControlNet."""
    config = dict(model_config["model"]["diffusion"]["config"])
    config.pop("controlnet_depth_factor", None)
    _check_layers("model.diffusion.config.depth", config.get("depth", 1))
    return config


def _check_layers(option: str, n_layers: Any) -> None:
    """Refuse a number of layers that could not be built in a reasonable time."""
    if not isinstance(n_layers, int) or not 1 <= n_layers <= MAX_LAYERS:
        raise InputError(f"{option} is {n_layers}; expected 1 to {MAX_LAYERS}: correct it.")


def _check_channels(n_of_dit: int, n_of_codec: int) -> None:
    """Refuse a transformer for another latent than the codec's, as that of a checkpoint from before a change is."""
    if n_of_dit != n_of_codec:
        raise InputError(
            f"model.diffusion.config.io_channels is {n_of_dit}, but the latent codec has {n_of_codec} channels: "
            "correct it, or train a checkpoint from before the codec changed anew."
        )


def build_codec(pretransform: Mapping[str, Any], sample_rate_hz: int) -> nn.Module:
    """Build the latent codec from the ``model.pretransform`` part of a ``model_config.json``: frozen, in eval mode."""
    kind = pretransform["type"]
    if kind == "autoencoder":
        parts = {part: pretransform["config"][part]["type"] for part in ("encoder", "decoder", "bottleneck")}
        if parts != VAE_PARTS or "pretransform" in pretransform["config"]:
            raise InputError(f"model.pretransform.config describes {parts}; expected {VAE_PARTS}: correct it.")
        for part in ("encoder", "decoder"):
            multiples = pretransform["config"][part]["config"].get("c_mults", ())
            _check_layers(f"The length of model.pretransform.config.{part}.config.c_mults", len(multiples) or 1)
        codec: nn.Module = VaeLatent(pretransform["config"], sample_rate_hz)
    elif kind == "mel":
        codec = MelLatent()
    else:
        raise InputError(f"model.pretransform.type is {kind!r}; expected 'autoencoder' or 'mel': correct it.")
    return codec.eval().requires_grad_(False)
