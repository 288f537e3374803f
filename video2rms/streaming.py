"""Owns the way from a video of any length to its levels: windows that overlap, so that memory does not grow."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from data.clip import count_at_rate
from data.envelope import FINE_RATE_HZ
from data.frames import FrameWindow
from video2rms.model import FRAME_RATE_HZ, Video2Rms

WINDOW_FRAMES = 600  # 20 s; frames and slots of 8 ms meet every 6 frames
MARGIN_FRAMES = 150  # 5 s that are seen on each side, but not answered for


@dataclass(frozen=True, eq=False)
class Levels:
    """What is predicted of a stretch of time.

    Args:
        rms: Level in slots of 8 ms (N,), float32, 0 to 1; 0 where it is below the floor of the model's classes.
        onset: Probability of an onset in each slot (N,), float32.
    """

    rms: Tensor
    onset: Tensor


def join_levels(parts: Iterable[Levels]) -> Levels:
    """One stretch of several that follow each other, at least one."""
    rms, onset = zip(*((part.rms, part.onset) for part in parts), strict=True)
    return Levels(torch.cat(rms), torch.cat(onset))


def count_slots(n_frames: int) -> int:
    """Slots of 8 ms in a number of frames at 30 a second, rounded, at least one."""
    return count_at_rate(n_frames / FRAME_RATE_HZ, FINE_RATE_HZ)


def predict_levels(model: Video2Rms, windows: Iterable[FrameWindow]) -> Iterator[Levels]:
    """Predicts window by window.

    The windows are cut every 20 s; each is seen with 5 s around it, after which the network has forgotten what it
    cannot see.

    Args:
        model: The network, in eval mode.
        windows: Frames at 30 a second from the start on, `WINDOW_FRAMES` in each but the last.

    Yields:
        Levels of one window after the other, without gap; together round(125 T / 30) slots of T frames.
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
    """Levels of a window, with what lies around it where there is something."""
    seen = [(before, slice(-MARGIN_FRAMES, None)), (window, slice(None)), (after, slice(MARGIN_FRAMES))]
    parts = [(w.frames[part], w.lateness_s[part]) for w, part in seen if w is not None]
    frames, lateness_s = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    device = next(model.parameters()).device
    n_slots = count_slots(len(frames))
    prediction = model(frames[None].to(device), lateness_s[None].float().to(device), n_slots)
    first = 0 if before is None else count_slots(MARGIN_FRAMES)
    last = n_slots if after is None else first + count_slots(len(window.frames))
    rms = model.bins.expected_rms(prediction.level_logits[0, first:last])
    rms = torch.where(rms < model.bins.edges[0], 0.0, rms)
    return Levels(rms.cpu(), prediction.onset_logits[0, first:last].sigmoid().cpu())
