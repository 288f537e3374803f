"""An envelope read as hits and what is sustained; an edit changes the envelope only near the hit that it edits."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from common.errors import InputError, check_range
from hits.find import USUAL_DECAY_S, audible_s, ends_s, find_hits
from hits.grid import Grid
from hits.level import LONGEST_DECAY_S, SHORTEST_DECAY_S, WINDOW_S, Hits, level_of_hits
from hits.shares import INAUDIBLE, Share, shares_of
from media.envelope import FINE_RATE_HZ, Envelope

NAMED_WITHIN_S = 0.05
"""How far a time may be from the hit that it names."""
HIGHEST_LEVEL = 1000.0
_N_LISTED = 3


@dataclass(frozen=True, eq=False)
class Hit:
    """A hit of an envelope.

    Args:
        time_s: Time of the contact, in seconds from the start of the envelope.
        level: Highest level in windows of 32 ms, at least 0; 0: it is muted.
        decay_s: See `hits.level.Hits`.
        ring: See `hits.level.Hits`.
        share: Its share of the energy of the envelope it was found in; None: it was added.
    """

    time_s: float
    level: float
    decay_s: float
    ring: float = 1.0
    share: Share | None = None

    def add_energy(self, energy: np.ndarray, rate_hz: float, sign: int = 1) -> None:
        """Add its energy to those of an envelope (N,), in place, or subtract it; what is outside is lost."""
        if self.share is not None:
            start, values = self.share.moved((self.time_s - self.share.time_s) * rate_hz, self.level)
        else:
            start = max(0, int((self.time_s - WINDOW_S) * rate_hz))
            n_slots = math.ceil((2 * audible_s(self.decay_s) + 2 * WINDOW_S) * rate_hz)
            local = hits_of([self]).later(-start / rate_hz)
            values = level_of_hits(local, min(n_slots, len(energy) - start), rate_hz).double().numpy() ** 2
        first, end = max(0, start), min(len(energy), start + len(values))
        if first < end:
            energy[first:end] += sign * values[first - start : end - start]


@dataclass(frozen=True, eq=False)
class HitEnvelope:
    """An envelope as hits and what is sustained. Editing methods return a changed copy.

        hits = HitEnvelope.of(envelope)
        edited = hits.move(1.7, 1.85).scale(2.49, 2.0).envelope

    A hit is named by its time: the nearest one within 50 ms.

    Args:
        original: The envelope that was read, rms (T,).
        found: The hits that were found in it.
        hits: The hits that it has now, in order of time.
    """

    original: Envelope
    found: tuple[Hit, ...]
    hits: tuple[Hit, ...]

    @classmethod
    def of(cls, envelope: Envelope) -> Self:
        """Read an envelope, rms (T,).

        Raises:
            InputError: There are several envelopes.
        """
        if envelope.rms.ndim != 1:
            raise InputError(f"an envelope of shape {tuple(envelope.rms.shape)} is no single one: give a row of it")
        measured = find_hits(envelope)
        shares = shares_of(envelope, measured)
        found = tuple(Hit(*row, share) for row, share in zip(_rows(measured), shares, strict=True))
        return cls(envelope, found, found)

    @classmethod
    def of_hits(cls, hits: Hits, duration_s: float | None = None) -> Self:
        """Make an envelope of hits alone, in slots of 8 ms.

        Args:
            hits: The hits.
            duration_s: Duration, above 0; hits after it are left out. None: until the last hit has fallen by 60 dB.
        """
        envelope = envelope_of_hits(hits, duration_s)
        known = tuple(Hit(*row) for row in _rows(hits) if row[0] <= envelope.duration_s)
        return cls(envelope, known, known)

    @cached_property
    def envelope(self) -> Envelope:
        """The envelope as edited. Where no edited hit sounds or sounded, it is the original, bit for bit."""
        rms = self.original.rms
        change = np.zeros(len(rms))
        kept = set(map(id, self.hits)) & set(map(id, self.found))
        for sign, side in ((-1, self.found), (1, self.hits)):
            for hit in side:
                if id(hit) not in kept:
                    hit.add_energy(change, self.original.rate_hz, sign)
        before = rms.double().cpu().numpy() ** 2
        energy = before + change
        energy[energy < INAUDIBLE * before] = 0  # what rounding leaves of a hit that is gone
        edited = torch.from_numpy(np.sqrt(energy)).to(rms)
        return replace(self.original, rms=torch.where(torch.from_numpy(change != 0).to(rms.device), edited, rms))

    @cached_property
    def sustained(self) -> Envelope:
        """What is heard of the original beside the hits found in it."""
        rms, rate_hz = self.original.rms, self.original.rate_hz
        rest = rms.double().cpu().numpy() ** 2
        for hit in self.found:
            hit.add_energy(rest, rate_hz, -1)
        return replace(self.original, rms=torch.from_numpy(np.sqrt(rest.clip(min=0))).to(rms))

    @property
    def as_hits(self) -> Hits:
        """The hits that are not muted."""
        return hits_of([hit for hit in self.hits if hit.level > 0])

    def named(self, time_s: float) -> Hit:
        """Return the hit nearest to a time.

        Raises:
            InputError: There is none within 50 ms; the nearest ones are listed.
        """
        nearest = sorted(self.hits, key=lambda hit: abs(hit.time_s - time_s))
        if nearest and abs(nearest[0].time_s - time_s) <= NAMED_WITHIN_S + 1e-9:
            return nearest[0]
        listed = ", ".join(f"{hit.time_s:.3f}" for hit in sorted(nearest[:_N_LISTED], key=lambda hit: hit.time_s))
        remedy = f"the nearest are at {listed} s" if nearest else "the envelope has no hits, --add makes one"
        raise InputError(f"there is no hit within {1000 * NAMED_WITHIN_S:g} ms of {time_s:g} s: {remedy}")

    def move(self, time_s: float, to_s: float) -> Self:
        """Move a hit, with the shape that it has.

        Raises:
            InputError: There is no such hit, or the new time is outside the envelope.
        """
        hit = self.named(time_s)
        return self._with(hit, replace(hit, time_s=self._inside("--move to", to_s)))

    def shift(self, by_s: float) -> Self:
        """Move all hits by some seconds; what is sustained stays.

        Raises:
            InputError: A hit would be outside the envelope.
        """
        moved = [replace(hit, time_s=self._inside("--shift: a hit at", hit.time_s + by_s)) for hit in self.hits]
        return replace(self, hits=tuple(moved))

    def scale(self, time_s: float | None, factor: float) -> Self:
        """Multiply the level of a hit, or of all hits if no time is given.

        Raises:
            InputError: There is no such hit, or the factor is not 0 to 1000.
        """
        check_range("--scale by a factor of", factor, 0, HIGHEST_LEVEL)
        if time_s is None:
            return replace(self, hits=tuple(_scaled(hit, factor) for hit in self.hits))
        hit = self.named(time_s)
        return self._with(hit, _scaled(hit, factor))

    def mute(self, time_s: float) -> Self:
        """Set the level of a hit to 0; it stays in the table.

        Raises:
            InputError: There is no such hit.
        """
        return self.scale(time_s, 0.0)

    def set_level(self, time_s: float, level: float) -> Self:
        """Give a hit another level.

        Raises:
            InputError: There is no such hit, or the level is not 0 to 1000.
        """
        check_range("--level", level, 0, HIGHEST_LEVEL)
        hit = self.named(time_s)
        return self if level == hit.level else self._with(hit, replace(hit, level=level))

    def set_decay(self, time_s: float, decay_s: float) -> Self:
        """Give a hit another decay; it becomes a sudden start and an exponential.

        Raises:
            InputError: There is no such hit, or the decay is not 0.004 to 2 s.
        """
        check_range("--decay", decay_s, SHORTEST_DECAY_S, LONGEST_DECAY_S)
        hit = self.named(time_s)
        return self if decay_s == hit.decay_s else self._with(hit, replace(hit, decay_s=decay_s, share=None))

    def delete(self, time_s: float) -> Self:
        """Remove a hit; what else is heard there stays.

        Raises:
            InputError: There is no such hit.
        """
        return self._with(self.named(time_s))

    def add(self, time_s: float, level: float, decay_s: float | None = None) -> Self:
        """Add a hit.

        Args:
            time_s: Its time, inside the envelope.
            level: Its highest level in windows of 32 ms, 0 to 1000.
            decay_s: Time in which its amplitude falls to 1 / e, 0.004 to 2; None: the median of the others.

        Raises:
            InputError: A value is outside its range.
        """
        if decay_s is None:
            decay_s = float(np.median([hit.decay_s for hit in self.hits])) if self.hits else USUAL_DECAY_S
        check_range("--add with a level of", level, 0, HIGHEST_LEVEL)
        check_range("--add with a decay of", decay_s, SHORTEST_DECAY_S, LONGEST_DECAY_S)
        return self._sorted([*self.hits, Hit(self._inside("--add at", time_s), level, decay_s)])

    def quantise(self, grid: Grid) -> Self:
        """Move hits towards a grid, or towards times."""
        duration_s = self.original.duration_s
        times_s = grid.applied(np.array([hit.time_s for hit in self.hits]), duration_s)
        return self._sorted(
            [
                hit if time_s == hit.time_s else replace(hit, time_s=time_s)
                for hit, time_s in zip(self.hits, times_s.tolist(), strict=True)
            ]
        )

    def _with(self, hit: Hit, *instead: Hit) -> Self:
        return self._sorted([*(other for other in self.hits if other is not hit), *instead])

    def _sorted(self, hits: Sequence[Hit]) -> Self:
        return replace(self, hits=tuple(sorted(hits, key=lambda hit: hit.time_s)))

    def _inside(self, name: str, time_s: float) -> float:
        check_range(name, time_s, 0, self.original.duration_s)
        return time_s


def envelope_of_hits(hits: Hits, duration_s: float | None = None, start_s: float = 0.0) -> Envelope:
    """Return the envelope of hits alone, rms (T,) in slots of 8 ms.

    Args:
        hits: The hits, with times from the start of the video on.
        duration_s: Duration, above 0; None: until the last hit has fallen by 60 dB.
        start_s: Start of the envelope in the video; hits before it ring on.
    """
    if duration_s is None:
        duration_s = ends_s(hits) - start_s
    n_slots = max(1, math.ceil(duration_s * FINE_RATE_HZ - 1e-6))
    return Envelope(level_of_hits(hits.later(-start_s), n_slots), FINE_RATE_HZ)


def _rows(hits: Hits) -> Iterator[tuple[float, float, float, float]]:
    """Yield time, level, decay and ring of each hit."""
    columns = (hits.times_s, hits.rms, hits.decay_s, hits.ring)
    yield from zip(*(column.tolist() for column in columns), strict=True)


def _scaled(hit: Hit, factor: float) -> Hit:
    return hit if factor == 1 else replace(hit, level=hit.level * factor)


def hits_of(hits: Sequence[Hit]) -> Hits:
    """Return hits as tensors (K,), float64."""

    def values(name: str) -> Tensor:
        return torch.tensor([getattr(hit, name) for hit in hits], dtype=torch.float64)

    return Hits(values("time_s"), values("level"), values("decay_s"), values("ring"))
