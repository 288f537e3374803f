"""Conversion of decoded pictures to frames as a player shows them, at even times and of one size."""

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import Interpolation, VideoReformatter
from torch import Tensor

from common.errors import InputError
from media.clip import count_at_rate
from media.container import Packets, check_start, no_frame, origin_s, stated_end_s

Size = int | tuple[int, int] | None
TimedImage = tuple[Fraction, Callable[[], Tensor]]

_LARGEST_DENOMINATOR = 10**6  # recovers 30,000 / 1,001 from its floating-point approximation


@dataclass(frozen=True, eq=False)
class FrameWindow:
    """Some consecutive frames of a video.

    Args:
        first: Number of the first frame; the windows of a video follow each other without gaps.
        frames: Frames (n, 3, H, W), uint8, RGB.
        lateness_s: Grid time minus time stamp of the frame used there (n,), seconds, float64; negative if the frame was
            taken later.
    """

    first: int
    frames: Tensor
    lateness_s: Tensor


def as_fraction(value: float) -> Fraction:
    """Return the fraction that a rate or time in floating point stands for."""
    return Fraction(value).limit_denominator(_LARGEST_DENOMINATOR)


class FrameGrid:
    """Selects the frames nearest to even times from frames in order of time.

    Args:
        start_s: First of the times, as a time stamp.
        frame_rate_hz: Times per second, above 0.
        window_frames: Frames in a window, at least 1.
        n_frames: Number of times; None if the end is not known yet.
    """

    def __init__(self, start_s: Fraction, frame_rate_hz: float, window_frames: int, n_frames: int | None) -> None:
        self._start_s, self._rate_hz = start_s, as_fraction(frame_rate_hz)
        self._window_frames = window_frames
        self._n_frames = sys.maxsize if n_frames is None else n_frames
        self._n_done = 0
        self._shown: TimedImage | None = None
        self._ready: Tensor | None = None
        self._n_ready = 0
        self._lateness_s: list[float] = []

    @property
    def is_full(self) -> bool:
        """True if all times have their frames."""
        return self._n_done >= self._n_frames

    @property
    def is_empty(self) -> bool:
        """True if no frame was added."""
        return self._shown is None

    def add(self, frame: TimedImage) -> Iterator[FrameWindow]:
        """Add the next frame, given by its time stamp and its decoding function, and yield the completed windows."""
        if self._shown is not None:
            middle_s = (self._shown[0] + frame[0]) / 2  # a tie goes to the earlier frame
            yield from self._repeat(math.floor((middle_s - self._start_s) * self._rate_hz) + 1)
        self._shown = frame

    def finish(self, n_frames: int) -> Iterator[FrameWindow]:
        """Yield the remaining windows after the last frame, which is used for all remaining times."""
        self._n_frames = n_frames
        if self._n_done > n_frames:  # the last time is past the end
            self._n_done, self._n_ready = self._n_done - 1, self._n_ready - 1
            self._lateness_s.pop()
        yield from self._repeat(n_frames)
        if self._n_ready:
            yield self._window()

    def _repeat(self, n_done: int) -> Iterator[FrameWindow]:
        """Use the current frame for times until `n_done` times are done."""
        n_done = min(n_done, self._n_frames)
        if self._shown is None or n_done <= self._n_done:
            return
        image = self._shown[1]()
        while self._n_done < n_done:
            if self._n_ready == self._window_frames:  # only with another frame: `finish` may drop the last
                yield self._window()
            if self._ready is None:
                n_most = min(self._window_frames, self._n_frames - self._n_done)
                self._ready = image.new_empty((n_most, *image.shape))
            self._ready[self._n_ready] = image
            self._lateness_s.append(float(self._start_s + self._n_done / self._rate_hz - self._shown[0]))
            self._n_ready += 1
            self._n_done += 1

    def _window(self) -> FrameWindow:
        assert self._ready is not None
        frames = self._ready if len(self._ready) == self._n_ready else self._ready[: self._n_ready].clone()
        lateness_s = torch.tensor(self._lateness_s, dtype=torch.float64)
        window = FrameWindow(self._n_done - self._n_ready, frames, lateness_s)
        self._ready, self._n_ready, self._lateness_s = None, 0, []
        return window


def shown_px(stream: Any, quarter_turns: int) -> tuple[int, int]:
    """Return width and height of a picture after rotation, in square pixels."""
    width = max(1, round(stream.width * (stream.sample_aspect_ratio or 1)))
    return (stream.height, width) if quarter_turns % 2 else (width, stream.height)


def orientation(picture: Any) -> tuple[bool, int]:
    """Return whether a picture is shown mirrored left to right, and by how many quarter turns to the left after that.

    Reading the side data keeps the picture in memory until Python collects cycles: do it once per file.

    Source: FFmpeg's libavutil/display.h: the matrix maps rows (x, y, 1) of the stored picture to those shown.
    """
    matrix = picture.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, 0
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].astype(float)
    is_mirrored = bool(a * d < b * c)
    if is_mirrored:
        a, b = -a, -b
    return is_mirrored, round(-math.degrees(math.atan2(b, a)) / 90) % 4


class View:
    """Converts decoded pictures to what a player shows: square pixels, mirrored and rotated as the file says, in RGB.

    Args:
        stream: The picture.
        size_px: Width and height of the result, or one number for both (the aspect is not kept); None: as shown.
    """

    def __init__(self, stream: Any, size_px: Size) -> None:
        self._stream = stream
        self._size_px = (size_px, size_px) if isinstance(size_px, int) else size_px
        self._orientation: tuple[bool, int] | None = None  # of the first picture
        self._reformatter = VideoReformatter()

    def timed(self, picture: Any) -> TimedImage:
        """Return the time stamp of a decoded picture, and a function that converts it."""
        return picture.pts * picture.time_base, partial(self.show, picture)

    def show(self, picture: Any) -> Tensor:
        """Convert a decoded picture, or its stored pixels (H, W, 3) in RGB, to a frame (3, H, W), uint8."""
        if isinstance(picture, np.ndarray):
            picture = av.VideoFrame.from_ndarray(picture, format="rgb24")
        self._orientation = self._orientation or orientation(picture)
        is_mirrored, quarter_turns = self._orientation
        self._size_px = self._size_px or shown_px(self._stream, quarter_turns)
        width, height = self._size_px[::-1] if quarter_turns % 2 else self._size_px
        how = Interpolation.BILINEAR  # with antialiasing when it shrinks
        if (width, height) != (picture.width, picture.height):
            how |= Interpolation.ACCURATE_RND | Interpolation.BITEXACT  # the same on every processor
        rgb = self._reformatter.reformat(picture, width, height, "rgb24", interpolation=how, threads=1)
        stored = rgb.to_ndarray()
        shown = np.rot90(stored[:, ::-1] if is_mirrored else stored, quarter_turns)
        return torch.from_numpy(np.ascontiguousarray(shown)).permute(2, 0, 1)


class FrameLine:
    """Makes windows of frames at even times from the picture of an open file.

    Args:
        path: The file, for messages.
        packets: Its packets, with the picture as the first stream.
        frame_rate_hz: Frames per second, above 0; for this and the following see `media.reading.iter_frames`.
        size_px: Width and height.
        start_s: Time of the first frame in seconds from the start of the file.
        duration_s: Duration of the frames in seconds.
        window_frames: Frames in a window.

    Raises:
        InputError: Such frames are not possible.
    """

    def __init__(
        self,
        path: Path,
        packets: Packets,
        frame_rate_hz: float,
        size_px: Size,
        start_s: float,
        duration_s: float | None,
        window_frames: int,
    ) -> None:
        _check_frames(path, start_s, frame_rate_hz, size_px, window_frames)
        self._path, self._packets = path, packets
        self._stream = packets.streams[0]
        self._origin_s = origin_s(packets.container)
        self._frame_rate_hz, self._start_s, self._duration_s = frame_rate_hz, start_s, duration_s
        self.start_s = self._origin_s + as_fraction(start_s)
        end_s = stated_end_s(self._stream)
        n_frames = None if duration_s is None and end_s is None else self._n_frames(end_s)
        self.grid = FrameGrid(self.start_s, frame_rate_hz, window_frames, n_frames)
        self.view = View(self._stream, size_px)

    def add(self, picture: Any) -> Iterator[FrameWindow]:
        """Add the next decoded picture and yield the completed windows."""
        return self.grid.add(self.view.timed(picture))

    def finish(self) -> Iterator[FrameWindow]:
        """Yield the remaining windows after everything needed is decoded."""
        if self.grid.is_empty:
            raise no_frame(self._path)
        return self.grid.finish(self._n_frames(stated_end_s(self._stream)))

    def _n_frames(self, stated_end_s: Fraction | None) -> int:
        """Count all frames, up to the end that the header states, or else up to the end of the packets read so far."""
        if self._duration_s is not None:
            return count_at_rate(self._duration_s, self._frame_rate_hz)
        end_s = self._packets.end_s(self._stream) if stated_end_s is None else stated_end_s
        rest_s = float(end_s - self._origin_s) - self._start_s
        if rest_s <= 0 < self._start_s:
            raise InputError(f"{self._path} ends before {self._start_s} s: start earlier")
        return count_at_rate(rest_s, self._frame_rate_hz) if rest_s > 0 else 1


def _check_frames(path: Path, start_s: float, frame_rate_hz: float, size_px: Size, window_frames: int) -> None:
    """Refuse impossible frame rates, sizes, starts and windows."""
    check_start(path, start_s)
    count_at_rate(1.0, frame_rate_hz)
    if size_px is not None and min((size_px,) if isinstance(size_px, int) else size_px) < 1:
        raise InputError(f"frames of {size_px} pixels are not possible: give a width and a height of at least 1")
    if window_frames < 1:
        raise InputError(f"windows of {window_frames} frames are not possible: give at least 1")
