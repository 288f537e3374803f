"""Lightning's way to features in shards: which chunks each device and worker reads, in which order."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from common.errors import InputError, check_range
from data.batch import FoleyBatch, FoleyItem, collate
from data.cache import tensor_name
from data.epochs import check_epoch
from data.loaders import BatchModule
from data.shards import ShardFolder, ShardIndex, Span, part_of, passes, shuffled, unpack
from media.clip import ClipSpec

MOST_HELD = 1_000_000


class ShardDataset(IterableDataset[Any]):
    """A device's part of the training chunks of an epoch.

    All epochs together are one endless sequence of passes over the chunks. Each device, and of it each worker, reads a
    stretch of an epoch and shuffles it in memory. So every chunk comes once a pass, an epoch is exactly as long as it
    should be, and the order depends on seed, epoch and the numbers of devices and workers only.

    Args:
        folder: the shards.
        index: what is in them.
        make: makes an item of fields and features, see ``data.shards.unpack``, and a noise source.
        batch_size: items a batch.
        n_items: items an epoch, of all devices; None: every chunk once. What cannot be shared evenly is left out.
        n_held: items that a worker holds in memory to shuffle them.
        seed: of the order and of what ``make`` draws.
        rank: number of the device.
        n_ranks: number of devices.
    """

    def __init__(
        self,
        folder: ShardFolder,
        index: ShardIndex,
        make: Any,
        *,
        batch_size: int,
        n_items: int | None,
        n_held: int,
        seed: int,
        rank: int = 0,
        n_ranks: int = 1,
    ) -> None:
        self._folder, self._files, self._make = folder, index.files["train"], make
        self._batch_size, self._n_held, self._seed = batch_size, n_held, seed
        self._n_epoch = n_items or index.n_items("train")
        self._rank, self._n_ranks = rank, n_ranks
        if len(self) == 0:
            raise InputError(f"an epoch of {self._n_epoch} items is too short for {n_ranks} devices: give more items.")
        # in shared memory, so that workers that outlive an epoch see the next one
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        """Return the number of items of this device in an epoch."""
        return self._n_epoch // self._n_ranks

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is read from the next start on, in this process and in its workers."""
        self._epoch.fill_(epoch)

    def stretch(self, worker: int, n_workers: int) -> tuple[int, int]:
        """Return where a worker's part of the device's items of an epoch begins, and how many items it has.

        Workers make batches in turn, so that each has whole batches, and one the last, which may be smaller.
        """
        n_batches = -(-len(self) // self._batch_size)
        sizes = [
            min(self._batch_size, len(self) - batch * self._batch_size)
            for each in range(worker + 1)
            for batch in range(each, n_batches, n_workers)
        ]
        n_own = len(range(worker, n_batches, n_workers))
        before = sizes[: len(sizes) - n_own]
        return sum(before), sum(sizes) - sum(before)

    def __iter__(self) -> Iterator[Any]:
        """Read this worker's items of the epoch."""
        info = get_worker_info()
        worker, n_workers = (info.id, info.num_workers) if info else (0, 1)
        epoch = int(self._epoch)
        first, n_own = self.stretch(worker, n_workers)
        spans = passes(self._files, epoch * self._n_epoch, self._n_epoch, self._seed)
        own = part_of(spans, self._rank * len(self) + first, n_own)
        generator = np.random.default_rng((self._seed, epoch, self._rank, worker, n_workers))
        packed = (content for span in own for content in self._folder.read(span))
        drawn = torch.Generator().manual_seed(int(generator.integers(2**32)))
        for content in shuffled(packed, self._n_held, generator):
            yield self._make(*unpack(content), drawn)


class ShardModule(BatchModule):
    """Batches from shards. Sub-classes say what an item is.

    Args:
        shards: folder of shards, see ``data.shards.ShardFolder``.
        spec: form of the items, that of the shards.
        batch_size: items a batch and device.
        samples_per_epoch: training items an epoch; None: each once.
        n_held: items that each worker holds in memory to shuffle them.
        n_val_clips: validation items, the first ones, which are held in memory.
        num_workers: processes that read; 0 reads in the main process.
        seed: of the order.

    Raises:
        InputError: a value is not possible, or there are no shards.
    """

    def __init__(
        self,
        shards: str | None,
        spec: ClipSpec,
        *,
        batch_size: int = 8,
        samples_per_epoch: int | None = None,
        n_held: int = 1024,
        n_val_clips: int = 512,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        check_epoch(samples_per_epoch)
        check_range("dataset.n_held", n_held, 0, MOST_HELD, whole=True)
        check_range("dataset.n_val_clips", n_val_clips, 1, MOST_HELD, whole=True)
        if shards is None:
            raise InputError("dataset.shards is null: name the folder that python -m training.shards wrote.")
        self.folder, self.cache = ShardFolder(shards), shards
        self.spec = spec
        self._samples_per_epoch, self._n_held, self._n_val_clips = samples_per_epoch, n_held, n_val_clips

    @abstractmethod
    def item(self, known: dict[str, Any], features: dict[str, Tensor], generator: torch.Generator | None) -> Any:
        """Make an item of what a shard holds of a chunk; without a generator, for validation."""

    def setup(self, stage: str | None = None) -> None:
        """Read the index, and refuse shards of another form.

        Raises:
            InputError: the index cannot be read, or the form of the chunks is another.
        """
        del stage
        self.index = self.folder.read_index()
        for name, value in json_form(asdict(self.spec)).items():
            if self.index.spec.get(name) != value:
                raise InputError(
                    f"dataset.spec.{name} is {value}, but the chunks of {self.folder.url} have "
                    f"{self.index.spec.get(name)}: give that."
                )

    def open_cache(self, encoders: Mapping[str, str]) -> None:
        """Refuse shards whose features are of other encoders.

        Raises:
            InputError: naming the features that are missing or of another encoder.
        """
        others = [name for name, encoder in encoders.items() if self.index.encoders.get(name) != encoder]
        if others:
            raise InputError(
                f"{self.folder.url} lacks {', '.join(others)} of the encoders of this model: write shards with python "
                "-m training.shards and the options of this training."
            )
        self._encoders = list(encoders)

    def train_dataloader(self) -> DataLoader[Any]:
        """Load the training batches."""
        trainer = self.trainer
        dataset = ShardDataset(
            self.folder,
            self.index,
            self.item,
            batch_size=self._batch_size,
            n_items=self._samples_per_epoch,
            n_held=self._n_held,
            seed=self._seed,
            rank=trainer.global_rank if trainer else 0,
            n_ranks=trainer.world_size if trainer else 1,
        )
        return self._epoch_loader(dataset)

    def val_dataloader(self) -> DataLoader[Any]:
        """Load the validation batches."""
        items: Any = [self.item(known, features, None) for known, features in self._validated(self._n_val_clips)]
        return self._loader(items, 0)

    def _validated(self, n_items: int) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
        """Yield the first validation chunks."""
        whole = [Span(file, 0, file.n_items) for file in self.index.files["val"]]
        for span in part_of(whole, 0, n_items):
            yield from map(unpack, self.folder.read(span))


class FoleyShardModule(ShardModule):
    """Batches of `data.batch.FoleyBatch`, with features instead of sound and frames."""

    @staticmethod
    def collate(items: Sequence[FoleyItem]) -> FoleyBatch:
        """Join items into a batch."""
        return collate(items)

    def item(self, known: dict[str, Any], features: dict[str, Tensor], generator: torch.Generator | None) -> FoleyItem:
        """Make an item; for training with the features of one of the factors at random."""
        factors = self.index.factors
        factor = factors[0] if generator is None else factors[int(torch.randint(len(factors), (), generator=generator))]
        own = {name: features[tensor_name(name, factor)] for name in self._encoders}
        return FoleyItem(**{"wave": None, "frames": None, **known, "features": own} | {"wave": None})

    def preview(self, n_clips: int) -> Iterator[FoleyBatch]:
        """Yield the first validation chunks, those that have their sound in the shards, in batches."""
        items = []
        for known, features in self._validated(n_clips):
            if "wave" in known:
                items.append(FoleyItem(**{**vars(self.item(known, features, None)), "wave": known["wave"]}))
        for first in range(0, len(items), self._batch_size):
            yield collate(items[first : first + self._batch_size])


def json_form(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as they are after they were written as JSON."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
