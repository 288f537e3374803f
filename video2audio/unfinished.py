"""A long sound while it is made: it is kept on disk window by window, so that an interrupted run goes on."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from common.files import atomic_path
from common.memory import return_free_memory
from media.stored import StoredRows, StoredSound
from video2audio.record import same_settings

_ROWS, _BYTES = "rows", "bytes"


@dataclass(frozen=True)
class Unfinished:
    """What exists so far of the sounds of a video, in a folder of its own.

    Args:
        folder: The folder; None: temporary files, from which nothing goes on.
    """

    folder: Path | None = None

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Prepare the folder; what was made with other settings is removed.

        Args:
            settings: What the sounds depend on, but for their seeds.
        """
        if self.folder is None:
            return
        path = self.folder / "settings.json"
        try:
            known = same_settings(json.loads(path.read_text(encoding="utf-8")), settings)
        except (OSError, ValueError):
            known = False
        if not known:
            self.remove()
            self.folder.mkdir(parents=True)
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(settings), encoding="utf-8")

    def rows(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, state: Mapping[str, Tensor]) -> StoredRows:
        """Return the rows that belong to a state from `load`; none if it is empty."""
        path = None if self.folder is None else self._path(name)
        return StoredRows(shape, dtype, path, int(state[_ROWS]) if state else 0)

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.rows"

    def sound(self, name: str, n_channels: int, state: Mapping[str, Tensor]) -> StoredSound:
        """Return the sound that belongs to a state from `load`; an empty one if that is empty."""
        return StoredSound(self.rows(name, (n_channels,), torch.float32, state))

    def save(self, name: str, state: Mapping[str, Tensor], rows: StoredRows | None) -> None:
        """Keep a state, once the rows that belong to it, if any, are stored."""
        if self.folder is not None:
            content = {key: value.contiguous() for key, value in state.items()}
            n_rows, n_bytes = (0, 0) if rows is None else (len(rows), rows.path.stat().st_size)
            size = {_ROWS: torch.tensor(n_rows), _BYTES: torch.tensor(n_bytes)}
            with atomic_path(self.folder / f"{name}.safetensors") as temporary:
                save_file(content | size, temporary)
        return_free_memory()  # window after window, else it grows with the length of the video

    def load(self, name: str) -> dict[str, Tensor]:
        """Return the state that was kept last; empty if there is none, or if its rows are gone."""
        if self.folder is None:
            return {}
        try:
            state = load_file(self.folder / f"{name}.safetensors")
            return state if state[_BYTES] == 0 or self._path(name).stat().st_size >= state[_BYTES] else {}
        except (OSError, SafetensorError):
            return {}

    def remove(self) -> None:
        """Remove the folder."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
