"""A picture of one clip: envelopes over each other, spectrograms below each other, onsets met, missed and extra."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import librosa
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from evaluation.onsets import detect_onsets, match_onsets
from evaluation.sounds import SAMPLE_RATE_HZ
from evaluation.spectra import log_mel_db
from media.envelope import fine_envelope

MET, EXTRA, MISSED = ("#1a9850", "^"), ("#e08214", "v"), ("#d73027", "x")  # colour and marker
STRIP_ROWS = 20  # below the mel bands, for the marks of onsets
TICKS_HZ = (100, 500, 1000, 2000, 5000, 10_000)
DYNAMIC_RANGE_DB = 80.0


@dataclass(frozen=True, eq=False)
class Marks:
    """Onset times in seconds (K,): generated with and without a partner within 0.1 s, and reference ones without."""

    met: np.ndarray
    extra: np.ndarray
    missed: np.ndarray


def mark_onsets(reference_s: np.ndarray, generated_s: np.ndarray) -> Marks:
    """Divide the onsets of a reference and of a generated sound into met, missed and extra; times in seconds (K,)."""
    pairs = match_onsets(reference_s, generated_s)
    is_met = np.isin(np.arange(len(generated_s)), [pair[1] for pair in pairs])
    is_missed = ~np.isin(np.arange(len(reference_s)), [pair[0] for pair in pairs])
    return Marks(generated_s[is_met], generated_s[~is_met], reference_s[is_missed])


def clip_figure(reference: Tensor, generated: Mapping[str, Tensor], onsets_s: np.ndarray) -> Figure:
    """Draw a clip: the envelopes, the reference, then a spectrogram of each system.

    Args:
        reference: Real sound (2, N) at 44.1 kHz.
        generated: Generated sound (2, N') at 44.1 kHz by the name of its system; at least one.
        onsets_s: Onsets of the reference in seconds (K,).
    """
    figure = Figure(figsize=(10, 2.9 + 1.5 * len(generated)), layout="constrained", dpi=100)
    rows = figure.subplots(2 + len(generated), 1, sharex=True, height_ratios=[0.9, *[1] * (1 + len(generated))])
    _draw_envelope(rows[0], reference, "reference", fill=True)
    for name, wave in generated.items():
        _draw_envelope(rows[0], wave, name)
    rows[0].set_ylabel("RMS")
    rows[0].legend(loc="upper right", fontsize="x-small", ncols=3)
    highest_db = log_mel_db(reference.mean(dim=0).numpy(), SAMPLE_RATE_HZ).max()
    _draw_spectrogram(rows[1], reference, "reference", highest_db)
    _draw_marks(rows[1], onsets_s, ("black", "|"))
    for axes, (name, wave) in zip(rows[2:], generated.items(), strict=True):
        _draw_spectrogram(axes, wave, name, highest_db)
        common_s = onsets_s[onsets_s < wave.shape[-1] / SAMPLE_RATE_HZ]
        marks = mark_onsets(common_s, detect_onsets(wave, SAMPLE_RATE_HZ).times_s)
        for times_s, style in ((marks.met, MET), (marks.extra, EXTRA), (marks.missed, MISSED)):
            _draw_marks(axes, times_s, style)
    rows[-1].set_xlabel("time (s)")
    rows[-1].set_xlim(0, reference.shape[-1] / SAMPLE_RATE_HZ)
    return figure


def webp_bytes(figure: Figure) -> bytes:
    """Return the figure as a WebP picture."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="webp", pil_kwargs={"quality": 75})
    return buffer.getvalue()


def _draw_envelope(axes: Axes, wave: Tensor, title: str, *, fill: bool = False) -> None:
    envelope = fine_envelope(wave, SAMPLE_RATE_HZ)
    times_s = (np.arange(envelope.rms.shape[-1]) + 0.5) / envelope.rate_hz
    if fill:
        axes.fill_between(times_s, envelope.rms.numpy(), color="0.75", label=title)
    else:
        axes.plot(times_s, envelope.rms.numpy(), linewidth=0.9, label=title)


def _draw_spectrogram(axes: Axes, wave: Tensor, title: str, highest_db: float) -> None:
    """Return levels of mel bands below `highest_db`."""
    levels_db = log_mel_db(wave.mean(dim=0).numpy(), SAMPLE_RATE_HZ)
    duration_s = wave.shape[-1] / SAMPLE_RATE_HZ
    axes.imshow(
        levels_db,
        origin="lower",
        aspect="auto",
        extent=(0, duration_s, 0, len(levels_db)),
        vmin=highest_db - DYNAMIC_RANGE_DB,
        vmax=highest_db,
        cmap="magma",
    )
    axes.set_ylim(-STRIP_ROWS, len(levels_db))
    axes.set_ylabel(title if len(title) <= 18 else f"{title[:17]}…")
    axes.set_yticks(_mel_rows(len(levels_db)), [f"{hz / 1000:g}k" if hz >= 1000 else str(hz) for hz in TICKS_HZ])
    axes.tick_params(axis="y", labelsize="x-small")


def _draw_marks(axes: Axes, times_s: np.ndarray, style: tuple[str, str]) -> None:
    """Draw marks in the strip below the spectrogram."""
    colour, marker = style
    axes.plot(times_s, np.full(len(times_s), -STRIP_ROWS / 2), marker, color=colour, markersize=6)


def _mel_rows(n_mels: int) -> np.ndarray:
    """Return rows of a mel spectrogram up to half the sample rate in which the frequencies of the ticks lie."""
    tops = librosa.hz_to_mel(np.array([*TICKS_HZ, SAMPLE_RATE_HZ / 2]))
    return n_mels * tops[:-1] / tops[-1]
