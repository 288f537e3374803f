"""Sounds and frames on disk that are read in parts like tensors, so that an hour takes no more memory than a minute."""

import itertools
import math
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

PART_SAMPLES = 2**19
"""Samples of a part of a sound that is worked on at a time: 12 s at 44.1 kHz."""


class StoredRows:
    """Rows of one shape in a file, such as the frames of a video; `rows[first:last]` reads some of them.

    Args:
        shape: Shape of a row.
        dtype: Type of its values.
        path: File of rows that are kept; None: a temporary file, which goes with this object.
        n_rows: Rows of the file that count; what follows them is cut off.
    """

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, path: Path | None = None, n_rows: int = 0) -> None:
        self.row_shape, self.dtype = tuple(shape), dtype
        if path is None:
            folder = tempfile.mkdtemp(prefix="video2audio-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            path = Path(folder) / "rows"
        self.path, self._n_rows = path, n_rows
        with path.open("ab") as file:
            file.truncate(n_rows * self._row_bytes)

    @property
    def _row_bytes(self) -> int:
        return math.prod(self.row_shape) * self.dtype.itemsize

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._n_rows

    def append(self, rows: Tensor) -> None:
        """Add rows (n, …) at the end."""
        assert rows.shape[1:] == self.row_shape
        with self.path.open("ab") as file:
            file.write(rows.to("cpu", self.dtype).contiguous().numpy().tobytes())
        self._n_rows += len(rows)

    def __getitem__(self, place: slice) -> Tensor:
        """Return consecutive rows (n, …)."""
        first, last, step = place.indices(self._n_rows)
        assert step == 1
        n_rows = max(0, last - first)
        if n_rows == 0:
            return torch.empty((0, *self.row_shape), dtype=self.dtype)
        values = np.fromfile(self.path, np.uint8, n_rows * self._row_bytes, offset=first * self._row_bytes)
        return torch.from_numpy(values).view(self.dtype).reshape(n_rows, *self.row_shape)


class StoredSound:
    """A sound (C, N), float32, in a file; `sound[:, first:last]` reads a part of it.

    Args:
        rows: Its samples (N, C).
    """

    def __init__(self, rows: StoredRows) -> None:
        self.rows = rows

    @classmethod
    def of(cls, parts: Iterable[Tensor]) -> Self:
        """Store consecutive parts (C, n) of a sound, at least one."""
        stored: Self | None = None
        for part in parts:
            stored = stored or cls(StoredRows(part.shape[:1], torch.float32))
            stored.append(part)
        assert stored is not None
        return stored

    @property
    def shape(self) -> torch.Size:
        """Channels C and samples N."""
        return torch.Size((*self.rows.row_shape, len(self.rows)))

    def append(self, part: Tensor) -> None:
        """Add samples (C, n) at the end."""
        self.rows.append(part.T)

    def __getitem__(self, place: tuple[slice, slice]) -> Tensor:
        """Return a part (C, n) of the sound: all channels, and consecutive samples."""
        channels, samples = place
        assert channels == slice(None)
        return self.rows[samples].T.contiguous()


Sound = Tensor | StoredSound
"""A sound (C, N), float32, in memory or on disk; both are read as `sound[:, first:last]`."""
SomeSound = TypeVar("SomeSound", bound=Sound)


def parts(sound: Sound, first: int = 0, last: int | None = None) -> Iterator[Tensor]:
    """Yield consecutive parts (C, n) of a sound, or of its samples between two places; of a whole sound at least one.

    Args:
        sound: The sound.
        first: Sample at which the first part starts.
        last: Sample before which the last part ends; None: the end of the sound.
    """
    end = max(1, sound.shape[-1]) if last is None else last
    for start in range(first, end, PART_SAMPLES):
        yield sound[:, start : min(start + PART_SAMPLES, end)]


def parts_with_margins(
    sound: Sound, margin_samples: int, part_samples: int = PART_SAMPLES
) -> Iterator[tuple[Tensor, slice]]:
    """Yield consecutive parts (C, n) of a sound with the samples around them.

    Args:
        sound: The sound.
        margin_samples: Most samples on each side; there are fewer at the ends of the sound.
        part_samples: Most samples of a part itself.

    Yields:
        The part with its margins, and the place of the part itself in it.
    """
    for start in range(0, max(1, sound.shape[-1]), part_samples):
        first, end = max(0, start - margin_samples), min(sound.shape[-1], start + part_samples)
        yield sound[:, first : end + margin_samples], slice(start - first, end - first)


def like(sound: SomeSound, changed: Iterable[Tensor]) -> SomeSound:
    """Return consecutive parts as one sound that is where another one is: in memory, or on disk."""
    result = torch.cat([*changed], dim=-1) if isinstance(sound, Tensor) else StoredSound.of(changed)
    return cast(SomeSound, result)


def later(sound: SomeSound, n_before: int) -> SomeSound:
    """Return a sound (C, N) after some samples of silence."""
    if n_before == 0:
        return sound
    silence = torch.zeros(1, 1).expand(sound.shape[0], n_before)
    return like(sound, itertools.chain(parts(silence), parts(sound)))


def loaded(sound: Sound) -> Tensor:
    """Return a sound (C, N) in memory."""
    return sound if isinstance(sound, Tensor) else sound[:, :]
