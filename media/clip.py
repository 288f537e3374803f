"""Durations of clips in seconds, samples and frames: the one place that derives lengths from durations."""

import math
from dataclasses import dataclass

from common.errors import InputError, check_range

MOST_CLIP_BYTES = 4 * 2**30
_ROUNDING_S = 1e-3  # by which a part may be longer than what is there


def count_at_rate(duration_s: float, rate_hz: float) -> int:
    """Return the number of samples or frames in a duration, rounded to the nearest whole number, and at least one.

    Raises:
        InputError: The duration or the rate is not a finite number above 0.
    """
    for name, value in (("duration", duration_s), ("rate", rate_hz)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} {value} is not possible: give a finite number above 0")
    return max(1, round(duration_s * rate_hz))


def part_duration_s(source: object, whole_s: float, start_s: float, duration_s: float | None) -> float:
    """Return the duration in seconds, above 0, of the part of a recording that `--start` and `--duration` select.

    Args:
        source: The recording, named in errors.
        whole_s: Duration of the recording.
        start_s: Start of the part.
        duration_s: Duration of the part; None: to the end.

    Raises:
        InputError: The part is outside the recording.
    """
    if not 0 <= start_s < whole_s:
        raise InputError(f"--start {start_s} lies outside {source}; give 0 or more seconds, less than {whole_s:.2f}.")
    rest_s = whole_s - start_s
    asked_s = rest_s if duration_s is None else duration_s
    if not 0 < asked_s <= rest_s + _ROUNDING_S:
        most_s = math.floor((rest_s + _ROUNDING_S) * 100) / 100
        raise InputError(
            f"--duration {duration_s} does not fit {source}; give at most {most_s:.2f} s and more than 0, or leave it "
            "out for all of the rest."
        )
    return asked_s


def check_memory(n_samples: int, n_frames: int, width_px: int, height_px: int) -> None:
    """Refuse a clip that takes more than 4 GiB: its sound as float32 and its frames as 8-bit RGB.

    Raises:
        InputError: The clip takes more; the error gives the amount.
    """
    n_bytes = 4 * n_samples + 3 * n_frames * width_px * height_px
    if n_bytes > MOST_CLIP_BYTES:
        raise InputError(
            f"a clip with {n_samples:,} samples and {n_frames:,} frames of {width_px}x{height_px} pixels takes "
            f"{n_bytes / 2**30:,.1f} GiB, expected at most {MOST_CLIP_BYTES / 2**30:.0f} GiB: lower its duration, "
            "frame rate or frame size"
        )


@dataclass(frozen=True)
class ClipSpec:
    """Form of the clips a model works on.

    Args:
        duration_s: Duration in seconds, 0.001 to 3600.
        sample_rate_hz: Samples per second of the sound, a whole number from 1 to 192,000.
        n_channels: Channels of the sound, 1 or 2.
        frame_rate_hz: Video frames per second, 0.001 to 1000.
        frame_size_px: Width and height of a frame in pixels, whole numbers from 1 to 8192, or one number for both.

    Raises:
        InputError: A value is outside its range, or a clip would take too much memory, see `check_memory`.
    """

    duration_s: float = 10.0
    sample_rate_hz: int = 44_100
    n_channels: int = 2
    frame_rate_hz: float = 4.0
    frame_size_px: int | tuple[int, int] = 224

    def __post_init__(self) -> None:
        if isinstance(self.frame_size_px, list):  # from a configuration
            object.__setattr__(self, "frame_size_px", tuple(self.frame_size_px))
        sizes_px = self.frame_size_px if isinstance(self.frame_size_px, tuple) else 2 * (self.frame_size_px,)
        if len(sizes_px) != 2:
            raise InputError(f"clip.frame_size_px is {sizes_px}: give width and height, or one number for both")
        check_range("clip.duration_s", self.duration_s, 0.001, 3600)
        check_range("clip.sample_rate_hz", self.sample_rate_hz, 1, 192_000, whole=True)
        check_range("clip.n_channels", self.n_channels, 1, 2, whole=True)
        check_range("clip.frame_rate_hz", self.frame_rate_hz, 0.001, 1000)
        for size_px in sizes_px:
            check_range("clip.frame_size_px", size_px, 1, 8192, whole=True)
        check_memory(self.n_channels * self.n_samples, self.n_frames, *self.frame_width_height)

    @property
    def n_samples(self) -> int:
        """Number of samples in a channel."""
        return count_at_rate(self.duration_s, self.sample_rate_hz)

    @property
    def n_frames(self) -> int:
        """Number of video frames."""
        return count_at_rate(self.duration_s, self.frame_rate_hz)

    @property
    def frame_width_height(self) -> tuple[int, int]:
        """Width and height of a frame in pixels."""
        size_px = self.frame_size_px
        return size_px if isinstance(size_px, tuple) else (size_px, size_px)
