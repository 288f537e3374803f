"""When something is struck: onsets of sounds, and how well generated ones meet those of a reference.

Source of the detection, of the first three scores and of all constants: Du et al., "Conditional Generation of Audio
from Video via Foley Analogies" (CondFoleyGen), 2023.
"""

from dataclasses import dataclass

import librosa
import mir_eval
import numpy as np
from sklearn.metrics import average_precision_score
from torch import Tensor

ONSET_RATE_HZ = 22_050
DETECTION_DELTA = 0.3
WINDOW_S = 0.1
NARROW_WINDOW_S = 0.05
CONFIDENCE_RADIUS_S = 0.05
SUPPRESSION_S = 0.05


@dataclass(frozen=True, eq=False)
class Onsets:
    """Detected onsets of one sound, K of them.

    Args:
        samples: Where they are, rising, at 22.05 kHz (K,).
        confidence: Peak within ±0.05 s of |wave|, the least and the greatest of which are put at 0 and 1 (K,).
        level: The same at the onset itself (K,).
    """

    samples: np.ndarray
    confidence: np.ndarray
    level: np.ndarray

    @property
    def times_s(self) -> np.ndarray:
        """Times in seconds (K,)."""
        return self.samples / ONSET_RATE_HZ


@dataclass(frozen=True)
class F1Score:
    """Precision, recall and their harmonic mean, each 0 to 1."""

    f1: float
    precision: float
    recall: float


@dataclass(frozen=True)
class OnsetScores:
    """How well detected onsets meet the reference's, see `evaluation.measures`; what is 0 / 0 is None."""

    onset_detection_accuracy: float | None
    onset_average_precision: float | None
    onset_average_precision_all: float | None
    onset_number_accuracy: float
    onset_precision_100ms: float | None
    onset_recall_100ms: float | None
    onset_f1_100ms: float | None
    onset_precision_50ms: float | None
    onset_recall_50ms: float | None
    onset_f1_50ms: float | None
    onset_error_ms: float | None
    n_onsets_reference: int
    n_onsets_generated: int


def detect_onsets(wave: Tensor, sample_rate_hz: int) -> Onsets:
    """Detect the onsets of a sound (C, N): `librosa.onset.onset_detect` with delta 0.3 on its 22.05 kHz mono.

    All of them lie inside the sound; silence has none.
    """
    mono = librosa.resample(wave.mean(dim=0).numpy(), orig_sr=sample_rate_hz, target_sr=ONSET_RATE_HZ)
    samples = librosa.onset.onset_detect(y=mono, sr=ONSET_RATE_HZ, delta=DETECTION_DELTA, units="samples")
    samples = samples.clip(max=len(mono) - 1)  # the last frame is centred on the sample after the last
    magnitude = np.abs(mono)
    span = np.ptp(magnitude)
    normalised = (magnitude - magnitude.min()) / (span if span > 0 else 1)
    radius = int(CONFIDENCE_RADIUS_S * ONSET_RATE_HZ)
    confidence = np.array([normalised[max(0, i - radius) : i + radius].max() for i in samples])
    return Onsets(samples, confidence, normalised[samples])


def suppress_neighbours(onsets: Onsets) -> Onsets:
    """Return onsets without those that have a more confident one less than 0.05 s away (non-maximum suppression)."""
    kept: list[int] = []
    for i in np.argsort(-onsets.confidence, kind="stable"):
        distances = np.abs(onsets.samples[kept] - onsets.samples[i])
        if not (distances < SUPPRESSION_S * ONSET_RATE_HZ).any():
            kept.append(int(i))
    kept.sort()
    return Onsets(onsets.samples[kept], onsets.confidence[kept], onsets.level[kept])


def match_in_order(reference_s: np.ndarray, onsets: Onsets) -> dict[int, int]:
    """Index of each reference onset that is met → index of the detected onset that meets it, each used once.

    The reference onsets choose in order of time, each the loudest free onset less than 0.1 s away.
    """
    reference = np.round(np.asarray(reference_s) * ONSET_RATE_HZ).astype(int)
    free = np.ones(len(onsets.samples), dtype=bool)
    matches: dict[int, int] = {}
    for i, sample in enumerate(reference):
        near = free & (np.abs(onsets.samples - sample) < WINDOW_S * ONSET_RATE_HZ)
        if near.any():
            matches[i] = int(np.argmax(np.where(near, onsets.level, -1)))
            free[matches[i]] = False
    return matches


def match_onsets(reference_s: np.ndarray, generated_s: np.ndarray, window_s: float = WINDOW_S) -> list[tuple[int, int]]:
    """Largest set of pairs (reference, generated) of indices, each used once, at most a window apart, by mir_eval."""
    if len(reference_s) == 0 or len(generated_s) == 0:
        return []
    return list(mir_eval.util.match_events(reference_s, generated_s, window_s))


def onset_f1(reference_s: np.ndarray, generated_s: np.ndarray, window_s: float = WINDOW_S) -> F1Score | None:
    """F1 of rising onset times, by mir_eval: 0 where one side is empty; None where both are."""
    if len(reference_s) == 0 and len(generated_s) == 0:
        return None
    if len(reference_s) == 0 or len(generated_s) == 0:
        return F1Score(0.0, 0.0, 0.0)
    return F1Score(*map(float, mir_eval.onset.f_measure(reference_s, generated_s, window=window_s)))


def average_precision(reference_s: np.ndarray, onsets: Onsets) -> float | None:
    """Average precision of onsets without neighbours by CondFoleyGen's rule; None without reference onsets.

    What is missed counts as found with confidence 0, and reference onsets later than the match that used up the last
    detected one do not count. So a silent sound scores 1: for that, see ``average_precision_of_all``.
    """
    if len(reference_s) == 0:
        return None
    matches = match_in_order(reference_s, onsets)
    last = max(matches) if len(matches) == len(onsets.samples) > 0 else len(reference_s) - 1
    is_onset = [True] * (last + 1)
    confidence = [onsets.confidence[matches[i]] if i in matches else 0.0 for i in range(last + 1)]
    extra = sorted(set(range(len(onsets.samples))) - set(matches.values()))
    is_onset += [False] * len(extra)
    return float(average_precision_score(is_onset, [*confidence, *onsets.confidence[extra]]))


def average_precision_of_all(reference_s: np.ndarray, onsets: Onsets) -> float | None:
    """Average precision of onsets without neighbours, as of a detector; None without reference onsets.

    Recall is the share of all reference onsets, so that what is missed counts as never found.
    """
    if len(reference_s) == 0:
        return None
    matches = match_in_order(reference_s, onsets)
    if not matches:
        return 0.0
    is_match = np.isin(np.arange(len(onsets.samples)), list(matches.values()))
    return float(average_precision_score(is_match, onsets.confidence)) * len(matches) / len(reference_s)


def score_onsets(reference_s: np.ndarray, onsets: Onsets) -> OnsetScores:
    """Score the onsets of a generated sound against reference onsets in seconds, rising (K,); K may be 0."""
    alone = suppress_neighbours(onsets)
    n_reference, n_generated = len(reference_s), len(onsets.samples)
    f1_scores = {
        f"onset_{name}_{window}": getattr(score, name) if score else None
        for window, window_s in (("100ms", WINDOW_S), ("50ms", NARROW_WINDOW_S))
        for score in [onset_f1(reference_s, onsets.times_s, window_s)]
        for name in ("precision", "recall", "f1")
    }
    errors_s = [abs(reference_s[i] - onsets.times_s[j]) for i, j in match_onsets(reference_s, onsets.times_s)]
    return OnsetScores(
        onset_detection_accuracy=len(match_in_order(reference_s, alone)) / n_reference if n_reference else None,
        onset_average_precision=average_precision(reference_s, alone),
        onset_average_precision_all=average_precision_of_all(reference_s, alone),
        onset_number_accuracy=float(n_reference == n_generated),
        onset_error_ms=1000 * float(np.median(errors_s)) if errors_s else None,
        n_onsets_reference=n_reference,
        n_onsets_generated=n_generated,
        **f1_scores,
    )
