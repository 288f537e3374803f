"""Reading media files: frames and sound, at once or in windows.

Every time is counted from the start of the file as a player shows it, that is from the start of its earliest stream.
Shared parts are in media/container.py (an open file and its decoders), media/frames.py, media/sound.py and
media/frames_by_decord.py; media/writing.py writes such files. No other file uses PyAV, decord or soundfile.

Frames are read by PyAV or by decord, see `Reader`; sound is always read by PyAV.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

import av
import torch
from av.container import InputContainer
from torch import Tensor

from common.errors import InputError
from media.clip import count_at_rate
from media.container import (
    MP4,
    Packets,
    check_start,
    decoded,
    need_sound,
    need_video,
    opened,
    origin_s,
    sound_stream,
    stated_end_s,
)
from media.frames import FrameLine, FrameWindow, Size, as_fraction
from media.frames_by_decord import images_by_decord, need_decord
from media.interlacing import deinterlaced
from media.probe import probe
from media.sound import SoundLine, SoundWindow

__all__ = [
    "FrameRequest",
    "FrameWindow",
    "SoundWindow",
    "iter_frames",
    "iter_media",
    "iter_requests",
    "iter_sound",
    "need_video",
    "opened",
    "origin_s",
    "read_frames",
    "read_sound",
]

WINDOW_FRAMES = 64
Reader = Literal["auto", "pyav", "decord"]
"""Names of frame readers. `auto` is the faster of those that give the same frames: PyAV for every video measured so
far, see `media.frames_by_decord`."""
READERS: tuple[Reader, ...] = get_args(Reader)


def check_reader(reader: str, option: str) -> Reader:
    """Return a frame reader's name if the reader exists and is installed.

    Args:
        reader: One of `READERS`.
        option: Option or key, for the error.

    Raises:
        InputError: There is no such reader, or its package is not installed.
    """
    if reader not in READERS:
        raise InputError(f"{option} {reader!r} is not a frame reader: give one of {', '.join(READERS)}")
    if reader == "decord":
        need_decord(f"{option} decord")
    return reader


def read_frames(
    path: Path,
    *,
    frame_rate_hz: float,
    size_px: Size = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
    reader: Reader = "auto",
) -> Tensor:
    """Read the frames of a video on an even grid of times, at any frame rate of the recording.

    Frame i is the stored frame whose time is nearest to start_s + i / frame_rate_hz (the earlier one in a tie), as a
    player shows it: with square pixels, mirrored and rotated as the file says, and deinterlaced.

    Args:
        path: A video file.
        frame_rate_hz: Frames per second of the result, above 0.
        size_px: Width and height to which frames are scaled smoothly, or one number for both (the aspect is not kept);
            None keeps the size as shown, which `probe` returns.
        start_s: Time of the first frame in seconds, at least 0.
        duration_s: Seconds to read, above 0; None reads to the end. Past the end the last frame is repeated.
        reader: Decoder of the frames. Both readers give the same bits at the stored size; at another size colours
            differ slightly, since decord's frames are scaled after their conversion to RGB.

    Returns:
        Frames (T, 3, H, W), uint8, RGB, with T = duration_s * frame_rate_hz, rounded.

    Raises:
        InputError: The file is not a readable video, it is damaged, the times are outside it, or the reader cannot read
            it.
    """
    windows = iter_frames(
        path, frame_rate_hz=frame_rate_hz, size_px=size_px, start_s=start_s, duration_s=duration_s, reader=reader
    )
    return torch.cat([window.frames for window in windows])


@dataclass(frozen=True)
class FrameRequest:
    """A selection of frames of a video, see `read_frames`.

    Args:
        frame_rate_hz: Frames per second, above 0.
        size_px: Width and height, one number for both, or None for the size as shown.
        start_s: Time of the first frame in seconds, at least 0.
        duration_s: Seconds to read, above 0; None reads to the end.
        window_frames: Frames in a window, at least 1; the last window may have fewer.
    """

    frame_rate_hz: float
    size_px: Size = None
    start_s: float = 0.0
    duration_s: float | None = None
    window_frames: int = WINDOW_FRAMES


def iter_requests(path: Path, requests: Sequence[FrameRequest]) -> Iterator[tuple[int, FrameWindow]]:
    """Yield several grids of frames of a video, such as two rates and sizes, from a single decoding of its picture.

    Args:
        path: A video file.
        requests: At least one request.

    Yields:
        Number of the request, and a window of its frames; the windows of a request come in order.

    Raises:
        InputError: As in `read_frames`, while iterating.
    """
    with opened(path) as container:
        stream = need_video(path, container)
        packets = Packets(container, stream)
        pictures = [
            FrameLine(
                path,
                packets,
                wanted.frame_rate_hz,
                wanted.size_px,
                wanted.start_s,
                wanted.duration_s,
                wanted.window_frames,
            )
            for wanted in requests
        ]
        for frame in deinterlaced(decoded(packets, min(picture.start_s for picture in pictures)), stream):
            open_ones = [(i, picture) for i, picture in enumerate(pictures) if not picture.grid.is_full]
            if not open_ones:
                break
            for i, picture in open_ones:
                yield from ((i, window) for window in picture.add(frame))
        for i, picture in enumerate(pictures):
            yield from ((i, window) for window in picture.finish())


def iter_frames(
    path: Path,
    *,
    frame_rate_hz: float,
    size_px: Size = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
    window_frames: int = WINDOW_FRAMES,
    reader: Reader = "auto",
) -> Iterator[FrameWindow]:
    """Yield the frames of `read_frames` in windows, so that a long video needs no more memory than a short one.

    Args:
        path: See `read_frames`; this holds for all but `window_frames`.
        frame_rate_hz: Frames per second.
        size_px: Width and height.
        start_s: Time of the first frame in seconds.
        duration_s: Seconds to read.
        window_frames: Frames in a window, at least 1; the last window may have fewer.
        reader: Decoder of the frames.

    Raises:
        InputError: As in `read_frames`, while iterating.
    """
    if check_reader(reader, "reader") != "decord":
        request = FrameRequest(frame_rate_hz, size_px, start_s, duration_s, window_frames)
        yield from (window for _, window in iter_requests(path, [request]))
        return
    with opened(path) as container:
        packets = Packets(container, need_video(path, container))
        picture = FrameLine(path, packets, frame_rate_hz, size_px, start_s, duration_s, window_frames)
        for image in images_by_decord(path, packets, picture.view, picture.start_s):
            if picture.grid.is_full:
                break
            yield from picture.grid.add(image)
        yield from picture.finish()


def iter_media(
    path: Path,
    *,
    frame_rate_hz: float,
    size_px: Size,
    sample_rate_hz: int,
    n_channels: int = 2,
    window_frames: int = WINDOW_FRAMES,
    thread_count: int = 1,
    reader: Reader = "auto",
) -> Iterator[FrameWindow | SoundWindow]:
    """Yield the frames and the sound of a video from its start, in windows, with one pass over the file.

    The frames are those of `read_frames` without `duration_s`, and the sound is that of `read_sound`: frames cover
    `probe(path).duration_s`; the sound runs from the start of the file to its own end, with silence where it starts
    late or has gaps. Windows of each kind come in order; the two kinds are interleaved as they become ready.

    Args:
        path: A video file.
        frame_rate_hz: Frames per second, above 0.
        size_px: Width and height of the frames, one number for both, or None for the size as shown.
        sample_rate_hz: Samples per second of the sound, above 0.
        n_channels: Channels of the sound, 1 or 2.
        window_frames: Frames in a window, at least 1; a window of sound lasts about a second.
        thread_count: Threads that decode a frame together, if it is stored in slices; 0 for one per core. One thread is
            best if every core has its own process, since no thread waits for another.
        reader: Decoder of the frames, see `read_frames`; with decord there is a second pass for the sound.

    Yields:
        Windows of frames, and windows of sound if the file has any.

    Raises:
        InputError: While iterating, the file is not a readable video, is damaged, or the reader cannot read it.
    """
    _check_sound(sample_rate_hz, n_channels)
    if reader == "decord":
        frames = iter_frames(
            path, frame_rate_hz=frame_rate_hz, size_px=size_px, window_frames=window_frames, reader=reader
        )
        sound = iter_sound(path, sample_rate_hz=sample_rate_hz, n_channels=n_channels) if probe(path).has_sound else ()
        rates_hz = {FrameWindow: frame_rate_hz, SoundWindow: float(sample_rate_hz)}
        windows: list[Iterable[Any]] = [frames, sound]
        yield from heapq.merge(*windows, key=lambda window: window.first / rates_hz[type(window)])
        return
    with opened(path) as container:
        streams = [stream for stream in (need_video(path, container), sound_stream(container)) if stream is not None]
        packets = Packets(container, *streams)
        picture = FrameLine(path, packets, frame_rate_hz, size_px, 0.0, None, window_frames)
        line = _line(container, streams[-1], sample_rate_hz, n_channels, origin_s(container), None)
        for frame in deinterlaced(decoded(packets, thread_count=thread_count), streams[0]):
            yield from picture.add(frame) if isinstance(frame, av.VideoFrame) else line.add(frame)
        yield from picture.finish()
        yield from line.finish()


def read_sound(
    path: Path,
    *,
    sample_rate_hz: int,
    n_channels: int = 2,
    start_s: float = 0.0,
    duration_s: float | None = None,
    track: int = 1,
    fills: bool = True,
) -> Tensor:
    """Read the sound of a sound or video file at a given rate and number of channels.

    Silence fills the start of a sound that starts late and gaps in it, so that it stays in time with the picture.

    Args:
        path: A sound or video file.
        sample_rate_hz: Samples per second of the result, above 0.
        n_channels: Channels of the result, 1 (more are mixed down) or 2 (one is doubled).
        start_s: Time of the first sample in seconds, at least 0.
        duration_s: Seconds to read, above 0; None reads to the end.
        track: Number of the sound track, from 1; tracks without a decoder do not count.
        fills: Whether silence follows past the end, up to `duration_s`.

    Returns:
        Sound (C, N), float32, full scale ±1, with N = duration_s * sample_rate_hz, rounded; shorter if the sound ends
        before and `fills` is off.

    Raises:
        InputError: The file holds no readable sound or no such track, it is damaged, the times are not possible, or a
            sample is not a finite number.
    """
    windows = iter_sound(
        path,
        sample_rate_hz=sample_rate_hz,
        n_channels=n_channels,
        start_s=start_s,
        duration_s=duration_s,
        track=track,
        fills=fills,
    )
    waves = [window.wave for window in windows]
    if not waves:
        raise InputError(f"{path} holds no sound after {start_s} s: start earlier, or give another file")
    return torch.cat(waves, dim=1)


def iter_sound(
    path: Path,
    *,
    sample_rate_hz: int,
    n_channels: int = 2,
    start_s: float = 0.0,
    duration_s: float | None = None,
    track: int = 1,
    fills: bool = True,
) -> Iterator[SoundWindow]:
    """Yield the sound of `read_sound` in windows, so that a long sound needs no more memory than a short one.

    Args:
        path: See `read_sound`; this holds for all arguments.
        sample_rate_hz: Samples per second.
        n_channels: Channels.
        start_s: Time of the first sample.
        duration_s: Seconds to read.
        track: Number of the sound track.
        fills: Whether silence follows past the end.

    Raises:
        InputError: As in `read_sound`, while iterating; but a sound without samples has no windows.
    """
    check_start(path, start_s)
    _check_sound(sample_rate_hz, n_channels)
    n_samples = None if duration_s is None else count_at_rate(duration_s, sample_rate_hz)
    with opened(path) as container:
        stream = need_sound(container, track)
        first_s = origin_s(container) + as_fraction(start_s)
        line = _line(container, stream, sample_rate_hz, n_channels, first_s, n_samples)
        for frame in decoded(Packets(container, stream), first_s):
            yield from line.add(frame)
            if line.is_full:
                break
        yield from line.finish(fills=fills)


def _line(
    container: InputContainer,
    stream: Any,
    sample_rate_hz: int,
    n_channels: int,
    start_s: Fraction,
    n_samples: int | None,
) -> SoundLine:
    """Return the object that joins the decoded pieces of a sound."""
    # MP4 states where the sound ends within the last packet, but FFmpeg decodes all of that packet
    end_s = stated_end_s(stream) if container.format.name == MP4 else None
    return SoundLine(container.name, sample_rate_hz, n_channels, start_s, n_samples, end_s)


def _check_sound(sample_rate_hz: int, n_channels: int) -> None:
    """Refuse an impossible number of channels or sample rate."""
    if n_channels not in (1, 2):
        raise InputError(f"{n_channels} channels are not possible: give 1 or 2")
    if sample_rate_hz < 1:
        raise InputError(f"{sample_rate_hz} samples per second are not possible: give at least 1")
