"""Means with their uncertainty."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

N_RESAMPLES = 5000
CONFIDENCE = 0.95
MIN_FOR_INTERVAL = 10


@dataclass(frozen=True)
class Estimate:
    """A mean over clips.

    Args:
        mean: The mean.
        low: Lower end of its 95 % interval; None with fewer than `MIN_FOR_INTERVAL` clips.
        high: Upper end of its 95 % interval; None with fewer than `MIN_FOR_INTERVAL` clips.
        n: Clips over which it was taken, at least 1.
    """

    mean: float
    low: float | None
    high: float | None
    n: int


def bootstrap_mean(values: Sequence[float], seed: int = 0) -> Estimate | None:
    """Estimate a mean and its 95 % interval, by 5000 seeded resamples with replacement (percentile bootstrap).

    For a paired comparison give the differences of the pairs. Resamples of few values spread too little: of normal
    values, the interval covers the true mean in 50 % of cases with 2 values, 83 % with 5, 90 % with 10 and 94 % with
    20. Fewer than 10 values get none.

    Args:
        values: Finite numbers, one a clip.
        seed: Seed of the resampling.

    Returns:
        The estimate; None without values.

    Source:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    if not values:
        return None
    mean = float(np.mean(values))
    if len(values) < MIN_FOR_INTERVAL:
        return Estimate(mean, None, None, len(values))
    result = scipy.stats.bootstrap(
        (np.asarray(values, dtype=np.float64),),
        np.mean,
        n_resamples=N_RESAMPLES,
        batch=500,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return Estimate(mean, float(result.confidence_interval.low), float(result.confidence_interval.high), len(values))
