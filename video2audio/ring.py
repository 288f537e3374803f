"""How long hits ring, by what they should sound like; the picture shows when something is hit, but hardly its ring."""

import math

import numpy as np
import torch
from torch import Tensor

from hits.level import measure_hits
from media.envelope import fine_envelope
from stable_foley.generator import Prompts, SoundGenerator

# fmt: off
DECAYS_S = {
    "carpet": 0.037, "ceramic": 0.027, "cloth": 0.039, "dirt": 0.022, "drywall": 0.039, "glass": 0.131,
    "grass": 0.027, "gravel": 0.031, "leaf": 0.038, "metal": 0.098, "paper": 0.036, "plastic": 0.034,
    "plastic-bag": 0.060, "rock": 0.010, "tile": 0.029, "water": 0.059, "wood": 0.034,
}
# fmt: on
"""Median decay of a single hit to 1 / e of its amplitude by material, in synthetic clips; see `benchmarks.ring`."""
SHARPNESS = 30.0
"""Factor of the similarities (cosines) between words and materials before their softmax: this project's choice."""
_DETECTION_DELAY_S = 0.04  # of an onset after the rise of the level, as `detect_onsets` finds it


def ring_s(prompts: Prompts, generator: SoundGenerator) -> float | None:
    """Return the decay that hits should have, in seconds to 1 / e of the amplitude.

    A sound rings as long as its own hits. Words ring like the materials that they resemble in the model's own space.
    Several prompts give the geometric mean.

    Args:
        prompts: Prompts for the sound.
        generator: The model, whose encoder reads words.

    Returns:
        The decay; None if no prompt says anything about it.
    """
    found = [decay_s for sound in prompts.sounds if (decay_s := ring_of_sound(sound, generator.sample_rate_hz))]
    if prompts.text:
        found.append(ring_of_words(prompts.text, generator))
    return math.exp(float(np.mean(np.log(found)))) if found else None


def ring_of_sound(sound: Tensor, sample_rate_hz: int) -> float | None:
    """Return the median decay of the hits in a sound (C, N), in seconds; None if it has none."""
    from evaluation.onsets import detect_onsets  # not above: librosa takes long, and most prompts are words

    onsets_s = detect_onsets(sound.cpu(), sample_rate_hz).times_s
    envelope = fine_envelope(sound.cpu(), sample_rate_hz)
    if len(onsets_s) == 0:  # a single hit at the very start
        onsets_s = np.array([(int(envelope.rms.argmax()) + 0.5) / envelope.rate_hz])
    starts_s = np.maximum(onsets_s - _DETECTION_DELAY_S, 0)
    decays_s = measure_hits(envelope.rms, torch.from_numpy(starts_s)).decay_s
    known = decays_s[decays_s.isfinite()]
    return float(known.median()) if len(known) else None


def ring_of_words(text: str, generator: SoundGenerator) -> float:
    """Return the decay of the materials that words resemble, each weighted by its likeness, in seconds."""
    materials = sorted(DECAYS_S)
    encode = generator.model.conditioner.sound_prompt.encode_text
    asked, known = encode([text]), encode([f"hitting {name}" for name in materials])
    weights = (SHARPNESS * torch.nn.functional.cosine_similarity(asked, known)).softmax(dim=0).cpu()
    decays_s = torch.tensor([DECAYS_S[name] for name in materials])
    return float((weights * decays_s.log()).sum().exp())
