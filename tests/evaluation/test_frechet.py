"""Fréchet distance against scipy's matrix square root and closed forms; its extrapolation on Gaussians."""

import numpy as np
import pytest
import scipy.linalg

from evaluation.statistics import estimate_frechet, frechet_distance


def by_sqrtm(a, b):
    shift = a.mean(0) - b.mean(0)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    return float(shift @ shift + np.trace(first + second - 2 * np.real(scipy.linalg.sqrtm(first @ second))))


def whitened(rng, n, d):
    """Samples whose mean is exactly 0 and whose covariance is exactly 1."""
    values = rng.standard_normal((n, d))
    values -= values.mean(0)
    return values @ np.linalg.inv(np.linalg.cholesky(np.atleast_2d(np.cov(values, rowvar=False))).T)


@pytest.mark.parametrize("n", [20, 500])
def test_it_equals_scipys_sqrtm(n):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((n, 12)) @ rng.standard_normal((12, 12))
    b = rng.standard_normal((n + 7, 12)) @ rng.standard_normal((12, 12)) + 0.3
    assert frechet_distance(a, b) == pytest.approx(by_sqrtm(a, b), rel=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


def test_gaussians_of_known_distance():
    """|m|² + Σ (σ₁ − σ₂)² for covariances that commute."""
    rng = np.random.default_rng(1)
    first, second, mean = (
        np.array([1.0, 2.0, 0.5, 3.0]),
        np.array([1.5, 0.1, 0.5, 2.0]),
        np.array([0.0, 1.0, -2.0, 0.5]),
    )
    a, b = whitened(rng, 50, 4) * first, whitened(rng, 80, 4) * second + mean
    expected = (mean**2).sum() + ((first - second) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_singular_covariances_are_no_problem():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((6, 512)), rng.standard_normal((5, 512))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert np.isfinite(frechet_distance(a, b))
    constant = np.ones((4, 8))
    assert frechet_distance(constant, constant + 2) == pytest.approx(8 * 4)
    flat = np.zeros((30, 3))
    flat[:, 0] = whitened(rng, 30, 1)[:, 0]
    wide = whitened(rng, 40, 3)
    assert frechet_distance(flat, wide) == pytest.approx(2, rel=1e-9)


def test_extrapolation_takes_away_most_of_the_bias():
    rng = np.random.default_rng(3)
    shift = np.zeros(64)
    shift[0] = 0.5
    reference = rng.standard_normal((20_000, 64))
    estimate = estimate_frechet(rng.standard_normal((400, 64)) + shift, reference)
    assert estimate.n_samples == 400
    assert estimate.n_dimensions == 64
    assert estimate.distance > 2 * 0.25
    assert estimate.extrapolated == pytest.approx(0.25, abs=0.35)
    assert abs(estimate.extrapolated - 0.25) < 0.25 * (estimate.distance - 0.25)
    assert estimate.r_squared > 0.8


def test_extrapolation_is_seeded_and_needs_enough_samples():
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((60, 5)), rng.standard_normal((60, 5))
    assert estimate_frechet(a, b, seed=1) == estimate_frechet(a, b, seed=1)
    assert estimate_frechet(a, b, seed=1) != estimate_frechet(a, b, seed=2)
    assert estimate_frechet(a[:19], b).extrapolated is None
    assert estimate_frechet(a[:1], b) is None
    assert estimate_frechet(np.ones((30, 4)), np.ones((30, 4))).distance == 0
