"""Owns what consecutive windows of a long sound share: their latents where they overlap, and their cross-fade."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Overlap:
    """Lets each window start as the one before it ends, and keeps what is known of it already.

    The clean latents that the window before predicted for the overlap are averaged with the window's own at every
    step, with a weight that is 1 until half of the overlap and falls to 0 at its end. So both are the same in the first
    half, and the timbre goes on. Windows come one after the other, so memory does not grow with their number.

    Where latents are known, since only a region is made anew, they stand for the prediction at every step, so that what
    is made anew fits.

    Args:
        window_steps: steps of the latent in a window.

    Source: after O. Bar-Tal et al., "MultiDiffusion: Fusing Diffusion Paths for Controlled Image Generation", 2023
    (arXiv 2302.08113), which averages all windows at once; known parts as in A. Lugmayr et al., "RePaint", 2022 (arXiv
    2201.09865), but of the clean latents, and without repetitions.
    """

    window_steps: int
    _hop_steps: int = 0
    _before: dict[str, list[Tensor]] = field(default_factory=dict)
    _own: dict[str, list[Tensor]] = field(default_factory=dict)
    _known: "Known | None" = None

    def next_window(self, hop_steps: int, known: "Known | None" = None) -> None:
        """Begin the next window, a number of steps after the start of the one before, with what is known of it."""
        self._hop_steps, self._known = hop_steps, known
        self._before, self._own = self._own, {"noise": [], "prediction": []}

    @property
    def first_noise(self) -> Tensor:
        """The noise (B, Z, L) that the window was made from."""
        return self._own["noise"][0]

    def state(self) -> dict[str, Tensor]:
        """Return what the next window needs of this one."""
        return {f"overlap.{kind}": torch.stack(values) for kind, values in self._own.items()}

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """Go on after the window whose state is given."""
        self._own = {kind: [*state[f"overlap.{kind}"]] for kind in ("noise", "prediction")}

    def noise(self, drawn: Tensor) -> Tensor:
        """Return noise (B, Z, L) that starts as that of the window before ends, and is the known one where that is."""
        if self._known is not None and not self._own["noise"]:
            drawn = self._known.noise(drawn)
        before = self._counterpart("noise")
        return self._kept("noise", drawn if before is None else _replaced(drawn, before))

    def prediction(self, clean: Tensor) -> Tensor:
        """Return a prediction (B, Z, L) averaged with that of the window before, and known where latents are."""
        before = self._counterpart("prediction")
        if before is not None:
            n_steps = before.shape[-1]
            weight = (2 - (2 * torch.arange(n_steps, device=clean.device) + 1) / n_steps).clamp(max=1)
            clean = _replaced(clean, torch.lerp(clean[..., :n_steps], before, weight))
        if self._known is not None:
            clean = self._known.prediction(clean)
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


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of the latents of a window.

    Args:
        latents: Latents and the noise that they were made from (2, Z, L).
        free: How far each step is made anew (L,): 0 known, 1 free.
        keeps_noise: Whether those made anew have the known noise too.
    """

    latents: Tensor
    free: Tensor
    keeps_noise: bool

    def noise(self, drawn: Tensor) -> Tensor:
        """Return noise (1, Z, L), the known one where that is kept."""
        known = self.latents[1].to(drawn)
        return known[None] if self.keeps_noise else torch.where(self.free.to(drawn.device) > 0, drawn, known)

    def prediction(self, clean: Tensor) -> Tensor:
        """Return a prediction (1, Z, L), averaged with the known latents as far as they are not made anew."""
        return torch.lerp(self.latents[0].to(clean)[None], clean, self.free.to(clean))


@dataclass
class Joints:
    """Joins the sounds and the latents of windows to those of one sound, piece by piece.

    Sounds are cross-faded at the end of the half of the overlap in which the latents of both are the same. The level of
    the later window cannot be measured at its start.

    Args:
        window_samples: Samples after which a window may be left for the next.
        fade_samples: Length of a cross-fade, at most half of an overlap.
        samples_per_step: Samples of a step of the latents; windows start with whole steps.
    """

    window_samples: int
    fade_samples: int
    samples_per_step: int
    _before: Tensor | None = None
    _latents: Tensor | None = None
    _start: int = 0
    _done: int = 0

    def state(self) -> dict[str, Tensor]:
        """Return what the next window needs of this one."""
        assert self._before is not None
        assert self._latents is not None
        place = torch.tensor([self._start, self._done])
        return {"joint.sound": self._before, "joint.latents": self._latents, "joint.place": place}

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """Go on after the window whose state is given."""
        self._before, self._latents = state["joint.sound"], state["joint.latents"]
        self._start, self._done = state["joint.place"].tolist()

    def add(self, sound: Tensor, latents: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Return the pieces that are finished with another window; with the first one there is none yet.

        Args:
            sound: Sound (C, N) of the window.
            latents: Its latents (…, L).
            start: Its first sample in the whole.

        Returns:
            Sound (C, n), and latents (…, l) whose last step may end in the next piece.
        """
        before, before_latents, done = self._before, self._latents, self._done
        self._before, self._latents = sound, latents
        if before is None or before_latents is None:
            self._start = start
            return sound[:, :0], latents[..., :0]
        in_before = start - self._start
        end = (self.window_samples - in_before) // 2
        first = end - self.fade_samples
        fade = cross_fade(before[:, in_before + first : in_before + end], sound[:, first:end])
        self._start, self._done = start, end
        piece = torch.cat([before[:, done : in_before + first], fade], dim=-1)
        step = self.samples_per_step
        return piece, before_latents[..., done // step : in_before // step + end // step]

    def rest(self) -> tuple[Tensor, Tensor]:
        """Return sound (C, n) and latents (…, l) after the last joint."""
        assert self._before is not None
        assert self._latents is not None
        return self._before[:, self._done :], self._latents[..., self._done // self.samples_per_step :]


def cross_fade(before: Tensor, after: Tensor) -> Tensor:
    """Fade from one sound (C, N) to another at constant power, however alike they are.

    Equal-power gains raise the power of sounds with correlation r by a factor of up to 1 + r; it is divided out.
    """
    angle = torch.linspace(0, math.pi / 2, before.shape[-1])
    energies = before.square().sum() * after.square().sum()
    likeness = (before * after).sum() / energies.sqrt().clamp(min=torch.finfo(before.dtype).tiny)
    power = 1 + likeness.clamp(min=0) * (2 * angle).sin()
    return (before * angle.cos() + after * angle.sin()) / power.sqrt()
