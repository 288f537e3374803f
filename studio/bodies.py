"""Parts of the page's requests: values in their ranges, edits of hits, and where a sound or an envelope comes from."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from common.errors import LARGEST_SEED
from hits.edit import HIGHEST_LEVEL, HitEnvelope
from hits.grid import Grid
from session.model import LARGEST_GAIN_DB

MOST_HITS = 2000
_LONGEST_PROMPT = 500
_LONGEST_S = 86_400

Seconds = Annotated[float, Field(ge=0, le=_LONGEST_S, allow_inf_nan=False)]
Level = Annotated[float, Field(ge=0, le=HIGHEST_LEVEL, allow_inf_nan=False)]
Gain = Annotated[float, Field(ge=-LARGEST_GAIN_DB, le=LARGEST_GAIN_DB, allow_inf_nan=False)]
Words = Annotated[str, Field(max_length=_LONGEST_PROMPT)]
Name = Annotated[str, Field(max_length=64)]
FileName = Annotated[str, Field(max_length=120)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]


class Body(BaseModel):
    """A part of a request; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Edit(Body):
    """An edit of hits: a function of them, like those of `hits.options`."""

    def __call__(self, hits: HitEnvelope) -> HitEnvelope:
        """Return the hits after the edit.

        Raises:
            InputError: It names no hit, or a value is outside its range.
        """
        return self._edited(hits)

    def _edited(self, hits: HitEnvelope) -> HitEnvelope:
        raise NotImplementedError


class Move(_Edit):
    """Move a hit, with the shape that it has."""

    kind: Literal["move"]
    time_s: Seconds
    to_s: Seconds

    def _edited(self, hits: HitEnvelope) -> HitEnvelope:
        return hits.move(self.time_s, self.to_s)


class SetLevel(_Edit):
    """Give a hit another level."""

    kind: Literal["level"]
    time_s: Seconds
    level: Level

    def _edited(self, hits: HitEnvelope) -> HitEnvelope:
        return hits.set_level(self.time_s, self.level)


class SetDecay(_Edit):
    """Give a hit another decay."""

    kind: Literal["decay"]
    time_s: Seconds
    decay_s: float

    def _edited(self, hits: HitEnvelope) -> HitEnvelope:
        return hits.set_decay(self.time_s, self.decay_s)


class Delete(_Edit):
    """Remove a hit."""

    kind: Literal["delete"]
    time_s: Seconds

    def _edited(self, hits: HitEnvelope) -> HitEnvelope:
        return hits.delete(self.time_s)


class Add(_Edit):
    """Add a hit."""

    kind: Literal["add"]
    time_s: Seconds
    level: Level
    decay_s: float | None = None

    def _edited(self, hits: HitEnvelope) -> HitEnvelope:
        return hits.add(self.time_s, self.level, self.decay_s)


class Quantise(_Edit):
    """Move all hits to a grid, such as ``120bpm/16``."""

    kind: Literal["quantise"]
    grid: Annotated[str, Field(max_length=200)]

    def _edited(self, hits: HitEnvelope) -> HitEnvelope:
        return hits.quantise(Grid.parse(self.grid))


AnyEdit = Annotated[Move | SetLevel | SetDecay | Delete | Add | Quantise, Field(discriminator="kind")]


class Silence(Body):
    """An envelope without anything."""

    kind: Literal["empty"]


class OfTrack(Body):
    """The envelope of another track."""

    kind: Literal["copy"]
    track: Name


class OfFile(Body):
    """An uploaded file."""

    kind: Literal["file"]
    name: FileName


class OfTake(Body):
    """A region of a take, in seconds of the video."""

    kind: Literal["take"]
    track: Name
    take: int
    start_s: Seconds
    end_s: Seconds
