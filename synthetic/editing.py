"""Joins of an edited film: hard cuts, dissolves, wipes, and fades from and to black, of picture and sound alike."""

from dataclasses import dataclass

import cv2
import numpy as np

from synthetic.scene import log_uniform, pick

KINDS = {"cut": 5.0, "dissolve": 2.0, "wipe": 1.0, "fade in": 1.0, "fade out": 1.0}
AUDIBLE_SHARE = 0.2  # of a shot in the sound, above which its strikes count
_CLEAR_BEFORE_S, _CLEAR_AFTER_S = 0.06, 0.03  # between a strike and a hard cut


@dataclass(frozen=True)
class Join:
    """The change from a first shot to a second one; for a fade one of them is black and silent.

    Args:
        kind: One of `KINDS`.
        start_s: Time at which it starts.
        length_s: Time that it takes; 0 for a cut.
        angle_rad: Direction in which a wipe runs.
    """

    kind: str
    start_s: float
    length_s: float
    angle_rad: float = 0.0

    @property
    def is_fade(self) -> bool:
        """Whether there is only one shot."""
        return self.kind.startswith("fade")

    def share_at(self, times_s: np.ndarray) -> np.ndarray:
        """Return the share of the second shot (...), 0 to 1, at times (...)."""
        if self.length_s == 0:
            return (times_s >= self.start_s).astype(float)
        return np.clip((times_s - self.start_s) / self.length_s, 0, 1)

    def pictures(self, first: np.ndarray, second: np.ndarray, times_s: np.ndarray) -> np.ndarray:
        """Return the joined frames (F, 3, H, W), uint8, of two shots at times (F,)."""
        joined = np.empty_like(first)
        for frame, before, after, share in zip(joined, first, second, self.share_at(times_s).tolist(), strict=True):
            if share in (0.0, 1.0):
                frame[...] = after if share else before
            elif self.kind == "wipe":
                frame[...] = np.where(self._is_wiped(share, *frame.shape[1:]), after, before)
            else:
                cv2.addWeighted(before, 1 - share, after, share, 0, frame)
        return joined

    def sounds(self, first: np.ndarray, second: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        """Return the joined sound (..., N) of two shots."""
        share = self.share_at(np.arange(first.shape[-1]) / sample_rate_hz).astype(np.float32)
        return first * (1 - share) + second * share

    def onsets_s(self, first_s: np.ndarray, second_s: np.ndarray) -> np.ndarray:
        """Return the times (K,), rising, of those onsets of both shots that can be heard."""
        heard = first_s[1 - self.share_at(first_s) > AUDIBLE_SHARE], second_s[self.share_at(second_s) > AUDIBLE_SHARE]
        return np.sort(np.concatenate(heard))

    def _is_wiped(self, share: float, height_px: int, width_px: int) -> np.ndarray:
        """Return where (H, W) the second shot is seen."""
        y, x = np.mgrid[:height_px, :width_px]
        along = np.cos(self.angle_rad) * (x / width_px - 0.5) + np.sin(self.angle_rad) * (y / height_px - 0.5)
        return along < (share - 0.5) * 2 * np.abs(along).max()


def draw_join(rng: np.random.Generator, duration_s: float, first_s: np.ndarray, second_s: np.ndarray) -> Join:
    """Draw a join within a clip of that duration; onsets of the shots keep clear of a hard cut where possible."""
    kind = pick(rng, KINDS)
    if kind == "fade in":
        return Join(kind, float(rng.choice([0.0, rng.uniform(-0.3, 0.5)])), log_uniform(rng, (0.2, 1.5)))
    if kind == "fade out":
        length_s = log_uniform(rng, (0.2, 1.5))
        return Join(kind, duration_s - length_s - float(rng.choice([0.0, rng.uniform(-0.3, 0.5)])), length_s)
    start_s = rng.uniform(0.1, 0.9) * duration_s
    if kind != "cut":
        angle_rad = float(rng.choice(4)) * np.pi / 2 + (rng.uniform(-0.7, 0.7) if rng.random() < 0.3 else 0.0)
        return Join(kind, start_s, log_uniform(rng, (0.2, 1.0)), angle_rad)
    for _ in range(10):
        before_s, after_s = start_s - first_s, second_s - start_s
        near = ((before_s >= 0) & (before_s < _CLEAR_BEFORE_S)).any()
        if not near and not ((after_s >= 0) & (after_s < _CLEAR_AFTER_S)).any():
            break
        start_s = rng.uniform(0.1, 0.9) * duration_s
    return Join(kind, start_s, 0.0)
