"""Conversion of decoded pieces of sound to one sound without gaps, at a given rate and number of channels."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import torch
import torchaudio.functional
from torch import Tensor

from common.errors import InputError
from media.stored import PART_SAMPLES, SomeSound, like

_LARGEST_JITTER_S = 0.02  # smaller steps in the time stamps of a sound are rounding errors, larger ones are gaps
_WINDOW_S = 1
_FILTER_WIDTH = 64  # zero crossings on each side of the resampling filter


@dataclass(frozen=True, eq=False)
class SoundWindow:
    """Some consecutive samples of a sound.

    Args:
        first: Number of the first sample; the windows of a sound follow each other without gaps.
        wave: Sound (C, n), float32, full scale ±1.
    """

    first: int
    wave: Tensor


def resampled(sound: SomeSound, sample_rate_hz: int, new_rate_hz: int, n_samples: int) -> SomeSound:
    """Return a sound (C, N) at another sample rate with a given number of samples, cut or with zeros at its end."""
    if new_rate_hz == sample_rate_hz and sound.shape[-1] == n_samples:
        return sound
    divisor = math.gcd(sample_rate_hz, new_rate_hz)
    old_step, new_step = sample_rate_hz // divisor, new_rate_hz // divisor
    margin = math.ceil(_FILTER_WIDTH / min(1, new_step / old_step) / old_step + 1)  # in steps
    steps = max(1, PART_SAMPLES // old_step)

    def resampled_parts() -> Iterator[Tensor]:
        missing, first = n_samples, 0
        while missing > 0:
            lead = min(first, margin)
            part = sound[:, (first - lead) * old_step : (first + steps + margin) * old_step]
            if part.shape[-1]:
                part = torchaudio.functional.resample(
                    part, sample_rate_hz, new_rate_hz, lowpass_filter_width=_FILTER_WIDTH
                )
            wanted = min(missing, steps * new_step)
            part = part[:, lead * new_step :][:, :wanted]
            yield torch.nn.functional.pad(part, (0, wanted - part.shape[-1]))
            missing, first = missing - wanted, first + steps

    return like(sound, resampled_parts())


class SoundLine:
    """Resamples pieces of sound in order of time and joins them; gaps become silence.

    Args:
        name: The file, for messages.
        sample_rate_hz: Samples per second of the result.
        n_channels: Channels of the result, 1 (more are mixed down) or 2 (one is doubled).
        start_s: Time stamp of the first sample.
        n_samples: Total number of samples; None for as many as there are.
        end_s: Latest time stamp at which the sound ends; None if unknown.
    """

    def __init__(
        self,
        name: str,
        sample_rate_hz: int,
        n_channels: int,
        start_s: Fraction,
        n_samples: int | None,
        end_s: Fraction | None,
    ) -> None:
        self._name = name
        self._rate_hz, self._n_channels = sample_rate_hz, n_channels
        self._start_s, self._n_samples = start_s, n_samples
        self._end = None if end_s is None else max(0, round((end_s - start_s) * sample_rate_hz))
        self._form: tuple[str, str, int] | None = None
        self._resampler: Any = None
        self._expected: int | None = None  # sample at which the next piece starts if nothing is missing
        self._n_done = 0
        self._ready: list[Tensor] = []

    @property
    def is_full(self) -> bool:
        """True if all samples were added."""
        return self._n_samples is not None and self._n_done >= self._n_samples

    def add(self, frame: Any) -> Iterator[SoundWindow]:
        """Add the next decoded piece and yield the completed windows."""
        form = frame.format.name, frame.layout.name, frame.sample_rate
        if form != self._form:
            yield from self._drain()
            self._form = form
            # The resampler would lower the level of doubled mono, so mono is doubled later; it mixes down without
            # clipping.
            layout = "mono" if 1 in (self._n_channels, frame.layout.nb_channels) else "stereo"
            options = {"rematrix_maxval": "1.0"}
            self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=self._rate_hz, options=options)
        yield from self._place(self._resampler.resample(frame))

    def finish(self, *, fills: bool = True) -> Iterator[SoundWindow]:
        """Yield the remaining windows after the last piece, with silence up to the end if `fills`."""
        yield from self._drain()
        yield from self._silence(self._n_samples or 0 if fills else 0)
        if self._ready:
            yield self._window()

    def _drain(self) -> Iterator[SoundWindow]:
        if self._resampler is not None:
            yield from self._place(self._resampler.resample(None))

    def _place(self, pieces: list[Any]) -> Iterator[SoundWindow]:
        """Place resampled pieces at their positions; samples that are already there stay."""
        for piece in pieces:
            position = round((piece.pts * piece.time_base - self._start_s) * self._rate_hz)
            if self._expected is not None and abs(position - self._expected) <= _LARGEST_JITTER_S * self._rate_hz:
                position = self._expected
            self._expected = position + piece.samples
            yield from self._silence(position)
            if self.is_full:
                return
            stop = piece.samples if self._end is None else max(0, self._end - position)
            wave = torch.from_numpy(piece.to_ndarray())[:, self._n_done - position : stop]
            yield from self._append(wave.expand(self._n_channels, -1))

    def _silence(self, end: int) -> Iterator[SoundWindow]:
        """Add silence up to a sample, one window at a time."""
        while (n_missing := end - self._n_done) > 0 and not self.is_full:
            yield from self._append(torch.zeros(self._n_channels, min(n_missing, _WINDOW_S * self._rate_hz)))

    def _append(self, wave: Tensor) -> Iterator[SoundWindow]:
        if self._n_samples is not None:
            wave = wave[:, : self._n_samples - self._n_done]
        if not wave.shape[1]:
            return
        if not wave.isfinite().all():
            raise InputError(f"{self._name} holds samples that are not finite numbers: export the sound again")
        self._ready.append(wave)
        self._n_done += wave.shape[1]
        if sum(ready.shape[1] for ready in self._ready) >= _WINDOW_S * self._rate_hz:
            yield self._window()

    def _window(self) -> SoundWindow:
        wave = torch.cat(self._ready, dim=1)
        self._ready = []
        return SoundWindow(self._n_done - wave.shape[1], wave)
