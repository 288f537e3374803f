"""Owns how an RMS envelope becomes the control latent that the control branch reads.

Two forms: ``VaeEnvelope`` encodes the envelope like a sound, as Stable-V2A (arXiv 2412.15023) does; ``SampledEnvelope``
takes its level a fixed number of times a latent step and projects the values, which needs no VAE. A dropped envelope is
-1 everywhere, which no RMS value can be.

Shapes: as in ``stable_foley.backbone``.
"""

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor, nn

from common.errors import InputError
from media.envelope import Envelope, control_envelope
from stable_foley.backbone import LatentCodec

DROPPED = -1.0
_FLOOR_RMS = 1e-4


class Measure(Protocol):
    """How the envelope of a training sound is measured: ``media.envelope.fine_envelope`` or ``instant_envelope``."""

    def __call__(self, wave: Tensor, sample_rate_hz: int) -> Envelope:
        """Sound (B, C, N) → envelope (B, T) or (B, C, T)."""


class EnvelopeConditioner(nn.Module, ABC):
    """Measures envelopes, and turns one into the control signal: its RMS at the rate of the sound.

    Args:
        measure: how the envelope of a training sound is measured.
        window_samples: RMS window of the control signal, in samples of the sound; it looks back only.
        smoothing_samples: centred moving average over the control signal, in samples; 1 for none.

    Raises:
        InputError: a length is no whole number from 1.
    """

    def __init__(self, measure: Measure, window_samples: int, smoothing_samples: int) -> None:
        super().__init__()
        for name, length in (("window_samples", window_samples), ("smoothing_samples", smoothing_samples)):
            if not isinstance(length, int) or length < 1:
                raise InputError(f"conditioners.envelope.{name} is {length!r}; expected a whole number from 1 on.")
        self.measure = measure
        self.window_samples = window_samples
        self.smoothing_samples = smoothing_samples
        self._null: dict[tuple[int, torch.device], Tensor] = {}  # of the last length asked for

    def control_signal(self, envelope: Envelope, n_samples: int, codec: LatentCodec) -> Tensor:
        """Control signal (B, C, n_samples), RMS ≥ 0, of an envelope (B, T), heard on every channel, or (B, C, T)."""
        signal = control_envelope(
            envelope,
            n_samples=n_samples,
            sample_rate_hz=codec.sample_rate_hz,
            window_samples=self.window_samples,
            smoothing_samples=self.smoothing_samples,
        )
        signal = signal.unsqueeze(1) if signal.ndim == 2 else signal
        return signal.expand(-1, codec.n_audio_channels, -1)

    @torch.no_grad()
    def embed(
        self, envelope: Envelope, n_samples: int, codec: LatentCodec, generator: torch.Generator | None = None
    ) -> Tensor:
        """Embedding (B, L, D) of an envelope.

        Args:
            envelope: RMS values (B, T) or (B, C, T).
            n_samples: length of the sound, a multiple of the codec's ``samples_per_step``.
            codec: gives the sample rate and the latent grid; encodes, in the VAE form.
            generator: noise source of the VAE.
        """
        return self.draw(self.parameters_of(self.control_signal(envelope, n_samples, codec), codec), codec, generator)

    @torch.no_grad()
    def null(self, n_samples: int, codec: LatentCodec, device: torch.device) -> Tensor:
        """Embedding (1, L, D) of a dropped envelope."""
        key = (n_samples, device)
        if key not in self._null:
            dropped = torch.full((1, codec.n_audio_channels, n_samples), DROPPED, device=device)
            self._null = {key: self.draw(self.parameters_of(dropped, codec), codec, torch.Generator().manual_seed(0))}
        return self._null[key]

    @abstractmethod
    def parameters_of(self, signal: Tensor, codec: LatentCodec) -> Tensor:
        """Control signal (B, C, N) → what embeddings are drawn from."""

    @abstractmethod
    def draw(self, parameters: Tensor, codec: LatentCodec, generator: torch.Generator | None) -> Tensor:
        """What ``parameters_of`` gave → embedding (B, L, D)."""

    def extra_repr(self) -> str:
        """The settings, as torch prints them."""
        measure = getattr(self.measure, "func", self.measure)
        name, options = getattr(measure, "__qualname__", ""), getattr(self.measure, "keywords", {})
        return f"{name}, {options}, window_samples={self.window_samples}, smoothing_samples={self.smoothing_samples}"


class VaeEnvelope(EnvelopeConditioner):
    """The published form: the control signal goes through the VAE, and its latent is the control latent."""

    def parameters_of(self, signal: Tensor, codec: LatentCodec) -> Tensor:
        """Control signal (B, C, N) → the codec's parameters (B, P, L)."""
        return codec.parameters_of(signal)

    def draw(self, parameters: Tensor, codec: LatentCodec, generator: torch.Generator | None) -> Tensor:
        """The codec's parameters (B, P, L) → latents (B, L, Z)."""
        return codec.draw(parameters, generator).mT

    def forward(self, embedding: Tensor) -> Tensor:
        """Control latent (B, L, Z), as it is."""
        return embedding


class SampledEnvelope(EnvelopeConditioner):
    """The level of the control signal, ``values_per_step`` times a latent step, projected.

    Args:
        measure: how the envelope of a training sound is measured.
        window_samples: RMS window of the control signal, in samples of the sound; it looks back only.
        smoothing_samples: centred moving average over the control signal, in samples; 1 for none.
        n_audio_channels: channels of the sound.
        output_dim: channels of the control latent.
        values_per_step: values of the control signal a latent step; divides the codec's ``samples_per_step``.

    Raises:
        InputError: values_per_step is no whole number from 1.
    """

    def __init__(
        self,
        measure: Measure,
        window_samples: int,
        smoothing_samples: int,
        n_audio_channels: int = 2,
        output_dim: int = 64,
        values_per_step: int = 16,
    ) -> None:
        super().__init__(measure, window_samples, smoothing_samples)
        if not isinstance(values_per_step, int) or values_per_step < 1:
            raise InputError(f"conditioners.envelope.values_per_step is {values_per_step!r}; expected 1 or more.")
        self.values_per_step = values_per_step
        self.proj_out = nn.Linear(n_audio_channels * values_per_step, output_dim)

    def parameters_of(self, signal: Tensor, codec: LatentCodec) -> Tensor:
        """Control signal (B, C, N) → levels (B, L, C · values_per_step): 0 at -80 dB and below, 1 at full scale.

        Raises:
            InputError: values_per_step does not divide the codec's step.
        """
        if codec.samples_per_step % self.values_per_step:
            raise InputError(
                f"conditioners.envelope.values_per_step is {self.values_per_step}; expected a divisor of "
                f"{codec.samples_per_step}, the samples of a latent step: correct it."
            )
        spacing = codec.samples_per_step // self.values_per_step
        values = signal[..., spacing // 2 :: spacing]
        level = 1 - torch.log10(values.clamp(min=_FLOOR_RMS)) / torch.log10(torch.tensor(_FLOOR_RMS))
        level = torch.where(values < 0, DROPPED, level)
        return rearrange(level, "b c (l v) -> b l (c v)", v=self.values_per_step)

    def draw(self, parameters: Tensor, codec: LatentCodec, generator: torch.Generator | None) -> Tensor:
        """Levels (B, L, C · values_per_step), as they are: nothing is random here."""
        return parameters

    def extra_repr(self) -> str:
        """The settings, as torch prints them."""
        return f"{super().extra_repr()}, values_per_step={self.values_per_step}"

    def forward(self, embedding: Tensor) -> Tensor:
        """Levels (B, L, C · values_per_step) → control latent (B, L, Z)."""
        return self.proj_out(embedding.to(self.proj_out.weight.dtype))
