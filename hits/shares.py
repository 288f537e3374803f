"""Which share of an envelope's energy belongs to each of its hits: the shape that is there, not a model of it."""

from dataclasses import dataclass

import numpy as np

from hits.find import audible_s, fine_level, is_fine
from hits.level import Hits
from media.envelope import FINE_RATE_HZ, Envelope

EARLIEST_RISE_S = 0.064
"""How long before its contact a hit may begin to rise."""
PEAK_LAG_S = 0.08
LONGEST_S = 1.0
"""Longest time in which a hit owns all that is heard, unless its decay says longer."""
RIPPLE = 4.0
"""Factor by which the energy of a hit may rise again above the least energy since its peak; more is another sound."""
DROWNED = 2.0
"""Factor above the energy just before a hit below which it is over."""
INAUDIBLE = 1e-6
"""Share of an energy, -60 dB, that counts as nothing beside it."""
_FADE_SLOTS = 10


@dataclass(frozen=True, eq=False)
class Share:
    """The energy of an envelope that belongs to a hit.

    Args:
        first: Slot of its first value.
        values: Energies (n,), float64.
        time_s: Time at which the hit was found.
        level: Level at which the hit was found, above 0.
    """

    first: int
    values: np.ndarray
    time_s: float
    level: float

    def moved(self, by_slots: float, level: float) -> tuple[int, np.ndarray]:
        """Return the first slot and the energies of the hit, later by some slots and at another level.

        Between slots energies are interpolated.
        """
        whole = int(np.floor(by_slots))
        part = by_slots - whole
        values = np.append((1 - part) * self.values, 0.0)
        values[1:] += part * self.values
        return self.first + whole, values * (level / self.level) ** 2


def shares_of(envelope: Envelope, hits: Hits) -> list[Share]:
    """Divide the energy of an envelope among its hits; what is left over is sustained.

    From where it begins to rise until the next one does, a hit owns what is above the energy just before it. After its
    peak the energy may fall and ripple, but what rises again by more than 6 dB is another sound. Under the next hit its
    tail goes on as an exponential. The shares of all hits together are at most the energy.

    Args:
        envelope: One envelope, rms (T,).
        hits: Its hits, in order of time.
    """
    energy = fine_level(envelope) ** 2
    owned = _owned(energy, hits)
    exact = envelope.rms.double().cpu().numpy() ** 2
    shares = []
    for (first, values), time_s, level in zip(owned, hits.times_s.tolist(), hits.rms.tolist(), strict=True):
        if is_fine(envelope):
            shares.append(Share(first, values, time_s, level))
            continue
        part = np.divide(values, energy[first : first + len(values)], out=np.zeros_like(values), where=values > 0)
        per_slot = envelope.rate_hz / FINE_RATE_HZ
        start, end = max(0, int((first - 1) * per_slot)), min(len(exact), int((first + len(values) + 1) * per_slot) + 1)
        places = (np.arange(start, end) + 0.5) / per_slot - 0.5 - first
        mask = np.interp(places, np.arange(-1, len(part) + 1), np.pad(part, 1))
        shares.append(Share(start, mask * exact[start:end], time_s, level))
    return shares


def _owned(energy: np.ndarray, hits: Hits) -> list[tuple[int, np.ndarray]]:
    """Return first slot and energies of the share of each hit in slots of 8 ms."""
    starts, peaks = _places(energy, hits)
    rest = energy.copy()
    owned = []
    ends = [*starts[1:], len(energy)][: len(starts)]
    for start, peak, end, decay_s in zip(starts, peaks, ends, hits.decay_s.tolist(), strict=True):
        floor = rest[start] if start > 0 else rest[:end].min()  # a hit at the very start has nothing before it
        values = _until(rest[start:end], peak - start, float(floor), decay_s)
        if len(values) and len(values) == end - start < len(energy) - start:  # the next hit comes before it is over
            since = np.arange(1, min(len(energy) - end, round(audible_s(decay_s) * FINE_RATE_HZ)) + 1)
            tail = values[-1] * np.exp(-2 * since / (FINE_RATE_HZ * decay_s))
            values = np.concatenate([values, np.minimum(tail, rest[end : end + len(tail)])])
        rest[start : start + len(values)] -= values
        owned.append((start, values))
    return owned


def _places(energy: np.ndarray, hits: Hits) -> tuple[list[int], list[int]]:
    """Return the slots in which each hit begins to rise and has its peak."""
    starts, peaks, after = [], [], 0
    for time_s in hits.times_s.tolist():
        contact = min(len(energy) - 1, max(0, round(time_s * FINE_RATE_HZ - 0.5)))
        first = min(max(after, contact - round(EARLIEST_RISE_S * FINE_RATE_HZ)), contact)
        before = energy[first : contact + 1]
        start = first + len(before) - 1 - int(before[::-1].argmin())
        peak = start + int(energy[start : contact + round(PEAK_LAG_S * FINE_RATE_HZ)].argmax())
        starts.append(start)
        peaks.append(peak)
        after = min(peak, contact) + 1
    return starts, peaks


def _until(energy: np.ndarray, peak: int, floor: float, decay_s: float) -> np.ndarray:
    """Return what a hit owns of the energies (n,) from the start of its rise to the next hit, or to where it is over.

    Args:
        energy: Energies without those of earlier hits.
        peak: Place of its peak.
        floor: Energy just before it.
        decay_s: Its decay.
    """
    if len(energy) == 0:
        return energy
    peak = min(peak, len(energy) - 1)
    least = np.minimum.accumulate(energy[peak:])
    owned = energy - floor
    owned[peak:] = np.minimum(energy[peak:], RIPPLE * least) - floor
    is_over = least <= max(DROWNED * floor, INAUDIBLE * energy[peak])
    end = peak + int(is_over.argmax()) if is_over.any() else len(energy)
    longest = peak + round(max(LONGEST_S, audible_s(decay_s)) * FINE_RATE_HZ)
    if longest < end:
        end = longest
        owned[end - _FADE_SLOTS : end] *= np.linspace(1, 0, _FADE_SLOTS)
    result: np.ndarray = owned[:end].clip(min=0)
    return result
