"""An open media file: its streams, its start and end, its packets and frames, and checks for damage.

Every time is a fraction of seconds, so that two files with the same frames give the same results. Errors that FFmpeg
reports, at once or while reading, become an `InputError`; so does damage that FFmpeg ignores.
"""

import heapq
import math
import re
import statistics
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition

from common.errors import InputError
from common.files import check_no_address

MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
MATROSKA = "matroska,webm"
_LEAVES_OUT_DAMAGE = {MATROSKA, "mpegts"}  # FFmpeg skips damage in these; only a gap in all streams shows it
_EXACT_SEEK = {MP4, MATROSKA, "wav", "w64", "aiff", "flac"}  # others (raw MP3, MPEG-TS) are read from the start
_NO_MEDIA = {"tty", "image2"}  # FFmpeg reads any text as an animation
_PLAYLISTS = {"hls", "concat", "dash", "imf"}  # they name other files, anywhere
_SEEK_LEAD_S = 1  # sound decoders need some time before the first sample, and frames are stored out of order
_ONE_FRAME_A_PACKET = {"h264", "hevc", "vp9", "av1"}  # other codecs have packets that repeat the last frame
_MOST_FRAMES_LOST = 2  # in a row; the second field of an interlaced frame may be a packet without its own frame
_LONGEST_HOLE_S = 0.25
_TAGGED = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)$")
_NO_TIMES = {
    "mpeg",
    "flv",
}  # durations of MPEG program streams are guesses; those of Flash may leave out the last frame
_MOST_REORDERED = 17  # frames: a picture of H.264 waits for at most 16 others


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading; errors that FFmpeg reports, at once or later, become an `InputError`."""
    if not path.is_file():
        check_no_address(path)
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {problem}: give the path of a video or sound file")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty: copy or download it again, or give another file")
    # FFmpeg reads text before a colon as a protocol, but not in an absolute path
    name = str(path.absolute() if ":" in str(path) else path)
    try:
        with av.open(name, metadata_errors="replace") as container:
            if container.format.name in _NO_MEDIA or container.format.name.endswith("_pipe"):
                raise InputError(f"{path} is a text or a picture, not a video or a sound: give another file")
            if container.format.name in _PLAYLISTS:
                raise InputError(f"{path} is a playlist: give the video or sound that it names")
            if _stated_size(path, container) > path.stat().st_size:
                raise InputError(f"{path} is cut off before its end: copy or download it again")
            yield container
    except av.FFmpegError as error:
        raise _unreadable(path, error) from error


def told_while_reading(path: Path, items: Iterable[Any]) -> Iterator[Any]:
    """Yield what is read of a file; errors of FFmpeg while reading, not those of the caller, become an `InputError`."""
    try:
        yield from items
    except av.FFmpegError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: av.FFmpegError) -> InputError:
    reason = error.strerror or type(error).__name__
    return InputError(f"{path} cannot be read ({reason}): give an undamaged video or sound file")


def _stated_size(path: Path, container: InputContainer) -> int:
    """Return the smallest size in bytes that the file must have by its header; 0 if the header does not tell."""
    if container.format.name == MP4:
        last = [entry for stream in container.streams for entry in stream.index_entries[-1:]]
        return max((entry.pos + entry.size for entry in last), default=0)
    return _stated_matroska_size(path) if container.format.name == MATROSKA else 0


def _stated_matroska_size(path: Path) -> int:
    """Return the end of the element that holds everything; 0 if its size is unknown, as in live recordings.

    Source: RFC 8794 (EBML), sections 4 to 6: an element consists of its id, its size and its content. The number of
    zero bits before the first one bit of an id or size gives its length; a size of ones only is unknown.
    """
    with path.open("rb") as file:
        while (first := file.read(1)) and first[0]:
            element_id = first + file.read(8 - first[0].bit_length())
            first = file.read(1)
            if not first or not first[0]:
                return 0
            length = 9 - first[0].bit_length()
            size = int.from_bytes(first + file.read(length - 1), "big") - (1 << 7 * length)
            if size == (1 << 7 * length) - 1:
                return 0
            if element_id == b"\x18\x53\x80\x67":  # Segment
                return file.tell() + size
            file.seek(size, 1)
    return 0


def video_stream(container: InputContainer) -> Any:
    """Return the moving picture, or None; cover art of a sound does not count."""
    streams = (stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic)
    return next((stream for stream in streams if stream.codec_context), None)


def need_video(path: Path, container: InputContainer) -> Any:
    """Return the moving picture; raise an `InputError` if there is none, or no decoder for it."""
    stream = video_stream(container)
    if stream is None:
        raise InputError(f"{path} holds no moving picture that can be decoded: give a video, H.264 in MP4 for instance")
    return stream


def sound_stream(container: InputContainer) -> Any:
    """Return the first sound, or None."""
    return next((stream for stream in container.streams.audio if stream.codec_context), None)


def need_sound(container: InputContainer, track: int = 1) -> Any:
    """Return a sound track; raise an `InputError` if the file holds no sound that can be decoded, or not as many.

    Args:
        container: An open file.
        track: Number of the track, from 1; tracks without a decoder do not count.
    """
    streams = [stream for stream in container.streams.audio if stream.codec_context]
    if not streams:
        raise InputError(f"{container.name} holds no sound: give a file with sound")
    if not 1 <= track <= len(streams):
        tracks = "1 sound track" if len(streams) == 1 else f"{len(streams)} sound tracks"
        most = "track=1" if len(streams) == 1 else f"track=1 to track={len(streams)}"
        raise InputError(f"{container.name} has {tracks}, and track {track} was asked for: give {most}")
    return streams[track - 1]


def origin_s(container: InputContainer) -> Fraction:
    """Return the time stamp at which a player starts to show the file; the sound decoder may need earlier packets."""
    start_s = Fraction(container.start_time or 0, av.time_base)  # rounded to microseconds
    exact_s = [_seconds(stream, stream.start_time) for stream in container.streams if stream.start_time is not None]
    nearest_s = min(exact_s, key=lambda time_s: abs(time_s - start_s), default=start_s)
    return max(Fraction(0), nearest_s if abs(nearest_s - start_s) <= Fraction(1, av.time_base) else start_s)


def _seconds(stream: Any, ticks: int) -> Fraction:
    return ticks * stream.time_base


def stated_end_s(stream: Any) -> Fraction | None:
    """Return the time stamp at which a stream ends by its header; None if only reading all packets can tell.

    MP4 states the sum of the durations in order of decoding. A clip cut by stream copy may lack the frames before its
    last one, which is then shown after the stated end: it gets the duration of the other frames.
    """
    if stream.duration is None or stream.container.format.name in _NO_TIMES:
        return None
    end = (stream.start_time or 0) + stream.duration
    if stream.type == "video" and stream.container.format.name == MP4:
        end = max(end, _end_of_last_frame(stream, end))
    return _seconds(stream, end)


def _end_of_last_frame(stream: Any, stated_end: int) -> int:
    """Return the end of the last frame of a picture in MP4 if it is shown after the stated end, else that end."""
    entries = stream.index_entries[-_MOST_REORDERED:]
    if not entries:
        return stated_end
    with av.open(stream.container.name, metadata_errors="replace") as again:
        same = again.streams[stream.index]
        again.seek(entries[0].timestamp, stream=same)
        tail = [packet for packet in again.demux(same) if packet.size and packet.pts is not None]
    last = max((packet.pts for packet in tail if not packet.is_discard), default=stated_end - 1)
    if last < stated_end:
        return stated_end
    return last + max(1, round(statistics.median(packet.duration or 1 for packet in tail)))


def _lasts_s(packet: Any) -> Fraction:
    """Return the duration of a packet; that of a picture without one is taken from the average frame rate."""
    if packet.duration or packet.stream.type != "video" or not packet.stream.average_rate:
        return (packet.duration or 0) * packet.time_base
    return 1 / packet.stream.average_rate


def _tagged_duration_s(stream: Any) -> Fraction | None:
    """Return the duration that a tag of Matroska states; packets do not state how long the last uneven frame lasts."""
    match = _TAGGED.match(stream.metadata.get("DURATION", ""))
    return match and 3600 * int(match[1]) + 60 * int(match[2]) + Fraction(match[3])


class Packets:
    """The packets of some streams in the order of the file, read once: iterating again continues where it stopped.

    Args:
        container: An open file.
        streams: Some of its streams.

    Raises:
        InputError: While iterating, the file ends early or a part of it is missing.
    """

    def __init__(self, container: InputContainer, *streams: Any) -> None:
        self.container = container
        self.streams = streams
        self._ends_s: dict[int, Fraction] = {}
        self._starts_s: dict[int, Fraction] = {}  # of the last packet in order of time
        self._read = self._packets()

    def end_s(self, stream: Any) -> Fraction:
        """Return the time stamp at which the last packet of a stream ends, among those read so far."""
        end_s = self._ends_s.get(stream.index, Fraction(0))
        tagged_s = _tagged_duration_s(stream) if self.container.format.name == MATROSKA else None
        if tagged_s is None or stream.start_time or tagged_s <= self._starts_s.get(stream.index, end_s):
            return end_s
        return tagged_s

    def __iter__(self) -> Iterator[Any]:
        return self._read

    def _packets(self) -> Iterator[Any]:
        wanted = {stream.index for stream in self.streams}
        watched = self.container.format.name in _LEAVES_OUT_DAMAGE
        n_bytes = 0
        for packet in self.container.demux() if watched else self.container.demux(*self.streams):
            if packet.pts is not None:
                if watched and n_bytes and packet.pos:
                    self._check_hole(packet.pos - n_bytes, packet.pts * packet.time_base)
                end_s = packet.pts * packet.time_base + _lasts_s(packet)
                self._ends_s[packet.stream_index] = max(end_s, self._ends_s.get(packet.stream_index, end_s))
                start_s = packet.pts * packet.time_base
                self._starts_s[packet.stream_index] = max(start_s, self._starts_s.get(packet.stream_index, start_s))
                n_bytes = max(n_bytes, (packet.pos or 0) + packet.size)
            if packet.stream_index in wanted:
                yield packet
        if watched and n_bytes:
            self._check_hole(self.container.size - n_bytes, Fraction(self.container.duration or 0, av.time_base))

    def _check_hole(self, n_bytes: int, time_s: Fraction) -> None:
        """Refuse a jump in time that skips about as many bytes as its duration would take."""
        end_s = max(self._ends_s.values())
        hole_s = float(time_s - end_s)
        duration_s = max(self.container.duration or 0, int(time_s * av.time_base)) / av.time_base
        if hole_s > _LONGEST_HOLE_S and n_bytes / self.container.size > 0.25 * hole_s / duration_s:
            raise _damage(self.container, end_s)


def end_of(packets: Packets) -> Fraction:
    """Return the time stamp at which the only stream ends: by its header, or by reading all its packets."""
    (stream,) = packets.streams
    stated = stated_end_s(stream)
    if stated is not None:
        return stated
    for _ in packets:
        pass
    return packets.end_s(stream)


def end_in_file_s(container: InputContainer, stream: Any) -> float:
    """Return the end of a stream in the time of the file: by its header, the header of the file, or else its packets.

    The header of a Matroska file states the end of the whole file only, which may be later.
    """
    end_s = stated_end_s(stream)
    if end_s is None and container.duration is not None:
        return container.duration / av.time_base
    return float((end_of(Packets(container, stream)) if end_s is None else end_s) - origin_s(container))


def decoded(packets: Packets, start_s: Fraction = Fraction(0), thread_count: int = 0) -> Iterator[Any]:
    """Yield frames of picture and sound, each kind in order of time.

    Args:
        packets: Packets of one picture, one sound, or both, not yet read.
        start_s: Time stamp of the first frame needed; some earlier frames come too, and all of them if seeking is
            inexact.
        thread_count: Threads that decode a frame together, if it is stored in slices; 0 uses one thread per core.

    Raises:
        InputError: While iterating, the file is damaged: a packet cannot be decoded, or its frame is marked as damaged
            or never comes. Damage that a decoder does not notice is not reported.
    """
    container = packets.container
    for stream in packets.streams:
        stream.codec_context.thread_count = thread_count
        # slices: threads that decode whole frames may fail to mark a damaged one
        stream.codec_context.thread_type = "SLICE"
    lead_s = start_s - _SEEK_LEAD_S
    if lead_s > 0 and container.format.name in _EXACT_SEEK:
        container.seek(int(lead_s / packets.streams[0].time_base), stream=packets.streams[0])
    decoders = {stream.index: _Decoder(container, stream) for stream in packets.streams}
    for packet in packets:
        yield from decoders[packet.stream_index].decode(packet)


class _Decoder:
    """The decoder of one stream, and the balance of packets and frames."""

    def __init__(self, container: InputContainer, stream: Any) -> None:
        self._container = container
        self._counts = stream.codec_context.codec.canonical_name in _ONE_FRAME_A_PACKET
        self._is_picture = stream.type == "video"
        self._key_pts: int | None = None  # of the first key frame; frames before it lack their references
        self._awaited: list[int] = []  # time stamps of packets whose frames are still to come

    def decode(self, packet: Any) -> Iterator[Any]:
        """Yield the frames that are ready after a packet; the last packet is empty and yields the rest."""
        is_last = packet.pts is None and not packet.size
        if self._key_pts is None and (packet.is_keyframe or not self._is_picture):
            self._key_pts = packet.pts or 0
        if self._key_pts is None:
            return
        if self._counts and packet.pts is not None and not packet.is_discard:
            heapq.heappush(self._awaited, packet.pts)
        for frame in packet.decode():
            if frame.pts is None:
                raise InputError(f"{self._container.name} holds frames without times: convert it to MP4")
            if not frame.is_corrupt:
                self._check_lost(frame.pts, frame.time_base)
                yield frame
            elif frame.pts >= self._key_pts:
                raise _damage(self._container, frame.pts * frame.time_base)
        if is_last:
            self._check_lost(None, packet.time_base)

    def _check_lost(self, pts: int | None, time_base: Fraction) -> None:
        """Refuse a run of packets, before a time stamp or the end, that gave no frame."""
        lost: list[int] = []
        while self._awaited and (pts is None or self._awaited[0] <= pts):
            awaited = heapq.heappop(self._awaited)
            if awaited != pts and awaited >= (self._key_pts or 0):
                lost.append(awaited)
        if len(lost) > _MOST_FRAMES_LOST:
            raise _damage(self._container, lost[0] * time_base)


def _damage(container: InputContainer, time_s: Fraction) -> InputError:
    return InputError(
        f"{container.name} is damaged {max(0.0, float(time_s - origin_s(container))):.2f} s from its start: "
        "copy it again, or cut the part out"
    )


def no_frame(path: Path) -> InputError:
    """Return the error for a picture without any frame that can be decoded."""
    return InputError(f"{path}: no frame of its picture can be decoded: give an undamaged video")


def check_start(path: Path, start_s: float) -> None:
    """Refuse a start that is not a possible time in a file."""
    if not 0 <= start_s < math.inf:
        raise InputError(f"{path} cannot be read from {start_s} s: give a finite time from 0")
