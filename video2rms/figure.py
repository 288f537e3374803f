"""Owns the figure of an envelope with its hits."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from media.envelope import Envelope

_MOST_POINTS = 4000


def envelope_figure(
    envelope: Envelope,
    onsets_s: Tensor,
    behind: Envelope | None = None,
    labels: tuple[str, str] = ("predicted", "true"),
) -> Figure:
    """Plot a level over time, with ticks at onsets.

    Args:
        envelope: Envelope (N,); if it has more than 4000 values, the largest value of each of 4000 parts is drawn.
        onsets_s: Times of onsets (K,).
        behind: Another envelope, such as the sound's own, drawn behind it; or None.
        labels: Names of the two envelopes in the legend.

    Returns:
        A figure to save; nothing is shown.
    """
    figure = Figure(figsize=(12, 3), layout="constrained")
    axes = figure.subplots()
    if behind is not None:
        axes.fill_between(*_points(behind), color="0.8", label=labels[1])
    axes.plot(*_points(envelope), linewidth=1, label=labels[0])
    axes.plot(onsets_s.numpy(), np.zeros(len(onsets_s)), "|", color="black", markersize=12)
    axes.set(xlabel="s", ylabel="RMS", xlim=(0, envelope.duration_s), ylim=(0, None))
    if behind is not None:
        axes.legend(loc="upper right")
    return figure


def _points(envelope: Envelope) -> tuple[np.ndarray, np.ndarray]:
    parts = torch.tensor_split(envelope.rms.cpu(), min(len(envelope.rms), _MOST_POINTS))
    rms = np.array([float(part.max()) for part in parts])
    return (np.arange(len(rms)) + 0.5) * (envelope.duration_s / len(rms)), rms
