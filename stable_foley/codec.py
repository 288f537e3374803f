"""Owns the codecs between sound and latents: their interface, the published VAE, and which one a description names.

Shapes: B batch, C channels, N samples, Z latent channels (64 in Stable Audio Open), L latent steps.
"""

from collections.abc import Mapping
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import InputError
from common.weights import weights_sha256
from stable_foley.audio_tools import build_autoencoder
from stable_foley.mel_latent import MelLatent

VAE_PARTS = {"encoder": "oobleck", "decoder": "oobleck", "bottleneck": "vae"}
MAX_LAYERS = 256
"""Ten times the depth of Stable Audio Open."""


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


class VaeLatent(nn.Module):
    """The convolutional VAE ("oobleck") as a latent codec.

    Args:
        config: the ``model.pretransform.config`` part of a ``model_config.json``.
        sample_rate_hz: sample rate of the sound.
    """

    def __init__(self, config: Mapping[str, Any], sample_rate_hz: int) -> None:
        super().__init__()
        self.model: Any = build_autoencoder(config, sample_rate_hz)
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


def build_codec(pretransform: Mapping[str, Any], sample_rate_hz: int) -> nn.Module:
    """Build the latent codec from the ``model.pretransform`` part of a ``model_config.json``: frozen, in eval mode."""
    kind = pretransform["type"]
    if kind == "autoencoder":
        parts = {part: pretransform["config"][part]["type"] for part in ("encoder", "decoder", "bottleneck")}
        if parts != VAE_PARTS or "pretransform" in pretransform["config"]:
            raise InputError(f"model.pretransform.config describes {parts}; expected {VAE_PARTS}: correct it.")
        for part in ("encoder", "decoder"):
            multiples = pretransform["config"][part]["config"].get("c_mults", ())
            check_layers(f"The length of model.pretransform.config.{part}.config.c_mults", len(multiples) or 1)
        codec: nn.Module = VaeLatent(pretransform["config"], sample_rate_hz)
    elif kind == "mel":
        codec = MelLatent()
    else:
        raise InputError(f"model.pretransform.type is {kind!r}; expected 'autoencoder' or 'mel': correct it.")
    return codec.eval().requires_grad_(False)


def check_layers(option: str, n_layers: Any) -> None:
    """Refuse a number of layers that could not be built in a reasonable time."""
    if not isinstance(n_layers, int) or not 1 <= n_layers <= MAX_LAYERS:
        raise InputError(f"{option} is {n_layers}; expected 1 to {MAX_LAYERS}: correct it.")
