"""Owns prediction for videos of any length: overlapping windows keep the memory constant."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from media.frames import FrameWindow
from video2rms.model import Video2Rms

WINDOW_FRAMES = 600  # 20 s; frames and slots of 8 ms coincide every 6 frames
MARGIN_FRAMES = 450  # 15 s of context on each side


@dataclass(frozen=True, eq=False)
class Levels:
    """Prediction for a stretch of time.

    Args:
        rms: Level in slots of 8 ms (N,), float32, 0 to 1; 0 below the floor of the model's classes.
        onset: Probability of an onset in each slot (N,), float32.
    """

    rms: Tensor
    onset: Tensor


def join_levels(parts: Iterable[Levels]) -> Levels:
    """Join consecutive stretches, at least one."""
    rms, onset = zip(*((part.rms, part.onset) for part in parts), strict=True)
    return Levels(torch.cat(rms), torch.cat(onset))


def count_slots(n_frames: int) -> int:
    """Return the number of 8 ms slots for at least one frame at 30 per second: 25 for every 6, halves rounded up."""
    return (25 * n_frames + 3) // 6


def predict_levels(model: Video2Rms, windows: Iterable[FrameWindow]) -> Iterator[Levels]:
    """Predict levels window by window.

    Windows of 20 s are predicted with 15 s of context on each side; frames further away have almost no influence.

    Args:
        model: The network, in eval mode.
        windows: Frames at 30 per second from the start on, `WINDOW_FRAMES` (a multiple of 6) in each but the last.

    Yields:
        Levels of consecutive windows, without gaps; together `count_slots` of all frames.
    """
    before: FrameWindow | None = None
    current: FrameWindow | None = None
    for following in windows:
        if current is not None:
            yield _predict(model, before, current, following)
        before, current = current, following
    if current is not None:
        yield _predict(model, before, current, None)


@torch.inference_mode()
def _predict(model: Video2Rms, before: FrameWindow | None, window: FrameWindow, after: FrameWindow | None) -> Levels:
    """Predict the levels of a window, with the context that exists around it."""
    seen = [(before, slice(-MARGIN_FRAMES, None)), (window, slice(None)), (after, slice(MARGIN_FRAMES))]
    parts = [(w.frames[part], w.lateness_s[part]) for w, part in seen if w is not None]
    frames, lateness_s = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    device = next(model.parameters()).device
    n_slots = count_slots(len(frames))
    prediction = model(frames[None].to(device), lateness_s[None].float().to(device), n_slots)
    first = 0 if before is None else count_slots(min(MARGIN_FRAMES, len(before.frames)))
    last = n_slots if after is None else first + count_slots(len(window.frames))
    rms = model.bins.expected_rms(prediction.level_logits[0, first:last]).cpu()
    return Levels(rms, prediction.onset_logits[0, first:last].sigmoid().cpu())
