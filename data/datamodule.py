"""Lightning's way to the data: which chunks are trained on and in which order, and which are validated on."""

from pathlib import Path

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, DistributedSampler

from data.augment import Remix
from data.clip import ClipSpec
from data.dataset import FoleyDataset, FoleyItem, collate
from data.errors import InputError


class _EpochSampler(DistributedSampler[FoleyItem]):
    """Shuffles by seed and epoch, and passes the epoch, which Lightning announces to samplers, on to the data set."""

    def __init__(self, dataset: FoleyDataset, *, num_replicas: int, rank: int, seed: int) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=True, seed=seed)
        self._foley_dataset = dataset

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self._foley_dataset.set_epoch(epoch)


class FoleyDataModule(LightningDataModule):
    """Batches of `data.dataset.FoleyBatch` for training (shuffled, augmented if asked for) and validation (neither).

    Args:
        root: Folder of the data set, see `data.greatest_hits.list_clips`.
        spec: Form of the items.
        train_split: Split to train on; None takes every recording.
        val_split: Split to validate on; None takes every recording.
        batch_size: Items a batch and device.
        num_workers: Processes that read; 0 reads in the main process.
        augment: Augmentation of training items, or None.
        frames: Whether frames are read.
        samples_per_epoch: Training items an epoch; None takes every chunk once.
        seed: Seed of order and augmentation, at least 0.

    Raises:
        InputError: batch_size or num_workers is too small.
    """

    def __init__(
        self,
        root: str | Path,
        spec: ClipSpec,
        *,
        train_split: str | None = "train",
        val_split: str | None = "val",
        batch_size: int = 8,
        num_workers: int = 0,
        augment: Remix | None = None,
        frames: bool = True,
        samples_per_epoch: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1 or num_workers < 0:
            raise InputError(f"batch_size {batch_size}, num_workers {num_workers} do not work: give at least 1 and 0")
        self._root = Path(root)
        self._spec = spec
        self._train_split = train_split
        self._val_split = val_split
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._augment = augment
        self._frames = frames
        self._samples_per_epoch = samples_per_epoch
        self._seed = seed

    def setup(self, stage: str | None = None) -> None:
        """Lists the recordings of the splits that the stage needs.

        Args:
            stage: "fit", "validate", or None for both.

        Raises:
            InputError: A split cannot be read.
        """
        if stage in ("fit", None):
            self._train_set = FoleyDataset(
                self._root,
                self._train_split,
                self._spec,
                augment=self._augment,
                frames=self._frames,
                samples_per_epoch=self._samples_per_epoch,
                seed=self._seed,
            )
        if stage in ("fit", "validate", None):
            self._val_set = FoleyDataset(self._root, self._val_split, self._spec, frames=self._frames)

    def train_dataloader(self) -> DataLoader[FoleyItem]:
        """Loader of the training batches."""
        trainer = self.trainer
        sampler = _EpochSampler(
            self._train_set,
            num_replicas=trainer.world_size if trainer else 1,
            rank=trainer.global_rank if trainer else 0,
            seed=self._seed,
        )
        # reading starts before Lightning announces the first epoch, which is not 0 when a run is resumed
        sampler.set_epoch(trainer.current_epoch if trainer else 0)
        return self._loader(self._train_set, sampler)

    def val_dataloader(self) -> DataLoader[FoleyItem]:
        """Loader of the validation batches."""
        return self._loader(self._val_set, None)

    def _loader(self, dataset: FoleyDataset, sampler: _EpochSampler | None) -> DataLoader[FoleyItem]:
        return DataLoader(
            dataset,
            batch_size=self._batch_size,
            sampler=sampler,
            num_workers=self._num_workers,
            persistent_workers=self._num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=collate,
        )
