"""Owns the figures of sounds: envelope, waveform and spectrogram on one time axis."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import max_pool1d
from torchaudio.transforms import MelSpectrogram

from media.envelope import FINE_RATE_HZ, Envelope, fine_envelope
from media.stored import Sound, parts_with_margins

_N_FFT = 2048
_HOP_SAMPLES = 256
_MIN_DB = -80.0
_MOST_COLUMNS = 2000  # two for each pixel
_LEAST_SAMPLES = 400  # in a column, from which on no more than their range can be seen
_BLOCK_COLUMNS = 200
_BLOCK_SAMPLES = 2**18
_ENVELOPE_PART_S = 60


def comparison_figure(
    sounds: Mapping[str, Sound],
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
    envelopes = {title: _envelope(sound, sample_rate_hz) for title, sound in sounds.items()}
    if control is not None:
        rows[0].fill_between(*_curve(control), color="0.8", label="control")
    for title, envelope in envelopes.items():
        rows[0].plot(*_curve(envelope), linewidth=0.9, label=title)
    rows[0].plot(onset_times_s, np.zeros(len(onset_times_s)), "|", color="black", markersize=10)
    rows[0].set_ylabel("RMS")
    rows[0].legend(loc="upper right", fontsize="small")
    for i, (title, sound) in enumerate(sounds.items()):
        _draw_waveform(rows[1 + 2 * i], sound, sample_rate_hz)
        rows[1 + 2 * i].set_ylabel(title)
        _draw_spectrogram(rows[2 + 2 * i], sound, sample_rate_hz)
    rows[-1].set_xlabel("time (s)")
    duration_s = max(sound.shape[-1] for sound in sounds.values()) / sample_rate_hz
    rows[-1].set_xlim(0, duration_s)
    return figure


def _curve(envelope: Envelope) -> tuple[np.ndarray, np.ndarray]:
    """Return the times and values of an envelope (T,); of a long one the highest value in each column."""
    per_column = max(1, envelope.rms.shape[-1] // (2 * _MOST_COLUMNS))
    values = max_pool1d(envelope.rms.cpu()[None], per_column, ceil_mode=True)[0]
    return (np.arange(len(values)) + 0.5) * per_column / envelope.rate_hz, values.numpy()


def _mono(sound: Sound, first: int, last: int) -> Tensor:
    """Return some samples (n,) of a sound (C, N), averaged over channels."""
    return sound[:, first:last].mean(0).cpu()


def _envelope(sound: Sound, sample_rate_hz: int) -> Envelope:
    """Return the fine envelope (T,) of a sound (C, N), measured in parts of whole seconds, a second around them."""
    slots_per_s = round(FINE_RATE_HZ)
    found = []
    for part, place in parts_with_margins(sound, sample_rate_hz, _ENVELOPE_PART_S * sample_rate_hz):
        rms = fine_envelope(part.cpu(), sample_rate_hz).rms
        rms = rms[slots_per_s if place.start else 0 :]
        found.append(rms if place.stop == part.shape[-1] else rms[: _ENVELOPE_PART_S * slots_per_s])
    return Envelope(torch.cat(found), FINE_RATE_HZ)


def _draw_waveform(axes: Axes, sound: Sound, sample_rate_hz: int) -> None:
    """Draw a sound (C, N): all samples, or of a long one the lowest and highest in each column."""
    n_samples = sound.shape[-1]
    per_column = max(1, n_samples // _MOST_COLUMNS)
    if per_column < _LEAST_SAMPLES:
        axes.plot(np.arange(n_samples) / sample_rate_hz, _mono(sound, 0, n_samples), linewidth=0.3)
        return
    starts = range(0, n_samples - per_column + 1, per_column)
    ranges = torch.stack([torch.stack(_mono(sound, first, first + per_column).aminmax()) for first in starts])
    times_s = (np.arange(len(ranges)) + 0.5) * per_column / sample_rate_hz
    axes.fill_between(times_s, ranges[:, 0], ranges[:, 1], linewidth=0.3)


def _draw_spectrogram(axes: Axes, sound: Sound, sample_rate_hz: int) -> None:
    """Draw the log-mel spectrogram of a sound (C, N); of a long one the highest level in each column."""
    mel = MelSpectrogram(
        sample_rate_hz,
        _N_FFT,
        hop_length=_HOP_SAMPLES,
        n_mels=128,
        pad_mode="constant",
        norm="slaney",
        mel_scale="slaney",
    )
    n_samples = sound.shape[-1]
    per_column = max(1, n_samples // _HOP_SAMPLES // _MOST_COLUMNS)
    columns = min(_BLOCK_COLUMNS, max(1, _BLOCK_SAMPLES // (per_column * _HOP_SAMPLES)))
    block = per_column * _HOP_SAMPLES * columns  # the spectrogram of a whole film takes too much memory
    parts = []
    for start in range(0, n_samples, block):
        power = mel(_mono(sound, max(0, start - _N_FFT), start + block + _N_FFT))
        first = min(start, _N_FFT) // _HOP_SAMPLES
        n_frames = min(block, n_samples - start) // _HOP_SAMPLES + 1
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
