"""Hits as objects: when, how loud and how long, measured from a level and turned back into one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from torch import Tensor

from media.envelope import FINE_RATE_HZ

WINDOW_S = 0.032
"""Length of the windows in which `media.envelope.fine_envelope` measures a level."""
SHORTEST_DECAY_S, LONGEST_DECAY_S = 0.004, 2.0
STRIKE_DECAY_S = 0.004
"""Decay of the strike itself, whose energy the ring follows: this project's choice. A stick is in contact for 1 to 4
ms."""
LOWEST_RING = 0.2
RING_AFTER_S = 0.016
"""Time after a contact from which on the strike itself is over."""
PEAK_LEAD_S, PEAK_LAG_S = 0.008, 0.06
"""Time before and after an onset within which the level has its peak."""
QUIET, LEAST_FALL = math.log(10), math.log(2)
"""Fall of a level, as the logarithm of amplitudes, at which a decay is measured, and the least that tells a decay."""
LONGEST_SPENT = 0.6
"""Share of a decay by 20 dB that may be over when the ring is measured."""
HIGH = 0.9
"""Share of a peak down to which a level has not begun to fall."""
HIGHEST_RISE = 1.5
"""Largest factor by which the peak between two slots may lie above them."""
RESIDUE = 0.25
"""Energy beyond that of the hits, as a share of it, below which nothing else counts as heard."""


@dataclass(frozen=True, eq=False)
class Hits:
    """Hits of a sound.

    Args:
        times_s: Times of the contacts (K,), seconds, in order.
        rms: Highest level in windows of 32 ms (K,), above 0.
        decay_s: Time in which the level falls by 20 dB, divided by the natural logarithm of 10 (K,), seconds: for an
            exponential the time in which its amplitude falls to 1 / e.
        ring: Level of the ring right after the contact, as a share of `rms` (K,), 0.2 to 1; the rest of the energy is
            the strike itself. At 1 there is only an exponential decay.
    """

    times_s: Tensor
    rms: Tensor
    decay_s: Tensor
    ring: Tensor

    def __len__(self) -> int:
        """Return the number of hits."""
        return len(self.times_s)

    def __getitem__(self, chosen: Tensor) -> Self:
        """Return the hits that a mask or indices choose."""
        return type(self)(self.times_s[chosen], self.rms[chosen], self.decay_s[chosen], self.ring[chosen])

    def later(self, by_s: float) -> Self:
        """Return the same hits, later by some seconds."""
        return replace(self, times_s=self.times_s + by_s)

    @classmethod
    def silent(cls, times_s: Tensor) -> Self:
        """Return hits without a level, at times (K,)."""
        nothing = torch.zeros_like(times_s)
        return cls(times_s, nothing, torch.full_like(times_s, SHORTEST_DECAY_S), torch.ones_like(times_s))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Join the hits of consecutive stretches, at least one."""
        return cls(
            torch.cat([part.times_s for part in parts]),
            torch.cat([part.rms for part in parts]),
            torch.cat([part.decay_s for part in parts]),
            torch.cat([part.ring for part in parts]),
        )


def level_of_hits(hits: Hits, n_slots: int, rate_hz: float = FINE_RATE_HZ) -> Tensor:
    """Return the level (N,) of hits in slots of 8 ms, as `media.envelope.fine_envelope` would measure it.

    A hit is noise that starts at once: a strike that is over within milliseconds, and a ring that decays
    exponentially. Energies of strike, ring and different hits add up, and are averaged over windows of 32 ms.

    Args:
        hits: The hits.
        n_slots: Number N of slots.
        rate_hz: Slots per second, above 0.
    """
    energy = torch.zeros(n_slots, dtype=torch.float64)
    middle_s = (torch.arange(n_slots, dtype=torch.float64) + 0.5) / rate_hz
    for time_s, rms, decay_s, ring in zip(
        hits.times_s.tolist(), hits.rms.tolist(), hits.decay_s.tolist(), hits.ring.tolist(), strict=True
    ):
        first = max(0, int((time_s - WINDOW_S / 2) * rate_hz))
        ring_decay_s = _decay_of_ring(decay_s, ring)
        last = min(n_slots, first + 2 + int((WINDOW_S + 14 * ring_decay_s) * rate_hz))  # 120 dB
        if first < last:
            since_s = middle_s[first:last] - time_s
            of_ring = ring**2 * _share_in_window(since_s, ring_decay_s)
            energy[first:last] += rms**2 * (of_ring + (1 - ring**2) * _share_in_window(since_s, STRIKE_DECAY_S))
    return energy.sqrt().float()


def _decay_of_ring(decay_s: float, ring: float) -> float:
    """Return the decay of the ring of a hit that as a whole falls by 20 dB like an exponential of `decay_s`."""
    return decay_s * QUIET / (QUIET + math.log(ring))


def _share_in_window(since_s: Tensor, decay_s: float) -> Tensor:
    """Return the energy of an exponential in windows of 32 ms, relative to the window that begins with it.

    Args:
        since_s: Time from its start to the middle of each window (n,), seconds.
        decay_s: Its decay.
    """
    rate = 2 / decay_s  # at which the energy decays
    start_s, end_s = ((since_s + side * WINDOW_S / 2).clamp(min=0) for side in (-1, 1))
    return (torch.exp(-rate * start_s) - torch.exp(-rate * end_s)) / -math.expm1(-rate * WINDOW_S)


def measure_hits(rms: Tensor, onsets_s: Tensor) -> Hits:
    """Measure the hits of a level (N,) in slots of 8 ms.

    The peak is the highest level around the onset, before the next one. The decay is that of an exponential with the
    same time from the peak to 20 dB below it. Where the next onset comes earlier, it follows from the level until then;
    it is not a number where that has fallen by less than 6 dB. The ring follows from the level as soon as the strike is
    over; it is not a number where the decay is not, or is too short to tell.

    Args:
        rms: Level (N,).
        onsets_s: Times of the onsets (K,), seconds, in any order.
    """
    times_s = onsets_s.double().sort().values
    levels = rms.double().cpu().numpy()
    places = (times_s * FINE_RATE_HZ - 0.5).tolist()  # of the contacts, in slots
    measured = [_measure_hit(levels, place, following) for place, following in pairwise([*places, float(len(levels))])]
    peaks, decays, rings = torch.tensor(measured, dtype=torch.float32).reshape(-1, 3).unbind(1)
    return Hits(times_s.float(), peaks, decays, rings)


def _measure_hit(levels: np.ndarray, place: float, following: float) -> tuple[float, float, float]:
    """Return peak level, decay and ring of a hit; hit and next hit are given in slots of the levels (N,)."""
    n_slots = len(levels)
    first = max(0, round(place - PEAK_LEAD_S * FINE_RATE_HZ))
    if first >= n_slots:
        return 0.0, math.nan, math.nan
    end = min(n_slots, max(first + 1, round(min(place + PEAK_LAG_S * FINE_RATE_HZ, following - 1))))
    peak = first + int(levels[first:end].argmax())
    full = place + WINDOW_S / 2 * FINE_RATE_HZ  # from here on windows hold nothing from before the hit
    start = max(peak, math.ceil(full))
    last = min(n_slots, math.floor(following - WINDOW_S / 2 * FINE_RATE_HZ))
    rms = float(levels[peak])
    since = float(peak)  # the level stays high until the contact leaves the windows
    while since < full and levels[min(int(since) + 1, n_slots - 1)] >= HIGH * rms:
        since = min(since + 1, full)
    decay_s = _decay_s(levels[start:last] / rms, start - since) if rms > 0 else math.nan
    if peak == start and decay_s > 0:  # between two slots the level may have been higher
        rms *= min(math.exp((start - full) / (FINE_RATE_HZ * decay_s)), HIGHEST_RISE)
    over = math.ceil(full + RING_AFTER_S * FINE_RATE_HZ)
    ring = math.nan
    if decay_s > 0 and over < last:
        ring = _ring(float(levels[over]) / rms, (over - full) / FINE_RATE_HZ, decay_s)
    return rms, decay_s, ring


def _ring(level: float, after_s: float, decay_s: float) -> float:
    """Return the ring of a hit from its level some time after the contact, relative to its peak."""
    spent = after_s / (QUIET * decay_s)
    if level <= 0 or spent > LONGEST_SPENT:
        return math.nan
    return float(np.clip(math.exp((math.log(level) + spent * QUIET) / (1 - spent)), LOWEST_RING, 1.0))


def _decay_s(levels: np.ndarray, first: float) -> float:
    """Return the decay of levels (n,), relative to their peak, from `first` slots after it on."""
    if len(levels) < 2:
        return math.nan
    fallen = np.concatenate([[0.0], -np.log(np.maximum(levels, 1e-9))])
    slots = np.concatenate([[0.0], first + np.arange(len(levels))])
    below = np.flatnonzero(fallen >= QUIET)
    if len(below):
        i = int(below[0])
        share = (QUIET - fallen[i - 1]) / (fallen[i] - fallen[i - 1])
        decay_s = (slots[i - 1] + share * (slots[i] - slots[i - 1])) / (FINE_RATE_HZ * QUIET)
    elif fallen[-1] >= LEAST_FALL:
        decay_s = slots[-1] / (FINE_RATE_HZ * fallen[-1])
    else:
        return math.nan
    return float(np.clip(decay_s, SHORTEST_DECAY_S, LONGEST_DECAY_S))


def level_beyond(rms: Tensor, hits: Hits) -> Tensor:
    """Return the level (N,) of what is heard beyond hits: scratches, rolling, water; 0 where hits explain a level."""
    explained = level_of_hits(hits, len(rms)).to(rms.device).square()
    rest = rms.square() - explained
    return torch.where(rest > RESIDUE * explained, rest, 0).clamp(min=0).sqrt()
