"""Owns prediction for videos of any length: overlapping windows keep the memory constant."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from media.envelope import FINE_RATE_HZ
from media.frames import FrameWindow
from video2rms.features.base import FRAME_RATE_HZ
from video2rms.levels import Levels
from video2rms.model import Video2Rms

WINDOW_FRAMES = 600  # 20 s; frames and slots of 8 ms coincide every 6 frames
MARGIN_FRAMES = 450  # 15 s of context on each side
BLOCK_PX = 8
LEAST_CHANGE = 4.0
"""Change of a block's mean brightness, of 255, that noise and compression do not reach."""
MOTION_LAG_FRAMES = 3
NEAR_MOTION_S = 0.25
"""Longest time between a sound and the movement that caused it."""


def count_slots(n_frames: int) -> int:
    """Return the number of 8 ms slots for at least one frame at 30 per second: 25 for every 6, halves rounded up."""
    return (25 * n_frames + 3) // 6


def predict_levels(
    model: Video2Rms[Any], windows: Iterable[FrameWindow], *, seed: int | None = None, is_begun: bool = False
) -> Iterator[Levels]:
    """Predict levels window by window.

    Windows of 20 s are predicted with 15 s of context on each side; frames further away have almost no influence.

    Args:
        model: The network, in eval mode.
        windows: Frames at 30 per second from the start on, `WINDOW_FRAMES` (a multiple of 6) in each but the last.
        seed: Draws the levels of hits; None: the most likely ones.
        is_begun: Whether the first of these windows is predicted already, and is only the context of the next.

    Yields:
        Levels of consecutive windows, without gaps; together `count_slots` of all frames that are not predicted yet.
    """
    before: FrameWindow | None = None
    current: FrameWindow | None = None
    for following in windows:
        if current is not None and not is_begun:
            yield _predict(model, before, current, following, seed)
        is_begun = is_begun and current is None
        before, current = current, following
    if current is not None and not is_begun:
        yield _predict(model, before, current, None, seed)


@torch.inference_mode()
def _predict(
    model: Video2Rms[Any], before: FrameWindow | None, window: FrameWindow, after: FrameWindow | None, seed: int | None
) -> Levels:
    """Predict the levels of a window, with the context that exists around it."""
    seen = [(before, slice(-MARGIN_FRAMES, None)), (window, slice(None)), (after, slice(MARGIN_FRAMES))]
    parts = [(w.frames[part], w.lateness_s[part]) for w, part in seen if w is not None]
    frames, lateness_s = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    device = next(model.parameters()).device
    n_slots = count_slots(len(frames))
    prediction = model(frames[None].to(device), lateness_s[None].float().to(device), n_slots)
    first = 0 if before is None else count_slots(min(MARGIN_FRAMES, len(before.frames)))
    last = n_slots if after is None else first + count_slots(len(window.frames))
    start = count_slots(window.first) - first if window.first else -first
    levels = model.read(prediction, first_slot=start, seed=seed)[0]
    return _where_something_moves(levels, moves(frames)).part(first, last)


def moves(frames: Tensor) -> Tensor:
    """Return whether something moved within the last tenth of a second (T,), for frames (T, 3, H, W), uint8.

    Noise and pulsing compression change single pixels, but not the mean of a block of 8 x 8. A still picture must be
    silent, whatever a network makes of its noise.
    """
    blocks = torch.cat([F.avg_pool2d(part.float().mean(dim=1), BLOCK_PX) for part in frames.split(64)])
    lag = min(MOTION_LAG_FRAMES, len(blocks) - 1)
    change = (blocks[lag:] - blocks[: len(blocks) - lag]).abs().amax(dim=(1, 2))
    return F.pad(change, (lag, 0)) >= LEAST_CHANGE


def _where_something_moves(levels: Levels, moving: Tensor) -> Levels:
    """Return the levels without what has no moving frame (T,) around it."""
    moved_s = moving.nonzero()[:, 0].cpu() / FRAME_RATE_HZ
    middle_s = (torch.arange(len(levels.rms)) + 0.5) / FINE_RATE_HZ
    rms = torch.where(_near(middle_s, moved_s), levels.rms, 0)
    return replace(levels, rms=rms, hits=levels.hits[_near(levels.hits.times_s, moved_s)])


def _near(times_s: Tensor, moved_s: Tensor) -> Tensor:
    """Return which times (K,) have a movement, at one of some rising times (M,), within `NEAR_MOTION_S`."""
    if len(moved_s) == 0:
        return torch.zeros_like(times_s, dtype=torch.bool)
    after = torch.searchsorted(moved_s, times_s)
    before_s, after_s = moved_s[(after - 1).clamp(min=0)], moved_s[after.clamp(max=len(moved_s) - 1)]
    return torch.minimum((times_s - before_s).abs(), (after_s - times_s).abs()) < NEAR_MOTION_S
