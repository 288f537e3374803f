"""The pictures of the report."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data.report.summary import NOT_NAMED, Distribution, Histogram, Summary, words_of

COLOURS = ("#2f6690", "#e08214", "#5aae61", "#9970ab", "#c51b7d")
MOST_MATERIALS = 30
UNNAMED_COLOUR = "0.75"
MEDIAN_COLOUR = "#d73027"
INTERVAL_TICKS_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


def figures(summary: Summary) -> Iterator[tuple[str, Figure]]:
    """Yield name and figure of each picture for which there is something to show."""
    if summary.duration_s.n:
        yield "durations", spread_figure(summary.duration_s, "duration (s)", "recordings")
    if summary.n_hits:
        yield "hits", hits_figure(summary)
    if summary.interval_s.n:
        yield "intervals", spread_figure(summary.interval_s, "time to the next hit (s)", "intervals", INTERVAL_TICKS_S)
    if summary.n_with_sound:
        yield "levels", levels_figure(summary.envelope_db, summary.loudness_lufs)


def spread_figure(values: Distribution, x: str, y: str, ticks: Sequence[float] = ()) -> Figure:
    """Draw numbers in seconds by size; with ticks on a logarithmic axis."""
    figure = Figure(figsize=(10, 2.8), layout="constrained", dpi=100)
    axes = figure.subplots()
    if ticks:
        axes.set_xscale("log")
    _draw(axes, values.histogram)
    _mark_median(axes, values.median, "s")
    if ticks:
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    _label(axes, x, y)
    return figure


def levels_figure(envelope_db: Histogram, loudness_lufs: Distribution) -> Figure:
    """Draw the fine envelope by level, and recordings by loudness."""
    figure = Figure(figsize=(10, 3.2), layout="constrained", dpi=100)
    left, right = figure.subplots(1, 2)
    share = np.array(envelope_db.counts) / max(1, sum(envelope_db.counts))
    _draw(left, Histogram(envelope_db.edges, tuple(100 * share)))
    _label(left, "RMS envelope (dB of full scale)", "share of the time (%)")
    _draw(right, loudness_lufs.histogram)
    _mark_median(right, loudness_lufs.median, "LUFS")
    _label(right, "integrated loudness (LUFS)", "recordings")
    return figure


def hits_figure(summary: Summary) -> Figure:
    """Draw hits of the most frequent materials, divided by action and by reaction."""
    materials = list(summary.actions)[:MOST_MATERIALS]
    figure = Figure(figsize=(10, 1.6 + 0.3 * len(materials)), layout="constrained", dpi=100)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, counts in ((left, summary.actions), (right, summary.reactions)):
        _draw_bars(axes, {material: counts[material] for material in materials})
    left.invert_yaxis()
    left.set_ylabel("material")
    return figure


def _draw_bars(axes: Axes, table: Mapping[str, Mapping[str, int]]) -> None:
    """Draw a bar a material, divided by the other word."""
    lefts = np.zeros(len(table))
    for word, colour in _colours(words_of(table)).items():
        widths = np.array([row.get(word, 0) for row in table.values()])
        axes.barh(list(table), widths, left=lefts, color=colour, label=word)
        lefts += widths
    axes.set_xlim(0, 1.05 * lefts.max())
    _label(axes, "hits", "")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.legend(fontsize="small", frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


def _colours(words: list[str]) -> dict[str, str]:
    named = [word for word in words if word != NOT_NAMED]
    colours = {word: COLOURS[i % len(COLOURS)] for i, word in enumerate(named)}
    return colours | {word: UNNAMED_COLOUR for word in words if word == NOT_NAMED}


def _draw(axes: Axes, histogram: Histogram) -> None:
    axes.stairs(histogram.counts, histogram.edges, fill=True, color=COLOURS[0])
    axes.set_xlim(histogram.edges[0], histogram.edges[-1])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _mark_median(axes: Axes, median: float | None, unit: str) -> None:
    if median is not None:
        shown = max(median, axes.get_xlim()[0])  # a logarithmic axis has no 0
        axes.axvline(shown, color=MEDIAN_COLOUR, linewidth=1.2, label=f"median {median:.3g} {unit}")
        axes.legend(fontsize="small", frameon=False)


def _label(axes: Axes, x: str, y: str) -> None:
    """Set labels, and the style that all pictures share."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
