"""Loudness over time: RMS envelopes of sounds, the smooth envelope that controls a model, and envelopes as CSV."""

import csv
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchaudio.functional
from torch import Tensor

from common.errors import InputError
from common.files import atomic_path
from common.spreadsheet import Line, read_table

FINE_RATE_HZ = 125.0
_FINE_SAMPLE_RATE_HZ = 16_000
PUBLISHED_WINDOW_SAMPLES, PUBLISHED_SMOOTHING_SAMPLES = 10_000, 2_000
"""Lengths of Stable-V2A's control envelope (arXiv 2412.15023), of sound at 44.1 kHz."""
_FINE_WINDOW_SAMPLES = 512
_FINE_HOP_SAMPLES = 128
_CSV_HEADER = ["time_s", "rms"]
LAST_CSV_TIME_S = 24 * 3600
_HIGHEST_CSV_RATE_HZ = 192_000
_HIGHEST_CSV_RMS = 1000


@dataclass(frozen=True, eq=False)
class Envelope:
    """RMS values on an even grid: value i is at (i + 0.5) / rate_hz, the middle of its time slot.

    This holds for samples of a sound and for values of a fine envelope alike.

    Args:
        rms: RMS amplitudes, at least 0, 1 = full scale (..., T) with T at least 1.
        rate_hz: Values per second, above 0.

    Raises:
        InputError: There is no value, or the rate is not a finite number above 0.
    """

    rms: Tensor
    rate_hz: float

    def __post_init__(self) -> None:
        if self.rms.ndim == 0 or self.rms.shape[-1] == 0:
            raise InputError(f"an envelope of shape {tuple(self.rms.shape)} holds no value: give at least one")
        if not (math.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise InputError(f"envelope rate {self.rate_hz} Hz is not possible: give a finite number above 0")

    @property
    def duration_s(self) -> float:
        """Time from the start of the first slot to the end of the last."""
        return self.rms.shape[-1] / self.rate_hz


def fine_envelope(wave: Tensor, sample_rate_hz: int) -> Envelope:
    """Return the envelope (..., T) at 125 Hz of a sound (..., C, N): RMS of its 16 kHz mono over 512 samples every 128.

    The sound is extended by 192 samples on each side, by reflection (or by zeros if it is too short for that), so that
    value i is centred on its slot. T is the number of whole slots, at least 1 (10 s: 1250).

    Raises:
        InputError: The sound has no samples.

    Source:
        Video-Foley (arXiv 2408.11915), temporal condition, without its low-pass (`low_passed`).
    """
    if wave.shape[-1] == 0:
        raise InputError("a sound without samples has no envelope: give a longer sound")
    mono = torchaudio.functional.resample(wave.mean(dim=-2), sample_rate_hz, _FINE_SAMPLE_RATE_HZ)
    mono = F.pad(mono, (0, max(0, _FINE_HOP_SAMPLES - mono.shape[-1])))
    margin = (_FINE_WINDOW_SAMPLES - _FINE_HOP_SAMPLES) // 2
    rows = mono.reshape(-1, mono.shape[-1])
    padded = F.pad(rows, (margin, margin), mode="reflect" if mono.shape[-1] > margin else "constant")
    windows = padded.unfold(-1, _FINE_WINDOW_SAMPLES, _FINE_HOP_SAMPLES)
    rms = windows.square().mean(dim=-1).sqrt()
    return Envelope(rms.reshape(*mono.shape[:-1], -1), FINE_RATE_HZ)


def low_passed(envelope: Envelope, cutoff_hz: float = 7.8125) -> Envelope:
    """Return an envelope without fast changes, without delay, and nowhere below 0.

    An elliptic filter of order 4 (ripple 0.01 dB, 120 dB attenuation) runs forwards and backwards. The level therefore
    begins to rise about half a period of the cutoff before a hit.

    Args:
        envelope: Envelope, rms (..., T).
        cutoff_hz: End of the pass band, above 0 and below half of the envelope's rate.

    Raises:
        InputError: The cutoff is outside its range.

    Source:
        Video-Foley (arXiv 2408.11915): its target, with the default cutoff at 125 Hz.
    """
    if not 0 < cutoff_hz < envelope.rate_hz / 2:
        raise InputError(
            f"a low-pass at {cutoff_hz} Hz is not possible for {envelope.rate_hz} values a second: give more than 0 "
            f"and less than {envelope.rate_hz / 2}"
        )
    from scipy.signal import ellip, filtfilt  # slow to import, and rarely needed

    b, a = ellip(4, 0.01, 120, cutoff_hz, fs=envelope.rate_hz)
    rms = filtfilt(b, a, envelope.rms.double().cpu().numpy(), axis=-1, method="gust")
    return replace(envelope, rms=torch.from_numpy(rms.clip(min=0)).to(envelope.rms))


def instant_envelope(wave: Tensor, sample_rate_hz: int) -> Envelope:
    """Return the finest envelope (..., C, N) of a sound: the magnitudes of its samples."""
    return Envelope(wave.abs(), float(sample_rate_hz))


def sliding_mean(values: Tensor, window_samples: int, *, causal: bool) -> Tensor:
    """Return moving averages (..., N), float64, of values (..., N), in time proportional to N for any window.

    Samples before the start and after the end count as 0, and the divisor is always `window_samples`.

    Args:
        values: Values (..., N).
        window_samples: Length W of the window, at least 1.
        causal: True: output n averages samples n - W + 1 … n. False: it averages n - W // 2 … n - W // 2 + W - 1, as if
            the values were padded by W // 2 zeros on both sides, averaged, and cut to N.

    Raises:
        InputError: The window is shorter than one sample.
    """
    if window_samples < 1:
        raise InputError(f"a window of {window_samples} samples is not possible: give 1 or more")
    sum_of_first = F.pad(_to_float64(values).cumsum(dim=-1), (1, 0))
    n_samples = values.shape[-1]
    before = window_samples - 1 if causal else window_samples // 2
    first = torch.arange(n_samples, device=sum_of_first.device) - before
    end = (first + window_samples).clamp(max=n_samples)
    return (sum_of_first[..., end] - sum_of_first[..., first.clamp(min=0)]) / window_samples


def control_envelope(
    envelope: Envelope,
    *,
    n_samples: int,
    sample_rate_hz: int,
    window_samples: int = PUBLISHED_WINDOW_SAMPLES,
    smoothing_samples: int = PUBLISHED_SMOOTHING_SAMPLES,
    first_sample: int = 0,
) -> Tensor:
    """Return the smooth envelope (..., N) at the rate of the sound, float32, that controls a model.

    The energy (squared RMS) is interpolated to the samples, averaged over the past `window_samples`, converted back to
    RMS, and smoothed by a centred moving average. Applied to `instant_envelope`, this is the published definition.

    Args:
        envelope: Any envelope, rms (..., T). Before its start and after its end the sound counts as silent.
        n_samples: Length N of the result, at least 1.
        sample_rate_hz: Samples per second of the result.
        window_samples: Length of the RMS window, at least 1.
        smoothing_samples: Length of the moving average, at least 1; 1 disables smoothing.
        first_sample: Sample of the sound at which the result starts.

    Raises:
        InputError: A length is below 1.

    Source:
        Stable-V2A (arXiv 2412.15023), whose lengths are the defaults.
    """
    if n_samples < 1:
        raise InputError(f"a control envelope of {n_samples} samples is not possible: give 1 or more")
    lead = min(first_sample, window_samples + smoothing_samples)
    first, end = first_sample - lead, first_sample + n_samples
    energy = sliding_mean(_energy_at_samples(envelope, first, end, sample_rate_hz), window_samples, causal=True)
    rms = sliding_mean(energy.clamp(min=0).sqrt(), smoothing_samples, causal=False)
    return rms[..., lead:].float().to(envelope.rms.device)


def _energy_at_samples(envelope: Envelope, first: int, end: int, sample_rate_hz: int) -> Tensor:
    """Return the energy (..., end - first), float64, at some samples, interpolated between slot middles."""
    n_values = envelope.rms.shape[-1]
    per_sample = envelope.rate_hz / sample_rate_hz
    start, last = (min(max(math.floor((n + 0.5) * per_sample - 0.5), 0), n_values - 1) for n in (first, end - 1))
    energy = _to_float64(envelope.rms[..., start : last + 2]).square()  # a long envelope is read window by window
    sample = torch.arange(first, end, dtype=torch.float64, device=energy.device)
    position = (sample + 0.5) * per_sample - 0.5
    left = position.floor().long().clamp(0, n_values - 1)
    right = (left + 1).clamp(max=n_values - 1)
    interpolated = torch.lerp(energy[..., left - start], energy[..., right - start], (position - left).clamp(min=0))
    return interpolated * (position < n_values - 0.5)


def _to_float64(values: Tensor) -> Tensor:
    """Convert to float64, on the CPU if the device (Apple's) does not support it."""
    return values.to(device="cpu" if values.device.type == "mps" else values.device, dtype=torch.float64)


def write_envelope_csv(path: Path, envelope: Envelope, start_s: float = 0.0) -> None:
    """Write an envelope as a table of times (the middles of the slots) and RMS values.

    Args:
        path: File to write, header `time_s,rms`.
        envelope: One envelope, rms (T,).
        start_s: Start of the envelope in the video, in seconds from 0; the table states silence before it.

    Raises:
        InputError: There are several envelopes, or the path cannot be written.
    """
    if envelope.rms.ndim != 1:
        raise InputError(f"an envelope of shape {tuple(envelope.rms.shape)} is not a single one: write one row of it")
    time_s = start_s + (np.arange(len(envelope.rms)) + 0.5) / envelope.rate_hz
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_CSV_HEADER)
        writer.writerows([(0.0, 0.0), (start_s, 0.0)] if start_s > 0 else [])
        writer.writerows(zip(time_s.tolist(), envelope.rms.tolist(), strict=True))


def read_envelope_csv(path: Path, duration_s: float | None = None, start_s: float = 0.0) -> Envelope:
    """Read an envelope from a table of increasing times and RMS values.

    If the times are the middles of even slots, as `write_envelope_csv` writes them, the values are used unchanged.
    Otherwise the points define a curve, straight between points and constant before the first, which is sampled at 125
    Hz up to the last point. The table may have the form of any spreadsheet, see `common.spreadsheet.read_table`, with
    decimal points or commas.

    Args:
        path: CSV file with the header `time_s,rms`; seconds from the start of the video, 0 to 86,400 (24 h), and RMS
            amplitudes, 0 to 1000 (+60 dBFS).
        duration_s: Seconds needed, from `start_s`, above 0; None: up to the last time.
        start_s: Start of the envelope in the video, in seconds from 0.

    Returns:
        Envelope with rms (T,), float32, from `start_s` on; it may end before `duration_s`.

    Raises:
        InputError: The file is missing or not such a table, a value is outside its range, times are not in order, even
            times are closer than 192,000 per second, or no time is after `start_s`.
    """
    time_s, rms = _read_points(path)
    if start_s > 0 and time_s[-1] <= start_s:
        raise InputError(
            f"{path} ends {time_s[-1]:g} s after the start of the video, but the part starts at {start_s:g} s: "
            "give a table with the times of the video, or an earlier start"
        )
    rate_hz = _even_rate_hz(path, time_s)
    first = 0
    if start_s > 0:
        is_even, time_s = rate_hz is not None, time_s - start_s
        first = int(np.count_nonzero(time_s <= 0))
        is_even |= first > 0 and time_s[first - 1] > -1e-6  # the line before a part by `write_envelope_csv`
        rate_hz = _even_rate_hz(path, time_s[first:]) if is_even else None
    is_curve = rate_hz is None
    if rate_hz is None:
        rate_hz = FINE_RATE_HZ
    n_slots = max(1, math.ceil(time_s[-1] * rate_hz)) if is_curve else len(time_s) - first
    if duration_s is not None:
        n_slots = max(1, min(n_slots, math.ceil(duration_s * rate_hz)))
    middles_s = (np.arange(n_slots) + 0.5) / rate_hz
    values = np.interp(middles_s, time_s, rms) if is_curve else rms[first : first + n_slots]
    return Envelope(torch.from_numpy(values.astype(np.float32)), rate_hz)


def _even_rate_hz(path: Path, time_s: np.ndarray) -> float | None:
    """Return the slots per second if the times are the middles of even slots from time 0 on; otherwise None."""
    rate_hz = (len(time_s) - 0.5) / time_s[-1] if time_s[-1] > 0 else 0.0
    if not np.allclose(time_s * rate_hz, np.arange(len(time_s)) + 0.5, rtol=0, atol=1e-2):
        return None
    if rate_hz > _HIGHEST_CSV_RATE_HZ:
        raise InputError(
            f"{path} holds {rate_hz:.4g} values per second, expected at most {_HIGHEST_CSV_RATE_HZ:,}: "
            "give times in seconds"
        )
    return float(rate_hz)


def _read_points(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read and check the times and RMS values of a CSV file."""
    lines = read_table(path, _CSV_HEADER)
    points = np.array([_point(path, line) for line in lines])
    backwards = np.flatnonzero(np.diff(points[:, 0]) <= 0)
    if len(backwards):
        raise InputError(
            f"{path}, {lines[backwards[0] + 1]} is not later than the line before it: sort the times without repeats"
        )
    return points[:, 0], points[:, 1]


def _point(path: Path, line: Line) -> tuple[float, float]:
    """Read one line of the table: a time and an RMS value."""
    try:
        time_s, rms = (float(cell.replace(",", ".")) for cell in line.cells)
    except ValueError:
        raise InputError(f"{path}, {line} holds no numbers: give a time in seconds and an RMS amplitude") from None
    if not 0 <= time_s <= LAST_CSV_TIME_S:  # also refuses NaN
        raise InputError(
            f"{path}, {line} has the time {time_s:g} s: give 0 to {LAST_CSV_TIME_S:,} (24 h), in seconds from the "
            "start of the video"
        )
    if not 0 <= rms <= _HIGHEST_CSV_RMS:
        raise InputError(
            f"{path}, {line} has the RMS {rms:g}: give an amplitude from 0 to {_HIGHEST_CSV_RMS:,}, "
            "where 1 is full scale"
        )
    return time_s, rms
