"""What the page can ask for: the bodies of its requests, and their effect on a session."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from common.errors import InputError
from media.clip import count_at_rate
from media.envelope import FINE_RATE_HZ, Envelope
from media.reading import read_sound
from media.writing import write_sound
from session.mixing import export, mixed
from session.model import Track
from session.work import Workshop
from studio.bodies import (
    MOST_HITS,
    AnyEdit,
    Body,
    Gain,
    Name,
    OfFile,
    OfTake,
    OfTrack,
    Seconds,
    Seed,
    Silence,
    Words,
)
from studio.history import History
from studio.library import Place

MOST_TAKES = 32
LEAST_PROMPT_S = 0.1


_VERBS = {
    "move": "Move",
    "level": "Set the level of",
    "decay": "Set the decay of",
    "delete": "Delete",
    "add": "Add",
    "quantise": "Quantise",
}


class _Change(Body):
    """A change of a session."""

    needs_model: ClassVar[bool] = False
    """Whether it may generate sound."""
    is_quick: ClassVar[bool] = True
    """Whether it takes no longer than a person notices."""
    named: ClassVar[str]
    """What it does, for people, with the names of attributes in braces."""

    @property
    def title(self) -> str:
        """What it does, for people."""
        return self._title()

    def _title(self) -> str:
        return self.named.format(**dict(self))

    def run(self, work: Workshop, place: Place) -> None:
        """Change the session, and record the new state for `Undo`; a change that fails leaves the state before.

        Raises:
            InputError: The change is not possible.
        """
        try:
            self._run(work, place)
        except BaseException:
            self._failed(History(place.open()))
            raise

    def _failed(self, history: History) -> None:
        history.restore()

    def _run(self, work: Workshop, place: Place) -> None:
        changed = self._applied(work, place)
        if self.needs_model:
            changed = _with_headroom(changed)
        History(changed.place).record(self.title)

    def _applied(self, work: Workshop, place: Place) -> Workshop:
        """Return the session after the change."""
        raise NotImplementedError


class _Generating(_Change):
    """A change that generates sound."""

    needs_model: ClassVar[bool] = True
    is_quick: ClassVar[bool] = False


class Begin(_Change):
    """Predict the envelope of a new session; its folder holds the video."""

    kind: Literal["begin"] = "begin"

    named: ClassVar[str] = "Read the video and predict hits"


class Generate(_Generating):
    """Generate takes of a track."""

    kind: Literal["generate"]
    track: Name
    seed: Seed = 0
    n_takes: Annotated[int, Field(ge=1, le=MOST_TAKES)] = 1

    def _title(self) -> str:
        return f"Generate {'a take' if self.n_takes == 1 else f'{self.n_takes} takes'} of {self.track}"

    def _failed(self, history: History) -> None:
        history.catch_up()  # takes that are complete stay

    def _applied(self, work: Workshop, place: Place) -> Workshop:
        return work.generate(self.track, range(self.seed, self.seed + self.n_takes))


class EditHits(_Generating):
    """Edit hits; of the kept take only what changes is made anew."""

    kind: Literal["edit"]
    track: Name
    edits: Annotated[list[AnyEdit], Field(min_length=1, max_length=MOST_HITS)]

    def _title(self) -> str:
        kinds = {edit.kind for edit in self.edits}
        verb = _VERBS[kinds.pop()] if len(kinds) == 1 else "Edit"
        several = len({getattr(edit, "time_s", None) for edit in self.edits}) > 1 or verb == "Quantise"
        return f"{verb} {'hits' if several else 'a hit'} of {self.track}"

    def _applied(self, work: Workshop, place: Place) -> Workshop:
        words = [edit.model_dump_json(exclude_none=True) for edit in self.edits]
        return work.edit(self.track, self.edits, words)


class Redo(_Generating):
    """Make a region of a track anew."""

    kind: Literal["redo"]
    track: Name
    start_s: Seconds
    end_s: Seconds
    seed: Seed = 1

    named: ClassVar[str] = "Redo {start_s:.2f} to {end_s:.2f} s of {track}"

    def _applied(self, work: Workshop, place: Place) -> Workshop:
        return work.redo(self.track, self.start_s, self.end_s, self.seed)


class Split(_Generating):
    """Move hits of a track to a new one."""

    kind: Literal["split"]
    track: Name
    name: Name
    times_s: Annotated[list[Seconds], Field(min_length=1, max_length=MOST_HITS)]
    prompt: Words | None = None

    named: ClassVar[str] = "Split {track} into {name}"

    def _applied(self, work: Workshop, place: Place) -> Workshop:
        hits = work.hits(work.session.track(self.track))
        chosen = {hits.named(time_s).time_s for time_s in self.times_s}
        return work.split(self.track, Track(self.name, self.prompt or None), lambda hit: hit.time_s in chosen)


class AddTrack(_Change):
    """Add a track."""

    kind: Literal["add_track"]
    name: Name
    prompt: Words | None = None
    source: Annotated[Silence | OfTrack | OfFile, Field(discriminator="kind")]

    named: ClassVar[str] = "Add the track {name}"

    def _applied(self, work: Workshop, place: Place) -> Workshop:
        match self.source:
            case OfTrack(track=name):
                envelope = work.place.envelope(work.session.track(name))
            case OfFile(name=name):
                envelope = work.of_file(str(place.file(name)))
            case _:
                n_slots = count_at_rate(work.session.duration_s, FINE_RATE_HZ)
                envelope = Envelope(torch.zeros(max(1, n_slots)), FINE_RATE_HZ)
        return work.add(Track(self.name, self.prompt or None), envelope)


class RemoveTrack(_Change):
    """Remove a track."""

    kind: Literal["remove_track"]
    track: Name

    named: ClassVar[str] = "Remove the track {track}"

    def _applied(self, work: Workshop, place: Place) -> Workshop:
        return work.remove(self.track)


class ChangeTrack(_Change):
    """Change words, gain, pan or mute of a track."""

    kind: Literal["change"]
    track: Name
    prompt: Words | None = None
    negative_prompt: Words | None = None
    gain_db: Gain | None = None
    pan: Annotated[float, Field(ge=-1, le=1)] | None = None
    muted: bool | None = None

    def _title(self) -> str:
        named = {"prompt": "words", "negative_prompt": "words", "gain_db": "gain", "pan": "pan", "muted": "mute"}
        changed = dict.fromkeys(named[key] for key in self._values)
        return f"Change {' and '.join(changed) or 'nothing'} of {self.track}"

    @property
    def _values(self) -> dict[str, Any]:
        values = self.model_dump(exclude_unset=True, exclude={"kind", "track"})
        words = ("prompt", "negative_prompt")  # null or "" means no words; null of all others means as before
        return {
            key: (value or None) if key in words else value
            for key, value in values.items()
            if key in words or value is not None
        }

    def _applied(self, work: Workshop, place: Place) -> Workshop:
        return work.change(self.track, **self._values)


class AddSoundPrompt(_Change):
    """Add a sound that a track should be like."""

    kind: Literal["add_sound_prompt"]
    track: Name
    source: Annotated[OfFile | OfTake, Field(discriminator="kind")]

    named: ClassVar[str] = "Add a sound prompt to {track}"

    def _applied(self, work: Workshop, place: Place) -> Workshop:
        track = work.session.track(self.track)
        path = place.file(self.source.name) if isinstance(self.source, OfFile) else _cut(work, place, self.source)
        read_sound(path, sample_rate_hz=8000, duration_s=0.1)  # refuses what is no sound
        return work.change(self.track, audio_prompts=(*track.audio_prompts, str(path)))


class RemoveSoundPrompt(_Change):
    """Remove a sound prompt of a track."""

    kind: Literal["remove_sound_prompt"]
    track: Name
    index: Annotated[int, Field(ge=0)]

    named: ClassVar[str] = "Remove a sound prompt of {track}"

    def _applied(self, work: Workshop, place: Place) -> Workshop:
        prompts = list(work.session.track(self.track).audio_prompts)
        if self.index >= len(prompts):
            raise InputError(f"the track {self.track} has no sound prompt {self.index}: it has {len(prompts)}")
        del prompts[self.index]
        return work.change(self.track, audio_prompts=tuple(prompts))


class Settings(_Change):
    """Change how sounds are generated from then on; null means as the checkpoint says."""

    kind: Literal["settings"]
    n_steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    cfg_scale: float | None = None
    level_match: bool | None = None
    control_strength: float | None = None

    named: ClassVar[str] = "Change settings"

    def _applied(self, work: Workshop, place: Place) -> Workshop:
        values = self.model_dump(exclude_unset=True, exclude={"kind"})
        if "level_match" in values:
            values["level_match_db"] = 0.0 if values.pop("level_match") is False else None
        return work.configure(**values)


class Original(_Change):
    """Mix the original sound of the video in, at a gain; null: leave it out."""

    kind: Literal["original"]
    gain_db: Gain | None

    named: ClassVar[str] = "Change the gain of the original sound"

    def _applied(self, work: Workshop, place: Place) -> Workshop:
        return work.keep_original(self.gain_db)


class Keep(_Change):
    """Choose the take that is heard."""

    kind: Literal["keep"]
    track: Name
    take: int

    named: ClassVar[str] = "Keep take {take} of {track}"

    def _applied(self, work: Workshop, place: Place) -> Workshop:
        return work.keep(self.track, self.take)


class Discard(_Change):
    """Remove takes."""

    kind: Literal["discard"]
    track: Name
    takes: Annotated[list[int], Field(min_length=1, max_length=1000)]

    def _title(self) -> str:
        return f"Discard {'a take' if len(self.takes) == 1 else f'{len(self.takes)} takes'} of {self.track}"

    def _applied(self, work: Workshop, place: Place) -> Workshop:
        return work.discard(self.track, self.takes, keep_files=True)


class Undo(_Change):
    """Undo the last change."""

    kind: Literal["undo"]

    named: ClassVar[str] = "Undo"

    def _run(self, work: Workshop, place: Place) -> None:
        History(work.place).undo()


class Again(_Change):
    """Do again what was undone."""

    kind: Literal["again"]

    named: ClassVar[str] = "Redo what was undone"

    def _run(self, work: Workshop, place: Place) -> None:
        History(work.place).again()


class Export(_Change):
    """Write the video with the mix, stems, MIDI, labels and timelines."""

    kind: Literal["export"]
    sample_rate_hz: Literal[44_100, 48_000] = 44_100

    named: ClassVar[str] = "Export"
    is_quick: ClassVar[bool] = False

    def _run(self, work: Workshop, place: Place) -> None:
        written = export(work, place.exports, place.stem, self.sample_rate_hz, overwrite=True)
        for path in {*place.exports.glob("*")} - {*written}:
            path.unlink()


Change = Annotated[
    Generate
    | EditHits
    | Redo
    | Split
    | AddTrack
    | RemoveTrack
    | ChangeTrack
    | AddSoundPrompt
    | RemoveSoundPrompt
    | Settings
    | Original
    | Keep
    | Discard
    | Undo
    | Again
    | Export,
    Field(discriminator="kind"),
]


def _cut(work: Workshop, place: Place, region: OfTake) -> Path:
    """Write a region of a take as a file of its own."""
    track = work.session.track(region.track)
    take = track.take(region.take)
    rate_hz = work.place.sample_rate_hz(track, take)
    sound = read_sound(work.place.sound_path(track, take), sample_rate_hz=rate_hz)
    first, last = (round((each - work.session.start_s) * rate_hz) for each in (region.start_s, region.end_s))
    if not 0 <= first < last - LEAST_PROMPT_S * rate_hz or last > sound.shape[1] + rate_hz:
        raise InputError(f"the region from {region.start_s:g} to {region.end_s:g} s is not possible: mark a longer one")
    path = place.new_file(f"{region.track}-{region.take}-{region.start_s:.2f}-{region.end_s:.2f}.wav")
    write_sound(path, sound[:, first:last], rate_hz)
    return path


def _with_headroom(work: Workshop) -> Workshop:
    """Return the session with the headroom that its mix needs, so that it is heard as it will be exported."""
    try:
        session = mixed(work).session
    except InputError:  # no track is heard
        return work
    return work if session == work.session else replace(work, place=work.place.saved(session))
