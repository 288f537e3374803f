"""Owns what consecutive windows of a long sound share: their latents where they overlap, and their cross-fade."""

import math
from collections.abc import Mapping
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

    def state(self) -> dict[str, Tensor]:
        """Return what the next window needs of this one."""
        return {f"overlap.{kind}": torch.stack(values) for kind, values in self._own.items()}

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """Go on after the window whose state is given."""
        self._own = {kind: [*state[f"overlap.{kind}"]] for kind in ("noise", "prediction")}

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


@dataclass
class Joints:
    """Joins the sounds of windows to one sound, piece by piece.

    They are cross-faded at the end of the half of the overlap in which the latents of both are the same. The level of
    the later window cannot be measured at its start.

    Args:
        window_samples: Samples after which a window may be left for the next.
        fade_samples: Length of a cross-fade, at most half of an overlap.
    """

    window_samples: int
    fade_samples: int
    _before: Tensor | None = None
    _start: int = 0
    _done: int = 0

    def state(self) -> dict[str, Tensor]:
        """Return what the next window needs of this one."""
        assert self._before is not None
        return {"joint.sound": self._before, "joint.place": torch.tensor([self._start, self._done])}

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """Go on after the window whose state is given."""
        self._before = state["joint.sound"]
        self._start, self._done = state["joint.place"].tolist()

    def add(self, sound: Tensor, start: int) -> Tensor:
        """Return the piece (C, n) that is finished with another window; with the first one there is none yet.

        Args:
            sound: Sound (C, N) of the window.
            start: Its first sample in the whole.
        """
        before, done = self._before, self._done
        self._before = sound
        if before is None:
            self._start = start
            return sound[:, :0]
        in_before = start - self._start
        end = (self.window_samples - in_before) // 2
        first = end - self.fade_samples
        fade = cross_fade(before[:, in_before + first : in_before + end], sound[:, first:end])
        self._start, self._done = start, end
        return torch.cat([before[:, done : in_before + first], fade], dim=-1)

    def rest(self) -> Tensor:
        """Return the piece (C, n) after the last joint."""
        assert self._before is not None
        return self._before[:, self._done :]


def cross_fade(before: Tensor, after: Tensor) -> Tensor:
    """Fade from one sound (C, N) to another at constant power, however alike they are.

    Equal-power gains raise the power of sounds with correlation r by a factor of up to 1 + r; it is divided out.
    """
    angle = torch.linspace(0, math.pi / 2, before.shape[-1])
    energies = before.square().sum() * after.square().sum()
    likeness = (before * after).sum() / energies.sqrt().clamp(min=torch.finfo(before.dtype).tiny)
    power = 1 + likeness.clamp(min=0) * (2 * angle).sin()
    return (before * angle.cos() + after * angle.sin()) / power.sqrt()
