"""Hits as objects: when, how loud and how long, measured from a level and turned back into one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from torch import Tensor

from media.envelope import FINE_RATE_HZ

WINDOW_S = 0.032
"""Length of the windows in which `media.envelope.fine_envelope` measures a level."""
SHORTEST_DECAY_S, LONGEST_DECAY_S = 0.004, 2.0
PEAK_LEAD_S, PEAK_LAG_S = 0.008, 0.06
"""Time before and after an onset within which the level has its peak."""
QUIET, LEAST_FALL = math.log(10), math.log(2)
"""Fall of a level, as the logarithm of amplitudes, at which a decay is measured, and the least that tells a decay."""
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
        decay_s: Time in which the amplitude falls to 1 / e (K,), seconds.
    """

    times_s: Tensor
    rms: Tensor
    decay_s: Tensor

    def __len__(self) -> int:
        """Return the number of hits."""
        return len(self.times_s)

    def __getitem__(self, chosen: Tensor) -> Self:
        """Return the hits that a mask or indices choose."""
        return type(self)(self.times_s[chosen], self.rms[chosen], self.decay_s[chosen])

    def later(self, by_s: float) -> Self:
        """Return the same hits, later by some seconds."""
        return type(self)(self.times_s + by_s, self.rms, self.decay_s)

    @classmethod
    def silent(cls, times_s: Tensor) -> Self:
        """Return hits without a level, at times (K,)."""
        return cls(times_s, torch.zeros_like(times_s), torch.full_like(times_s, SHORTEST_DECAY_S))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Join the hits of consecutive stretches, at least one."""
        return cls(
            torch.cat([part.times_s for part in parts]),
            torch.cat([part.rms for part in parts]),
            torch.cat([part.decay_s for part in parts]),
        )


def level_of_hits(hits: Hits, n_slots: int) -> Tensor:
    """Return the level (N,) of hits in slots of 8 ms, as `media.envelope.fine_envelope` would measure it.

    A hit is noise that starts at once and decays exponentially. Its energy is averaged over windows of 32 ms, and
    energies of different hits add up.

    Args:
        hits: The hits.
        n_slots: Number N of slots.
    """
    energy = torch.zeros(n_slots, dtype=torch.float64)
    middle_s = (torch.arange(n_slots, dtype=torch.float64) + 0.5) / FINE_RATE_HZ
    half_s = WINDOW_S / 2
    for time_s, rms, decay_s in zip(hits.times_s.tolist(), hits.rms.tolist(), hits.decay_s.tolist(), strict=True):
        first = max(0, int((time_s - half_s) * FINE_RATE_HZ))
        last = min(n_slots, first + 2 + int((WINDOW_S + 14 * decay_s) * FINE_RATE_HZ))  # 120 dB
        if first >= last:
            continue
        rate = 2 / decay_s  # at which the energy decays
        since_s = middle_s[first:last] - time_s
        start_s, end_s = (since_s - half_s).clamp(min=0), (since_s + half_s).clamp(min=0)
        share = torch.exp(-rate * start_s) - torch.exp(-rate * end_s)
        energy[first:last] += rms**2 * share / -math.expm1(-rate * WINDOW_S)
    return energy.sqrt().float()


def measure_hits(rms: Tensor, onsets_s: Tensor) -> Hits:
    """Measure the hits of a level (N,) in slots of 8 ms.

    The peak is the highest level around the onset, before the next one. The decay is that of an exponential with the
    same time from the peak to 20 dB below it. Where the next onset comes earlier, it follows from the level until then;
    it is not a number where that has fallen by less than 6 dB.

    Args:
        rms: Level (N,).
        onsets_s: Times of the onsets (K,), seconds, in any order.
    """
    times_s = onsets_s.double().sort().values
    levels = rms.double().cpu().numpy()
    places = (times_s * FINE_RATE_HZ - 0.5).tolist()  # of the contacts, in slots
    measured = [_measure_hit(levels, place, following) for place, following in pairwise([*places, float(len(levels))])]
    peaks, decays = zip(*measured, strict=True) if measured else ((), ())
    return Hits(times_s.float(), torch.tensor(peaks, dtype=torch.float32), torch.tensor(decays, dtype=torch.float32))


def _measure_hit(levels: np.ndarray, place: float, following: float) -> tuple[float, float]:
    """Return peak level and decay of a hit; hit and next hit are given in slots of the levels (N,)."""
    n_slots = len(levels)
    first = max(0, round(place - PEAK_LEAD_S * FINE_RATE_HZ))
    if first >= n_slots:
        return 0.0, math.nan
    end = min(n_slots, max(first + 1, round(min(place + PEAK_LAG_S * FINE_RATE_HZ, following - 1))))
    peak = first + int(levels[first:end].argmax())
    full = place + WINDOW_S / 2 * FINE_RATE_HZ  # from here on windows hold nothing from before the hit
    start = max(peak, math.ceil(full))
    last = min(n_slots, math.floor(following - WINDOW_S / 2 * FINE_RATE_HZ))
    rms = float(levels[peak])
    decay_s = _decay_s(levels[start:last])
    if peak == start and decay_s > 0:  # between two slots the level may have been higher
        rms *= min(math.exp((start - full) / (FINE_RATE_HZ * decay_s)), HIGHEST_RISE)
    return rms, decay_s


def _decay_s(levels: np.ndarray) -> float:
    """Return the decay of levels (n,) that fall from a peak."""
    if not (len(levels) > 1 and levels[0] > 0):
        return math.nan
    fallen = np.log(levels[0] / np.maximum(levels, 1e-9))
    below = np.flatnonzero(fallen >= QUIET)
    if len(below):
        i = int(below[0])
        slots = i - 1 + (QUIET - fallen[i - 1]) / (fallen[i] - fallen[i - 1])
        decay_s = slots / (FINE_RATE_HZ * QUIET)
    elif fallen[-1] >= LEAST_FALL:
        decay_s = (len(levels) - 1) / (FINE_RATE_HZ * fallen[-1])
    else:
        return math.nan
    return float(np.clip(decay_s, SHORTEST_DECAY_S, LONGEST_DECAY_S))


def level_beyond(rms: Tensor, hits: Hits) -> Tensor:
    """Return the level (N,) of what is heard beyond hits: scratches, rolling, water; 0 where hits explain a level."""
    explained = level_of_hits(hits, len(rms)).to(rms.device).square()
    rest = rms.square() - explained
    return torch.where(rest > RESIDUE * explained, rest, 0).clamp(min=0).sqrt()
