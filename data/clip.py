"""How long a clip is in seconds, samples and frames: the one place where lengths are derived from durations."""

import math
from dataclasses import dataclass

from data.errors import InputError


def count_at_rate(duration_s: float, rate_hz: float) -> int:
    """Number of samples or frames in a duration, rounded to the nearest whole number, and at least one.

    Args:
        duration_s: Duration in seconds, above 0.
        rate_hz: Samples or frames a second, above 0.

    Returns:
        The number of samples or frames.

    Raises:
        InputError: A value is not a finite number above 0.
    """
    for name, value in (("duration", duration_s), ("rate", rate_hz)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} {value} is not possible: give a finite number above 0")
    return max(1, round(duration_s * rate_hz))


def part_duration_s(source: object, whole_s: float, start_s: float, duration_s: float | None) -> float:
    """How long a part of a recording is, as asked for by `--start` and `--duration`.

    Args:
        source: The recording, named in errors.
        whole_s: How long it is.
        start_s: Start of the part.
        duration_s: How long the part is to be; None: to the end.

    Returns:
        Seconds, above 0.

    Raises:
        InputError: The part lies outside the recording.
    """
    if not 0 <= start_s < whole_s:
        raise InputError(f"--start {start_s} lies outside {source}; give 0 to {whole_s:.2f} seconds.")
    rest_s = whole_s - start_s
    asked_s = rest_s if duration_s is None else duration_s
    if not 0 < asked_s <= rest_s + 1e-3:
        raise InputError(f"--duration {duration_s} does not fit {source}; give at most {rest_s:.2f} s, above 0.")
    return asked_s


LARGEST = {"duration_s": 3600, "sample_rate_hz": 768_000, "frame_rate_hz": 1000, "frame_size_px": 8192}
"""What a clip may have at most: beyond any recording, and within what a computer can hold."""


@dataclass(frozen=True)
class ClipSpec:
    """Form of the clips a model works on.

    Args:
        duration_s: Duration in seconds, above 0, at most 3600.
        sample_rate_hz: Samples a second of the sound, a whole number above 0, at most 768 000.
        n_channels: Channels of the sound, 1 or 2.
        frame_rate_hz: Video frames a second, above 0, at most 1000.
        frame_size_px: Width and height of a frame in pixels, whole numbers above 0, at most 8192, or one for both.

    Raises:
        InputError: A value lies outside what is stated above.
    """

    duration_s: float = 10.0
    sample_rate_hz: int = 44_100
    n_channels: int = 2
    frame_rate_hz: float = 4.0
    frame_size_px: int | tuple[int, int] = 224

    def __post_init__(self) -> None:
        if isinstance(self.frame_size_px, list):  # as configurations have it
            object.__setattr__(self, "frame_size_px", tuple(self.frame_size_px))
        sizes_px = self.frame_size_px if isinstance(self.frame_size_px, tuple) else 2 * (self.frame_size_px,)
        if len(sizes_px) != 2:
            raise InputError(f"clip.frame_size_px is {sizes_px}, expected width and height, or one number for both")
        values = [(name, getattr(self, name)) for name in ("duration_s", "sample_rate_hz", "frame_rate_hz")]
        values += [("frame_size_px", size_px) for size_px in sizes_px]
        for name, value in values:
            if not 0 < value <= LARGEST[name]:
                raise InputError(
                    f"clip.{name} is {value}, expected a number above 0, at most {LARGEST[name]}: change the "
                    "configuration"
                )
            if name in ("sample_rate_hz", "frame_size_px") and not isinstance(value, int):
                raise InputError(f"clip.{name} is {value}, expected a whole number: change the configuration")
        if self.n_channels not in (1, 2):
            raise InputError(f"clip.n_channels is {self.n_channels}, expected 1 (mono) or 2 (stereo): choose one")

    @property
    def n_samples(self) -> int:
        """Samples a channel."""
        return count_at_rate(self.duration_s, self.sample_rate_hz)

    @property
    def n_frames(self) -> int:
        """Video frames."""
        return count_at_rate(self.duration_s, self.frame_rate_hz)

    @property
    def frame_width_height(self) -> tuple[int, int]:
        """Width and height of a frame in pixels."""
        size_px = self.frame_size_px
        return size_px if isinstance(size_px, tuple) else (size_px, size_px)
