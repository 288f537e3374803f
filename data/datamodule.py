"""Lightning's way to recordings: which splits are trained on and validated on, and in which batches."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import DataLoader

from common.errors import InputError
from data.augment import Remix
from data.batch import FoleyBatch, FoleyItem, collate_undamaged
from data.cache import FRAMES, FeatureCache, level_factors
from data.chunks import ChunkDataset
from data.dataset import FoleyDataset
from data.loaders import BatchModule
from media.clip import ClipSpec
from media.reading import Reader, check_reader


class RecordingBatches(BatchModule):
    """Batches of recordings for training (shuffled) and validation (not). Sub-classes say what an item is.

    Args:
        root: Folder of the data set, see `data.greatest_hits.list_clips`.
        spec: Form of the items.
        train_split: Split to train on; None takes every recording.
        val_split: Split to validate on; None takes every recording.
        batch_size: Items a batch and device.
        num_workers: Processes that read; 0 reads in the main process.
        samples_per_epoch: Training items an epoch; None takes each once.
        reader: What reads the frames of videos, one of `media.reading.READERS`.
        seed: Seed of the order, at least 0.
        least_batch: Smallest batch.

    Raises:
        InputError: A number is too small or too large, or the reader is not there.
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
        samples_per_epoch: int | None = None,
        reader: Reader = "auto",
        seed: int = 0,
        least_batch: int = 1,
    ) -> None:
        super().__init__(batch_size, num_workers, seed, least_batch=least_batch)
        self.spec = spec
        self._root = Path(root)
        self._train_split, self._val_split = train_split, val_split
        self._samples_per_epoch = samples_per_epoch
        self._reader = check_reader(reader, "dataset.reader")

    @abstractmethod
    def _items(self, split: str | None) -> Any:
        """Return the items of a split, each once and unchanged."""

    @abstractmethod
    def _training_items(self) -> Any:
        """Return what is trained on."""

    def setup(self, stage: str | None = None) -> None:
        """List the recordings of the splits that the stage needs.

        Args:
            stage: "fit", "validate", or None for both.

        Raises:
            InputError: A split cannot be read.
        """
        if stage in ("fit", None):
            self.train_set = self._training_items()
        if stage in ("fit", "validate", None):
            self.val_set = self._items(self._val_split)

    def train_dataloader(self) -> DataLoader[Any]:
        """Load the training batches."""
        return self._train_loader(self.train_set)

    def val_dataloader(self) -> DataLoader[Any]:
        """Load the validation batches."""
        return self._loader(self.val_set, self._num_workers)


class ChunkDataModule(RecordingBatches):
    """Batches of chunks of recordings, from disk or from a cache. Sub-classes say what an item is.

    Args:
        root: Folder of the data set.
        spec: Form of the items.
        cache: Folder of cached features, see `data.cache`, which then stand for sound and frames; or None.
        on_damaged: What a chunk that cannot be read is: an "error", or left out and counted ("skip").
        **common: All else that `RecordingBatches` takes.

    Attributes:
        factors: By what the sound of training items may be multiplied.

    Raises:
        InputError: A value is not possible.
    """

    factors: tuple[float, ...] = (1.0,)
    train_set: ChunkDataset[Any]
    val_set: ChunkDataset[Any]

    def __init__(
        self,
        root: str | Path,
        spec: ClipSpec,
        *,
        cache: str | Path | None = None,
        on_damaged: Literal["error", "skip"] = "error",
        **common: Any,
    ) -> None:
        super().__init__(root, spec, **common)
        if on_damaged not in ("error", "skip"):
            raise InputError(f"dataset.on_damaged is {on_damaged!r}, expected error or skip: choose one")
        self.cache = None if cache is None else Path(cache)
        self.skip_damaged = on_damaged == "skip"

    def sets_to_encode(self) -> list[tuple[ChunkDataset[Any], tuple[float, ...]]]:
        """Return training and validation chunks, each once and unchanged, and by what their sound may be multiplied.

        Raises:
            InputError: A split cannot be read.
        """
        return [(self._items(self._train_split), self.factors), (self._items(self._val_split), (1.0,))]

    def feature_cache(self, encoders: Mapping[str, str]) -> FeatureCache:
        """Return the cache of features.

        Args:
            encoders: For each feature, what tells its encoder from any other.

        Raises:
            InputError: There is none.
        """
        if self.cache is None:
            raise InputError("dataset.cache is not set: name the folder for python -m training.cache to fill")
        if self._reader == "decord":  # scales frames in another way
            encoders = {name: f"{of} decord" if name == FRAMES else of for name, of in encoders.items()}
        return FeatureCache(self.cache, self.spec, encoders)

    def open_cache(self, encoders: Mapping[str, str]) -> None:
        """Take features from the cache from now on.

        Args:
            encoders: As in `feature_cache`.

        Raises:
            InputError: The cache lacks features of these chunks and encoders.
        """
        cache = self.feature_cache(encoders)
        for dataset in (self.train_set, self.val_set):
            dataset.use_cache(cache)

    def teardown(self, stage: str) -> None:
        """Log which chunks were left out."""
        for name in ("train_set", "val_set"):
            if hasattr(self, name):
                getattr(self, name).warn_of_damage()


class FoleyDataModule(ChunkDataModule):
    """Batches of `data.batch.FoleyBatch`; those for training are augmented if asked for.

    Args:
        root: Folder of the data set.
        spec: Form of the items.
        augment: Augmentation of training items, or None.
        frames: Whether frames are read.
        polarity: Whether the sound of training items is turned upside down at random.
        gains_db: One of these gains is applied to the sound of each training item, at most 0 each.
        **common: All else that `ChunkDataModule` takes.

    Raises:
        InputError: A value is not possible, or there is a cache beside an augmentation.
    """

    val_set: FoleyDataset

    def __init__(
        self,
        root: str | Path,
        spec: ClipSpec,
        *,
        augment: Remix | None = None,
        frames: bool = True,
        polarity: bool = False,
        gains_db: Sequence[float] = (0.0,),
        **common: Any,
    ) -> None:
        super().__init__(root, spec, **common)
        if self.cache is not None and augment is not None:
            raise InputError(
                "dataset.augment makes new sounds, of which a cache has no features: leave out dataset.cache, or take "
                "dataset.polarity and dataset.gains_db instead"
            )
        self.factors = level_factors(polarity, gains_db)
        self._augment = augment
        self._frames = frames

    @staticmethod
    def collate(items: Sequence[FoleyItem | None]) -> FoleyBatch | None:
        """Join the items that are there (None: a damaged chunk) into a batch; None where there is none."""
        return collate_undamaged(items)

    def _items(self, split: str | None, **training: Any) -> FoleyDataset:
        reading: Any = {"frames": self._frames, "skip_damaged": self.skip_damaged, "reader": self._reader}
        return FoleyDataset(self._root, split, self.spec, **reading, **training)

    def _training_items(self) -> FoleyDataset:
        return self._items(
            self._train_split,
            augment=self._augment,
            factors=self.factors,
            samples_per_epoch=self._samples_per_epoch,
            seed=self._seed,
        )

    def preview(self, n_clips: int) -> Iterator[FoleyBatch]:
        """Yield the first validation chunks with their sound, and features where there is a cache, in batches."""
        indices = range(min(n_clips, len(self.val_set)))
        for batch in (indices[i : i + self._batch_size] for i in range(0, len(indices), self._batch_size)):
            if (clips := collate_undamaged([self.val_set.item_or_none(i, sound=True) for i in batch])) is not None:
                yield clips
