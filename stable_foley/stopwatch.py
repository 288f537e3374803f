"""Owns measuring how long the stages of a piece of work take."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch


@dataclass
class Stopwatch:
    """Seconds that each stage took, in the order in which they began.

    Attributes:
        stage_s: name of the stage → seconds, summed over its runs.
    """

    stage_s: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent within to the stage's; work that a CUDA device still has to do counts too."""
        start = time.perf_counter()
        try:
            yield
        finally:
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            self.stage_s[name] = self.stage_s.get(name, 0.0) + time.perf_counter() - start

    def __str__(self) -> str:
        """All stages on one line."""
        return ", ".join(f"{name} {seconds:.2f}" for name, seconds in self.stage_s.items())
