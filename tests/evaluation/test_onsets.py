"""Onset scores in cases made by hand, and against independent implementations."""

import mir_eval
import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from evaluation.onsets import (
    ONSET_RATE_HZ,
    Onsets,
    average_precision,
    average_precision_of_all,
    detect_onsets,
    match_in_order,
    score_onsets,
    suppress_neighbours,
)
from tests.evaluation.conftest import RATE_HZ, clicks

NONE = np.empty(0)


def onsets(times_s, confidence=None):
    confidence = np.ones(len(times_s)) if confidence is None else np.asarray(confidence, dtype=float)
    return Onsets(np.round(np.asarray(times_s, dtype=float) * ONSET_RATE_HZ).astype(int), confidence, confidence)


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 22_050, 16_000])
def test_bursts_are_found_where_they_are(rate_hz):
    times_s = [0.4, 0.9, 1.7, 2.3]
    found = detect_onsets(clicks(times_s, rate_hz=rate_hz), rate_hz)
    np.testing.assert_allclose(found.times_s, times_s, atol=0.05)
    assert found.confidence.min() > 0.6


@pytest.mark.parametrize("wave", [torch.zeros(2, RATE_HZ), torch.full((1, RATE_HZ), 0.5)], ids=["silence", "constant"])
def test_nothing_is_found_where_nothing_changes(wave):
    found = detect_onsets(wave, RATE_HZ)
    assert len(found.samples) == len(found.confidence) == len(found.level) <= 1


def ending_sounds(n_samples, rng):
    """Sounds (1, N) whose ends are hard: nothing, a constant, an impulse at either end, noise, a last-moment burst."""
    silence = np.zeros(n_samples)
    first, last, burst = silence.copy(), silence.copy(), 1e-4 * rng.standard_normal(n_samples)
    first[0] = last[-1] = 1.0
    n_burst = min(n_samples, int(rng.integers(1, 1500)))
    burst[-n_burst:] += rng.standard_normal(n_burst)
    sounds = (silence, silence + 0.5, first, last, rng.standard_normal(n_samples), burst)
    return [torch.from_numpy(sound).float()[None] for sound in sounds]


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")  # of sounds shorter than 0.1 s
@pytest.mark.parametrize("rate_hz", [RATE_HZ, 22_050])
def test_onsets_lie_inside_sounds_of_any_length(rate_hz):
    rng = np.random.default_rng(0)
    whole_frames = [512 * k + offset for k in (1, 2, 5, 30, 60, 430) for offset in (-1, 0, 1)]
    lengths = {1, 2, 3, *rng.integers(4, 2000, 10).tolist(), *(n * rate_hz // 22_050 for n in whole_frames)}
    n_at_the_end = 0
    for n_samples in sorted(lengths):
        for wave in ending_sounds(n_samples, rng):
            found = detect_onsets(wave, rate_hz)
            assert (np.diff(found.samples, prepend=-1) > 0).all()
            assert (found.times_s < n_samples / rate_hz).all()
            assert np.isfinite([found.confidence, found.level]).all()
            score_onsets(found.times_s, found)
            n_at_the_end += (found.times_s > n_samples / rate_hz - 0.001).sum()
    assert n_at_the_end > 0  # sounds with an onset in the last frame, which is centred on the end, were among them


def test_confidence_is_the_normalised_peak_nearby():
    found = detect_onsets(clicks([0.5]) + 0.5 * clicks([1.5]), RATE_HZ)
    assert found.confidence == pytest.approx([1.0, 0.5], abs=0.05)


def test_perfect_onsets():
    times_s = np.array([0.5, 1.0, 2.0])
    scores = score_onsets(times_s, onsets(times_s))
    assert scores.onset_detection_accuracy == scores.onset_average_precision == scores.onset_number_accuracy == 1
    assert scores.onset_f1_100ms == scores.onset_f1_50ms == 1
    assert scores.onset_error_ms == pytest.approx(0, abs=0.05)


def test_no_onsets_on_either_side():
    both = score_onsets(NONE, onsets([]))
    assert both.onset_f1_100ms is both.onset_detection_accuracy is both.onset_average_precision is None
    assert both.onset_number_accuracy == 1
    missed = score_onsets(np.array([1.0]), onsets([]))
    assert (missed.onset_detection_accuracy, missed.onset_f1_100ms, missed.onset_number_accuracy) == (0, 0, 0)
    assert missed.onset_error_ms is None
    extra = score_onsets(NONE, onsets([1.0]))
    assert (extra.onset_detection_accuracy, extra.onset_average_precision) == (None, None)
    assert (extra.onset_f1_100ms, extra.onset_precision_100ms, extra.onset_number_accuracy) == (0, 0, 0)


def test_a_doubled_prediction_meets_one_reference_onset():
    doubled = onsets([1.0, 1.06])
    scores = score_onsets(np.array([1.03]), doubled)
    assert scores.onset_detection_accuracy == 1
    assert scores.onset_precision_100ms == 0.5
    assert scores.onset_recall_100ms == 1
    assert scores.onset_number_accuracy == 0
    scores = score_onsets(np.array([1.0, 1.03]), onsets([1.01]))
    assert scores.onset_detection_accuracy == scores.onset_recall_100ms == 0.5


def test_neighbours_within_50_ms_are_suppressed_but_counted():
    found = onsets([1.0, 1.04, 1.1, 2.0], confidence=[0.5, 0.9, 0.7, 0.1])
    assert suppress_neighbours(found).times_s == pytest.approx([1.04, 1.1, 2.0], abs=1e-4)
    chain = onsets([1.0, 1.04, 1.08], confidence=[0.9, 0.8, 0.7])
    assert suppress_neighbours(chain).times_s == pytest.approx([1.0, 1.08], abs=1e-4)
    assert score_onsets(np.array([1.0, 1.08]), chain).n_onsets_generated == 3
    assert len(suppress_neighbours(onsets([])).samples) == 0


@pytest.mark.parametrize(("distance_s", "is_met"), [(0.099, True), (0.1, False), (0.101, False)])
@pytest.mark.parametrize("at_s", [0.0, 0.4, 1.0, 2.2])
def test_exactly_a_tenth_of_a_second_is_no_match(distance_s, is_met, at_s):
    scores = score_onsets(np.array([at_s]), onsets([at_s + distance_s]))
    assert scores.onset_detection_accuracy == is_met


def test_onsets_at_both_ends():
    found = detect_onsets(clicks([0.0, 1.0, 2.95]), RATE_HZ)
    assert len(found.confidence) == len(found.samples)
    assert np.isfinite(found.confidence).all()
    scores = score_onsets(np.array([0.0, 1.0, 2.999]), onsets([0.0, 1.0, 2.999]))
    assert scores.onset_f1_100ms == scores.onset_detection_accuracy == 1


def test_the_loudest_free_onset_is_chosen():
    found = onsets([1.0, 1.09], confidence=[0.2, 0.9])
    assert match_in_order(np.array([1.02]), found) == {0: 1}
    assert match_in_order(np.array([1.02, 1.05]), found) == {0: 1, 1: 0}


def by_definition(is_match, confidence, n_reference):
    """Average precision as the sum of (recall step) × (precision) over distinct thresholds."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(confidence), reverse=True):
        taken = [match for match, c in zip(is_match, confidence, strict=True) if c >= threshold]
        recall = sum(taken) / n_reference
        total += (recall - before) * sum(taken) / len(taken)
        before = recall
    return total


@pytest.mark.parametrize("confidence", [(0.4, 1.0, 0.8, 0.6), (0.8, 0.8, 0.8, 0.6), (0.1, 0.2, 0.9, 1.0)])
def test_average_precision_by_definition(confidence):
    found = onsets([0.5, 1.0, 1.5, 2.5], confidence)
    value = average_precision_of_all(np.array([0.5, 1.0, 2.0]), found)
    assert value == pytest.approx(by_definition([1, 1, 0, 0], confidence, n_reference=3))


def test_average_precision_by_hand():
    found = onsets([0.5, 1.0, 1.5, 2.5], confidence=[0.4, 1.0, 0.8, 0.6])
    assert average_precision_of_all(np.array([0.5, 1.0, 2.0]), found) == pytest.approx((1 + 2 / 4) / 3)
    assert average_precision_of_all(np.array([2.0]), found) == 0
    assert average_precision_of_all(np.array([2.0]), onsets([])) == 0


def test_average_precision_is_sklearns_where_nothing_is_missed():
    found = onsets([0.5, 1.0, 1.5, 2.5], confidence=[0.4, 1.0, 0.8, 0.6])
    expected = average_precision_score([1, 1, 0, 0], found.confidence)
    assert average_precision_of_all(np.array([0.5, 1.0]), found) == pytest.approx(expected)


def by_published_rule(reference, detected, level, confidence):
    """CondFoleyGen's rule as it goes through the onsets one by one, at 22.05 kHz."""
    free, scores = list(range(len(detected))), []
    for onset in reference:
        near = [i for i in free if abs(detected[i] - onset) < 0.1 * ONSET_RATE_HZ]
        if not near:
            scores.append((1, 0.0))
            continue
        best = max(near, key=lambda i: level[i])
        scores.append((1, confidence[best]))
        free.remove(best)
        if not free:
            break
    scores += [(0, confidence[i]) for i in free]
    return average_precision_score(*zip(*scores, strict=True))


def test_published_average_precision_on_random_onsets():
    rng = np.random.default_rng(0)
    for _ in range(200):
        reference_s, generated_s = (np.sort(rng.uniform(0, 3, rng.integers(1, 12))) for _ in range(2))
        found = suppress_neighbours(onsets(generated_s, rng.uniform(0.1, 1, len(generated_s))))
        reference = np.round(reference_s * ONSET_RATE_HZ)
        expected = by_published_rule(reference, found.samples, found.level, found.confidence)
        assert average_precision(reference_s, found) == pytest.approx(expected)


def test_published_average_precision_of_silence_is_1_and_of_all_onsets_0():
    reference_s = np.array([1.0, 2.0])
    assert average_precision(reference_s, onsets([])) == 1
    assert average_precision_of_all(reference_s, onsets([])) == 0


def test_f1_and_error_are_mir_evals():
    rng = np.random.default_rng(3)
    for _ in range(20):
        reference_s, generated_s = (np.sort(rng.uniform(0, 5, rng.integers(1, 15))) for _ in range(2))
        found = onsets(generated_s)
        scores = score_onsets(reference_s, found)
        for window_s, name in ((0.1, "100ms"), (0.05, "50ms")):
            f1, precision, recall = mir_eval.onset.f_measure(reference_s, found.times_s, window=window_s)
            assert getattr(scores, f"onset_f1_{name}") == pytest.approx(f1)
            assert getattr(scores, f"onset_precision_{name}") == pytest.approx(precision)
            assert getattr(scores, f"onset_recall_{name}") == pytest.approx(recall)
    scores = score_onsets(np.array([1.0, 2.0, 3.0]), onsets([1.01, 2.03, 3.09]))
    assert scores.onset_error_ms == pytest.approx(30, abs=0.05)
