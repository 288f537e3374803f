"""Chunks: the stretches of recordings that models work on."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from common.errors import InputError
from data.greatest_hits import Hit, SourceClip

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chunk:
    """A stretch of a recording, `duration_s` long; shorter than the model's clips only at the end of a recording."""

    clip: SourceClip
    start_s: float
    duration_s: float

    @property
    def hits(self) -> tuple[Hit, ...]:
        """Annotated hits within, timed from the start of the stretch."""
        end_s = self.start_s + self.duration_s
        inside = (hit for hit in self.clip.hits if self.start_s <= hit.time_s < end_s)
        return tuple(replace(hit, time_s=hit.time_s - self.start_s) for hit in inside)


def cut_all(clips: Sequence[SourceClip], duration_s: float) -> tuple[Chunk, ...]:
    """Cuts recordings every `duration_s`; what is left at the end is a chunk if it fills at least half of one.

    Raises:
        InputError: Every recording is shorter than half of one.
    """
    chunks = []
    for clip in clips:
        n_chunks = math.floor(clip.duration_s / duration_s + 0.5)
        if n_chunks == 0:
            _logger.warning("%s is left out: it lasts less than half of %g s", clip.clip_id, duration_s)
        for start_s in (i * duration_s for i in range(n_chunks)):
            chunks.append(Chunk(clip, start_s, min(duration_s, clip.duration_s - start_s)))
    if not chunks:
        raise InputError(f"every clip lasts less than half of duration_s {duration_s}: give longer clips or lower it")
    return tuple(chunks)
