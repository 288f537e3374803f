"""Finds the hits of an envelope: sudden rises of its level, to a fraction of a slot."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch

from hits.level import QUIET, WINDOW_S, Hits, level_of_hits, measure_hits
from media.envelope import FINE_RATE_HZ, Envelope, control_envelope

LEAST_RISE_DB = 10.0
FAINT_DB = -40.0
"""Least rise of a level that is a hit, and the level, relative to the loudest, below which rises count less. This
project's choice: on ten real recordings every onset that `evaluation.onsets` detects is then found within 0.1 s."""
LEAST_GAP_S = 0.05
USUAL_DECAY_S = 0.05
"""Decay of a hit where none can be measured."""
_REACH = round(WINDOW_S / 2 * FINE_RATE_HZ)  # slots between a contact and the first window without it
_START_SLOTS = 40
_RISE_SLOTS = 8
_FALL_SLOTS = 62
_LARGEST_SHIFT_S = 0.024
_ROUNDS = 3
_HIGHEST_MOMENTARY_HZ = 1000.0


def fine_level(envelope: Envelope) -> np.ndarray:
    """Return the level (N,), float64, of an envelope of any rate in slots of 8 ms.

    Energies are interpolated between slots. An envelope of more than 1000 values a second is averaged over windows of
    32 ms, as `media.envelope.fine_envelope` averages a sound.

    Args:
        envelope: One envelope, rms (T,).
    """
    if is_fine(envelope):
        return envelope.rms.double().cpu().numpy()
    rate_hz = envelope.rate_hz
    n_slots = max(1, round(envelope.duration_s * FINE_RATE_HZ))
    if rate_hz <= _HIGHEST_MOMENTARY_HZ:
        level = control_envelope(
            envelope, n_samples=n_slots, sample_rate_hz=int(FINE_RATE_HZ), window_samples=1, smoothing_samples=1
        )
        return level.double().cpu().numpy()
    total = np.concatenate([[0.0], envelope.rms.double().cpu().square().cumsum(0).numpy()])
    middles = (np.arange(n_slots) + 0.5) / FINE_RATE_HZ
    first, end = (
        np.clip(np.round((middles + side * WINDOW_S / 2) * rate_hz).astype(int), 0, len(total) - 1) for side in (-1, 1)
    )
    return np.sqrt((total[end] - total[first]) / (WINDOW_S * rate_hz))


def is_fine(envelope: Envelope) -> bool:
    """Return whether an envelope has slots of 8 ms; rates that were read from a table may be off by rounding."""
    return math.isclose(envelope.rate_hz, FINE_RATE_HZ, rel_tol=1e-9)


def find_hits(envelope: Envelope) -> Hits:
    """Find and measure the hits of an envelope.

    A hit is a rise by 10 dB or more within 32 ms, after which the level falls by 6 dB within half a second, or the next
    hit comes earlier. Its time is that of a contact after which the level would rise as it
    does. Where a decay cannot be measured, it is the median of the others.

    Args:
        envelope: One envelope, rms (T,).

    Returns:
        The hits, at least 50 ms apart; all values are finite.
    """
    from scipy.signal import find_peaks  # slow to import

    level = fine_level(envelope)
    rises = np.pad(_rise_db(level), 1)
    slots = find_peaks(rises, height=LEAST_RISE_DB, distance=round(LEAST_GAP_S * FINE_RATE_HZ))[0] - 1
    slots = np.array([slot for slot, following in pairwise([*slots, len(level)]) if _falls(level[slot:following])], int)
    coarse_s = times_s = (slots + 0.5) / FINE_RATE_HZ
    rms = torch.from_numpy(level)
    for _ in range(_ROUNDS):
        found = completed(measure_hits(rms, torch.from_numpy(times_s)))
        late_s = [_lateness_s(level, found[torch.tensor([i])], int(slots[i])) for i in range(len(slots))]
        times_s = np.clip(times_s + late_s, coarse_s - _LARGEST_SHIFT_S, coarse_s + _LARGEST_SHIFT_S)
        times_s = np.maximum.accumulate(np.clip(times_s, 0, envelope.duration_s))
    return completed(measure_hits(rms, torch.from_numpy(times_s)))


def completed(hits: Hits) -> Hits:
    """Return hits in which every decay and ring is a number: unknown decays are the median of the known ones."""
    known = hits.decay_s[hits.decay_s.isfinite()]
    usual_s = float(known.median()) if len(known) else USUAL_DECAY_S
    return replace(hits, decay_s=hits.decay_s.nan_to_num(usual_s), ring=hits.ring.nan_to_num(1.0))


def audible_s(decay_s: float) -> float:
    """Return the time in which a hit falls by 60 dB."""
    return 3 * QUIET * decay_s


def ends_s(hits: Hits) -> float:
    """Return the time at which the last of some hits has fallen by 60 dB; 0 without hits."""
    return max((t + audible_s(d) for t, d in zip(hits.times_s.tolist(), hits.decay_s.tolist(), strict=True)), default=0)


def _rise_db(level: np.ndarray) -> np.ndarray:
    """Return the rise (N,) in dB from the window just before each slot to the one just after it.

    Before its start the level counts as the least of its first 0.32 s, so that a hit at the very start is a rise.
    """
    energy = level**2
    faint = energy.max() * 10 ** (FAINT_DB / 10)
    if faint == 0:
        return np.zeros_like(energy)
    padded = np.concatenate([np.full(_REACH, energy[:_START_SLOTS].min()), energy, np.full(_REACH, energy[-1])])
    rise_db: np.ndarray = 10 * np.log10((padded[2 * _REACH :] + faint) / (padded[: -2 * _REACH] + faint))
    return rise_db


def _falls(level: np.ndarray) -> bool:
    """Return whether a level (n,) from a rise to the next one falls, or ends too soon to tell."""
    peak = int(level[:_RISE_SLOTS].argmax())
    return len(level) < _FALL_SLOTS or bool(level[peak:_FALL_SLOTS].min() <= level[peak] / 2)


def _lateness_s(level: np.ndarray, hit: Hits, slot: int) -> float:
    """Return how much later the level rises than that of a hit, in seconds, around the slot of its steepest rise."""
    first = max(0, slot - _RISE_SLOTS)
    heard = level[first : slot + _RISE_SLOTS + 1] ** 2
    expected = level_of_hits(hit.later(-first / FINE_RATE_HZ), len(heard)).double().numpy() ** 2
    places = [_middle_of_rise(energy, slot - first) for energy in (heard, expected)]
    return 0.0 if None in places else (places[0] - places[1]) / FINE_RATE_HZ  # type: ignore[operator]


def _middle_of_rise(energy: np.ndarray, slot: int) -> float | None:
    """Return where an energy (n,) rises through the middle of its rise around a slot; None if it does not rise."""
    peak = max(0, slot - 1) + int(energy[max(0, slot - 1) :].argmax())
    half = (energy[: peak + 1].min() + energy[peak]) / 2
    below = np.flatnonzero(energy[:peak] < half)
    if not len(below):
        return None
    i = int(below[-1])
    return float(i + (half - energy[i]) / (energy[i + 1] - energy[i]))
