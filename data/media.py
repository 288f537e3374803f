"""Reading media files: what they hold, their frames and their sound.

With data/mux.py, which writes them, the only file that touches PyAV, decord and soundfile. Every time is counted from
the start of the file as a player shows it, that is from where the first of its streams starts.
"""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from av.container import InputContainer
from av.stream import Disposition
from torch import Tensor

from data.clip import count_at_rate
from data.errors import InputError

try:
    import decord
except (ImportError, OSError):  # there is no decord for some platforms
    decord = None

_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
_EXACT_SEEK = {_MP4, "matroska,webm", "wav"}  # others (raw MP3, MPEG-TS) guess, and are read from their start
_NO_MEDIA = {"tty", "image2"}  # FFmpeg takes any text for an animation
_SEEK_LEAD_S = 1.0  # decoders of sound need a run-up, and frames are stored out of order
_LARGEST_JITTER_S = 0.02  # a smaller step in the time stamps of a sound is rounding, a larger one a gap


@dataclass(frozen=True)
class MediaInfo:
    """What a media file holds.

    Args:
        path: The file.
        duration_s: Seconds until its picture ends, or its sound where it has no picture.
        width: Width of the picture in pixels as it is shown, 0 without picture.
        height: Height of the picture in pixels as it is shown, 0 without picture.
        frame_rate_hz: Frames a second on average as the header states it, 0 without picture.
        rotation_deg: Turn to the left by which the stored picture is shown: 0, 90, 180 or 270.
        has_video: Whether it holds a moving picture; cover art is none.
        has_sound: Whether it holds a sound.
        sample_rate_hz: Samples a second of its sound.
        n_channels: Channels of its sound.
    """

    path: Path
    duration_s: float
    width: int
    height: int
    frame_rate_hz: float
    rotation_deg: int
    has_video: bool
    has_sound: bool
    sample_rate_hz: int | None
    n_channels: int | None


def probe(path: Path) -> MediaInfo:
    """Looks into a media file.

    Args:
        path: A video or sound file.

    Returns:
        What the file holds.

    Raises:
        InputError: The file is missing, damaged or cut off, or holds neither picture nor sound.
    """
    with opened(path) as container:
        video, sound = _video_stream(container), _sound_stream(container)
        if video is None and sound is None:
            raise InputError(f"{path} holds neither picture nor sound that can be decoded: give a video or a sound")
        turns = _quarter_turns(path) if video else 0
        size = (video.width, video.height) if video else (0, 0)
        return MediaInfo(
            path=path,
            duration_s=_end_s(container, video or sound) - origin_s(container),
            width=size[turns % 2],
            height=size[1 - turns % 2],
            frame_rate_hz=float(video.average_rate or video.guessed_rate or 0) if video else 0.0,
            rotation_deg=90 * turns,
            has_video=video is not None,
            has_sound=sound is not None,
            sample_rate_hz=sound.rate if sound else None,
            n_channels=sound.layout.nb_channels if sound else None,
        )


def read_frames(
    path: Path,
    *,
    frame_rate_hz: float,
    size_px: int | None = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Tensor:
    """Reads the frames of a video on an even grid of times, whatever the rate at which it was recorded.

    Frame i is the stored frame whose time is nearest to start_s + i / frame_rate_hz, turned as a player shows it.

    Args:
        path: A video file.
        frame_rate_hz: Frames a second of the result, above 0.
        size_px: Width and height T get by smooth scaling (the aspect is not kept); None keeps them as shown.
        start_s: Time of the first frame in seconds, at least 0.
        duration_s: Seconds to read, above 0; None reads to the end. Past the end the last frame is repeated.

    Returns:
        Frames (T, 3, H, W), uint8, RGB, with T = duration_s * frame_rate_hz, rounded.

    Raises:
        InputError: The file is no readable video, or the times lie outside it.
    """
    _check_start(path, start_s)
    if duration_s is None:
        duration_s = probe(path).duration_s - start_s
        if duration_s <= 0:
            raise InputError(f"{path} ends before {start_s} s: start earlier")
    times_s = start_s + np.arange(count_at_rate(duration_s, frame_rate_hz)) / frame_rate_hz
    turns = _quarter_turns(path)
    frames: list[Tensor] = []
    for images in (_images_by_pyav,) if turns else (_images_by_decord, _images_by_pyav):
        for image, n_times in images(path, times_s[len(frames) :]):
            frames += [_as_frame(np.rot90(image, turns), size_px)] * n_times
    return torch.stack(frames)


def _as_frame(image: np.ndarray, size_px: int | None) -> Tensor:
    """From (H, W, 3) to (3, H, W) at the size asked for."""
    frame = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    if size_px is None:
        return frame
    return F.interpolate(frame[None], size=(size_px, size_px), mode="bilinear", antialias=True)[0]


def _images_by_decord(path: Path, times_s: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Each image (H, W, 3) that is nearest to any of the rising times, and to how many; none where decord is wrong.

    It is right for pictures in MP4 that are shown as they are stored (the caller sees to that), that have one key frame
    (it miscounts when it seeks to others), and whose frames it counts and times as the container does (it invents
    frames of clips that were cut by stream copy).
    """
    with opened(path) as container:
        stream = need_video(path, container)
        if decord is None or container.format.name != _MP4:
            return
        packets = [packet for packet in container.demux(stream) if packet.pts is not None and not packet.is_discard]
        shown_s = np.sort([float(packet.pts * packet.time_base) for packet in packets]) - origin_s(container)
    if sum(packet.is_keyframe for packet in packets) != 1:
        return
    nearest = np.searchsorted((shown_s[1:] + shown_s[:-1]) / 2, times_s)
    with suppress(decord.DECORDError, RuntimeError):
        reader = decord.VideoReader(str(path))
        read_s = reader.get_frame_timestamp(range(len(reader)))[:, 0]
        if len(read_s) == len(shown_s) and np.allclose(read_s, shown_s, rtol=0, atol=1e-3):
            for index, n_times in zip(*np.unique(nearest, return_counts=True), strict=True):
                yield reader[int(index)].asnumpy(), int(n_times)


def _images_by_pyav(path: Path, times_s: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """The same for any video; none where there are no times."""
    if len(times_s) == 0:
        return
    with opened(path) as container:
        times_s = times_s + origin_s(container)
        stream = need_video(path, container)
        stream.thread_type = "AUTO"
        n_done, shown = 0, None
        for following in _decoded(container, stream, times_s[0]):
            if shown is not None:
                n_nearer = int(np.searchsorted(times_s, (shown.time + following.time) / 2, side="right"))
                if n_nearer > n_done:
                    yield shown.to_ndarray(format="rgb24"), n_nearer - n_done
                if n_nearer == len(times_s):
                    return
                n_done = n_nearer
            shown = following
        if shown is None:
            raise InputError(f"{path}: no frame of its picture can be decoded: give an undamaged video")
        yield shown.to_ndarray(format="rgb24"), len(times_s) - n_done


def read_sound(
    path: Path, *, sample_rate_hz: int, n_channels: int = 2, start_s: float = 0.0, duration_s: float | None = None
) -> Tensor:
    """Reads the sound of a sound or video file at a given rate and number of channels.

    A sound that starts late or has gaps is silent there, so that it stays in time with the picture.

    Args:
        path: A sound or video file.
        sample_rate_hz: Samples a second of the result.
        n_channels: Channels of the result, 1 (more are mixed down) or 2 (one is doubled).
        start_s: Time of the first sample in seconds, at least 0.
        duration_s: Seconds to read, above 0; None reads to the end. Past the end there is silence.

    Returns:
        Sound (C, N), float32, full scale ±1, with N = duration_s * sample_rate_hz, rounded.

    Raises:
        InputError: The file holds no readable sound, the times are not possible, or a sample is not a finite number.
    """
    _check_start(path, start_s)
    if n_channels not in (1, 2):
        raise InputError(f"{n_channels} channels are not possible: give 1 or 2")
    n_samples = None if duration_s is None else count_at_rate(duration_s, sample_rate_hz)
    pieces = list(_pieces(path, sample_rate_hz, n_channels, start_s, n_samples))
    if n_samples is None:
        n_samples = max((position + piece.shape[1] for position, piece in pieces), default=0)
    if n_samples <= 0:
        raise InputError(f"{path} holds no sound after {start_s} s: start earlier, or give another file")
    wave = torch.zeros(n_channels, n_samples)
    for position, piece in pieces:
        first, end = max(position, 0), min(position + piece.shape[1], n_samples)
        if first < end:
            wave[:, first:end] = torch.from_numpy(piece[:, first - position : end - position])
    if not wave.isfinite().all():
        raise InputError(f"{path} holds samples that are not finite numbers: export the sound again")
    return wave


def _pieces(
    path: Path, sample_rate_hz: int, n_channels: int, start_s: float, n_samples: int | None
) -> Iterator[tuple[int, np.ndarray]]:
    """Resampled pieces (1 or C, n) of a sound, each with the sample of the window at which it starts."""
    with opened(path) as container:
        stream = _sound_stream(container)
        if stream is None:
            raise InputError(f"{path} holds no sound: give a file with sound")
        # Mono is doubled by the caller, since the resampler would lower its level; it mixes down without clipping.
        layout = "mono" if 1 in (n_channels, stream.layout.nb_channels) else "stereo"
        options = {"rematrix_maxval": "1.0"}
        resampler: Any = av.AudioResampler(format="fltp", layout=layout, rate=sample_rate_hz, options=options)
        start_s += origin_s(container)
        expected: int | None = None
        for frame in itertools.chain(_decoded(container, stream, start_s), [None]):
            for piece in resampler.resample(frame):
                position = round((piece.time - start_s) * sample_rate_hz)
                if expected is not None and abs(position - expected) <= _LARGEST_JITTER_S * sample_rate_hz:
                    position = expected
                expected = position + piece.samples
                if n_samples is not None and position >= n_samples:
                    return
                if expected > 0:
                    yield position, piece.to_ndarray()


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """An open media file; what FFmpeg finds wrong with it, at once or later, becomes an `InputError`."""
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {problem}: give the path of a video or sound file")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if container.format.name in _NO_MEDIA or container.format.name.endswith("_pipe"):
                raise InputError(f"{path} is a text or a picture, not a video or a sound: give another file")
            if container.format.name == _MP4:
                last = [entry for stream in container.streams for entry in stream.index_entries[-1:]]
                if any(entry.pos + entry.size > path.stat().st_size for entry in last):
                    raise InputError(f"{path} is cut off before its end: copy or download it again")
            yield container
    except av.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{path} cannot be read ({reason}): give an undamaged video or sound file") from error


def _video_stream(container: InputContainer) -> Any:
    """The moving picture, None without one; a cover of a sound is none."""
    streams = (stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic)
    return next((stream for stream in streams if stream.codec_context), None)


def need_video(path: Path, container: InputContainer) -> Any:
    """The moving picture."""
    stream = _video_stream(container)
    if stream is None:
        raise InputError(f"{path} holds no moving picture: give a video")
    return stream


def _sound_stream(container: InputContainer) -> Any:
    """The first sound, None without one."""
    return next((stream for stream in container.streams.audio if stream.codec_context), None)


def _check_start(path: Path, start_s: float) -> None:
    """Refuses a start that is no time of a file."""
    if not 0 <= start_s < math.inf:
        raise InputError(f"{path} cannot be read from {start_s} s: give a finite time from 0")


def _quarter_turns(path: Path) -> int:
    """How often the stored picture is turned left by 90 degrees to be shown, 0 to 3."""
    with opened(path) as container:
        first = next(container.decode(need_video(path, container)), None)
        return round(first.rotation / 90) % 4 if first else 0


def origin_s(container: InputContainer) -> float:
    """Time stamp at which a player starts to show the file; times before it are a run-up of the sound decoder."""
    return max(0, container.start_time or 0) / av.time_base


def _end_s(container: InputContainer, stream: Any) -> float:
    """Time stamp at which a stream ends: from its header, else from its packets."""
    if stream.duration is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    packets = (packet for packet in container.demux(stream) if packet.pts is not None)
    return max((float((packet.pts + (packet.duration or 0)) * stream.time_base) for packet in packets), default=0.0)


def _decoded(container: InputContainer, stream: Any, time_s: float) -> Iterator[Any]:
    """Frames of a stream in order of time, from one before a time stamp, or from the first where seeking is inexact."""
    lead_s = time_s - _SEEK_LEAD_S
    if lead_s > 0 and container.format.name in _EXACT_SEEK:
        container.seek(int(lead_s / stream.time_base), stream=stream)
    for frame in container.decode(stream):
        if frame.time is None:
            raise InputError(f"{container.name} holds frames without times: convert it to MP4")
        yield frame
