"""Hits as objects: when, how loud and how long, measured from a level and turned back into one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from media.envelope import FINE_RATE_HZ

WINDOW_S = 0.032
"""Length of the windows in which `media.envelope.fine_envelope` measures a level."""
SHORTEST_DECAY_S, LONGEST_DECAY_S = 0.004, 2.0
PEAK_LEAD_S, PEAK_LAG_S = 0.008, 0.06
"""Time before and after an onset within which the level has its peak."""
LEAST_DECAY_SLOTS = 12
"""Slots from a peak to the next hit that are needed to measure a decay."""
LARGEST_DECAY_SLOTS = 125
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

    The peak is the highest level around the onset, before the next one. The decay follows from the energy between peak
    and next onset, as if it fell exponentially; it is not a number where the next onset is too close.

    Args:
        rms: Level (N,).
        onsets_s: Times of the onsets (K,), seconds, in any order.
    """
    times_s = onsets_s.double().sort().values
    energy = rms.double().square().cpu()
    n_slots = len(energy)
    places = times_s * FINE_RATE_HZ - 0.5  # of the contacts, in slots
    peaks, decays = [], []
    for i, place in enumerate(places.tolist()):
        following = places[i + 1].item() if i + 1 < len(places) else float(n_slots)
        first = max(0, round(place - PEAK_LEAD_S * FINE_RATE_HZ))
        end = min(n_slots, max(first + 1, round(min(place + PEAK_LAG_S * FINE_RATE_HZ, following - 1))))
        if first >= n_slots:
            peaks.append(0.0)
            decays.append(float("nan"))
            continue
        peak = first + int(energy[first:end].argmax())
        last = min(n_slots, peak + LARGEST_DECAY_SLOTS, max(peak + 1, round(following - WINDOW_S / 2 * FINE_RATE_HZ)))
        peaks.append(energy[peak].sqrt().item())
        decays.append(_decay_s(energy[peak:last]) if last - peak >= LEAST_DECAY_SLOTS else float("nan"))
    return Hits(times_s.float(), torch.tensor(peaks), torch.tensor(decays))


def _decay_s(energy: Tensor) -> float:
    """Return the decay of energies (n,) that fall from a peak, as if they fell exponentially."""
    duration_s = (len(energy) - 1) / FINE_RATE_HZ
    share = (torch.trapezoid(energy) / (len(energy) - 1) / energy[0].clamp(min=1e-12)).item()
    low, high = SHORTEST_DECAY_S, LONGEST_DECAY_S
    for _ in range(30):  # the mean of an exponential decay rises with the time that it takes
        middle = (low * high) ** 0.5
        x = 2 * duration_s / middle
        mean = -math.expm1(-x) / x
        low, high = (middle, high) if mean < share else (low, middle)
    return (low * high) ** 0.5


def level_beyond(rms: Tensor, hits: Hits) -> Tensor:
    """Return the level (N,) of what is heard beyond hits: scratches, rolling, water; 0 where hits explain a level."""
    explained = level_of_hits(hits, len(rms)).to(rms.device).square()
    rest = rms.square() - explained
    return torch.where(rest > RESIDUE * explained, rest, 0).clamp(min=0).sqrt()
