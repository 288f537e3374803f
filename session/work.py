"""Work on the tracks of a session: takes, regions, edits of hits, and tracks made of others' hits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from common.errors import InputError, check_range, check_seed
from hits.edit import Hit, HitEnvelope
from hits.options import Edit, applied
from media.envelope import Envelope
from media.probe import probe
from session.folder import SessionFolder
from session.model import Session, Take, Track
from session.scores import scored, sounds_nearer
from stable_foley.generator import MAX_CONTROL_STRENGTH, SoundGenerator
from stable_foley.regions import Generated, changed_regions, regenerate
from stable_foley.sampler import Progress, SamplerSettings
from video2audio.inputs import Inputs, read_inputs
from video2audio.pipeline import FoleyPipeline
from video2audio.request import FoleyRequest

Bars = Callable[[str], Progress]
"""What shows the progress of sampling steps, by what they are for."""


@dataclass(frozen=True)
class Workshop:
    """A session with the models that its sounds are made with.

    Args:
        place: The session.
        pipeline: The models.
        bars: Show progress; None: it is not shown.
    """

    place: SessionFolder
    pipeline: FoleyPipeline
    bars: Bars | None = None

    @property
    def session(self) -> Session:
        """What the session holds."""
        return self.place.session

    @cached_property
    def generator(self) -> SoundGenerator:
        """The model that generates sound."""
        assert self.pipeline.generator is not None
        return self.pipeline.generator

    def _with(self, session: Session) -> "Workshop":
        return replace(self, place=self.place.saved(session))

    def generate(self, name: str | None, seeds: Sequence[int]) -> "Workshop":
        """Generate takes of a track, one for each seed; the best of them is kept.

        Raises:
            InputError: There is no such track, or its prompts cannot be used.
        """
        for seed in seeds:
            check_seed(seed, "--seed")
        work, track = self, self.session.track(name)
        envelope = self.place.envelope(track)
        inputs = self._inputs(track, envelope)
        for seed in seeds:
            options = self._wanted(inputs, seed) | self._bar(f"seed {seed}")
            made = Generated.of(self.generator.stream(envelope, self.session.duration_s, **options))
            work, track = work._add(track, made, envelope, inputs, seed, {})
        best = min(track.takes[len(track.takes) - len(seeds) :], key=lambda take: take.rank)
        return work._with(work.session.changed(replace(track, kept=best.number)))

    def redo(self, name: str | None, start_s: float, end_s: float, seed: int) -> "Workshop":
        """Make a region of the kept take anew, as a new take; outside of it the sound stays bit for bit.

        Args:
            name: The track.
            start_s: Start of the region, in seconds of the video.
            end_s: Its end.
            seed: Seed of the new noise.

        Raises:
            InputError: There is no take, or the region is outside the part of the video.
        """
        check_seed(seed, "--seed")
        track, take = self._kept(name)
        first_s, last_s = self.session.start_s, self.session.start_s + self.session.duration_s
        if not first_s <= start_s < end_s <= last_s + 1e-3:
            raise InputError(
                f"the region from {start_s:g} to {end_s:g} s is not possible: give a start and a later end from "
                f"{first_s:g} to {last_s:g} s"
            )
        work, track, take = self._up_to_date(track, take)
        envelope = self.place.envelope(track)
        inputs = self._inputs(track, envelope)
        made = regenerate(
            self.generator,
            self.place.generated(track, take),
            envelope,
            start_s - first_s,
            min(end_s, last_s) - first_s,
            **self._wanted(inputs, seed),
            **self._bar("region"),
        )
        work, _ = work._add(track, made, envelope, inputs, seed, {"take": take.number, "region_s": [start_s, end_s]})
        return work

    def edit(self, name: str | None, edits: Sequence[Edit], words: Sequence[str] = ()) -> "Workshop":
        """Edit the hits of a track; of its kept take only what the edits change is made anew, as a new take.

        Times of hits are those of the video. Envelope and take change together.

        Args:
            name: The track.
            edits: The edits, in order.
            words: How they were given, for the record.

        Raises:
            InputError: An edit names no hit, or a value is outside its range.
        """
        track = self.session.track(name)
        after = applied(self.hits(track), edits)
        outside = [hit.time_s for hit in after.hits if hit.time_s < self.session.start_s]
        if outside:
            raise InputError(
                f"a hit at {outside[0]:.3f} s would be before the part of the video: give a time from "
                f"{self.session.start_s:g} s on"
            )
        return self._with_envelope(track, self._of_part(after.envelope), {"edits": list(words)})

    def hits(self, track: Track) -> HitEnvelope:
        """Return the hits of a track with times of the video."""
        return hits_in_video(self.place.envelope(track), self.session.start_s)

    def _of_part(self, envelope: Envelope) -> Envelope:
        """Return an envelope of the video from the start of the part on."""
        return replace(envelope, rms=envelope.rms[round(self.session.start_s * envelope.rate_hz) :])

    def set_envelope(self, name: str | None, envelope: Envelope) -> "Workshop":
        """Give a track another envelope, rms (T,) from the start of the part on, as `edit` does."""
        return self._with_envelope(self.session.track(name), envelope, {"edits": ["envelope"]})

    def of_file(self, name: str) -> Envelope:
        """Read an envelope for the part of the video: a table, hits, MIDI, labels, or a sound that is measured.

        Times in files are those of the video.

        Raises:
            InputError: The file cannot be used.
        """
        section = self.session
        request = FoleyRequest(
            Path(section.video), envelope=name, start_s=section.start_s, duration_s=section.duration_s
        )
        request.check()
        return read_inputs(request, None, None).envelope

    def add(self, track: Track, envelope: Envelope) -> "Workshop":
        """Add a track.

        Raises:
            InputError: There is one of this name, or a value is not possible.
        """
        return self._with(self._added(track, envelope))

    def _added(self, track: Track, envelope: Envelope) -> Session:
        """Write the envelope of a new track; return the session that has it, which is still to be saved."""
        track.check()
        if any(other.name == track.name for other in self.session.tracks):
            raise InputError(f"there is a track {track.name} already: give another --name")
        self.place.write_envelope(track, envelope)
        return self.session.changed(track)

    def split(self, name: str | None, new: Track, chosen: Callable[[Hit], bool]) -> "Workshop":
        """Move hits of a track to a new one; what is sustained stays.

        Args:
            name: The track.
            new: The new track.
            chosen: Whether a hit, with its time in the video, goes there.

        Raises:
            InputError: No hit goes there, or there is a track of this name.
        """
        track = self.session.track(name)
        hits = self.hits(track)
        moved = [hit for hit in hits.hits if chosen(hit)]
        if not moved:
            raise InputError(f"no hit of the track {track.name} is meant: `show` lists them")
        energy = np.zeros(len(hits.original.rms))
        for hit in moved:
            hit.add_energy(energy, hits.original.rate_hz)
        alone = replace(hits.original, rms=torch.from_numpy(np.sqrt(energy.clip(min=0))).float())
        rest = replace(hits, hits=tuple(hit for hit in hits.hits if not any(hit is other for other in moved)))
        session = self._added(new, self._of_part(alone))
        both = replace(self, place=replace(self.place, session=session))  # saved once what is left is written, too
        work = both._with_envelope(track, self._of_part(rest.envelope), {"edits": [f"split {new.name}"]})
        return work._with(work.session)

    def heard_as(self, name: str | None, words: str) -> Callable[[Hit], bool]:
        """Return what tells whether the sound of a hit in the kept take is nearer to words than to the track's prompt.

        Raises:
            InputError: There is no take or no prompt, or the model does not know the words.
        """
        track, take = self._kept(name)
        if not track.prompt:
            raise InputError(f"the track {track.name} has no words to compare with: give it a prompt by `set --prompt`")
        sound = self.place.generated(track, take).sound[:, :]
        return sounds_nearer(self.generator, sound, self.session.start_s, words, track.prompt)

    def change(self, name: str | None, **values: Any) -> "Workshop":
        """Change prompts, gain, pan or mute of a track; prompts act on takes that are generated from then on.

        Raises:
            InputError: There is no such track, or a value is not possible.
        """
        return self._with(self.session.changed(replace(self.session.track(name), **values)))

    def remove(self, name: str | None) -> "Workshop":
        """Remove a track; the files of its takes stay until the session is removed.

        Raises:
            InputError: There is no such track.
        """
        track = self.session.track(name)
        rest = tuple(other for other in self.session.tracks if other.name != track.name)
        return self._with(replace(self.session, tracks=rest))

    def configure(self, **settings: Any) -> "Workshop":
        """Change settings of the sampler and `control_strength`, for sounds that are generated from then on.

        Args:
            **settings: Settings by name, see `Session`; None: the checkpoint's.

        Raises:
            InputError: A value is not possible.
        """
        merged = {key: value for key, value in (dict(self.session.settings) | settings).items() if value is not None}
        check_range("control_strength", merged.get("control_strength", 1.0), 0, MAX_CONTROL_STRENGTH)
        SamplerSettings().changed(**{key: value for key, value in merged.items() if key != "control_strength"})
        return self._with(replace(self.session, settings=merged))

    def keep_original(self, gain_db: float | None) -> "Workshop":
        """Mix the original sound of the video in, at a gain; None: leave it out.

        Raises:
            InputError: The video has no sound, or the gain is not possible.
        """
        if gain_db is not None and not probe(Path(self.session.video)).has_sound:
            raise InputError(f"{self.session.video} has no sound to mix in: leave it out")
        return self._with(replace(self.session, original_gain_db=gain_db))

    def keep(self, name: str | None, number: int) -> "Workshop":
        """Choose the take that is heard; the track gets its envelope back. This undoes edits.

        Raises:
            InputError: There is no such take.
        """
        track = self.session.track(name)
        self.place.write_envelope(track, self.place.take_envelope(track, track.take(number)))
        return self._with(self.session.changed(replace(track, kept=number)))

    def discard(self, name: str | None, numbers: Sequence[int], *, keep_files: bool = False) -> "Workshop":
        """Remove takes; the kept one cannot be removed.

        Args:
            name: The track.
            numbers: Numbers of the takes.
            keep_files: Whether their files stay, so that an earlier state of the session finds them.

        Raises:
            InputError: There is no such take, or it is kept.
        """
        track = self.session.track(name)
        takes = [track.take(number) for number in numbers]
        if track.kept in numbers:
            raise InputError(f"take {track.kept} of the track {track.name} is kept: keep another one first")
        rest = tuple(take for take in track.takes if take.number not in numbers)
        work = self._with(self.session.changed(replace(track, takes=rest)))
        if not keep_files:
            self.place.remove_takes(track, takes)
        return work

    def _with_envelope(self, track: Track, envelope: Envelope, origin: dict[str, Any]) -> "Workshop":
        """Give a track another envelope, and make what it changes of the kept take anew."""
        if track.kept is None:
            self.place.write_envelope(track, envelope)
            return self
        take = track.take(track.kept)
        before = self.place.take_envelope(track, take)
        regions = changed_regions(self.generator, before, envelope, self.session.duration_s)
        if not regions:
            self.place.write_envelope(track, envelope)
            return self
        inputs = self._inputs(track, envelope)
        made = self.place.generated(track, take)
        wanted = self._wanted(inputs, take.seed)
        for number, (start_s, end_s) in enumerate(regions, 1):
            bar = self._bar(f"region {number} of {len(regions)}")
            made = regenerate(self.generator, made, envelope, start_s, end_s, keeps_noise=True, **wanted, **bar)
        shown = [[round(time_s + self.session.start_s, 3) for time_s in region] for region in regions]
        origin = {"take": take.number, **origin, "regions_s": shown}
        return self._add(track, made, envelope, inputs, take.seed, origin)[0]

    def _up_to_date(self, track: Track, take: Take) -> tuple["Workshop", Track, Take]:
        """Return the kept take along the envelope that the track has now."""
        work = self._with_envelope(track, self.place.envelope(track), {"edits": []})
        return work, *work._kept(track.name)

    def _kept(self, name: str | None) -> tuple[Track, Take]:
        track = self.session.track(name)
        if track.kept is None:
            raise InputError(f"the track {track.name} has no take yet: make one with `generate`")
        return track, track.take(track.kept)

    def _inputs(self, track: Track, envelope: Envelope) -> Inputs:
        """Read frames and prompts of a track."""
        request = FoleyRequest(
            Path(self.session.video),
            envelope=envelope,
            prompt=track.prompt,
            negative_prompt=track.negative_prompt,
            audio_prompts=track.audio_prompts,
            start_s=self.session.start_s,
            duration_s=self.session.duration_s,
        )
        return read_inputs(request, self.generator, None)

    def _wanted(self, inputs: Inputs, seed: int) -> dict[str, Any]:
        """Return what a sound is made from, beside its envelope."""
        settings = {key: value for key, value in self.session.settings.items() if key != "control_strength"}
        return {
            "frames": inputs.frames,
            "prompts": inputs.prompts,
            "settings": self.generator.settings.changed(**settings),
            "seed": seed,
            "control_strength": self.session.settings.get("control_strength", 1.0),
        }

    def _bar(self, description: str) -> dict[str, Any]:
        return {} if self.bars is None else {"progress": self.bars(description)}

    def _add(
        self, track: Track, made: Generated, envelope: Envelope, inputs: Inputs, seed: int, origin: dict[str, Any]
    ) -> tuple["Workshop", Track]:
        """Keep a sound as a new take of a track."""
        take = scored(
            self.generator, Take(self.place.next_number(track), seed, origin), made.sound[:, :], envelope, inputs
        )
        track = self.place.write_take(track, take, made, envelope, self.generator.sample_rate_hz)
        return self._with(self.session.changed(track)), track


def hits_in_video(envelope: Envelope, start_s: float) -> HitEnvelope:
    """Return the hits of an envelope with times of the video; it gets silence before the part that begins at a time."""
    lead = torch.zeros(round(start_s * envelope.rate_hz))
    return HitEnvelope.of(replace(envelope, rms=torch.cat([lead, envelope.rms])))


def shown_bar(description: str) -> Progress:
    """Return what shows the progress of sampling steps in a terminal."""
    return partial(tqdm, desc=description, unit="step")
