"""Owns prediction for videos of any length: overlapping windows keep the memory constant."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from media.frames import FrameWindow
from video2rms.levels import Levels
from video2rms.model import Video2Rms

WINDOW_FRAMES = 600  # 20 s; frames and slots of 8 ms coincide every 6 frames
MARGIN_FRAMES = 450  # 15 s of context on each side


def count_slots(n_frames: int) -> int:
    """Return the number of 8 ms slots for at least one frame at 30 per second: 25 for every 6, halves rounded up."""
    return (25 * n_frames + 3) // 6


def predict_levels(
    model: Video2Rms[Any], windows: Iterable[FrameWindow], *, seed: int | None = None
) -> Iterator[Levels]:
    """Predict levels window by window.

    Windows of 20 s are predicted with 15 s of context on each side; frames further away have almost no influence.

    Args:
        model: The network, in eval mode.
        windows: Frames at 30 per second from the start on, `WINDOW_FRAMES` (a multiple of 6) in each but the last.
        seed: Draws the levels of hits; None: the most likely ones.

    Yields:
        Levels of consecutive windows, without gaps; together `count_slots` of all frames.
    """
    before: FrameWindow | None = None
    current: FrameWindow | None = None
    for following in windows:
        if current is not None:
            yield _predict(model, before, current, following, seed)
        before, current = current, following
    if current is not None:
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
    return model.read(prediction, first_slot=start, seed=seed)[0].part(first, last)
