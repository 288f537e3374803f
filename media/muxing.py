"""Videos with new sound: the choice of the container, and the picture, sounds and tracks that it gets."""

import heapq
import itertools
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.stream import Disposition
from torch import Tensor

from common.choices import DEFAULT_QUALITY, PICTURE_CODECS, PictureCodec
from common.errors import InputError, check_range
from common.files import atomic_path, same_file
from media.clip import count_at_rate
from media.container import Packets, decoded, need_video, no_frame, opened, origin_s, told_while_reading
from media.interlacing import deinterlaced
from media.output import (
    CONTAINERS,
    aac_packets,
    aac_rates_hz,
    check_playable,
    check_suffix,
    options_of,
    playable,
    told_while_writing,
)
from media.picture_copy import Timing, add_picture, picture_packets, timing, why_not_copied
from media.picture_encode import PictureEncoder, form_of, what_encoding_loses
from media.stored import PART_SAMPLES, Sound, StoredSound, parts
from media.track_plan import plan_tracks, timecode
from media.tracks import Track, TrackWriter

_STILLS = {"gif", "apng"}  # no player shows such a picture inside a video container
_OF_OTHER_FORMATS = {"major_brand", "minor_version", "compatible_brands", "encoder", "ENCODER", "DURATION"}
_SHOWN_PACKETS = 250  # packets between two calls of `on_progress`


@dataclass(frozen=True)
class MuxPlan:
    """How a video with new sound is written.

    Args:
        suffix: Suffix of the file: `.mp4`, `.mov` or `.mkv`.
        codec: `copy`, `h264` or `prores`.
        reason: Why the picture is compressed anew though that was not asked for; None if it is copied or was asked for.
        lost: Short phrases that name what the file cannot keep, such as "subtitle track 2 (dvd_subtitle)".
        kept: The other tracks of the video that the file keeps.
    """

    suffix: str
    codec: Literal["copy", "h264", "prores"]
    reason: str | None
    lost: tuple[str, ...]
    kept: tuple[Track, ...] = ()

    @property
    def described(self) -> dict[str, Any]:
        """What a person may want to know of it, as JSON can hold it."""
        return {"suffix": self.suffix, "codec": self.codec, "reason": self.reason, "lost": [*self.lost]}


def plan_mux(
    video_path: Path, *, codec: PictureCodec = "auto", suffix: str | None = None, keep_first_sound: bool = False
) -> MuxPlan:
    """Choose how a video is written, before any long work: its start is copied in memory and compared.

    The picture is copied bit for bit to the first of MP4, QuickTime and Matroska that holds it. If none does, it
    becomes H.264 in MP4. A GIF becomes H.264 too, since no player shows one inside a video container.

    Args:
        video_path: The video.
        codec: How the picture is written.
        suffix: Suffix of the only container to consider; None for all three.
        keep_first_sound: Whether the first sound of the video is kept as a further track.

    Raises:
        InputError: The video cannot be read, or the container cannot hold the picture in this way.
    """
    _check_codec(codec, suffix)
    chosen, way, reason = _way(video_path, codec, suffix)
    with opened(video_path) as source:
        stream = need_video(video_path, source)
        lost = [] if way == "copy" else what_encoding_loses(stream, way)
    tracks = plan_tracks(video_path, chosen, keep_first_sound=keep_first_sound)
    return MuxPlan(chosen, way, reason, (*lost, *tracks.lost), tracks.kept)


def mux(
    video_path: Path,
    sounds: Sound | Sequence[Sound],
    sample_rate_hz: int,
    out_path: Path,
    plan: MuxPlan | None = None,
    *,
    quality: int = DEFAULT_QUALITY,
    on_progress: Callable[[float], None] | None = None,
) -> MuxPlan:
    """Write a video with new sound, and with all else that it holds.

    The packets of the picture are copied bit for bit, with their times, rotation, pixel shape and colours; only start
    codes (MPEG-TS) become lengths where the format needs them. A picture that is compressed anew keeps the times of its
    frames, its rotation, pixel shape and colours, is deinterlaced, and gets even sizes by doubling an odd last row or
    column. Matroska cannot hide cut-off frames without new compression: they are shown before the sound starts.

    Further sounds, subtitles, chapters, timecode, cover, attachments, titles and languages are kept where the container
    holds them. The first sound of the video is left out unless the plan keeps it; then it follows after the new ones.

    Args:
        video_path: A video file.
        sounds: One or more sounds (C, N) from the start of the video on, C 1 or 2, full scale ±1; stored as AAC, the
            first as the track that players choose. Each is cut at the end of the picture, or extended to it by silence;
            Matroska may add silence of up to 1024 samples.
        sample_rate_hz: Samples per second of the sounds.
        out_path: File to write, with the suffix .mp4, .mov or .mkv, different from `video_path`.
        plan: What `plan_mux` gave for this video and suffix; None: it is made now.
        quality: Constant rate factor of x264, 0 (lossless) to 51 (worst), if the picture becomes H.264.
        on_progress: Called from time to time with the share of the work that is done, 0 to 1.

    Returns:
        How the file was written, with what it could not keep.

    Raises:
        InputError: The video cannot be read, a sound is empty or not finite, the output cannot be written, or its
            format cannot hold the picture.
    """
    suffix = check_suffix(out_path)
    if plan is not None and plan.suffix != suffix:
        raise InputError(f"{out_path} was planned as a {plan.suffix} file: give this suffix")
    check_range("the quality of H.264", quality, 0, 51, whole=True)
    if same_file(out_path, video_path):
        raise InputError(f"{out_path} is the video itself: give another output")
    rates_hz = aac_rates_hz()
    if sample_rate_hz not in rates_hz:
        raise InputError(f"AAC cannot hold {sample_rate_hz} Hz: resample the sound to one of {rates_hz}")
    waves = [sounds] if isinstance(sounds, Tensor | StoredSound) else sounds
    if not waves:
        raise InputError(f"{out_path} would get no sound: give one or more")
    for wave in waves:
        check_playable(wave)
    known = timing(video_path)
    plan = plan or plan_mux(video_path, suffix=suffix)
    job = _Job(video_path, plan, known, quality, on_progress or (lambda _: None))
    with atomic_path(out_path) as temporary:
        _write(job, temporary, out_path, waves, sample_rate_hz)
    return plan


def _check_codec(codec: str, suffix: str | None) -> None:
    if codec not in PICTURE_CODECS:
        raise InputError(f"{codec!r} is not a picture codec: give one of {', '.join(PICTURE_CODECS)}")
    if suffix is not None and suffix not in CONTAINERS:
        raise InputError(f"{suffix!r} is not a container: give one of {', '.join(CONTAINERS)}")
    if codec == "prores" and suffix == ".mp4":
        raise InputError("MP4 cannot hold ProRes: give another --format, mov for instance, or --codec h264")


def _way(
    path: Path, codec: PictureCodec, suffix: str | None
) -> tuple[str, Literal["copy", "h264", "prores"], str | None]:
    """Return the suffix of the container, how the picture gets there, and why not as it is."""
    if codec == "prores":
        return suffix or ".mov", "prores", None
    if codec == "h264":
        return suffix or ".mp4", "h264", None
    with opened(path) as source:
        still = source.format.name if source.format.name in _STILLS else None
    known = timing(path)
    reasons = [f"no player shows a {still.upper()} inside a video container"] if still else []
    for tried in () if still else CONTAINERS if suffix is None else (suffix,):
        reason = why_not_copied(path, tried, known)
        if reason is None:
            return tried, "copy", None
        reasons.append(reason)
    if codec == "copy":
        other = "--codec h264" if still or suffix is None else "another --format, or --codec h264"
        raise InputError(f"the picture of {path} cannot be copied ({'; '.join(reasons)}): give {other}")
    return suffix or ".mp4", "h264", "; ".join(reasons)


@dataclass(frozen=True)
class _Job:
    """What `_write` needs to know."""

    video_path: Path
    plan: MuxPlan
    known: Timing
    quality: int
    on_progress: Callable[[float], None]


def _write(job: _Job, temporary: Path, out_path: Path, waves: Sequence[Sound], sample_rate_hz: int) -> None:
    """Write picture, sounds and tracks to a file."""
    suffix, path = job.plan.suffix, job.video_path
    options = options_of(suffix, sample_rate_hz)
    converted = shlex.quote(f"{path.stem}-h264.mp4")
    remedy = f"convert the video first: ffmpeg -i {shlex.quote(str(path))} -c:v libx264 {converted}"
    failure = told_while_writing(f"{path} cannot be written with new sound to {out_path}", remedy)
    with opened(path) as source, opened(path) as again, failure:
        metadata = {key: text for key, text in source.metadata.items() if key not in _OF_OTHER_FORMATS}
        if suffix != ".mkv" and any(key.startswith("com.") for key in metadata):
            options["movflags"] = "use_metadata_tags"  # Apple's own names, such as the place of a recording
        with av.open(str(temporary), "w", format=CONTAINERS[suffix], container_options=options) as target:
            picture, packets = _picture(job, source, target)
            if (start := timecode(source)) is not None:
                picture.metadata["timecode"] = start
            target.metadata.update(metadata)
            target.set_chapters(_chapters(source))
            n_samples = count_at_rate(job.known.duration_s, sample_rate_hz)
            sounds = [aac_packets(target, wave.shape[0], _filled(wave, n_samples), sample_rate_hz) for wave in waves]
            _mark_first_sound(target)
            others = TrackWriter(again, target, suffix, job.plan.kept)
            merged = heapq.merge(packets, *sounds, others.packets(), key=lambda packet: packet.dts * packet.time_base)
            for number, packet in enumerate(merged):
                if number % _SHOWN_PACKETS == 0:
                    job.on_progress(min(1.0, float(packet.dts * packet.time_base) / job.known.duration_s))
                target.mux(packet)
    job.on_progress(1.0)


def _filled(sound: Sound, n_samples: int) -> Iterator[np.ndarray]:
    """Yield parts of a sound (C, N) that is cut after a number of samples, or followed by silence."""
    for part in parts(sound):
        yield playable(part[:, :n_samples])
        n_samples -= min(n_samples, part.shape[1])
        if n_samples == 0:
            return
    while n_samples:
        silent = min(n_samples, PART_SAMPLES)
        yield np.zeros((sound.shape[0], silent), np.float32)
        n_samples -= silent


def _mark_first_sound(target: OutputContainer) -> None:
    """Make the first sound the one that players choose."""
    for number, stream in enumerate(target.streams.audio):
        stream.disposition = Disposition.default if number == 0 else Disposition(0)


def _picture(job: _Job, source: InputContainer, target: OutputContainer) -> tuple[Any, Iterator[Any]]:
    """Add the picture of a video to an output; return its stream and its packets."""
    stream = need_video(job.video_path, source)
    if job.plan.codec == "copy":
        picture = add_picture(stream, target)
        picture.disposition = stream.disposition
        return picture, told_while_reading(job.video_path, picture_packets(source, picture, job.known.ticks))
    origin = round(origin_s(source) / stream.time_base)
    frames = told_while_reading(job.video_path, _shown(decoded(Packets(source, stream)), stream, origin))
    first = next(frames, None)
    if first is None:
        raise no_frame(job.video_path)
    encoder = PictureEncoder(target, job.plan.codec, job.quality, form_of(stream), first[1])
    encoder.stream.metadata.update(stream.metadata)
    end = round(Fraction(job.known.duration_s) / stream.time_base)
    return encoder.stream, encoder.packets(itertools.chain([first], frames), end)


def _shown(frames: Iterator[Any], stream: Any, origin: int) -> Iterator[tuple[int, Any]]:
    """Yield time from the start of the file, in units of the stream, and frame; each is later than the one before."""
    last = -1
    for frame in deinterlaced(frames, stream):
        pts = round(frame.pts * frame.time_base / stream.time_base) - origin
        if pts > last:
            last = pts
            yield pts, frame


def _chapters(source: InputContainer) -> list[Any]:
    """Return the chapters of a video, counted from the start of the file."""
    chapters = source.chapters()
    for chapter in chapters:
        origin = round(origin_s(source) / (chapter["time_base"] or 1))
        chapter["start"], chapter["end"] = max(0, chapter["start"] - origin), max(0, chapter["end"] - origin)
    return chapters
