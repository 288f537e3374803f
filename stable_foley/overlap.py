"""Owns what consecutive windows of a long sound share: their latents where they overlap, and their cross-fade."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Overlap:
    """Lets each window start as the one before it ends: with its noise, and with its predictions.

    The clean latents that the window before predicted for the overlap are averaged with the window's own at every
    step, with a weight that is 1 until half of the overlap and falls to 0 at its end. So both are the same in the first
    half, and the timbre goes on. Windows come one after the other, so memory does not grow with their number.

    Args:
        window_steps: steps of the latent in a window.

    Source: after O. Bar-Tal et al., "MultiDiffusion: Fusing Diffusion Paths for Controlled Image Generation", 2023
    (arXiv 2302.08113), which averages all windows at once.
    """

    window_steps: int
    _hop_steps: int = 0
    _before: dict[str, list[Tensor]] = field(default_factory=dict)
    _own: dict[str, list[Tensor]] = field(default_factory=dict)

    def next_window(self, hop_steps: int) -> None:
        """Begin the next window, a number of steps after the start of the one before."""
        self._hop_steps = hop_steps
        self._before, self._own = self._own, {"noise": [], "prediction": []}

    def noise(self, drawn: Tensor) -> Tensor:
        """Return noise (B, Z, L) that starts as that of the window before ends."""
        before = self._counterpart("noise")
        return self._kept("noise", drawn if before is None else _replaced(drawn, before))

    def prediction(self, clean: Tensor) -> Tensor:
        """Return a prediction (B, Z, L) averaged with that of the window before where both overlap."""
        before = self._counterpart("prediction")
        if before is not None:
            n_steps = before.shape[-1]
            weight = (2 - (2 * torch.arange(n_steps, device=clean.device) + 1) / n_steps).clamp(max=1)
            clean = _replaced(clean, torch.lerp(clean[..., :n_steps], before, weight))
        return self._kept("prediction", clean)

    def _counterpart(self, kind: str) -> Tensor | None:
        """Return the end of what the window before had at this point; None in the first window."""
        values = self._before.get(kind, [])
        return values[len(self._own[kind])][..., self._hop_steps : self.window_steps] if values else None

    def _kept(self, kind: str, values: Tensor) -> Tensor:
        self._own[kind].append(values)
        return values


def _replaced(values: Tensor, start: Tensor) -> Tensor:
    """Return values (..., L) with another start (..., n)."""
    return torch.cat([start, values[..., start.shape[-1] :]], dim=-1)


def joined(sounds: Iterable[Tensor], starts: Iterable[int], window_samples: int, fade_samples: int) -> Iterator[Tensor]:
    """Join the sounds (C, N) of windows; yield consecutive pieces.

    They are cross-faded at the end of the half of the overlap in which the latents of both are the same. The level of
    the later window cannot be measured at its start.

    Args:
        sounds: the sound of each window.
        starts: its first sample in the whole.
        window_samples: samples after which a window may be left for the next.
        fade_samples: length of a cross-fade, at most half of an overlap.
    """
    before, before_start, done = None, 0, 0
    for sound, start in zip(sounds, starts, strict=True):
        if before is not None:
            end = (window_samples - (start - before_start)) // 2
            first = end - fade_samples
            in_before = start - before_start
            yield before[:, done : in_before + first]
            yield cross_fade(before[:, in_before + first : in_before + end], sound[:, first:end])
            done = end
        before, before_start = sound, start
    if before is not None:
        yield before[:, done:]


def cross_fade(before: Tensor, after: Tensor) -> Tensor:
    """Fade from one sound (C, N) to another at constant power, however alike they are.

    Equal-power gains raise the power of sounds with correlation r by a factor of up to 1 + r; it is divided out.
    """
    angle = torch.linspace(0, math.pi / 2, before.shape[-1])
    energies = before.square().sum() * after.square().sum()
    likeness = (before * after).sum() / energies.sqrt().clamp(min=torch.finfo(before.dtype).tiny)
    power = 1 + likeness.clamp(min=0) * (2 * angle).sin()
    return (before * angle.cos() + after * angle.sin()) / power.sqrt()
