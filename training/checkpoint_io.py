"""Owns how Lightning writes the checkpoints that resume a run."""

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from common.files import atomic_path


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the one it replaces, so that a run that is killed or out of space keeps the old one.

    Lightning's own writer copies from the temporary directory, which leaves half a file when it is stopped.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint atomically; ``storage_options`` have no meaning here.

        Raises:
            InputError: the folder cannot be written or is out of space; a file already at ``path`` is unchanged.
        """
        del storage_options
        with atomic_path(Path(path)) as temporary:
            try:
                with temporary.open("wb") as file:
                    torch.save(checkpoint, file)
            except RuntimeError as error:  # torch hides the reason behind its own complaint about the unfinished file
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from error
                raise
