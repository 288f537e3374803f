"""Form of a synthetic clip, and the share of its movements that make no sound."""

from dataclasses import dataclass

from common.errors import check_range
from media.clip import check_memory, count_at_rate

SAMPLE_RATE_HZ = 44_100
FRAME_RATES_HZ = (6.0, 120.0)
LARGEST_OFFSET_S = 0.2
LONGEST_S = 600.0


@dataclass(frozen=True)
class SyntheticSpec:
    """Form of synthetic clips; their sound is stereo at 44.1 kHz.

    Args:
        duration_s: Duration in seconds, 1 to 600.
        frame_rate_hz: Frames per second, 6 to 120.
        width: Width of the picture in pixels, 32 to 4096.
        height: Height of the picture in pixels, 32 to 4096.
        lure_share: Share of movements that look like strikes but make no sound, 0 to 0.9; series of more than three
            movements a second contain none.
        max_offset_s: Largest offset between sound and picture in either direction, 0 to 0.2 s.

    Raises:
        InputError: A value is outside its range, or a clip would take too much memory, see
            `media.clip.check_memory`.
    """

    duration_s: float = 10.0
    frame_rate_hz: float = 30.0
    width: int = 320
    height: int = 180
    lure_share: float = 0.3
    max_offset_s: float = 0.04

    def __post_init__(self) -> None:
        check_range("duration_s", self.duration_s, 1, LONGEST_S)
        check_range("frame_rate_hz", self.frame_rate_hz, *FRAME_RATES_HZ)
        check_range("width", self.width, 32, 4096, whole=True)
        check_range("height", self.height, 32, 4096, whole=True)
        check_range("lure_share", self.lure_share, 0, 0.9)
        check_range("max_offset_s", self.max_offset_s, 0, LARGEST_OFFSET_S)
        check_memory(2 * self.n_samples, self.n_frames, self.width, self.height)

    @property
    def n_samples(self) -> int:
        """Number of samples in a channel."""
        return count_at_rate(self.duration_s, SAMPLE_RATE_HZ)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return count_at_rate(self.duration_s, self.frame_rate_hz)
