"""The other tracks of a video on their way to an output: copied, encoded anew, or attached as files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from av.container import InputContainer, OutputContainer
from av.stream import Disposition

from media.container import Packets, origin_s
from media.output import aac_rates_hz, aac_stream

COVERS = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}
"""Codecs of cover pictures, with the names and kinds of the files that Matroska keeps them in."""
_TEXT_OF = {".mp4": "mov_text", ".mov": "mov_text", ".mkv": "subrip"}
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}  # that AAC has by itself
_ABOUT_THE_FILE = {"DURATION", "encoder", "ENCODER", "vendor_id", "handler_name"}
How = Literal["copy", "aac", "text", "cover", "attachment"]


@dataclass(frozen=True)
class Track:
    """A track of a video that the output keeps.

    Args:
        index: Its number in the video.
        how: `copy`; `aac` and `text` for a new encoding; `cover` and `attachment` for files inside the file.
    """

    index: int
    how: How


def codec_of(stream: Any) -> str:
    """Return the name of a track's codec, or of an attached file."""
    if stream.type == "attachment":
        return stream.name or "without a name"
    return stream.codec_context.codec.canonical_name if stream.codec_context else stream.name or "unknown"


def filled(container: InputContainer, stream: Any) -> Iterator[Any]:
    """Return the packets of a stream that hold anything."""
    return (packet for packet in container.demux(stream) if packet.size)


class TrackWriter:
    """Adds the kept tracks of a video to an output, and yields their packets.

    Args:
        source: The open video, which is read by this object alone.
        target: The output, before its first packet, with the picture and the new sounds.
        suffix: Suffix of the output.
        tracks: The tracks to keep.
    """

    def __init__(self, source: InputContainer, target: OutputContainer, suffix: str, tracks: Sequence[Track]) -> None:
        self._source = source
        self._written: dict[int, tuple[Track, Any]] = {}
        for track in tracks:
            stream = source.streams[track.index]
            if track.how == "attachment":
                attached: Any = stream
                target.add_attachment(stream.name or "attachment", attached.mimetype or "", attached.data)
            elif track.how == "cover" and suffix == ".mkv":
                cover = next(filled(source, stream), None)
                if cover is not None:
                    target.add_attachment(*COVERS[codec_of(stream)], bytes(cover))
            else:
                self._written[track.index] = track, _new_stream(stream, target, track.how, suffix)

    def packets(self) -> Iterator[Any]:
        """Yield the packets of all tracks, with times from the start of the file, in about the order of time."""
        streams = [self._source.streams[index] for index in self._written]
        if not streams:
            return
        makers = {
            index: _MAKERS.get(track.how, _Copied)(self._source, self._source.streams[index], written)
            for index, (track, written) in self._written.items()
        }
        for packet in Packets(self._source, *streams):
            yield from makers[packet.stream_index].add(packet)


def _new_stream(stream: Any, target: OutputContainer, how: str, suffix: str) -> Any:
    """Add a stream for a track to an output, and return it."""
    written: Any
    if how == "aac":
        rates_hz = aac_rates_hz()
        nearest_hz = min(rates_hz, key=lambda rate_hz: abs(rate_hz - stream.rate))
        n_channels = stream.layout.nb_channels
        written = aac_stream(target, nearest_hz, _LAYOUTS.get(n_channels, "stereo"))
    elif how == "text":
        stream.codec_context.open(strict=False)  # makes the header with the styles
        written = target.add_stream(_TEXT_OF[suffix])
        written.codec_context.subtitle_header = stream.codec_context.subtitle_header
        written.codec_context.time_base = written.time_base = stream.time_base
    else:
        return copied_stream(stream, target)
    _describe(stream, written)
    return written


def copied_stream(stream: Any, target: OutputContainer) -> Any:
    """Add a stream for the packets of a track to an output, and return it."""
    written = target.add_stream_from_template(stream)
    _describe(stream, written)
    return written


def _describe(stream: Any, written: Any) -> None:
    """Copy language, title and purpose; only the first sound is played by default."""
    written.metadata.update({key: text for key, text in stream.metadata.items() if key not in _ABOUT_THE_FILE})
    if "name" in stream.metadata:  # what MP4 makes of a title
        written.metadata.setdefault("title", stream.metadata["name"])
    is_default = stream.disposition & Disposition.default and stream.type != "audio"
    written.disposition = (stream.disposition & ~Disposition.default) | (Disposition.default if is_default else 0)


def copied_packets(source: InputContainer, stream: Any, written: Any) -> Iterator[Any]:
    """Yield the packets of a track as packets of a stream of the output."""
    copied = _Copied(source, stream, written)
    for packet in Packets(source, stream):
        yield from copied.add(packet)


class _Copied:
    """Makes packets of a stream of the output from those of a track."""

    def __init__(self, source: InputContainer, stream: Any, written: Any) -> None:
        self._origin = round(origin_s(source) / stream.time_base)
        self._stream, self._written = stream, written

    def add(self, packet: Any) -> Iterator[Any]:
        """Yield the packets for a packet."""
        if not packet.size:
            return
        if packet.pts is None and packet.dts is None:  # a cover
            packet.pts = packet.dts = self._origin
        self._time(packet, packet)
        packet.stream = self._written
        yield packet

    def _time(self, packet: Any, given: Any) -> None:
        packet.time_base = given.time_base
        pts, dts = given.pts, given.dts
        packet.pts = (dts if pts is None else pts) - self._origin
        packet.dts = packet.pts if dts is None else dts - self._origin


class _Text(_Copied):
    """Converts a text subtitle."""

    def add(self, packet: Any) -> Iterator[Any]:
        """Yield the converted text of a packet."""
        if not packet.size or packet.pts is None:
            return
        content = self._stream.codec_context.decode2(packet)
        if content is None or not len(content):
            return
        text = self._written.codec_context.encode_subtitle(content)
        self._time(text, packet)
        text.duration, text.stream, text.is_keyframe = packet.duration, self._written, True
        yield text


class _Aac(_Copied):
    """Encodes a sound anew."""

    def add(self, packet: Any) -> Iterator[Any]:
        """Yield the packets that the encoder has ready after a packet; the last packet is empty and yields the rest."""
        is_last = packet.pts is None and not packet.size
        for frame in packet.decode():
            if frame.pts is None:
                continue
            frame.pts -= round(self._origin * self._stream.time_base / frame.time_base)
            yield from self._written.encode(frame)
        if is_last:
            yield from self._written.encode(None)


_MAKERS: dict[str, type[_Copied]] = {"text": _Text, "aac": _Aac}
