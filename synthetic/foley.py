"""Synthetic clips as training data for the Foley model and CAVP."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchaudio.functional

from common.errors import InputError
from data.batch import FoleyBatch, FoleyItem, collate
from data.cache import FeatureCache
from data.greatest_hits import label_of
from data.segments import Segments
from media.clip import ClipSpec
from synthetic.clip import SyntheticClip, clip_id, plan_clip, render_clip
from synthetic.dataset import SyntheticDataModule, SyntheticDataset
from synthetic.spec import SAMPLE_RATE_HZ, SyntheticSpec
from synthetic.write import VERSION

LEAST_RENDERED_HZ = 12.0  # slower clips are rendered at a multiple of their rate, since slow cameras smear strikes


def foley_item(clip: SyntheticClip, *, gain: float = 1.0, clean: bool = False, every: int = 1) -> FoleyItem:
    """Convert a clip to the item type of recorded clips, which `data.batch.collate` joins into a `FoleyBatch`.

    Args:
        clip: A clip with sound.
        gain: Peak of the sound, above 0.
        clean: Whether to use the strikes alone, without noise of the room and of other things.
        every: Keep one of every `every` frames.

    Returns:
        The item; its frames are (T, 3, H, W), float32, 0 to 1, or None.

    Raises:
        InputError: The clip was rendered without sound.
    """
    if clip.wave is None or clip.clean is None:
        raise InputError(f"{clip.clip_id} was rendered without sound: call render_clip with sound=True")
    wave = clip.clean if clean else clip.wave
    return FoleyItem(
        wave=wave * (gain / wave.abs().max().clamp(min=1e-6)),
        frames=None if clip.frames is None else clip.frames[::every].float() / 255,
        onsets=torch.tensor([hit.time_s for hit in clip.plan.hits]),
        label=label_of(clip.plan.hits),
        clip_id=clip.clip_id,
        start_s=0.0,
        duration_s=clip.wave.shape[1] / SAMPLE_RATE_HZ,
    )


@dataclass(frozen=True)
class SyntheticSource:
    """A synthetic clip, identified by its seed and number."""

    seed: int
    number: int

    @property
    def clip_id(self) -> str:
        """Name of the clip."""
        return clip_id(self.seed, self.number)


@dataclass(frozen=True)
class SyntheticChunk:
    """A whole synthetic clip, in the form in which `data.chunks.Chunk` describes a part of a recording."""

    clip: SyntheticSource
    duration_s: float
    start_s: float = 0.0


class SyntheticChunks(SyntheticDataset[FoleyItem]):
    """The first clips of a seed, each once.

    Args:
        render: Makes the item of a seed and a number.
        seed: Seed of the clips.
        n_clips: Number of clips.
        duration_s: Duration of each clip in seconds.

    Attributes:
        chunks: Keys of the clips in a feature cache.
    """

    def __init__(self, render: Callable[[int, int], FoleyItem], seed: int, n_clips: int, duration_s: float) -> None:
        super().__init__(partial(render, seed), n_clips)
        self.chunks = [SyntheticChunk(SyntheticSource(seed, i), duration_s) for i in range(n_clips)]


class SyntheticFoleyModule(SyntheticDataModule):
    """Batches of `data.batch.FoleyBatch`, rendered during training or read as features from a cache.

    Args:
        spec: Form of the items: stereo at 44.1 kHz.
        frames: Whether to render pictures.
        gain_db: Smallest and largest peak of a clip's sound, in dB of full scale.
        clean_share: Share of clips without background noise, 0 to 1.
        cache: Folder of cached features (see `data.cache`), which replace sound and frames; or None. It needs a
            number of training clips (`n_train_clips`).
        **common: Batches and seeds, see `SyntheticDataModule`.

    Raises:
        InputError: A value is not possible.
    """

    def __init__(
        self,
        spec: ClipSpec,
        *,
        frames: bool = True,
        gain_db: Sequence[float] = (-24.0, 0.0),
        clean_share: float = 0.5,
        cache: str | Path | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if cache is not None and self._n_train_clips is None:
            raise InputError("dataset.cache needs a fixed number of clips: set dataset.n_train_clips")
        self.cache = None if cache is None else Path(cache)
        self._opened: FeatureCache | None = None
        if spec.sample_rate_hz != SAMPLE_RATE_HZ or spec.n_channels != 2:
            raise InputError(
                f"dataset.spec asks for {spec.n_channels} channels at {spec.sample_rate_hz} Hz, but synthetic clips "
                f"have 2 at {SAMPLE_RATE_HZ} Hz: set dataset.spec to these values"
            )
        if not 0 <= clean_share <= 1:
            raise InputError(f"dataset.clean_share is {clean_share}, expected 0 to 1: correct it")
        self.spec = spec
        self._form, self._every = _form(spec)
        self._frames, self._gain_db, self._clean_share = frames, _checked_gains(gain_db), clean_share

    @property
    def render(self) -> Callable[[int, int], FoleyItem]:
        """Function that makes a training item: it renders one, or reads it from the cache after `open_cache`."""
        return self._rendered if self._opened is None else partial(_cached_item, self._form, self._opened)

    @property
    def _rendered(self) -> Callable[[int, int], FoleyItem]:
        return partial(
            _foley_item, self._form, self._every, self._frames, gain_db=self._gain_db, clean_share=self._clean_share
        )

    def sets_to_encode(self) -> list[tuple[SyntheticChunks, tuple[float, ...]]]:
        """Return the training and the validation clips, each once, with the factors that multiply their sound."""
        assert self._n_train_clips is not None
        numbers = [(self._seed, self._n_train_clips), (self._seed + 1, self._n_val_clips)]
        return [(SyntheticChunks(self._rendered, *each, self.spec.duration_s), (1.0,)) for each in numbers]

    def feature_cache(self, encoders: Mapping[str, str]) -> FeatureCache:
        """Return the feature cache for encoders, which are described as in `open_cache`."""
        assert self.cache is not None
        return FeatureCache(self.cache, self.spec, encoders, self._origin)

    def open_cache(self, encoders: Mapping[str, str]) -> None:
        """Read features from the cache from now on.

        Args:
            encoders: For each feature, an identifier of its encoder.

        Raises:
            InputError: The cache lacks features of these clips and encoders.
        """
        self._opened = self.feature_cache(encoders)
        for clips, factors in self.sets_to_encode():
            self._opened.check(clips.chunks, factors)

    def _origin(self, clip: SyntheticSource, memory: Path, frames: bool) -> dict[str, Any]:
        """Return everything besides form and encoders that the features of a clip depend on."""
        del memory, frames  # the sound does not depend on the picture
        settings = {"form": asdict(self._form), "gain_db": self._gain_db, "clean_share": self._clean_share}
        return {**asdict(clip), **settings, "synthetic_version": VERSION}

    @staticmethod
    def collate(items: Sequence[FoleyItem]) -> FoleyBatch:
        """Join items into a batch."""
        return collate(items)

    def preview(self, n_clips: int) -> Iterator[FoleyBatch]:
        """Yield the first validation clips with their sound, in batches."""
        items = [self._rendered(self._seed + 1, i) for i in range(min(n_clips, self._n_val_clips))]
        for first in range(0, len(items), self._batch_size):
            yield collate(items[first : first + self._batch_size])


class SyntheticSegmentModule(SyntheticDataModule):
    """Batches of `data.segments.Segments` rendered during training: one segment of each recording.

    Args:
        spec: Form of a segment; its sound is mono.
        gain_db: Smallest and largest peak of a segment's sound, in dB of full scale.
        **common: Batches and seeds, see `SyntheticDataModule`.

    Raises:
        InputError: A value is not possible.
    """

    def __init__(self, spec: ClipSpec, *, gain_db: Sequence[float] = (-24.0, 0.0), **common: Any) -> None:
        super().__init__(**common)
        if spec.n_channels != 1:
            raise InputError(f"spec.n_channels is {spec.n_channels}, expected 1 because segments are mono: set it to 1")
        self.spec, self._gain_db = spec, _checked_gains(gain_db)

    @property
    def render(self) -> Callable[[int, int], Segments]:
        """Function that makes a training item."""
        return partial(_segments, self.spec, self._gain_db)


def _form(spec: ClipSpec) -> tuple[SyntheticSpec, int]:
    """Return the form in which to render clips, and the number of rendered frames for each frame kept."""
    every = math.ceil(LEAST_RENDERED_HZ / spec.frame_rate_hz)
    form = SyntheticSpec(spec.duration_s, every * spec.frame_rate_hz, *spec.frame_width_height, max_offset_s=0.0)
    return form, every


def _checked_gains(gain_db: Sequence[float]) -> tuple[float, float]:
    if len(gain_db) != 2 or not gain_db[0] <= gain_db[1] <= 0:
        raise InputError(f"dataset.gain_db is {list(gain_db)}, expected two rising numbers up to 0: correct it")
    return gain_db[0], gain_db[1]


def _foley_item(
    form: SyntheticSpec,
    every: int,
    frames: bool,
    seed: int,
    number: int,
    *,
    gain_db: tuple[float, float],
    clean_share: float,
) -> FoleyItem:
    """Make the item of a seed and a number, which alone determine its level and whether it is clean."""
    rng = np.random.default_rng((seed, number, 2))
    gain = 10 ** (rng.uniform(*gain_db) / 20)
    clip = render_clip(form, seed, number, picture=frames)
    return foley_item(clip, gain=gain, clean=bool(rng.random() < clean_share), every=every)


def _cached_item(form: SyntheticSpec, cache: FeatureCache, seed: int, number: int) -> FoleyItem:
    """Make the item of a seed and a number, with features instead of sound and frames."""
    plan = plan_clip(form, seed, number)
    return FoleyItem(
        wave=None,
        frames=None,
        onsets=torch.tensor([hit.time_s for hit in plan.hits]),
        label=label_of(plan.hits),
        clip_id=clip_id(seed, number),
        start_s=0.0,
        duration_s=form.duration_s,
        features=cache.read(SyntheticChunk(SyntheticSource(seed, number), form.duration_s), 1.0),
    )


def _segments(spec: ClipSpec, gain_db: tuple[float, float], seed: int, number: int) -> Segments:
    """Make the clip of a seed and a number into the only segment of its recording."""
    form, every = _form(spec)
    gain = 10 ** (np.random.default_rng((seed, number, 2)).uniform(*gain_db) / 20)
    item = foley_item(render_clip(form, seed, number), gain=gain, every=every)
    assert item.wave is not None
    assert item.frames is not None
    mono = torchaudio.functional.resample(item.wave.mean(dim=0, keepdim=True), SAMPLE_RATE_HZ, spec.sample_rate_hz)
    return Segments(
        wave=mono,
        frames=(255 * item.frames).round().to(torch.uint8)[None],
        start_s=torch.zeros(1, dtype=torch.float64),
        recording=torch.tensor(number),
        label=item.label,
    )
