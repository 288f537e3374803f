"""The stored picture of a video as packets of another file, bit for bit, and the proof that a format holds it."""

import hashlib
import heapq
import io
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer, OutputContainer

from common.errors import InputError
from media.container import MP4, Packets, end_of, need_video, no_frame, opened, origin_s, video_stream
from media.output import CONTAINERS, aac_packets, options_of

_TRIED_PACKETS = 24
_RATE_HZ = 44_100
_TIMES_AGREE_S = Fraction(1, 20_000)  # MP4 counts the delay of a picture in samples of the sound
_MATROSKA_TIMES_AGREE_S = Fraction(1, 1000)  # it counts milliseconds
_OWN_TAG = {"prores", "mpeg2video", "rawvideo", "dnxhd", "dvvideo"}  # QuickTime's tag names the profile or the layout


@dataclass(frozen=True)
class Timing:
    """Times of the frames of a video.

    Args:
        ticks: Duration of each frame by its time stamp, in units of the file.
        duration_s: Seconds from the start of the file to the end of the picture.
    """

    ticks: dict[int, int]
    duration_s: float


def timing(path: Path) -> Timing:
    """Return the times of the frames of a video, after a pass over its packets.

    Packets state their durations in order of decoding, which is the wrong order if frames have different durations.

    Raises:
        InputError: The video cannot be read or holds no frame.
    """
    with opened(path) as container:
        stream = need_video(path, container)
        packets = Packets(container, stream)
        stamps = sorted({packet.pts for packet in packets if packet.size and packet.pts is not None})
        if not stamps:
            raise no_frame(path)
        end_s, first_s = end_of(packets), origin_s(container)
        end = round(end_s / stream.time_base)
    ticks = {pts: max(1, following - pts) for pts, following in itertools.pairwise([*stamps, end])}
    return Timing(ticks, float(end_s - first_s))


def has_hidden_alpha(stream: Any) -> bool:
    """Return whether a picture (VP8 or VP9 in Matroska) has an alpha channel that its decoder leaves out."""
    return any(key.lower() == "alpha_mode" and text == "1" for key, text in stream.metadata.items())


def add_picture(stream: Any, target: OutputContainer) -> Any:
    """Add a stream to an output for the packets of a picture, and return it.

    Raises:
        ValueError: The format has no name for the codec.
    """
    picture = target.add_stream_from_template(stream, opaque=True)
    picture.metadata.update(stream.metadata)
    if stream.sample_aspect_ratio:
        picture.codec_context.sample_aspect_ratio = stream.sample_aspect_ratio
    picture.codec_context.framerate = stream.average_rate or stream.guessed_rate or 0  # for timecode and Matroska
    codec, format_name = stream.codec_context.codec.canonical_name, target.format.name
    tag = stream.codec_context.codec_tag
    is_quicktime = stream.container.format.name == MP4 or codec == "prores"
    if codec == "hevc" and format_name != "matroska":
        picture.codec_context.codec_tag = "hvc1"  # Apple's players need this tag
    elif (
        codec in _OWN_TAG and tag.strip("\0") and (format_name == "matroska" or (is_quicktime and format_name == "mov"))
    ):
        picture.codec_context.codec_tag = tag
    return picture


def picture_packets(source: InputContainer, picture: Any, ticks: dict[int, int]) -> Iterator[Any]:
    """Yield all packets of a video as packets of the output, with times from the start of the file.

    Matroska stores no decoding times, and FFmpeg does not know the first ones: they are counted back from the first
    known one, one frame duration at a time.
    """
    stream = video_stream(source)
    packets = (packet for packet in Packets(source, stream) if packet.size)
    head: list[Any] = []
    for packet in packets:
        if packet.pts is None:
            raise InputError(f"{source.name} holds frames without times: convert it to MP4")
        head.append(packet)
        if packet.dts is not None:
            break
    if head and head[-1].dts is None:
        head[-1].dts = min(packet.pts for packet in head)
    for following, packet in itertools.pairwise(reversed(head)):
        packet.dts = following.dts - (packet.duration or 1)
    origin = round(origin_s(source) / stream.time_base)
    for packet in lasting(itertools.chain(head, packets), ticks, picture.container.format.name):
        packet.stream = picture
        packet.pts -= origin
        packet.dts -= origin
        yield packet


def lasting(packets: Iterable[Any], ticks: dict[int, int], format_name: str) -> Iterator[Any]:
    """Yield the packets of a picture with the durations of their frames.

    MP4 defines the duration of the picture as the time from the first decoding time to the end of the last packet, and
    what is shown of it as the time to the latest end of a frame.
    """
    first_dts = None
    for packet, following in itertools.pairwise(itertools.chain(packets, [None])):
        first_dts = packet.dts if first_dts is None else first_dts
        packet.duration = ticks[packet.pts]
        if following is None and format_name != "matroska":
            packet.duration = max(packet.duration, first_dts + sum(ticks.values()) - packet.dts)
        yield packet


def why_not_copied(path: Path, suffix: str, known: Timing) -> str | None:
    """Return why a container cannot hold the stored picture of a video; None if it can.

    The start of the picture is copied in memory and decoded: its pixels, their format and shape, and the times of its
    frames have to be those of the video.

    Args:
        path: The video.
        suffix: Suffix of the container, a key of `CONTAINERS`.
        known: Times of the frames.

    Raises:
        InputError: The video cannot be read.
    """
    name = suffix.removeprefix(".")
    with opened(path) as source:
        stream = need_video(path, source)
        codec = stream.codec_context.codec.canonical_name
        if has_hidden_alpha(stream) and suffix != ".mkv":
            return f"{name} cannot hold the alpha channel of {codec}"
        memory = io.BytesIO()
        try:
            with av.open(
                memory, "w", format=CONTAINERS[suffix], container_options=options_of(suffix, _RATE_HZ)
            ) as target:
                picture = add_picture(stream, target)
                packets = itertools.islice(picture_packets(source, picture, known.ticks), _TRIED_PACKETS)
                with_sound = packets, aac_packets(target, 2, [np.zeros((2, 1024), np.float32)], _RATE_HZ)
                for packet in heapq.merge(*with_sound, key=lambda packet: packet.dts * packet.time_base):
                    target.mux(packet)
            memory.seek(0)
            with av.open(memory, "r") as written:
                difference = _difference(path, stream, written, suffix)
        except (av.FFmpegError, ValueError):
            return f"{name} cannot hold {codec}"
    return difference and f"{name} would change the {difference} of this {codec}"


def _difference(path: Path, stream: Any, written: InputContainer, suffix: str) -> str | None:
    """Return which property of a copied start of a picture differs from the video's; None if none does."""
    copied = video_stream(written)
    if copied is None or (copied.sample_aspect_ratio or 1) != (stream.sample_aspect_ratio or 1):
        return "pixel shape"
    after = _frames(written, copied, None)
    with opened(path) as source:
        before = _frames(source, video_stream(source), _TRIED_PACKETS)
    if len(after) < len(before) or [each[1] for each in after[len(after) - len(before) :]] != [e[1] for e in before]:
        return "pixels"
    offsets_s = [late[0] - soon[0] for late, soon in zip(after[len(after) - len(before) :], before, strict=True)]
    if suffix == ".mkv":  # it shows hidden first frames, and the sound starts after them
        return "times" if max(offsets_s) - min(offsets_s) > _MATROSKA_TIMES_AGREE_S else None
    return "times" if max(map(abs, offsets_s)) > _TIMES_AGREE_S else None


def _frames(container: InputContainer, stream: Any, n_packets: int | None) -> list[tuple[Fraction, bytes]]:
    """Return time from the start of the file and digest of the undamaged frames in some packets, in order of time."""
    origin = origin_s(container)
    packets = (packet for packet in container.demux(stream) if packet.size)
    frames = []
    for packet in itertools.chain(itertools.islice(packets, n_packets), [None]):
        for frame in stream.codec_context.decode(packet):
            if not frame.is_corrupt and frame.pts is not None:
                frames.append((frame.pts * stream.time_base - origin, frame_digest(frame)))
    if not frames:
        raise no_frame(Path(container.name))
    return frames


def frame_digest(frame: Any) -> bytes:
    """Return a digest of the pixels of a decoded frame, of their format and of its size."""
    digest = hashlib.sha256(f"{frame.format.name} {frame.width} {frame.height}".encode())
    for number, plane in enumerate(frame.planes):
        content = np.frombuffer(memoryview(plane), np.uint8)
        if frame.format.name != "pal8" or number == 0:  # the second plane is the palette
            line_bytes = abs(plane.line_size)
            lines = content[: line_bytes * plane.height].reshape(plane.height, line_bytes)
            content = lines[:, : _line_bytes(frame, number)]
        digest.update(content.tobytes())
    return digest.digest()


def _line_bytes(frame: Any, number: int) -> int:
    """Return the bytes of a line of a plane without padding."""
    if len(frame.planes) == 1 or frame.format.name == "pal8":
        return math.ceil(frame.width * frame.format.padded_bits_per_pixel / 8)
    parts = (part for part in frame.format.components if part.plane == number)
    return sum(math.ceil(part.bits / 8) * part.width for part in parts)
