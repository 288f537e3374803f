"""Synthetic clips in the forms that the Foley model and CAVP are trained on."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torchaudio.functional
from torch.utils.data import default_collate

from data.batch import FoleyBatch, FoleyItem, collate
from data.clip import ClipSpec
from data.errors import InputError
from data.greatest_hits import label_of
from data.segments import Segments
from data.synthetic.clip import SyntheticClip, render_clip
from data.synthetic.dataset import SyntheticDataModule
from data.synthetic.spec import FRAME_RATES_HZ, SAMPLE_RATE_HZ, SyntheticSpec


def foley_item(clip: SyntheticClip, *, gain: float = 1.0, clean: bool = False, every: int = 1) -> FoleyItem:
    """A clip in the form of the recorded ones, of which `data.batch.collate` makes a `FoleyBatch`.

    Args:
        clip: A clip with sound.
        gain: Peak of the sound, above 0.
        clean: Whether the strikes are heard alone, without noise of the room and of other things.
        every: How many frames of the clip become one.

    Returns:
        The item, its frames (T, 3, H, W), float32, 0 to 1, or None.

    Raises:
        InputError: The clip was rendered without sound.
    """
    if clip.wave is None or clip.clean is None:
        raise InputError(f"{clip.clip_id} was rendered without sound: render it with sound")
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


class SyntheticFoleyModule(SyntheticDataModule):
    """Batches of `data.batch.FoleyBatch` rendered while training.

    Args:
        spec: Form of the items: stereo at 44.1 kHz.
        frames: Whether pictures are rendered.
        gain_db: Least and largest peak of a clip's sound, in dB of full scale.
        clean_share: Share of clips without background noise, 0 to 1.
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
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if spec.sample_rate_hz != SAMPLE_RATE_HZ or spec.n_channels != 2:
            raise InputError(
                f"dataset.spec asks for {spec.n_channels} channels at {spec.sample_rate_hz} Hz, but synthetic clips "
                f"have 2 at {SAMPLE_RATE_HZ}: set these"
            )
        if not 0 <= clean_share <= 1:
            raise InputError(f"dataset.clean_share is {clean_share}, expected 0 to 1: correct it")
        self.spec = spec
        self._form, self._every = _form(spec)
        self._frames, self._gain_db, self._clean_share = frames, _checked_gains(gain_db), clean_share

    @property
    def render(self) -> Callable[[int, int], FoleyItem]:
        """What makes a training item."""
        return partial(
            _foley_item, self._form, self._every, self._frames, gain_db=self._gain_db, clean_share=self._clean_share
        )

    @staticmethod
    def collate(items: Sequence[FoleyItem]) -> FoleyBatch:
        """Joins items into a batch."""
        return collate(items)

    def preview(self, n_clips: int) -> Iterator[FoleyBatch]:
        """The first validation clips, in batches."""
        items = self.val_items(n_clips)
        for first in range(0, len(items), self._batch_size):
            yield collate(items[first : first + self._batch_size])


class SyntheticSegmentModule(SyntheticDataModule):
    """Batches of `data.segments.Segments` rendered while training: one segment of each recording.

    Args:
        spec: Form of a segment; its sound is mono.
        gain_db: Least and largest peak of a segment's sound, in dB of full scale.
        **common: Batches and seeds, see `SyntheticDataModule`.

    Raises:
        InputError: A value is not possible.
    """

    def __init__(self, spec: ClipSpec, *, gain_db: Sequence[float] = (-24.0, 0.0), **common: Any) -> None:
        super().__init__(**common)
        if spec.n_channels != 1:
            raise InputError(f"spec.n_channels is {spec.n_channels}, expected 1: segments are heard in mono")
        self._spec, self._gain_db = spec, _checked_gains(gain_db)

    @property
    def render(self) -> Callable[[int, int], Segments]:
        """What makes a training item."""
        return partial(_segments, self._spec, self._gain_db)

    @staticmethod
    def collate(items: Sequence[Segments]) -> Segments:
        """Joins items into a batch."""
        return default_collate(list(items))


def _form(spec: ClipSpec) -> tuple[SyntheticSpec, int]:
    """The form to render clips in, and how many of its frames become one."""
    every = math.ceil(FRAME_RATES_HZ[0] / spec.frame_rate_hz)
    size_px = spec.frame_size_px
    width, height = size_px if isinstance(size_px, tuple) else (size_px, size_px)
    return SyntheticSpec(spec.duration_s, every * spec.frame_rate_hz, width, height, max_offset_s=0.0), every


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
    """The item of a seed and a number; its level and whether it is clean follow from them alone."""
    rng = np.random.default_rng((seed, number, 2))
    gain = 10 ** (rng.uniform(*gain_db) / 20)
    clip = render_clip(form, seed, number, picture=frames)
    return foley_item(clip, gain=gain, clean=bool(rng.random() < clean_share), every=every)


def _segments(spec: ClipSpec, gain_db: tuple[float, float], seed: int, number: int) -> Segments:
    """The clip of a seed and a number as a segment of its own recording."""
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
