"""Figures of the report on synthetic strikes: measures, rhythm, spectrograms and frames of clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.signal
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from synthetic import SAMPLE_RATE_HZ, SyntheticClip
from synthetic.measures import AROUND_S, MEASURED_MODES, Measures, Real, motion_around

EXCERPT_S = (-0.1, 1.4)  # start and end in relation to the strike
LEVEL_DB = 70.0  # dynamic range of a spectrogram, from its loudest point down
_ROWS_HZ = np.geomspace(80, 18_000, 160)  # lower edges
_WINDOW, _HOP, _TRANSFORM = 768, 128, 4096
_PUBLISHED = "#d95f02"
_CAPTION_PX = 22


@dataclass(frozen=True, eq=False)
class Excerpt:
    """Sound around one strike.

    Args:
        title: Material, action and similar facts about the strike.
        mono: Sound (N,) over `EXCERPT_S`, without background noise.
    """

    title: str
    mono: np.ndarray


def figure_measures(measures: Mapping[str, list[Measures]], real: Real) -> Figure:
    """Plot decay, brightness and attack time by material, real recordings last."""
    groups = {name: entries for name, entries in {**measures, **real.measures}.items() if entries}
    names = list(groups)
    figure = Figure(figsize=(15, 0.36 * len(names) + 1.5), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    titles = {
        "decay_s": ("time in which the level falls by 20 dB", "s"),
        "centroid_hz": ("centre of the spectrum of 100 ms", "Hz"),
        "rise_ms": ("rise from -20 dB to -3 dB", "ms"),
    }
    labels = [f"{name} ({len(entries)})" for name, entries in groups.items()]
    for axis, (attribute, (title, unit)) in zip(axes, titles.items(), strict=True):
        values = [[getattr(entry, attribute) for entry in groups[name]] for name in names]
        axis.boxplot(values, orientation="horizontal", tick_labels=labels, whis=(5, 95), showfliers=False)
        axis.set_title(title, fontsize=11)
        axis.set_xlabel(unit)
        axis.grid(alpha=0.3)
        _log_axis(axis)
    for row, name in enumerate(names, start=1):
        if name in MEASURED_MODES:
            published = MEASURED_MODES[name]
            axes[0].plot(published.decay_s, [row - 0.42] * 2, color=_PUBLISHED, linewidth=3)
            axes[1].plot(published.centre_hz, [row - 0.42] * len(published.centre_hz), ".", color=_PUBLISHED)
    axes[0].plot([], [], color=_PUBLISHED, linewidth=3, label="published: 10 to 90 % of modes")
    axes[1].plot([], [], ".", color=_PUBLISHED, label="published: one object each")
    figure.legend(loc="outside lower center", ncols=2)
    axes[0].invert_yaxis()
    return figure


def _log_axis(axis: Axes) -> None:
    """Make the x axis logarithmic, with plain numbers at 1, 2 and 5."""
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def figure_rhythm(clips: Sequence[SyntheticClip], real: Real) -> Figure:
    """Plot the intervals between hits and the motion around hits."""
    figure = Figure(figsize=(15, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    intervals = np.concatenate([np.diff([hit.time_s for hit in clip.plan.hits]) for clip in clips])
    bins = np.geomspace(0.08, 4, 40)
    left.hist(intervals, bins, density=True, label=f"synthetic, median {np.median(intervals):.2f} s")
    if len(real.intervals_s):
        label = f"real annotations, median {np.median(real.intervals_s):.2f} s"
        left.hist(real.intervals_s, bins, density=True, alpha=0.5, label=label)
    left.set(xlabel="s between hits", ylabel="share of hits per s", title="Intervals between hits")
    _log_axis(left)
    left.legend()
    curves = []
    for clip in clips:
        if clip.frames is not None:
            times_s = [strike.picture_time_s for strike in clip.plan.strikes if not strike.is_rebound]
            rate_hz = clip.frames.shape[0] * SAMPLE_RATE_HZ / clip.wave.shape[1]  # type: ignore[union-attr]
            curves.append(motion_around(clip.frames.permute(0, 2, 3, 1).numpy(), rate_hz, times_s))
    low, middle, high = np.nanquantile(curves, [0.1, 0.5, 0.9], axis=0)
    right.fill_between(AROUND_S, low, high, alpha=0.25, label="synthetic, 10 to 90 % of clips")
    right.plot(AROUND_S, middle, label="synthetic, median")
    for name, curve in real.motion.items():
        right.plot(AROUND_S, curve, label=f"real {name}")
    right.set(xlabel="s after a hit", ylabel="change between frames / its mean", title="Motion around hits")
    right.legend()
    return figure


def figure_spectrograms(excerpts: Mapping[str, Sequence[Excerpt]], columns: int) -> Figure:
    """Plot spectrograms of strikes, one row for each material."""
    figure = Figure(figsize=(3.7 * columns, 1.75 * len(excerpts) + 0.6), layout="constrained")
    grid = figure.subplots(len(excerpts), columns, sharex=True, sharey=True, squeeze=False)
    image = None
    for row, (material, found) in zip(grid, excerpts.items(), strict=True):
        row[0].set_ylabel(f"{material}\nkHz", fontsize=11)
        for axis in row[len(found) :]:
            axis.text(0.5, 0.5, "no more among the clips", ha="center", fontsize=8, transform=axis.transAxes)
        for axis, excerpt in zip(row, found, strict=False):
            extent = (*EXCERPT_S, *np.log10(_ROWS_HZ[[0, -1]]))
            image = axis.imshow(
                level_db(excerpt.mono),
                aspect="auto",
                origin="lower",
                extent=extent,
                vmin=-LEVEL_DB,
                vmax=0,
                cmap="magma",
            )
            axis.set_title(excerpt.title, fontsize=9, pad=3)
    ticks_hz = [100, 300, 1000, 3000, 10_000]
    grid[0, 0].set_yticks(np.log10(ticks_hz), [f"{hz / 1000:g}" for hz in ticks_hz])
    for axis in grid[-1]:
        axis.set_xlabel("s after the strike")
    if image is not None:
        figure.colorbar(image, ax=grid, location="top", fraction=0.006, pad=0.003, label="dB below the loudest point")
    return figure


def level_db(mono: np.ndarray) -> np.ndarray:
    """Return levels (160, T) of a sound (N,) in dB relative to its loudest point, for rows from 80 Hz to 18 kHz."""
    frequency_hz, _, power = scipy.signal.spectrogram(
        mono, SAMPLE_RATE_HZ, nperseg=_WINDOW, noverlap=_WINDOW - _HOP, nfft=_TRANSFORM
    )
    rows = np.maximum.reduceat(power, np.searchsorted(frequency_hz, _ROWS_HZ), axis=0)  # keeps narrow lines
    return 10 * np.log10(rows / max(rows.max(), 1e-30) + 1e-12)


def contact_sheet(clips: Sequence[SyntheticClip], n_frames: int = 6, columns: int = 3) -> np.ndarray:
    """Return frames from 0.2 s before to 0.15 s after a hit of each clip, as one image (H, W, 3), uint8, RGB."""
    strips = []
    for clip in clips:
        assert clip.frames is not None
        assert clip.wave is not None
        rate_hz = clip.frames.shape[0] * SAMPLE_RATE_HZ / clip.wave.shape[1]
        strike = max(clip.plan.strikes, key=lambda strike: strike.strength)
        times_s = strike.picture_time_s + np.array([-0.2, -0.08, -0.03, 0.02, 0.06, 0.15])[:n_frames]
        numbers = np.clip((times_s * rate_hz).astype(int), 0, clip.frames.shape[0] - 1)
        strip = np.concatenate(list(clip.frames[numbers].permute(0, 2, 3, 1).numpy()), axis=1)
        strip = np.pad(strip, ((_CAPTION_PX, 1), (2, 2), (0, 0)))
        text = f"{strike.material}: {strike.action}, {strike.reaction}, strength {strike.strength:.1f}"
        cv2.putText(strip, text, (4, _CAPTION_PX - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255, 255, 255), 1, cv2.LINE_AA)
        strips.append(strip)
    strips += [np.zeros_like(strips[0])] * (-len(strips) % columns)
    rows = [np.concatenate(strips[i : i + columns], axis=1) for i in range(0, len(strips), columns)]
    return np.concatenate(rows)
