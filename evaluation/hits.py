"""The shape of hits: how fast each rises, how long it rings, how bright and how loud it is."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from torch import Tensor

from evaluation.decay import DROP_DB, WINDOW_S, energy_to_come, fall_s
from evaluation.onsets import match_onsets

HOP_S = 0.0005
BEFORE_S = 0.05
"""How far before its onset the peak of a hit may lie: detectors are late."""
AFTER_S = 0.1
BRIGHTNESS_S = 0.1
BRIGHTNESS_LEAD_S = 0.005


@dataclass(frozen=True)
class HitShape:
    """One hit, or a summary of several.

    Args:
        attack_ms: From where its level last rises through 20 dB below its peak to the peak.
        decay_ms: From the peak to when all but 1 % of its energy is over, at most to the next hit: where an exponential
            has fallen by 20 dB. The background is subtracted.
        brightness_hz: Spectral centroid of the 100 ms from 5 ms before the peak.
        level_db: Level at the peak, in dB of full scale.

    The level is the RMS of the mono sound in 2 ms, every 0.5 ms. What is not defined is not a number.
    """

    attack_ms: float
    decay_ms: float
    brightness_hz: float
    level_db: float


def hit_shapes(wave: Tensor, sample_rate_hz: int, onsets_s: np.ndarray) -> list[HitShape]:
    """Measure the hits of a sound.

    Args:
        wave: Sound (C, N), full scale ±1.
        sample_rate_hz: Samples a second.
        onsets_s: When it is hit, rising (K,).

    Returns:
        K shapes. An attack is not a number where the level is never 20 dB below the peak since the hit before; nothing
        is where nothing is heard.
    """
    mono = wave.mean(dim=0).double().numpy()
    level, rate_hz = _level(mono, sample_rate_hz), 1 / HOP_S
    bounds_s = [-np.inf, *onsets_s, np.inf]
    shapes = []
    for before_s, onset_s, after_s in zip(bounds_s, onsets_s, bounds_s[2:], strict=False):
        next_s = max(after_s - BEFORE_S, (onset_s + after_s) / 2)  # from here on, the next hit may be heard
        first = max(0, round((max(onset_s - BEFORE_S, (before_s + onset_s) / 2)) * rate_hz))
        end = min(len(level), round(min(onset_s + AFTER_S, next_s) * rate_hz))
        last = len(level) if np.isinf(after_s) else min(len(level), round(next_s * rate_hz))
        since = 0 if np.isinf(before_s) else round(before_s * rate_hz)
        shapes.append(_shape(mono, sample_rate_hz, level, (since, first, max(first + 1, end), last)))
    return shapes


def median_shape(shapes: Sequence[HitShape]) -> HitShape:
    """Return the median of each value over the hits where it is defined; not a number where it is nowhere."""
    return HitShape(*(_median([astuple(shape)[i] for shape in shapes]) for i in range(len(fields(HitShape)))))


def shape_differences(
    reference: Sequence[HitShape], generated: Sequence[HitShape], pairs: Sequence[tuple[int, int]]
) -> HitShape:
    """Return the median difference of matched hits, generated less reference.

    Args:
        reference: Shapes of the reference's hits.
        generated: Shapes of the generated hits.
        pairs: Indices of matched hits (reference, generated), see ``evaluation.onsets.match_onsets``.

    Returns:
        Milliseconds, milliseconds, octaves (in the place of Hz) and dB; not a number where nothing is matched.
    """
    differences = []
    for i, j in pairs:
        real, made = reference[i], generated[j]
        differences.append(
            HitShape(
                made.attack_ms - real.attack_ms,
                made.decay_ms - real.decay_ms,
                float(np.log2(made.brightness_hz / real.brightness_hz)),
                made.level_db - real.level_db,
            )
        )
    return median_shape(differences)


def score_hits(
    reference: Tensor, generated: Tensor, sample_rate_hz: int, reference_s: np.ndarray, generated_s: np.ndarray
) -> dict[str, float]:
    """Return the medians of both sounds and of the differences of matched hits, by the names of the measures.

    Args:
        reference: Real sound (C, N).
        generated: Generated sound (C, N).
        sample_rate_hz: Samples a second of both.
        reference_s: Hits of the reference, rising (K,).
        generated_s: Detected hits of the generated sound, rising (L,).
    """
    real, made = (
        hit_shapes(wave, sample_rate_hz, onsets_s)
        for wave, onsets_s in ((reference, reference_s), (generated, generated_s))
    )
    summaries = {
        "reference": median_shape(real),
        "generated": median_shape(made),
        "difference": shape_differences(real, made, match_onsets(reference_s, generated_s)),
    }
    units = {"attack": "ms", "decay": "ms", "brightness": "hz", "level": "db"}
    return {
        f"hit_{name}_{which}_{'octaves' if (which, name) == ('difference', 'brightness') else unit}": value
        for which, shape in summaries.items()
        for (name, unit), value in zip(units.items(), astuple(shape), strict=True)
    }


def _level(mono: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Return the RMS (T,) in centred windows of 2 ms, every 0.5 ms."""
    half = WINDOW_S / 2 * sample_rate_hz
    centres = np.arange(0, len(mono), HOP_S * sample_rate_hz)
    energy = np.concatenate([[0.0], np.cumsum(mono**2)])
    first, end = (np.clip(np.round(centres + side).astype(int), 0, len(mono)) for side in (-half, half))
    return np.sqrt((energy[end] - energy[first]) / np.maximum(end - first, 1))


def _shape(mono: np.ndarray, sample_rate_hz: int, level: np.ndarray, bounds: tuple[int, int, int, int]) -> HitShape:
    """Measure one hit.

    Args:
        mono: Sound (N,).
        sample_rate_hz: Samples a second.
        level: Its level (T,).
        bounds: The hit before, first value and end of where the peak may lie, and the next hit.
    """
    since, first, end, last = bounds
    if first >= len(level) or not level[first:end].any():
        return HitShape(*[float("nan")] * 4)
    peak = first + int(np.argmax(level[first:end]))
    limit = level[peak] * 10 ** (-DROP_DB / 20)
    below_before = np.flatnonzero(level[since:peak] < limit)
    attack = peak - (since + below_before[-1] + 1) if len(below_before) else np.nan
    first_sample, last_sample = (round(place * HOP_S * sample_rate_hz) for place in (peak, last))
    decay_s = fall_s(energy_to_come(mono[first_sample:last_sample], sample_rate_hz), sample_rate_hz)
    start = max(0, round((peak * HOP_S - BRIGHTNESS_LEAD_S) * sample_rate_hz))
    return HitShape(
        attack_ms=float(attack * HOP_S * 1000),
        decay_ms=1000 * decay_s,
        brightness_hz=_centroid_hz(mono[start : start + round(BRIGHTNESS_S * sample_rate_hz)], sample_rate_hz),
        level_db=float(20 * np.log10(level[peak])),
    )


def _centroid_hz(mono: np.ndarray, sample_rate_hz: int) -> float:
    """Return the mean frequency, weighted by magnitude, as librosa's spectral centroid is."""
    magnitude = np.abs(np.fft.rfft(mono * np.hanning(len(mono))))
    return float(magnitude @ np.fft.rfftfreq(len(mono), 1 / sample_rate_hz) / max(magnitude.sum(), 1e-12))


def _median(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.median(finite)) if finite else float("nan")
