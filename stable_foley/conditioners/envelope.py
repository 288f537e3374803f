"""Owns the conversion of an RMS envelope to the control latent that the control branch reads.

There are two forms. ``VaeEnvelope`` encodes the envelope like a sound, as Stable-V2A (arXiv 2412.15023) does.
``SampledEnvelope`` samples its level a fixed number of times per latent step and projects the values, without a VAE. A
dropped envelope is -1 everywhere, which cannot be an RMS value.

Shapes: as in ``stable_foley.codec`` and ``stable_foley.dit``.
"""

from abc import abstractmethod
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor, nn

from common.errors import InputError
from media.envelope import Envelope, control_envelope
from stable_foley.codec import LatentCodec, codec_id
from stable_foley.conditioners.base import Conditioner

DROPPED = -1.0
_FLOOR_RMS = 1e-4


class Measure(Protocol):
    """Measure of the envelope of a training sound: ``media.envelope.fine_envelope`` or ``instant_envelope``."""

    def __call__(self, wave: Tensor, sample_rate_hz: int) -> Envelope:
        """Return the envelope (B, T) or (B, C, T) of sound (B, C, N)."""


class EnvelopeConditioner(Conditioner):
    """A conditioner that measures envelopes and converts them to the control signal: RMS at the rate of the sound.

    Args:
        measure: measure of the envelope of a training sound.
        window_samples: RMS window of the control signal, in samples of the sound; it covers the past only.
        smoothing_samples: centred moving average over the control signal, in samples; 1 for none.

    Raises:
        InputError: a length is not a whole number of at least 1.
    """

    place = "control"
    reads = "wave"
    is_prompt = False
    trained = ("",)

    def __init__(self, measure: Measure, window_samples: int, smoothing_samples: int) -> None:
        super().__init__()
        for name, length in (("window_samples", window_samples), ("smoothing_samples", smoothing_samples)):
            if not isinstance(length, int) or length < 1:
                raise InputError(f"conditioners.envelope.{name} is {length!r}; expected a whole number of at least 1.")
        self.measure = measure
        self.window_samples = window_samples
        self.smoothing_samples = smoothing_samples
        self._null: dict[tuple[int, torch.device], Tensor] = {}  # for the last requested length
        self._codec: list[LatentCodec] = []  # in a list, so it is not a sub-module

    def attach(self, codec: LatentCodec) -> None:
        """Take the codec, which defines the sample rate and the latent grid, and encodes in the VAE form."""
        self._codec = [codec]

    @property
    def codec(self) -> LatentCodec:
        """The latent codec of the model."""
        assert self._codec, "attach() comes first"
        return self._codec[0]

    @property
    def encoder_id(self) -> str:
        """The settings, and an identifier of the codec."""
        return f"{type(self).__name__}({self.extra_repr()}) {codec_id(self.codec)}"

    def from_recording(self, recorded: Tensor) -> Envelope:
        """Measure the envelope (B, T) or (B, C, T) of sounds (B, C, N) as in training."""
        return self.measure(recorded, self.codec.sample_rate_hz)

    def control_signal(self, envelope: Envelope, n_samples: int, first_sample: int = 0) -> Tensor:
        """Return the control signal (B, C, n_samples), RMS ≥ 0, of an envelope (B, T) or (B, C, T) from a sample on.

        An envelope without channels applies to every channel.
        """
        signal = control_envelope(
            envelope,
            n_samples=n_samples,
            sample_rate_hz=self.codec.sample_rate_hz,
            window_samples=self.window_samples,
            smoothing_samples=self.smoothing_samples,
            first_sample=first_sample,
        )
        signal = signal.unsqueeze(1) if signal.ndim == 2 else signal
        return signal.expand(-1, self.codec.n_audio_channels, -1)

    def encode(self, raw: Envelope, n_samples: int) -> Tensor:
        """Turn an envelope, rms (B, T) or (B, C, T), into features, from which embeddings are drawn."""
        with torch.no_grad():
            return self.encode_signal(self.control_signal(raw, n_samples))

    @abstractmethod
    def encode_signal(self, signal: Tensor) -> Tensor:
        """Turn a control signal (B, C, N) into features, from which embeddings are drawn."""

    def tokens(self, embedding: Tensor, kept: Tensor | None = None) -> Tensor:
        """Map an embedding (B, L, D) to a control latent (B, L, Z); clips without the condition get that of -1."""
        if kept is not None:
            n_samples = embedding.shape[1] * self.codec.samples_per_step
            embedding = torch.where(kept[:, None, None], embedding, self.dropped(n_samples, embedding.device))
        return self(embedding)

    @torch.no_grad()
    def dropped(self, n_samples: int, device: torch.device) -> Tensor:
        """Return the embedding (1, L, D) of a dropped envelope, in its own precision even under autocast."""
        key = (n_samples, device)
        if key not in self._null:
            signal = torch.full((1, self.codec.n_audio_channels, n_samples), DROPPED, device=device)
            with torch.autocast(device.type, enabled=False):
                self._null = {key: self.draw(self.encode_signal(signal), torch.Generator().manual_seed(0))}
        return self._null[key]

    def extra_repr(self) -> str:
        """Return the settings, for torch's description of the module."""
        measure = getattr(self.measure, "func", self.measure)
        name, options = getattr(measure, "__qualname__", ""), getattr(self.measure, "keywords", {})
        return f"{name}, {options}, window_samples={self.window_samples}, smoothing_samples={self.smoothing_samples}"


class VaeEnvelope(EnvelopeConditioner):
    """The published form: the VAE encodes the control signal, and its latent is the control latent."""

    def encode_signal(self, signal: Tensor) -> Tensor:
        """Encode a control signal (B, C, N) as the codec's parameters (B, P, L)."""
        return self.codec.parameters_of(signal)

    @torch.no_grad()
    def draw(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw latents (B, L, Z) from the codec's parameters (B, P, L)."""
        return self.codec.draw(features, generator).mT

    def forward(self, embedding: Tensor) -> Tensor:
        """Return the control latent (B, L, Z) unchanged."""
        return embedding


class SampledEnvelope(EnvelopeConditioner):
    """The level of the control signal, sampled ``values_per_step`` times per latent step and projected.

    Args:
        measure: measure of the envelope of a training sound.
        window_samples: RMS window of the control signal, in samples of the sound; it covers the past only.
        smoothing_samples: centred moving average over the control signal, in samples; 1 for none.
        n_audio_channels: channels of the sound.
        output_dim: channels of the control latent.
        values_per_step: values of the control signal per latent step; a divisor of the codec's ``samples_per_step``.

    Raises:
        InputError: values_per_step is not a whole number of at least 1.
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

    def encode_signal(self, signal: Tensor) -> Tensor:
        """Turn a control signal (B, C, N) into levels (B, L, C · values_per_step).

        A level is 0 at -80 dB and below, 1 at full scale.

        Raises:
            InputError: values_per_step does not divide the codec's step.
        """
        samples_per_step = self.codec.samples_per_step
        if samples_per_step % self.values_per_step:
            raise InputError(
                f"conditioners.envelope.values_per_step is {self.values_per_step}; expected a divisor of "
                f"{samples_per_step}, the samples of a latent step: correct it."
            )
        spacing = samples_per_step // self.values_per_step
        values = signal[..., spacing // 2 :: spacing]
        level = 1 - torch.log10(values.clamp(min=_FLOOR_RMS)) / torch.log10(torch.tensor(_FLOOR_RMS))
        level = torch.where(values < 0, DROPPED, level)
        return rearrange(level, "b c (l v) -> b l (c v)", v=self.values_per_step)

    def extra_repr(self) -> str:
        """Return the settings, for torch's description of the module."""
        return f"{super().extra_repr()}, values_per_step={self.values_per_step}"

    def forward(self, embedding: Tensor) -> Tensor:
        """Map levels (B, L, C · values_per_step) to control latents (B, L, Z)."""
        return self.proj_out(embedding.to(self.proj_out.weight.dtype))
