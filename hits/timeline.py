"""Hits as markers on a video, with its sounds beside it, for editors: OpenTimelineIO and EDL (CMX 3600)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from common.errors import InputError
from common.files import atomic_path
from hits.labels import label_of
from hits.level import Hits
from media.probe import MediaInfo, probe
from media.timecode import has_drop_frames, start_of_day_s

SMPTE_RATES_HZ = (24_000 / 1001, 24.0, 25.0, 30_000 / 1001, 30.0, 48.0, 50.0, 60_000 / 1001, 60.0)
"""Frame rates that timecode can count."""
MARKER_RATE_HZ = 48_000
"""Rate in which OpenTimelineIO markers are written, so that they are as exact as samples."""
USUAL_EDL_RATE_HZ = 30.0
"""Frames per second of an EDL for videos whose rate timecode cannot count."""


@dataclass(frozen=True)
class Clock:
    """How times are written.

    Args:
        frame_rate_hz: Frames per second of the timeline.
        stated_hz: The rate that is stated for these frames: of 30 / 1.001 a second, timecode counts 30.
        is_exact: Whether markers and sounds are written in samples, rather than in frames.
    """

    frame_rate_hz: float
    stated_hz: float
    is_exact: bool

    def at(self, time_s: float, sample_rate_hz: float | None = None) -> Any:
        """Return a time in whole frames, or in whole samples of a rate if times are exact."""
        import opentimelineio as otio  # not above: only this needs it

        if sample_rate_hz is not None and self.is_exact:
            return otio.opentime.RationalTime(round(time_s * sample_rate_hz), sample_rate_hz)
        return otio.opentime.RationalTime(round(time_s * self.frame_rate_hz), self.stated_hz)

    def span(self, start_s: float, duration_s: float, sample_rate_hz: float | None = None) -> Any:
        """Return a stretch of time."""
        import opentimelineio as otio  # not above: only this needs it

        return otio.opentime.TimeRange(self.at(start_s, sample_rate_hz), self.at(duration_s, sample_rate_hz))


@dataclass(frozen=True)
class Placed:
    """A file on a timeline.

    Args:
        info: Properties of the file.
        start_of_day_s: Time of day at which the file starts.
        offset_s: Place of its start in the timeline, at least 0.
        skipped_s: What is left out at its start, seconds.
    """

    info: MediaInfo
    start_of_day_s: float
    offset_s: float = 0.0
    skipped_s: float = 0.0

    @property
    def duration_s(self) -> float:
        """Duration of what is used of the file."""
        return self.info.duration_s - self.skipped_s


@dataclass(frozen=True)
class Scene:
    """A video, the sounds that belong to it, and hits.

    Args:
        video: The video.
        sounds: Its sounds, each on a track of its own.
        hits: The hits, with times of the video.
    """

    video: Placed
    sounds: tuple[Placed, ...]
    hits: Hits

    @classmethod
    def of(cls, video: Path, sounds: Sequence[Path], hits: Hits) -> Self:
        """Read what the files are; the video's own sound, if it has one, comes first.

        A broadcast wave lies where its time reference says, counted from the timecode of the video. Every other sound
        starts with the video.

        Raises:
            InputError: A file cannot be used, or a sound does not overlap the video.
        """
        picture = Placed(_of_kind(video, "has_video", "picture"), start_of_day_s(video))
        own = [picture] if picture.info.has_sound else []
        heard = hits[(hits.times_s < picture.duration_s) & (hits.rms > 0)]
        return cls(picture, tuple([*own, *(_placed(sound, picture) for sound in sounds)]), heard)


def _of_kind(path: Path, kind: str, what: str) -> MediaInfo:
    info = probe(path)
    if not getattr(info, kind):
        raise InputError(f"{path} holds no {what}: give a file with one")
    return info


def _placed(path: Path, picture: Placed) -> Placed:
    """Return where a sound lies on the timeline of a video."""
    info, start_s = _of_kind(path, "has_sound", "sound"), start_of_day_s(path)
    later_s = start_s - picture.start_of_day_s if start_s > 0 else 0.0
    if not -info.duration_s < later_s < picture.duration_s:
        raise InputError(
            f"{path} starts at {start_s:.3f} s by its time reference, and the video at {picture.start_of_day_s:.3f} s: "
            "they do not overlap; give a sound of this video"
        )
    return Placed(info, start_s, max(0.0, later_s), max(0.0, -later_s))


def write_otio(path: Path, scene: Scene) -> None:
    """Write an OpenTimelineIO file: the video with markers at the hits, and each sound on a track of its own.

    Raises:
        InputError: The file cannot be written.
    """
    rate_hz = scene.video.info.frame_rate_hz
    text = _timeline(scene, path.stem, Clock(rate_hz, rate_hz, is_exact=True)).to_json_string(indent=2)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def write_edl(path: Path, scene: Scene) -> None:
    """Write an EDL: an event for the picture with a locator at each hit, to the frame, and one for each sound.

    Timecode counts the frames of the video if its rate is one of SMPTE's, and otherwise 30 a second. It drops frames if
    that of the video does.

    Raises:
        InputError: The file cannot be written.
    """
    import opentimelineio as otio  # not above: only this needs it

    asked_hz = scene.video.info.frame_rate_hz
    rate_hz = next((rate for rate in SMPTE_RATES_HZ if abs(rate - asked_hz) < 1e-3), USUAL_EDL_RATE_HZ)
    drops = has_drop_frames(scene.video.info.path)
    stated_hz = rate_hz if drops else float(round(rate_hz))
    picture, *sounds = _timeline(scene, path.stem, Clock(rate_hz, stated_hz, is_exact=False)).tracks
    alone = otio.schema.Timeline(path.stem)
    alone.tracks.append(picture.deepcopy())
    text = otio.adapters.write_to_string(alone, "cmx_3600", rate=stated_hz)
    for number, track in enumerate(sounds, start=1):
        text += _sound_event(track, number, stated_hz)
    title, _, events = text.partition("\n")
    text = f"{title}\nFCM: {'' if drops else 'NON-'}DROP FRAME\n{events}"
    with atomic_path(path) as temporary:
        temporary.write_text(re.sub(r"(\d\d:\d\d:\d\d);(\d\d)", r"\1:\2", text), encoding="utf-8")  # FCM says it


def _sound_event(track: Any, number: int, stated_hz: float) -> str:
    """Return the event of a sound; the adapter writes the picture alone."""
    from opentimelineio.opentime import to_timecode  # not above: only this needs it

    clip = next(iter(track.find_clips()))
    source, record = clip.source_range, track.trimmed_range_of_child(clip)
    times = (source.start_time, source.end_time_exclusive(), record.start_time, record.end_time_exclusive())
    codes = " ".join(to_timecode(time, stated_hz) for time in times)
    channel = "A" if number == 1 else f"A{number}"
    return f"\n{number + 1:03d}  {'AX':8} {channel:5} C        {codes}\n* FROM CLIP NAME:  {clip.name}\n"


def _timeline(scene: Scene, name: str, clock: Clock) -> Any:
    """Return the timeline of a scene."""
    from opentimelineio import schema  # not above: only this needs it

    start_s = scene.video.start_of_day_s
    timeline = schema.Timeline(name, global_start_time=clock.at(start_s))
    timeline.tracks.append(_track("V1", schema.TrackKind.Video, scene.video, clock))
    picture = next(iter(timeline.find_clips()))
    for time_s, level in zip(scene.hits.times_s.tolist(), scene.hits.rms.tolist(), strict=True):
        marked = clock.span(start_s + time_s, 0.0, MARKER_RATE_HZ)
        picture.markers.append(schema.Marker(label_of(level), marked, schema.MarkerColor.RED))
    for number, sound in enumerate(scene.sounds, start=1):
        rate_hz = float(sound.info.sample_rate_hz or MARKER_RATE_HZ)
        timeline.tracks.append(_track(f"A{number}", schema.TrackKind.Audio, sound, clock, rate_hz))
    return timeline


def _track(name: str, kind: str, placed: Placed, clock: Clock, sample_rate_hz: float | None = None) -> Any:
    """Return a track with the clip of a file at its place."""
    from opentimelineio import schema  # not above: only this needs it

    path, start_s = placed.info.path.resolve(), placed.start_of_day_s
    available = clock.span(start_s, placed.info.duration_s, sample_rate_hz)
    media = schema.ExternalReference(target_url=path.as_uri(), available_range=available)
    used = clock.span(start_s + placed.skipped_s, placed.duration_s, sample_rate_hz)
    track = schema.Track(name, kind=kind)
    if placed.offset_s > 0:
        track.append(schema.Gap(duration=clock.at(placed.offset_s, sample_rate_hz)))
    track.append(schema.Clip(name=path.name, media_reference=media, source_range=used))
    return track
