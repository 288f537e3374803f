"""Frames of a video by decord, the alternative to PyAV as a frame reader.

Ratio of PyAV's time to decord's, checks included (``python -m benchmarks.readers``, seed 0, median of 7 pairs, one
thread per decoder, two shared x86-64 cores, PyAV 18.1, decord 0.6). Where decord gives the same frames, it is slower,
so the reader `auto` is PyAV for every video:

    video                  every frame, stored size   10 s at 4 frames a second, 224x224
    320x240, 4 s           0.65, the same bits        0.57, 1.2 of 255 apart
    the same, one key      0.64, the same bits        0.63, 1.2 of 255 apart
    320x240, 300 s                                    0.17, 1.3 of 255 apart
    1920x1080, 4 s         0.74, the same bits        0.62, 2.3 of 255 apart
    variable rate          0.67, the same bits        0.40, 1.3 of 255 apart
    Matroska               0.77, the same bits        0.55, 1.3 of 255 apart
    HEVC (open groups of pictures), cut by stream copy, AV1: refused
"""

import itertools
from bisect import bisect
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import InputError
from media.container import MATROSKA, MP4, Packets, decoded, no_frame, opened, video_stream
from media.frames import TimedImage, View, orientation

_FORMATS = (MP4, MATROSKA)
_TIMES_AGREE_S = 1e-3


def need_decord(option: str) -> Any:
    """Return the decord package.

    Args:
        option: Option that needs it, for the error.

    Raises:
        InputError: It is not installed; it exists for x86-64 only.
    """
    try:
        import decord
    except (ImportError, OSError) as error:
        raise InputError(f"{option} needs the package decord, which cannot be imported ({error}): use pyav") from error
    return decord


def images_by_decord(path: Path, packets: Packets, view: View, start_s: Fraction) -> Iterator[TimedImage]:
    """Yield the frames of a video from a time on: the time stamp of each, and a function that decodes it.

    decord is right about videos in MP4 and Matroska that need no rotation and whose key frames do not depend on earlier
    frames. It invents frames for clips cut by stream copy, miscounts when it seeks in videos with open groups of
    pictures, and does not rotate pictures. Such videos are refused after a pass over all packets. decord does not
    report damage within frames, which PyAV does.

    Args:
        path: The video.
        packets: Its packets, not yet read.
        view: Converts frames to their size.
        start_s: Time stamp of the first frame needed; the frame before it comes too.

    Raises:
        InputError: decord cannot read the video, or would give other frames.
    """
    decord = need_decord("reader decord")
    stamps = _stamps(path, packets)
    _check_orientation(path)
    with_reason = partial(_with_reason, path, decord.DECORDError)
    reader = with_reason(lambda: decord.VideoReader(str(path), num_threads=1))
    read_s = with_reason(lambda: reader.get_frame_timestamp(range(len(reader)))[:, 0])
    times_s = [stamp * packets.streams[0].time_base for stamp in stamps]
    expected_s = np.array([float(time_s - times_s[0]) for time_s in times_s])
    if len(read_s) != len(times_s) or not np.allclose(read_s, expected_s, rtol=0, atol=_TIMES_AGREE_S):
        raise _refused(path, "it counts or times the frames differently")
    for index in range(max(0, bisect(times_s, start_s) - 1), len(times_s)):
        yield times_s[index], partial(with_reason, lambda i=index: view.show(reader[i].asnumpy()))


def _with_reason(path: Path, expected: type[Exception], work: Callable[[], Any]) -> Any:
    """Return the result of `work`; an error of decord becomes an `InputError`."""
    try:
        return work()
    except expected as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise _refused(path, lines[0].rpartition("Check failed: ")[-1].rpartition("ERROR ")[-1]) from error


def _refused(path: Path, reason: str) -> InputError:
    return InputError(f"{path} cannot be read by decord ({reason}): read it with the reader pyav or auto")


def _stamps(path: Path, packets: Packets) -> list[int]:
    """Return the sorted time stamps of all frames, from the packets alone."""
    if packets.container.format.name not in _FORMATS:
        raise _refused(path, "it is neither MP4 nor Matroska")
    if packets.streams[0].codec_context.codec.canonical_name == "av1":
        raise _refused(path, "it has no decoder for AV1")
    pictures = [packet for packet in packets if packet.size and packet.pts is not None]
    if any(packet.is_discard for packet in pictures):
        raise _refused(path, "it was cut by stream copy and hides frames")
    keys = itertools.accumulate((packet.pts if packet.is_keyframe else 0 for packet in pictures), max)
    if any(packet.pts < key for packet, key in zip(pictures, keys, strict=True)):
        raise _refused(path, "its key frames depend on earlier frames: open groups of pictures")
    if not pictures:
        raise no_frame(path)
    return sorted(packet.pts for packet in pictures)


def _check_orientation(path: Path) -> None:
    """Refuse a picture that has to be rotated, mirrored or deinterlaced, according to its first frame."""
    with opened(path) as container:
        first = next(decoded(Packets(container, video_stream(container)), thread_count=1), None)
        if first is not None and orientation(first) != (False, 0):
            raise _refused(path, "it has to be rotated or mirrored")
        if first is not None and first.interlaced_frame:
            raise _refused(path, "it is interlaced")
