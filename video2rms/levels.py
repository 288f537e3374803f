"""What is heard in a stretch of time: hits, and the level of everything else."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hits.level import Hits, level_of_hits
from media.envelope import FINE_RATE_HZ, Envelope


@dataclass(frozen=True, eq=False)
class Levels:
    """Prediction for a stretch of time, in slots of 8 ms.

    Args:
        rms: Level beside the hits (N,), float32, at least 0.
        onset: Probability of a hit near each slot (N,), float32.
        hits: The hits; those with a level of 0 are part of `rms`.
    """

    rms: Tensor
    onset: Tensor
    hits: Hits

    @property
    def envelope(self) -> Envelope:
        """Level of hits and of everything else; their energies add up."""
        of_hits = level_of_hits(self.hits, len(self.rms))
        return Envelope((self.rms.square() + of_hits.square()).sqrt(), FINE_RATE_HZ)

    def louder(self, by_db: float) -> "Levels":
        """Return the same hits and levels, louder by some dB."""
        gain = 10 ** (by_db / 20)
        return replace(self, rms=gain * self.rms, hits=replace(self.hits, rms=gain * self.hits.rms))

    def part(self, first: int, last: int) -> "Levels":
        """Return the slots from `first` to before `last`, with the hits whose times lie in them."""
        since_s, until_s = first / FINE_RATE_HZ, last / FINE_RATE_HZ
        chosen = (self.hits.times_s >= since_s) & (self.hits.times_s < until_s)
        return Levels(self.rms[first:last], self.onset[first:last], self.hits[chosen].later(-since_s))


def join_levels(parts: Iterable[Levels]) -> Levels:
    """Join consecutive stretches, at least one."""
    joined = list(parts)
    hits, n_before = [], 0
    for part in joined:
        hits.append(part.hits.later(n_before / FINE_RATE_HZ))
        n_before += len(part.rms)
    return Levels(
        torch.cat([part.rms for part in joined]), torch.cat([part.onset for part in joined]), Hits.joined(hits)
    )
