"""What a container can keep of the other tracks of a video.

Each track is tried alone in memory before it is promised: it is kept as it is if the container gives it back unchanged.
Else a sound becomes AAC, a text subtitle the container's own kind of text, and the rest is named as lost.
"""

import io
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.stream import Discard, Disposition

from media.container import opened, sound_stream, video_stream
from media.output import CONTAINERS
from media.tracks import COVERS, How, Track, codec_of, copied_packets, copied_stream, filled

_TRIED_PACKETS = 8
_TEXTS = {"subrip", "mov_text", "ass", "ssa", "webvtt", "text"}
_ORDER = ("audio", "subtitle", "data")  # of the kept tracks; files inside the file follow
_FAILURES = (av.FFmpegError, ValueError, NotImplementedError, IndexError)


@dataclass(frozen=True)
class TrackPlan:
    """What becomes of the tracks of a video besides its picture.

    Args:
        kept: Those that the output keeps, in its order.
        lost: Short phrases that name what it cannot keep or has to change.
    """

    kept: tuple[Track, ...]
    lost: tuple[str, ...]


def plan_tracks(path: Path, suffix: str, *, keep_first_sound: bool) -> TrackPlan:
    """Return what a container can keep of the other tracks of a video.

    Args:
        path: The video.
        suffix: Suffix of the container, a key of `CONTAINERS`.
        keep_first_sound: Whether the first sound is kept too.

    Raises:
        InputError: The video cannot be read.
    """
    kept: list[Track] = []
    lost: list[str] = []
    counts: dict[str, int] = {}
    with opened(path) as source:
        replaced = None if keep_first_sound else sound_stream(source)
        for stream in source.streams:
            kind = _kind(stream)
            counts[kind] = counts.get(kind, 0) + 1
            if stream in (video_stream(source), replaced) or _is_known_otherwise(source, stream):
                continue
            how = _how(path, stream, suffix)
            if how:
                kept.append(Track(stream.index, how))
            if how in (None, "aac"):
                name = f"{kind} {counts[kind]} ({codec_of(stream)})"
                lost.append(f"{name} as it was: it becomes AAC" if how else name)
        kept.sort(key=lambda track: _place(source.streams[track.index]))
    return TrackPlan(tuple(kept), tuple(lost))


def _place(stream: Any) -> int:
    return _ORDER.index(stream.type) if stream.type in _ORDER else len(_ORDER)


def _kind(stream: Any) -> str:
    if _is_cover(stream):
        return "cover picture"
    names = {"video": "picture track", "audio": "sound track", "subtitle": "subtitle track", "data": "data track"}
    return names.get(stream.type, stream.type)


def _is_cover(stream: Any) -> bool:
    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def _is_known_otherwise(source: InputContainer, stream: Any) -> bool:
    """Return whether a data track is the list of chapters or the timecode, which are written from other places."""
    is_hidden = stream.type == "data" and stream.discard == Discard.all and bool(source.chapters())
    return is_hidden or (stream.type == "data" and "timecode" in stream.metadata)


def timecode(source: InputContainer) -> str | None:
    """Return the timecode of the first frame of a video; None if it states none."""
    stated = (stream.metadata.get("timecode") for stream in source.streams)
    return next((text for text in stated if text), source.metadata.get("timecode"))


def _how(path: Path, stream: Any, suffix: str) -> How | None:
    """Return how a container keeps a track; None if it cannot."""
    if stream.type == "attachment":
        return "attachment" if suffix == ".mkv" else None
    if _is_cover(stream):
        is_kept = suffix != ".mov" and stream.codec_context and codec_of(stream) in COVERS
        return "cover" if is_kept else None
    if stream.type == "video":
        return None
    if _is_held(path, stream.index, suffix):
        return "copy"
    if stream.type == "audio" and stream.codec_context:
        return "aac"
    return "text" if stream.type == "subtitle" and stream.codec_context and codec_of(stream) in _TEXTS else None


def _is_held(path: Path, index: int, suffix: str) -> bool:
    """Return whether a container gives the start of a track back unchanged, by writing it alone in memory."""
    memory = io.BytesIO()
    try:
        with opened(path) as source, av.open(memory, "w", format=CONTAINERS[suffix]) as target:
            stream = source.streams[index]
            copied = copied_stream(stream, target)
            n_copied = 0
            for packet in itertools.islice(copied_packets(source, stream, copied), _TRIED_PACKETS):
                target.mux(packet)
                n_copied += 1
        if not n_copied:
            return False
        memory.seek(0)
        with opened(path) as source, av.open(memory, "r") as written:
            stream, copied = source.streams[index], written.streams[0]
            is_sound = stream.type == "audio" and copied.codec_context is not None
            content = _samples if is_sound else _stored
            stored = content(written, copied, None)
            return stored == content(source, stream, n_copied) and codec_of(copied) == codec_of(stream)
    except _FAILURES:
        return False


def _stored(container: InputContainer, stream: Any, n_packets: int | None) -> list[bytes]:
    """Return the content of the first packets; empty texts of MP4, which mark pauses, do not count."""
    packets = (bytes(packet) for packet in itertools.islice(filled(container, stream), n_packets))
    return [content for content in packets if content != b"\0\0"]


def _samples(container: InputContainer, stream: Any, n_packets: int | None) -> list[bytes]:
    """Return the decoded samples of the first packets: headers of AAC and sizes of PCM packets depend on the format."""
    pieces = [
        frame.to_ndarray()
        for packet in itertools.chain(itertools.islice(filled(container, stream), n_packets), [None])
        for frame in stream.codec_context.decode(packet)
    ]
    return [np.concatenate(pieces, axis=-1).tobytes()] if pieces else []
