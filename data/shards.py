"""Features of chunks in tar files, WebDataset shards, for data sets that are too large for a file a chunk.

A folder of them, local or of any file system of fsspec (``s3://bucket/folder``, ``gs://``, ``memory://``), holds tar
files with a safetensors file for each chunk, and ``index.json``, which lists them. ``python -m training.shards`` writes
them from a cache. The order of the chunks is shuffled once when they are written, and that of the files in every pass.
"""

import io
import json
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from common.errors import InputError
from common.files import atomic_path

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Item = TypeVar("Item")
INDEX = "index.json"
_FORMAT = 1
_META = "item"


@dataclass(frozen=True)
class ShardFile:
    """A tar file: its name in the folder and the number of chunks in it."""

    name: str
    n_items: int


@dataclass(frozen=True)
class ShardIndex:
    """What a folder of shards holds.

    Attributes:
        files: tar files of each set, ``train`` and ``val``.
        encoders: for each feature, what tells its encoder from any other, see ``data.cache``.
        spec: form of the chunks, the fields of ``media.clip.ClipSpec``.
        factors: the features are of the sound times each of these; validation items have the first alone.
    """

    files: Mapping[str, Sequence[ShardFile]]
    encoders: Mapping[str, str]
    spec: Mapping[str, Any]
    factors: Sequence[float]

    def n_items(self, name: str) -> int:
        """Return the number of chunks of a set."""
        return sum(file.n_items for file in self.files[name])


@dataclass(frozen=True)
class Span:
    """Consecutive chunks of a tar file, from ``start`` to before ``stop``."""

    file: ShardFile
    start: int
    stop: int


@dataclass(frozen=True)
class ShardFolder:
    """A folder of shards.

    Args:
        url: local folder, or address of one as fsspec takes it.
    """

    url: str

    @contextmanager
    def _explained(self, what: str) -> Iterator[tuple["AbstractFileSystem", str]]:
        """Yield the file system and the folder in it, and turn its errors into one sentence."""
        import fsspec  # here, as nothing else needs it

        try:
            yield fsspec.url_to_fs(self.url)
        except ImportError as error:
            raise InputError(f"{self.url} needs a package that is not there ({error}): install it with pip.") from error
        except FileNotFoundError as error:
            raise InputError(
                f"{what} is not in {self.url}: give the folder that python -m training.shards wrote."
            ) from error
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{what} of {self.url} cannot be read or written ({error}): check the address.") from error

    def read_index(self) -> ShardIndex:
        """Return what the folder holds.

        Raises:
            InputError: there is no index, or it cannot be read.
        """
        with self._explained(INDEX) as (filesystem, folder):
            text = filesystem.cat_file(f"{folder}/{INDEX}")
        try:
            content = json.loads(text)
            if content.pop("format") != _FORMAT:
                raise ValueError(f"it has another format than {_FORMAT}")
            files = {name: [ShardFile(**each) for each in of_set] for name, of_set in content.pop("files").items()}
            return ShardIndex(files=files, **content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{self.url}/{INDEX} is no index of shards ({error}): write it anew.") from error

    def write_index(self, index: ShardIndex) -> None:
        """Write the index, last of all.

        Raises:
            InputError: the folder cannot be written.
        """
        self.write(INDEX, (json.dumps({"format": _FORMAT, **asdict(index)}, indent=1) + "\n").encode())

    def names(self) -> set[str]:
        """Return the names of the files that are there and whole."""
        with self._explained("the list of files") as (filesystem, folder):
            found = filesystem.ls(folder, detail=False) if filesystem.exists(folder) else []
            return {str(path).rstrip("/").rpartition("/")[2] for path in found}

    def write(self, name: str, content: bytes | Path) -> None:
        """Write a file, which appears when it is whole.

        Args:
            name: in the folder.
            content: the bytes, or a local file with them.

        Raises:
            InputError: the folder cannot be written.
        """
        data = content if isinstance(content, bytes) else None
        with self._explained(name) as (filesystem, folder):
            if filesystem.protocol == "file" or "file" in filesystem.protocol:
                with atomic_path(Path(folder) / name) as temporary:
                    temporary.write_bytes(content.read_bytes() if isinstance(content, Path) else content)
                return
            filesystem.makedirs(folder, exist_ok=True)
            if data is None:  # stores of objects show a file when all of it is there
                filesystem.put_file(str(content), f"{folder}/{name}")
            else:
                filesystem.pipe_file(f"{folder}/{name}", data)

    def write_tar(self, name: str, items: Iterable[bytes]) -> None:
        """Write chunks, see ``pack``, as a tar file; the same chunks give the same bytes.

        Raises:
            InputError: the folder cannot be written.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
                for number, content in enumerate(items):
                    entry = tarfile.TarInfo(f"{number:06d}.safetensors")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
            self.write(name, path)

    def read(self, span: Span) -> Iterator[bytes]:
        """Yield chunks of a tar file in order.

        Raises:
            InputError: the file is missing, damaged or shorter than the index says.
        """
        n_read = 0
        with self._explained(span.file.name) as (filesystem, folder):
            try:
                with (
                    filesystem.open(f"{folder}/{span.file.name}", "rb") as file,
                    tarfile.open(fileobj=file, mode="r|") as tar,
                ):
                    for entry in tar:
                        if span.start <= n_read < span.stop:
                            content = tar.extractfile(entry)
                            assert content is not None
                            yield content.read()
                        n_read += 1
                        if n_read == span.stop:
                            return
            except tarfile.TarError as error:
                raise InputError(f"{self.url}/{span.file.name} is damaged ({error}): write it anew.") from error
        raise InputError(
            f"{self.url}/{span.file.name} holds {n_read} chunks, its index says {span.file.n_items}: write it anew."
        )


def pack(item: Any, features: Mapping[str, Tensor]) -> bytes:
    """Return an item, a dataclass of tensors, texts and numbers, and features by name as bytes.

    Fields that are None, dictionaries, or tensors that are among the features, are left out.
    """
    assert is_dataclass(item)
    values = {each.name: getattr(item, each.name) for each in fields(item)}
    own = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    own = {name: value for name, value in own.items() if not any(_is_same(value, each) for each in features.values())}
    tensors = {f"{_META}.{name}": value for name, value in own.items()}
    plain = {name: value for name, value in values.items() if isinstance(value, str | float | int)}
    tensors |= features
    return save({name: value.contiguous() for name, value in tensors.items()}, {_META: json.dumps(plain)})


def _is_same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def unpack(content: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the fields of a packed item, and its features by name.

    Raises:
        InputError: the bytes are damaged.
    """
    try:
        tensors = load(content)
        n_header = int.from_bytes(content[:8], "little")
        plain = json.loads(json.loads(content[8 : 8 + n_header])["__metadata__"][_META])
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"a chunk in a shard is damaged ({error}): write the shards anew.") from error
    own = {name: value for name, value in tensors.items() if name.startswith(f"{_META}.")}
    features = {name: value for name, value in tensors.items() if name not in own}
    return plain | {name.removeprefix(f"{_META}."): value for name, value in own.items()}, features


def passes(files: Sequence[ShardFile], first: int, n_items: int, seed: int) -> list[Span]:
    """Return a stretch of an endless sequence of passes over all chunks, each in another order of the tar files.

    Args:
        files: all tar files.
        first: where the stretch begins, counted from the first chunk of the first pass.
        n_items: how long it is.
        seed: of the orders.
    """
    n_pass = sum(file.n_items for file in files)
    spans: list[Span] = []
    place, end = first, first + n_items
    while place < end:
        number, skipped = divmod(place, n_pass)
        for index in np.random.default_rng((seed, number)).permutation(len(files)):
            file = files[index]
            if skipped >= file.n_items:
                skipped -= file.n_items
                continue
            stop = min(file.n_items, skipped + end - place)
            spans.append(Span(file, skipped, stop))
            place += stop - skipped
            skipped = 0
            if place == end:
                break
    return spans


def part_of(spans: Sequence[Span], first: int, n_items: int) -> list[Span]:
    """Return ``n_items`` consecutive chunks of a sequence of spans, from its ``first`` on."""
    found: list[Span] = []
    for span in spans:
        start, stop = max(span.start, span.start + first), min(span.stop, span.start + first + n_items)
        if start < stop:
            found.append(Span(span.file, start, stop))
        first -= span.stop - span.start
    return found


def shuffled(items: Iterable[Item], n_held: int, generator: np.random.Generator) -> Iterator[Item]:
    """Yield items in random order, each drawn from up to ``n_held`` that are held in memory."""
    held: list[Item] = []
    for item in items:
        held.append(item)
        if len(held) > n_held:
            place = int(generator.integers(len(held)))
            held[place], held[-1] = held[-1], held[place]
            yield held.pop()
    for place in generator.permutation(len(held)):
        yield held[place]
