"""The mix of a session's tracks, its stems, and the files that other programs read."""

import glob
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from common.errors import InputError
from common.files import atomic_files, check_writable_folder, same_file
from hits.edit import HitEnvelope
from hits.labels import write_labels
from hits.level import Hits
from hits.midi import write_midi
from hits.timeline import Scene, write_edl, write_otio
from media.clip import count_at_rate
from media.levels import true_peak_db
from media.muxing import mux, plan_mux
from media.reading import read_sound
from media.sound import resampled
from media.stored import later
from media.timecode import start_of_day_s
from media.writing import DAY_S, write_sound
from session.model import ORIGINAL, Session
from session.work import Workshop
from video2audio.finish import faded

log = logging.getLogger(__name__)

_SUFFIXES = (".mp4", ".mov", ".mkv", ".wav", ".mid", ".txt", ".otio", ".edl")
PEAK_DB = -1.0
"""Highest true peak of the mix and of each stem, in dBTP."""
MARGIN_DB = 3.0
"""Room that is left when the headroom is first chosen, so that edits need no other one."""


@dataclass(frozen=True, eq=False)
class Mix:
    """What is heard of a session.

    Args:
        session: The session, with the headroom that was used.
        sound: The sum of all stems (2, N).
        stems: Sound (2, N) of each track that is heard, by name, as it is in the mix, and of `ORIGINAL` if it is kept.
        sample_rate_hz: Samples per second.
    """

    session: Session
    sound: Tensor
    stems: dict[str, Tensor]
    sample_rate_hz: int


def mixed(work: Workshop, sample_rate_hz: int | None = None) -> Mix:
    """Mix the kept takes of all tracks that are not muted, and the original sound of the video if it is kept.

    All tracks have one more gain, the headroom, so that neither the mix nor a stem exceeds -1 dBTP; stems therefore add
    up to the mix. It stays the same from mix to mix unless it no longer suffices, so that an edit changes the mix only
    where it changes a track.

    Args:
        work: The session.
        sample_rate_hz: Samples per second of the result; None: that of the takes.

    Raises:
        InputError: No track is heard.
    """
    session, place = work.session, work.place
    kept = [(track, track.take(track.kept)) for track in session.tracks if track.kept is not None and not track.muted]
    if not kept:
        raise InputError("no track is heard: generate a take, or unmute a track")
    rate_hz = sample_rate_hz or place.sample_rate_hz(*kept[0])
    n_samples = count_at_rate(session.duration_s, rate_hz)
    stems = {}
    for track, take in kept:
        own_rate_hz = place.sample_rate_hz(track, take)
        sound = faded(place.generated(track, take).sound[:, :], own_rate_hz)
        stems[track.name] = placed(resampled(sound, own_rate_hz, rate_hz, n_samples), track.gain_db, track.pan)
    if session.original_gain_db is not None:
        stems[ORIGINAL] = placed(original(session, rate_hz, n_samples), session.original_gain_db, 0.0)
    sound = torch.stack(list(stems.values())).sum(dim=0)
    peaks_db = [peak for each in (sound, *stems.values()) if (peak := true_peak_db(each)) is not None]
    needed_db = min(0.0, PEAK_DB - max(peaks_db, default=-math.inf))
    headroom_db = session.headroom_db
    if needed_db < (headroom_db or 0.0):
        if headroom_db is not None:
            log.warning("the mix becomes %.1f dB softer, since it would exceed full scale", headroom_db - needed_db)
        headroom_db = needed_db - MARGIN_DB
    gain = 10 ** ((headroom_db or 0.0) / 20)
    quieter = {name: stem * gain for name, stem in stems.items()}
    return Mix(replace(session, headroom_db=headroom_db), sound * gain, quieter, rate_hz)


def original(session: Session, sample_rate_hz: int, n_samples: int) -> Tensor:
    """Return the original sound of the part of the video (2, N), with silence where it has none."""
    part = read_sound(
        Path(session.video),
        sample_rate_hz=sample_rate_hz,
        n_channels=2,
        start_s=session.start_s,
        duration_s=session.duration_s,
    )
    return torch.nn.functional.pad(part, (0, n_samples - part.shape[1]))  # also crops


def placed(sound: Tensor, gain_db: float, pan: float) -> Tensor:
    """Return a sound (C, N) at a gain and a place, as (2, N).

    The balance has constant power: in the middle both sides are as they were, at an end the other side is silent and
    this one is 3 dB louder.
    """
    angle = (pan + 1) * math.pi / 4
    gains = torch.tensor([[math.cos(angle)], [math.sin(angle)]]) * math.sqrt(2) * 10 ** (gain_db / 20)
    if pan == 0:
        gains = torch.full((2, 1), 10 ** (gain_db / 20))
    return sound.expand(2, -1) * gains


def check_export(session: Path, video: Path, folder: Path, name: str, *, overwrite: bool = False) -> None:
    """Refuse a folder in which an export would replace files, or that belongs to the session.

    Args:
        session: Folder of the session.
        video: Its video.
        folder: Folder for the files.
        name: NAME in the names of the files.
        overwrite: Whether files may be replaced; the video may not.

    Raises:
        InputError: The error names the folder or the file.
    """
    check_writable_folder(folder, "--output-dir")
    if folder.resolve().is_relative_to(session.resolve()):
        raise InputError(f"--output-dir {folder} is within the session: give another folder")
    for path in sorted(folder.glob(f"{glob.escape(name)}.*")):
        if same_file(path, video):
            raise InputError(f"{path} is the video itself: give another --output-dir, or --name")
        if not overwrite and path.suffix.lower() in _SUFFIXES:
            raise InputError(f"{path} is there already: give another --output-dir or --name, or --overwrite")


def export(
    work: Workshop,
    folder: Path,
    name: str | None = None,
    sample_rate_hz: int | None = None,
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write the video with the mix, the mix, a stem for each track, and hits as MIDI, labels and a timeline.

    Args:
        work: The session.
        folder: Folder for the files, not the session's own.
        name: NAME in the names of the files; None: the name of the video.
        sample_rate_hz: Samples per second of the sounds; None: the model's.
        overwrite: Whether files that are there may be replaced.

    Returns:
        NAME.mp4 (or .mov, .mkv), NAME.wav, NAME.TRACK.wav, NAME.TRACK.mid and NAME.TRACK.txt for each track that is
        heard, NAME.otio and NAME.edl.

    Raises:
        InputError: No track is heard, a file would be replaced, or cannot be written.
    """
    video = Path(work.session.video)
    name = name or video.stem
    check_export(work.place.folder, video, folder, name, overwrite=overwrite)
    plan = plan_mux(video)
    mix = mixed(work, sample_rate_hz)
    start_s, rate_hz = mix.session.start_s, mix.sample_rate_hz
    reference_s = (start_of_day_s(video) + start_s) % DAY_S
    written = []
    with atomic_files(folder) as temporary:

        def path(kind: str) -> Path:
            written.append(f"{name}.{kind}")
            return temporary / written[-1]

        mux(video, later(mix.sound, round(start_s * rate_hz)), rate_hz, path(plan.suffix[1:]), plan)
        write_sound(path("wav"), mix.sound, rate_hz, start_of_day_s=reference_s)
        stems = []
        for stem, sound in mix.stems.items():
            stems.append(path(f"{stem}.wav"))
            write_sound(stems[-1], sound, rate_hz, start_of_day_s=reference_s)
        hits = {stem: work.hits(mix.session.track(stem)) for stem in mix.stems if stem != ORIGINAL}
        for stem, of_track in hits.items():
            if len(of_track.as_hits):
                write_midi(path(f"{stem}.mid"), of_track.as_hits)
                write_labels(path(f"{stem}.txt"), of_track.as_hits)
        scene = _in_folder(Scene.of(video, stems, _all_hits(list(hits.values()))), temporary, folder)
        write_otio(path("otio"), scene)
        write_edl(path("edl"), scene)
    work.place.saved(mix.session)
    return [folder / each for each in written]


def _all_hits(found: Sequence[HitEnvelope]) -> Hits:
    """Return the hits of all tracks that are not muted, in order of time."""
    hits = Hits.joined([each.as_hits for each in found])
    return hits[hits.times_s.argsort()]


def _in_folder(scene: Scene, temporary: Path, folder: Path) -> Scene:
    """Return a scene whose sounds lie where they will be."""
    sounds = [
        replace(sound, info=replace(sound.info, path=folder / sound.info.path.name))
        if sound.info.path.parent == temporary
        else sound
        for sound in scene.sounds
    ]
    return replace(scene, sounds=tuple(sounds))
