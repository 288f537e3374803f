"""Rows of recordings → the figures of the report."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data.report.recording import ENVELOPE_EDGES_DB, Recording

NOT_NAMED = "not named"
INTERVAL_EDGES_S = tuple(np.geomspace(0.02, 20, 37).round(5).tolist())
LOUDNESS_EDGES_LUFS = tuple(float(edge) for edge in range(-70, 7, 2))
MOST_DURATION_BINS = 25


@dataclass(frozen=True)
class Histogram:
    """Counts between each two of the rising edges; values beyond are counted in the first or last."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Distribution:
    """A set of numbers: how many, the smallest, the middle one and the largest (None without any), and by size."""

    n: int
    low: float | None
    median: float | None
    high: float | None
    histogram: Histogram


@dataclass(frozen=True)
class Summary:
    """All figures; those below `n_readable` are of the recordings that can be read.

    Hits are counted by material and the other word, the most frequent first; `annotated_h` are the hours of recordings
    that have hits, `interval_s` the times from each hit to the next of its recording, `envelope_db` the values of all
    fine envelopes in dB of full scale; `sample_rates` and what follows count recordings.
    """

    n_recordings: int
    n_readable: int
    n_with_hits: int
    n_with_picture: int
    n_with_sound: int
    total_h: float
    duration_s: Distribution
    n_hits: int
    annotated_h: float
    actions: dict[str, dict[str, int]]
    reactions: dict[str, dict[str, int]]
    interval_s: Distribution
    loudness_lufs: Distribution
    envelope_db: Histogram
    sample_rates: dict[str, int]
    channels: dict[str, int]
    pictures: dict[str, int]
    frame_rates: dict[str, int]


def summarise(recordings: Sequence[Recording]) -> Summary:
    """Return counts and distributions over the recordings that can be read."""
    readable = [recording for recording in recordings if recording.problem is None]
    sounds = [recording.sound for recording in readable if recording.sound]
    pictures = [recording.picture for recording in readable if recording.picture]
    hits = [hit for recording in readable for hit in recording.hits]
    durations_s = [recording.duration_s for recording in readable]
    intervals_s = [gap_s for r in readable for gap_s in np.diff([hit.time_s for hit in r.hits]).tolist()]
    loudness_lufs = [sound.loudness_lufs for sound in sounds if sound.loudness_lufs is not None]
    envelope_counts = np.zeros(len(ENVELOPE_EDGES_DB) - 1, dtype=np.int64)
    for sound in sounds:
        envelope_counts += sound.envelope_counts
    return Summary(
        n_recordings=len(recordings),
        n_readable=len(readable),
        n_with_hits=sum(bool(recording.hits) for recording in readable),
        n_with_picture=len(pictures),
        n_with_sound=len(sounds),
        total_h=sum(durations_s) / 3600,
        duration_s=_distribution(durations_s, _round_edges(max(durations_s, default=1.0))),
        n_hits=len(hits),
        annotated_h=sum(recording.duration_s for recording in readable if recording.hits) / 3600,
        actions=_by_material((hit.material, hit.action) for hit in hits),
        reactions=_by_material((hit.material, hit.reaction) for hit in hits),
        interval_s=_distribution(intervals_s, INTERVAL_EDGES_S),
        loudness_lufs=_distribution(loudness_lufs, LOUDNESS_EDGES_LUFS),
        envelope_db=Histogram(ENVELOPE_EDGES_DB, tuple(envelope_counts.tolist())),
        sample_rates=_counts(f"{sound.sample_rate_hz:,} Hz" for sound in sounds),
        channels=_counts(f"{sound.n_channels}" for sound in sounds),
        pictures=_counts(f"{picture.form}, {picture.width} x {picture.height}" for picture in pictures),
        frame_rates=_counts(f"{picture.frame_rate_hz:g} Hz" for picture in pictures),
    )


def words_of(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return the words of all rows, the most frequent first, those that are not named last."""
    totals = {word: sum(row.get(word, 0) for row in counts.values()) for row in counts.values() for word in row}
    return sorted(totals, key=lambda word: (word == NOT_NAMED, -totals[word], word))


def _distribution(values: Sequence[float], edges: tuple[float, ...]) -> Distribution:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    histogram = Histogram(edges, tuple(counts.tolist()))
    if not values:
        return Distribution(0, None, None, None, histogram)
    return Distribution(len(values), min(values), float(np.median(values)), max(values), histogram)


def _round_edges(highest: float) -> tuple[float, ...]:
    """Return edges from 0 past the highest value, in steps of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(highest / MOST_DURATION_BINS))
    step = next(factor * power for factor in (1, 2, 5, 10) if highest / (factor * power) < MOST_DURATION_BINS)
    return tuple(round(i * step, 9) for i in range(math.floor(highest / step) + 2))


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _by_material(pairs: Iterable[tuple[str | None, str | None]]) -> dict[str, dict[str, int]]:
    """Return counts by material and the other word, materials and words each with the most frequent first."""
    counts = Counter((material or NOT_NAMED, word or NOT_NAMED) for material, word in pairs)
    totals: Counter[str] = Counter()
    for (material, _), count in counts.items():
        totals[material] += count
    order = sorted(totals, key=lambda material: (-totals[material], material))
    return {name: {word: n for (material, word), n in counts.most_common() if material == name} for name in order}
