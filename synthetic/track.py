"""Values over time, interpolated between knots."""

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

Share = TypeVar("Share", float, np.ndarray)


@dataclass(eq=False)
class Track:
    """A value over time, interpolated between knots: smoothly, accelerating, or decelerating.

    Args:
        times_s: Times of the knots, rising.
        values: Values at the knots, numbers or vectors.
        powers: Interpolation towards each knot: 0 smooth (minimum jerk), p > 0 as u^p, p < 0 as 1 - (1 - u)^-p.
    """

    times_s: list[float] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    powers: list[float] = field(default_factory=list)

    @staticmethod
    def at_rest(value: np.ndarray | float) -> "Track":
        """Return a track that starts with a value, two seconds before the clip starts."""
        return Track([-2.0], [np.asarray(value, float)], [0.0])

    def to(self, time_s: float, value: np.ndarray | float, power: float = 0.0) -> None:
        """Add a knot; a knot that is not later than the last is placed immediately after it."""
        if self.times_s and time_s <= self.times_s[-1]:
            time_s = self.times_s[-1] + 1e-6
        self.times_s.append(time_s)
        self.values.append(np.asarray(value, float))
        self.powers.append(power)

    def at(self, times_s: np.ndarray) -> np.ndarray:
        """Return values (..., D) or (...) at times (...), constant before the first and after the last knot."""
        knots_s, values, powers = np.array(self.times_s), np.array(self.values), np.array(self.powers)
        following = np.clip(np.searchsorted(knots_s, times_s, side="right"), 1, len(knots_s) - 1)
        first_s, last_s = knots_s[following - 1], knots_s[following]
        u = np.clip((times_s - first_s) / (last_s - first_s), 0, 1)
        power = powers[following]
        eased = minimum_jerk(u)
        eased = np.where(power > 0, u ** np.maximum(power, 1), eased)
        eased = np.where(power < 0, 1 - (1 - u) ** np.maximum(-power, 1), eased)
        if values.ndim > 1:
            eased = eased[..., None]
        return values[following - 1] + eased * (values[following] - values[following - 1])


def minimum_jerk(u: Share) -> Share:
    """Return the smoothest movement from 0 to 1 as u goes from 0 to 1 (Flash & Hogan, J. Neuroscience 5(7), 1985)."""
    return u**3 * (10 + u * (6 * u - 15))
