"""Owns measuring how long the stages of a piece of work take."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import torch

_Value = TypeVar("_Value")


@dataclass
class Stopwatch:
    """Seconds that each stage took, in the order in which they began.

    Attributes:
        stage_s: name of the stage → seconds, summed over its runs, less those of stages within it.
    """

    stage_s: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent within to the stage's; work that a CUDA device still has to do counts too."""
        self.stage_s.setdefault(name, 0.0)
        start_s, counted_s = time.perf_counter(), sum(self.stage_s.values())
        try:
            yield
        finally:
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            within_s = sum(self.stage_s.values()) - counted_s
            self.stage_s[name] += time.perf_counter() - start_s - within_s

    def timed(self, name: str, values: Iterable[_Value]) -> Iterator[_Value]:
        """The same values; the time that each takes to come is added to the stage's."""
        iterator = iter(values)
        while True:
            with self.stage(name):
                try:
                    value = next(iterator)
                except StopIteration:
                    return
            yield value

    def __str__(self) -> str:
        """All stages on one line."""
        return ", ".join(f"{name} {seconds:.2f}" for name, seconds in self.stage_s.items())
