"""How hits ring, by what they should sound like; the picture shows when something is hit, but hardly its ring."""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from evaluation.decay import energy_to_come, fall_s
from hits.level import LEAST_FALL, LONGEST_DECAY_S, LOWEST_RING, QUIET, RING_AFTER_S, SHORTEST_DECAY_S, WINDOW_S
from stable_foley.generator import Prompts, SoundGenerator


@dataclass(frozen=True)
class Ring:
    """How a hit rings.

    Args:
        decay_s: Decay of the hit, see `hits.level.Hits`.
        share: Level of the ring right after the contact, as a share of the hit's, 0.2 to 1.
    """

    decay_s: float
    share: float


# fmt: off
RINGS = {
    "carpet": Ring(0.010, 0.50), "ceramic": Ring(0.012, 0.47), "cloth": Ring(0.013, 0.55), "dirt": Ring(0.030, 0.30),
    "drywall": Ring(0.011, 0.55), "glass": Ring(0.133, 0.62), "grass": Ring(0.038, 0.51), "gravel": Ring(0.066, 0.48),
    "leaf": Ring(0.064, 0.52), "metal": Ring(0.100, 0.71), "paper": Ring(0.015, 0.48), "plastic": Ring(0.006, 0.38),
    "plastic-bag": Ring(0.068, 0.51), "rock": Ring(0.004, 0.26), "tile": Ring(0.008, 0.35), "water": Ring(0.117, 0.89),
    "wood": Ring(0.009, 0.38),
}
# fmt: on
"""Medians of single dry hits of each material in synthetic clips; see `benchmarks.ring`."""
SHARPNESS = 30.0
"""Factor of the similarities (cosines) between words and materials before their softmax: this project's choice."""
_DETECTION_DELAY_S = 0.05  # of an onset after the contact, as `detect_onsets` finds it
_SILENCE_S = 0.2


def ring_of(prompts: Prompts, generator: SoundGenerator) -> Ring | None:
    """Return how hits should ring.

    A sound rings as its own hits do. Words ring like the materials that they resemble in the model's own space. Several
    prompts give the geometric mean.

    Args:
        prompts: Prompts for the sound.
        generator: The model, whose encoder reads words.

    Returns:
        The ring; None if no prompt says anything about it.
    """
    found = [ring for sound in prompts.sounds if (ring := ring_of_sound(sound, generator.sample_rate_hz))]
    if prompts.text:
        found.append(ring_of_words(prompts.text, generator))
    return _mean(found) if found else None


def ring_of_sound(sound: Tensor, sample_rate_hz: int) -> Ring | None:
    """Return the median ring of the hits in a sound (C, N); None if it has none."""
    from evaluation.onsets import detect_onsets  # not above: librosa takes long, and most prompts are words

    silence = round(_SILENCE_S * sample_rate_hz)  # so that a hit at the very start is found too
    padded = torch.nn.functional.pad(sound.cpu(), (silence, 0))
    mono = padded.double().mean(dim=0).numpy()
    onsets = np.round(detect_onsets(padded, sample_rate_hz).times_s * sample_rate_hz).astype(int)
    starts = np.maximum(onsets - round(_DETECTION_DELAY_S * sample_rate_hz), 0)
    hits = [mono[start:end] for start, end in pairwise([*starts, len(mono)])]
    found = [ring for hit in hits if len(hit) and (ring := ring_of_hit(hit[np.abs(hit).argmax() :], sample_rate_hz))]
    return median_ring(found) if found else None


def median_ring(rings: Sequence[Ring]) -> Ring:
    """Return the median of each value of at least one ring."""
    return Ring(*(float(np.median(values)) for values in zip(*map(astuple, rings), strict=True)))


def ring_of_hit(mono: np.ndarray, sample_rate_hz: int) -> Ring | None:
    """Return how a sound (N,) rings that begins with the peak of a hit and ends before the next.

    The decay of the ring is that of the energy to come once the strike is over; followed back to the contact, it gives
    the share of the ring.

    Returns:
        The ring; None where the level does not fall by 6 dB.
    """
    window, over = (round(time_s * sample_rate_hz) for time_s in (WINDOW_S, RING_AFTER_S))
    if len(mono) < 2 * window:
        return None
    last = mono[-max(window, len(mono) // 10) :]
    if np.sqrt(np.mean(last**2)) > np.sqrt(np.mean(mono[:window] ** 2)) * math.exp(-LEAST_FALL):
        return None
    energy = energy_to_come(mono, sample_rate_hz)
    alone = Ring(_possible_s(fall_s(energy, sample_rate_hz) / QUIET), 1.0)
    if energy[over] <= 0:
        return alone
    ring_s = max(fall_s(energy[over:], sample_rate_hz) / QUIET, SHORTEST_DECAY_S)
    of_ring = energy[over] * math.exp(2 * RING_AFTER_S / ring_s) * -math.expm1(-2 * WINDOW_S / ring_s)
    struck = energy[0] - energy[window]
    if of_ring >= struck:
        return alone
    share = max(math.sqrt(of_ring / struck), LOWEST_RING)
    return Ring(_possible_s(ring_s * (1 + math.log(share) / QUIET)), share)


def _possible_s(decay_s: float) -> float:
    """Return the nearest decay that a hit may have, in seconds."""
    return min(max(decay_s, SHORTEST_DECAY_S), LONGEST_DECAY_S)


def _mean(rings: Sequence[Ring], weights: Sequence[float] | None = None) -> Ring:
    """Return the geometric mean of rings, by default of equal weight."""
    logarithms = (np.log(values) for values in zip(*map(astuple, rings), strict=True))
    return Ring(*(math.exp(float(np.average(each, weights=weights))) for each in logarithms))


def ring_of_words(text: str, generator: SoundGenerator) -> Ring:
    """Return the ring of the materials that words resemble, each weighted by its likeness."""
    materials = sorted(RINGS)
    encode = generator.model.conditioner.sound_prompt.encode_text
    asked, known = encode([text]), encode([f"hitting {name}" for name in materials])
    weights = (SHARPNESS * torch.nn.functional.cosine_similarity(asked, known)).softmax(dim=0)
    return _mean([RINGS[name] for name in materials], weights.tolist())
