"""Owns the figures of sounds: envelope, waveform and spectrogram on one time axis."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import max_pool1d
from torchaudio.transforms import MelSpectrogram

from media.envelope import Envelope, fine_envelope

_N_FFT = 2048
_HOP_SAMPLES = 256
_MIN_DB = -80.0
_MOST_COLUMNS = 2000  # two for each pixel
_LEAST_SAMPLES = 400  # in a column, from which on no more than their range can be seen
_BLOCK_COLUMNS = 200


def comparison_figure(
    sounds: Mapping[str, Tensor],
    sample_rate_hz: int,
    control: Envelope | None = None,
    onset_times_s: Sequence[float] = (),
) -> Figure:
    """Plot the envelopes of all sounds in one panel, then waveform and log-mel spectrogram of each.

    Args:
        sounds: sound (C, N) by title.
        sample_rate_hz: sample rate of all sounds.
        control: envelope (T,) that controlled the generation, drawn behind the others.
        onset_times_s: onsets, drawn as ticks in the envelope's panel.

    Returns:
        A figure to save; nothing is shown.
    """
    height = 1.6 + 2.8 * len(sounds)
    figure = Figure(figsize=(10, height), dpi=100)
    figure.subplots_adjust(left=0.08, right=0.985, bottom=0.5 / height, top=1 - 0.1 / height, hspace=0.12)
    rows = figure.subplots(1 + 2 * len(sounds), 1, sharex=True, height_ratios=[1] + [0.7, 1.4] * len(sounds))
    envelopes = {title: fine_envelope(sound, sample_rate_hz) for title, sound in sounds.items()}
    if control is not None:
        rows[0].fill_between(_times_s(control), control.rms.cpu(), color="0.8", label="control")
    for title, envelope in envelopes.items():
        rows[0].plot(_times_s(envelope), envelope.rms.cpu(), linewidth=0.9, label=title)
    rows[0].plot(onset_times_s, np.zeros(len(onset_times_s)), "|", color="black", markersize=10)
    rows[0].set_ylabel("RMS")
    rows[0].legend(loc="upper right", fontsize="small")
    for i, (title, sound) in enumerate(sounds.items()):
        mono = sound.mean(0).cpu()
        _draw_waveform(rows[1 + 2 * i], mono, sample_rate_hz)
        rows[1 + 2 * i].set_ylabel(title)
        _draw_spectrogram(rows[2 + 2 * i], mono, sample_rate_hz)
    rows[-1].set_xlabel("time (s)")
    duration_s = max(sound.shape[-1] for sound in sounds.values()) / sample_rate_hz
    rows[-1].set_xlim(0, duration_s)
    return figure


def _times_s(envelope: Envelope) -> np.ndarray:
    return (np.arange(envelope.rms.shape[-1]) + 0.5) / envelope.rate_hz


def _draw_waveform(axes: Axes, mono: Tensor, sample_rate_hz: int) -> None:
    """Draw a sound (N,): all samples, or of a long one the lowest and highest in each column."""
    per_column = max(1, len(mono) // _MOST_COLUMNS)
    if per_column < _LEAST_SAMPLES:
        axes.plot(np.arange(len(mono)) / sample_rate_hz, mono, linewidth=0.3)
        return
    columns = mono[: len(mono) // per_column * per_column].unflatten(0, (-1, per_column))
    times_s = (np.arange(len(columns)) + 0.5) * per_column / sample_rate_hz
    axes.fill_between(times_s, columns.amin(dim=1), columns.amax(dim=1), linewidth=0.3)


def _draw_spectrogram(axes: Axes, mono: Tensor, sample_rate_hz: int) -> None:
    """Draw the log-mel spectrogram of a sound (N,); of a long one the highest level in each column."""
    mel = MelSpectrogram(
        sample_rate_hz,
        _N_FFT,
        hop_length=_HOP_SAMPLES,
        n_mels=128,
        pad_mode="constant",
        norm="slaney",
        mel_scale="slaney",
    )
    per_column = max(1, len(mono) // _HOP_SAMPLES // _MOST_COLUMNS)
    block = per_column * _HOP_SAMPLES * _BLOCK_COLUMNS  # the spectrogram of a whole film takes too much memory
    parts = []
    for start in range(0, len(mono), block):
        power = mel(mono[max(0, start - _N_FFT) : start + block + _N_FFT])
        first = min(start, _N_FFT) // _HOP_SAMPLES
        n_frames = min(block, len(mono) - start) // _HOP_SAMPLES + 1
        part = power[:, first : first + min(n_frames, block // _HOP_SAMPLES)]
        parts.append(max_pool1d(part[None], per_column, ceil_mode=True)[0])
    level_db = 10 * torch.cat(parts, dim=1).clamp(min=10 ** (_MIN_DB / 10)).log10()
    bands = mel.mel_scale.fb / mel.mel_scale.fb.sum(dim=0)
    frequencies_hz = torch.fft.rfftfreq(_N_FFT, 1 / sample_rate_hz) @ bands  # centres of the bands
    times_s = (np.arange(level_db.shape[-1]) * per_column + (per_column - 1) / 2) * _HOP_SAMPLES / sample_rate_hz
    axes.pcolormesh(times_s, frequencies_hz, level_db, cmap="magma", vmin=_MIN_DB, vmax=30, shading="nearest")
    axes.set_yscale("symlog", linthresh=1000)
    axes.set_ylim(50, sample_rate_hz / 2)
    axes.set_ylabel("Hz")
