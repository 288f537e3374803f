"""Owns the random numbers of a batch: a source for each clip, so that they do not depend on who computes which clip."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class ClipNoise:
    """Random numbers of B clips, each from a source of its own: the same whatever other clips are in the batch.

    Args:
        keys: B keys, one a clip, of whole numbers from 0 on; equal keys give equal numbers.
    """

    def __init__(self, keys: Sequence[Sequence[int]]) -> None:
        states = [np.random.SeedSequence(list(key)).generate_state(1, np.uint64)[0] for key in keys]
        self._seeds = [int(state >> np.uint64(1)) for state in states]
        self.generators = [torch.Generator().manual_seed(seed) for seed in self._seeds]
        """The CPU noise source of each clip."""

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.generators)

    def normal(self, *shape: int) -> Tensor:
        """Draw from the normal distribution (B, *shape)."""
        return torch.stack([torch.randn(shape, generator=each) for each in self.generators])

    def uniform(self) -> Tensor:
        """Draw a number from 0 to 1 for each clip (B,)."""
        return torch.stack([torch.rand((), generator=each) for each in self.generators])

    def integers(self, n: int) -> Tensor:
        """Draw a whole number from 0 to ``n`` - 1 for each clip (B,)."""
        return torch.stack([torch.randint(n, (), generator=each) for each in self.generators])

    @contextmanager
    def in_dropout(self, device: torch.device) -> Iterator[None]:
        """Inside, ``torch.nn.functional.dropout`` draws what it drops of a clip from the clip's own seed.

        The first axis of its inputs has the clips in order, or as many rows for each of them.
        """
        with _Dropout([torch.Generator(device).manual_seed(seed) for seed in self._seeds]):
            yield


class _Dropout(TorchFunctionMode):
    """Replaces dropout; every other function stays as it is."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self._generators = generators

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.dropout:
            return self._dropout(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _dropout(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        del inplace
        if not training or p == 0:
            return x
        n_rows = len(x) // len(self._generators)
        kept = torch.empty_like(x, memory_format=torch.contiguous_format)
        for rows, generator in zip(kept.split(n_rows), self._generators, strict=True):
            rows.bernoulli_(1 - p, generator=generator)
        return x * kept / (1 - p) if p < 1 else torch.zeros_like(x)
