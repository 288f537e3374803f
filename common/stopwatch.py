"""Owns measuring the durations of the stages of a task."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import torch

_Value = TypeVar("_Value")


@dataclass
class Stopwatch:
    """Durations of stages in seconds, in the order in which the stages began.

    Attributes:
        stage_s: name of the stage → seconds, summed over its runs, without the time of stages within it.
    """

    stage_s: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent in the block to a stage, including work that is still queued on a CUDA device."""
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
        """Yield the same values; the time until each value arrives is added to the stage."""
        iterator = iter(values)
        while True:
            with self.stage(name):
                try:
                    value = next(iterator)
                except StopIteration:
                    return
            yield value

    def __str__(self) -> str:
        """Return all stages and their seconds on one line."""
        return ", ".join(f"{name} {seconds:.2f}" for name, seconds in self.stage_s.items())
