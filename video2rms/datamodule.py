"""Lightning's way to training material for Video2RMS."""

from collections.abc import Sequence

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader
from tqdm import tqdm

from data.datamodule import ChunkDataModule
from data.errors import InputError
from data.loaders import EpochSampler, loader
from data.synthetic import SyntheticSpec
from video2rms.batch import VideoBatch, VideoItem, collate, collate_undamaged
from video2rms.recordings import RecordingDataset
from video2rms.synthetic import SyntheticVideos


class RecordingModule(ChunkDataModule):
    """Chunks of recordings with their frames, or with features of them from a cache; see `ChunkDataModule`."""

    @staticmethod
    def collate(items: Sequence[VideoItem | None]) -> VideoBatch | None:
        """Joins the clips that are there into a batch."""
        return collate_undamaged(items)

    def _chunks(self, split: str | None) -> RecordingDataset:
        return RecordingDataset(self._root, split, self.spec, skip_damaged=self.skip_damaged)

    def _training_chunks(self) -> RecordingDataset:
        return RecordingDataset(
            self._root,
            self._train_split,
            self.spec,
            samples_per_epoch=self._samples_per_epoch,
            skip_damaged=self.skip_damaged,
        )


class SyntheticVideoModule(LightningDataModule):
    """Synthetic strikes, new ones in every epoch, and some that stay the same for validation.

    Sound and picture of the clips should agree (`max_offset_s` of 0): what is random cannot be learned.

    Args:
        spec: Form of the clips.
        batch_size: Clips a batch and device.
        samples_per_epoch: Training clips an epoch, at least `batch_size`.
        n_val_clips: Clips to validate on, of another seed; kept in memory (2.6 MB each at 4 s of 112x64 pixels).
        num_workers: Processes that render; 0 renders in the main process.
        seed: Seed of the training clips, at least 0; validation clips have the next one.

    Raises:
        InputError: A number is too small.
    """

    def __init__(
        self,
        spec: SyntheticSpec,
        *,
        batch_size: int = 16,
        samples_per_epoch: int = 2000,
        n_val_clips: int = 200,
        num_workers: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 1 <= batch_size <= samples_per_epoch or n_val_clips < 1 or min(num_workers, seed) < 0:
            raise InputError(
                f"batch_size {batch_size}, samples_per_epoch {samples_per_epoch}, n_val_clips {n_val_clips}, "
                f"num_workers {num_workers} and seed {seed} do not work: give at least 1 each (workers, seed: 0), and "
                "batches no larger than an epoch"
            )
        self._train_set = SyntheticVideos(spec, seed, samples_per_epoch)
        self._val_set = SyntheticVideos(spec, seed + 1, n_val_clips)
        self._batch_size, self._num_workers, self._seed = batch_size, num_workers, seed
        self._val_items: list[VideoItem] = []

    def train_dataloader(self) -> DataLoader[VideoBatch]:
        """Batches of new clips."""
        return loader(
            self._train_set,
            EpochSampler(self._train_set, self.trainer, self._seed),
            batch_size=self._batch_size,
            num_workers=self._num_workers,
            collate=collate,
            drop_last=True,
        )

    def val_dataloader(self) -> DataLoader[VideoBatch]:
        """Batches of the clips that stay the same."""
        numbers = tqdm(range(len(self._val_set)), desc="validation clips", unit="clip", disable=bool(self._val_items))
        self._val_items = self._val_items or [self._val_set[i] for i in numbers]
        return loader(self._val_items, None, batch_size=self._batch_size, num_workers=0, collate=collate)  # type: ignore[arg-type]
