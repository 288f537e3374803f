"""A cache of features that frozen encoders give for chunks, a safetensors file a chunk: ``python -m training.cache``.

A file's name is the key of what is encoded: the bytes of the recording, the chunk and the form of clips; each feature
in it is named after its encoder. What has changed has another name, so nothing in a cache can be stale, and trainings
share the features of the encoders that they have in common.
"""

import hashlib
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from common.errors import InputError
from common.files import atomic_path, damaged, file_sha256, remove_partial
from data.greatest_hits import SourceClip
from media.clip import ClipSpec

SOUND: str = "sound"
ENVELOPE: str = "envelope"
AUDIO: str = "audio"
FRAMES: str = "frames"
"""Names of features: what latents of the sound and of its envelope are drawn from, CLAP's and CAVP's embeddings.

Of Video2RMS: the envelope itself, and features of frames.
"""
_VERSION = 2  # to be raised whenever an encoder computes something else from the same weights
_SOURCES = "sources.json"
_WRITING = ".writing"


def level_factors(polarity: bool, gains_db: Sequence[float]) -> tuple[float, ...]:
    """Return the factors by which the sound of a training item may be multiplied: gains, for polarity with both signs.

    Raises:
        InputError: There is no gain, or one is not finite or above 0 dB: chunks have a peak of full scale.
    """
    if not gains_db or not all(-math.inf < gain <= 0 for gain in gains_db):
        raise InputError(f"gains_db {list(gains_db)} are not possible: give one or more, each finite and at most 0")
    gains = [10 ** (gain / 20) for gain in gains_db]
    return tuple(sign * gain for gain in gains for sign in ((1.0, -1.0) if polarity else (1.0,)))


def tensor_name(feature: str, factor: float) -> str:
    """Name a feature of the sound times a factor; RMS and CLAP do not hear the sign, CAVP no sound."""
    if feature == FRAMES:
        return feature
    return f"{feature} {factor:+.6f}" if feature == SOUND else f"{feature} {abs(factor):.6f}"


class SourceChunk(Protocol):
    """A stretch of a clip, whose `clip_id` names it: `data.chunks.Chunk`, or `synthetic.SyntheticChunk`."""

    @property
    def clip(self) -> Any: ...  # noqa: D102

    @property
    def start_s(self) -> float: ...  # noqa: D102

    @property
    def duration_s(self) -> float: ...  # noqa: D102


def recording_origin(clip: SourceClip, memory: Path, frames: bool) -> dict[str, Any]:
    """Return what features of a recording depend on: the bytes of its files, and the rate of stored frames.

    Args:
        clip: The recording.
        memory: Folder where ``sources.json`` remembers the checksums of files by their size, times and inode, so that
            only what has been touched is read again.
        frames: Whether features come from frames too.

    Raises:
        InputError: The recording cannot be read.
    """
    return {"source": _source_sha256(clip, memory, frames=frames), "frames_rate_hz": clip.frames_rate_hz}


class FeatureCache:
    """Features of chunks in a folder: ``<clip>/<start in ms>.<key>.safetensors``.

    Args:
        folder: Where the files are.
        spec: Form of the chunks.
        encoders: For each feature, what tells its encoder from any other.
        origin: What features of a clip depend on, given the clip, a folder of its own and whether frames are looked at.
    """

    def __init__(
        self,
        folder: Path,
        spec: ClipSpec,
        encoders: Mapping[str, str],
        origin: Callable[[Any, Path, bool], Mapping[str, Any]] = recording_origin,
    ) -> None:
        self.folder = folder
        self.encoders = dict(encoders)
        self._digests = {name: hashlib.sha256(of.encode()).hexdigest()[:16] for name, of in self.encoders.items()}
        self._settings = {"version": _VERSION, "spec": asdict(spec)}
        self._origin = origin
        self._origins: dict[str, Mapping[str, Any]] = {}

    def path(self, chunk: SourceChunk) -> Path:
        """Return the file of a chunk, whether it is there or not.

        Raises:
            InputError: The recording cannot be read.
        """
        clip = chunk.clip
        if clip.clip_id not in self._origins:
            self._origins[clip.clip_id] = self._origin(clip, self.folder / clip.clip_id, FRAMES in self.encoders)
        place = {"start_s": chunk.start_s, "duration_s": chunk.duration_s, **self._origins[clip.clip_id]}
        key = hashlib.sha256(json.dumps(self._settings | place, sort_keys=True).encode()).hexdigest()[:32]
        return self.folder / clip.clip_id / f"{round(chunk.start_s * 1000):07d}.{key}.safetensors"

    def clean_up(self, clip_ids: Collection[str]) -> None:
        """Remove what a killed process left half-written in the folders of some recordings."""
        with self._writing():
            for clip_id in clip_ids:
                remove_partial(self.folder / clip_id)

    def _writing(self) -> FileLock:
        """Return the lock that is held by whoever changes files: trainings with other encoders or gains share them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / _WRITING)

    def tensor_names(self, factors: Sequence[float]) -> list[str]:
        """Name all tensors that training with these factors needs, each once."""
        names = (tensor_name(feature, factor) for factor in factors for feature in self.encoders)
        return list(dict.fromkeys(names))

    def _stored(self, name: str) -> str:
        """Name in a file a tensor, by ``tensor_name``."""
        feature = name if name in self._digests else name.rpartition(" ")[0]
        return f"{name} {self._digests[feature]}"

    def holds(self, chunk: SourceChunk, factors: Sequence[float]) -> bool:
        """Return whether the features of a chunk, for all the factors, are there and whole."""
        try:
            with safe_open(self.path(chunk), "pt") as file:
                return {self._stored(name) for name in self.tensor_names(factors)} <= set(file.keys())
        except (SafetensorError, OSError):
            return False

    def check(
        self,
        chunks: Sequence[SourceChunk],
        factors: Sequence[float],
        is_left_out: Callable[[int], bool] = lambda number: False,
    ) -> None:
        """Refuse to begin without the features of every chunk.

        Args:
            chunks: Chunks.
            factors: Factors of their sound.
            is_left_out: Whether a chunk, by its number, may be missing; asked until one may not.

        Raises:
            InputError: Features are missing.
        """
        progress = tqdm(chunks, desc="looking into the cache", unit="chunk", delay=2, leave=False)
        absent = [number for number, chunk in enumerate(progress) if not self.holds(chunk, factors)]
        if not all(is_left_out(number) for number in absent):
            missing = [chunks[number] for number in absent]
            raise InputError(
                f"{self.folder} lacks features of {len(missing)} of {len(chunks)} chunks for these recordings, "
                f"encoders and gains, {self.path(missing[0])} is the first: run python -m training.cache with the "
                "options of this training, or train with dataset.cache=null"
            )

    def read(self, chunk: SourceChunk, factor: float) -> dict[str, Tensor]:
        """Read the features of a chunk whose sound is multiplied by a factor, by name, from the mapped file.

        Raises:
            InputError: The file is missing or damaged.
        """
        path = self.path(chunk)
        try:
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(self._stored(tensor_name(name, factor))) for name in self.encoders}
        except (SafetensorError, OSError) as error:
            raise damaged(path, "features; python -m training.cache makes them anew", error) from error

    def write(self, chunk: SourceChunk, tensors: Mapping[str, Tensor]) -> None:
        """Write the features of a chunk, by ``tensor_names``; those that a whole file there has besides are kept.

        Raises:
            InputError: The file cannot be written.
        """
        path = self.path(chunk)
        new = {self._stored(name): value.contiguous() for name, value in tensors.items()}
        kept: dict[str, Tensor] = {}
        with self._writing():
            if self.holds(chunk, ()):
                with safe_open(path, "pt") as file:
                    kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
            with atomic_path(path) as temporary:
                try:
                    save_file({**kept, **new}, temporary)
                except SafetensorError as error:
                    raise InputError(
                        f"{path} cannot be written ({error}): make room, or give another folder"
                    ) from error


def _source_sha256(clip: SourceClip, folder: Path, *, frames: bool) -> str:
    """Return the checksum of all files of a recording that features come from."""
    files = [clip.sound_path]
    if frames and clip.frames_dir is not None:
        files += sorted(clip.frames_dir.glob("*.jpg"))
    elif frames and clip.video_path not in (None, clip.sound_path):
        files.append(clip.video_path)
    memory = folder / _SOURCES
    known = _remembered(memory)
    found: dict[str, list[Any]] = {}
    for path in files:
        try:
            stat = path.stat()
            seen = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
            same = known.get(path.name, [None])[:-1] == seen
            found[path.name] = [*seen, known[path.name][-1] if same else file_sha256(path)]
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): check the data set") from error
    if found != {name: known.get(name) for name in found}:
        _remember(memory, known | found)
    return hashlib.sha256(json.dumps([entry[-1] for entry in found.values()]).encode()).hexdigest()


def _remembered(memory: Path) -> dict[str, list[Any]]:
    """Read what ``_remember`` wrote; nothing where it is missing or damaged."""
    try:
        content = json.loads(memory.read_text(encoding="utf-8"))
        return {name: list(entry) for name, entry in content.items() if len(entry) == 5}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _remember(memory: Path, entries: Mapping[str, list[Any]]) -> None:
    """Write checksums down; a cache that may only be read does without."""
    try:
        with atomic_path(memory) as temporary:
            temporary.write_text(json.dumps(entries), encoding="utf-8")
    except (InputError, OSError):
        return
