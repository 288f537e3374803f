"""Bootstrap intervals against normal theory."""

import numpy as np
import pytest

from evaluation.statistics import bootstrap_mean


def test_the_interval_is_that_of_normal_theory():
    values = np.random.default_rng(0).normal(3, 2, 400)
    estimate = bootstrap_mean(list(values))
    half = 1.96 * values.std() / 20
    assert estimate.mean == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.02)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.02)
    assert estimate.n == 400


def test_it_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    estimates = [bootstrap_mean(list(rng.exponential(1, 60)), seed=i) for i in range(100)]
    assert 85 <= sum(e.low <= 1 <= e.high for e in estimates) <= 99


def test_seeds_repeat():
    values = [float(i * i) for i in range(10)]
    assert bootstrap_mean(values, 5) == bootstrap_mean(values, 5)


def test_few_values_have_no_interval():
    assert bootstrap_mean([]) is None
    for n in (1, 2, 9):
        few = bootstrap_mean([float(i) for i in range(n)])
        assert (few.mean, few.low, few.high, few.n) == ((n - 1) / 2, None, None, n)
    same = bootstrap_mean([2.0] * 10)
    assert (same.low, same.high) == (2.0, 2.0)
