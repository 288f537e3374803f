"""Measures of synthetic and real strikes: decay, brightness, attack time, and the motion around them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import InputError
from data.greatest_hits import list_clips
from media.reading import read_frames, read_sound
from synthetic.clip import SyntheticClip
from synthetic.materials import Range
from synthetic.spec import SAMPLE_RATE_HZ

AROUND_S = np.arange(-0.4, 0.4, 1 / 60)
_FREE_S = 0.3  # a hit is measured only if no other follows within this time
_STEP_SAMPLES = 44
_MOST_HITS = 6  # of a material in a clip, so that no single object dominates
# times of the hits in the sound of `videos/hitting_bag.mp4`
_BAG_S = (0.12, 0.93, 1.70, 2.49, 3.23, 4.02, 4.81, 5.55)


@dataclass(frozen=True)
class Measures:
    """Measures of one hit.

    Args:
        decay_s: Time in which the level falls by 20 dB after its peak.
        centroid_hz: Centroid of the power spectrum of the first 100 ms.
        rise_ms: Time in which the level rises from -20 dB to -3 dB relative to its peak.
    """

    decay_s: float
    centroid_hz: float
    rise_ms: float


@dataclass(frozen=True)
class MeasuredModes:
    """Published measurements of the modes of everyday objects of a material.

    Args:
        t60_s: 10 % and 90 % quantiles of the time in which a mode falls by 60 dB, over all modes of all objects.
        centre_hz: Mean frequency of the modes of each object, weighted by their energy.
    """

    t60_s: Range
    centre_hz: tuple[float, ...]

    @property
    def decay_s(self) -> Range:
        """Quantiles of the time in which a mode falls by 20 dB."""
        return self.t60_s[0] / 3, self.t60_s[1] / 3


# Ten modes each of 18 recorded objects, published with ThreeDWorld (Gan et al., "ThreeDWorld: a platform for
# interactive multi-modal physical simulation", 2020; py_impact/material_data/*_mm.json), measured by the method of
# Traer, Cusimano & McDermott, "A perceptually inspired generative model of rigid-body contact sounds", DAFx 2019. The
# files do not state how the objects were held.
MEASURED_MODES = {
    "ceramic": MeasuredModes((0.104, 0.503), (2850, 1670)),  # ceramic_2, _4
    "cloth": MeasuredModes((0.111, 0.279), (480,)),  # fabric_3
    "glass": MeasuredModes((0.056, 0.180), (6280, 6290)),  # glass_2, _3
    "metal": MeasuredModes((0.045, 0.303), (2660, 2680, 1480, 3870)),  # metal_1 to _4
    "paper": MeasuredModes((0.036, 0.112), (1240,)),  # paper_2
    "plastic": MeasuredModes((0.071, 0.228), (2300, 390)),  # plastic_hard_2, _4
    "rock": MeasuredModes((0.030, 0.247), (1560, 7250)),  # stone_1, _3
    "tile": MeasuredModes((0.126, 0.445), (1490,)),  # ceramic_tile_3
    "wood": MeasuredModes((0.038, 0.270), (3410, 7200, 3040)),  # wood_medium_3, wood_hard_2, wood_soft_3
}


def measure(mono: np.ndarray, time_s: float, until_s: float) -> Measures | None:
    """Measure a hit.

    Args:
        mono: Sound (N,) at 44.1 kHz.
        time_s: Time of the hit in the sound, in seconds.
        until_s: End of the part to measure, in seconds: shortly before the next hit.

    Returns:
        The measures; None if the hit is too short or too faint to be measured.
    """
    start = max(0, int((time_s - 0.05) * SAMPLE_RATE_HZ))
    part = mono[start : int(until_s * SAMPLE_RATE_HZ)]
    power = np.square(part[: len(part) // _STEP_SAMPLES * _STEP_SAMPLES]).reshape(-1, _STEP_SAMPLES).mean(axis=1)
    if len(power) < 150 or power.max() == 0:
        return None
    level_db = 10 * np.log10(np.convolve(power, np.full(3, 1 / 3), "same") + 1e-20)
    peak = int(level_db[: 150 + 1].argmax())
    below = np.flatnonzero(level_db[peak:] < level_db[peak] - 20)
    rising = np.flatnonzero(level_db[: peak + 1] < level_db[peak] - 20)
    loud = np.flatnonzero(level_db[: peak + 1] > level_db[peak] - 3)
    if len(below) == 0 or len(rising) == 0:
        return None
    first = start + peak * _STEP_SAMPLES - 200
    part = mono[max(0, first) : first + SAMPLE_RATE_HZ // 10]
    spectrum = np.square(np.abs(np.fft.rfft(part)))
    frequency_hz = np.fft.rfftfreq(len(part), 1 / SAMPLE_RATE_HZ)
    step_ms = 1e3 * _STEP_SAMPLES / SAMPLE_RATE_HZ
    return Measures(
        decay_s=float(below[0] * step_ms / 1e3),
        centroid_hz=float((spectrum * frequency_hz).sum() / spectrum.sum()),
        rise_ms=float(max(loud[loud > rising[-1]][0] - rising[-1], 1) * step_ms),
    )


def measure_clip(clip: SyntheticClip) -> dict[str, list[Measures]]:
    """Measure the hits of a clip, at most six of each material; return the measures by material."""
    assert clip.wave is not None
    mono = clip.wave.mean(dim=0).numpy()
    measures: dict[str, list[Measures]] = {}
    for time_s, until_s, i in _apart([strike.time_s for strike in clip.plan.strikes], clip.wave.shape[1]):
        strike = clip.plan.strikes[i]
        entries = measures.setdefault(strike.material, [])
        found = measure(mono, time_s, until_s) if strike.action == "hit" and len(entries) < _MOST_HITS else None
        if found:
            entries.append(found)
    return measures


def _apart(times_s: Sequence[float], n_samples: int) -> list[tuple[float, float, int]]:
    """Return start, end and index of the hits that have time to decay before the next one."""
    ends_s = [*times_s[1:], n_samples / SAMPLE_RATE_HZ]
    pairs = zip(times_s, ends_s, strict=True)
    return [(time_s, end_s - 0.02, i) for i, (time_s, end_s) in enumerate(pairs) if end_s - time_s > _FREE_S]


@dataclass(frozen=True, eq=False)
class Real:
    """Measures of real recordings: of hits by name, intervals between hits, and motion around hits by name."""

    measures: Mapping[str, list[Measures]]
    intervals_s: np.ndarray
    motion: Mapping[str, np.ndarray]


def read_real(folder: Path | None) -> Real:
    """Measure real recordings.

    Args:
        folder: Folder that holds `greatest_hits_processed` (clips in the processed layout), `videos/hitting_bag.mp4`
            (whose onsets are known), or both; or None.

    Returns:
        The measures; empty without a folder.

    Raises:
        InputError: The folder holds neither.
    """
    measures: dict[str, list[Measures]] = {}
    intervals: list[np.ndarray] = []
    motion: dict[str, np.ndarray] = {}
    if folder is None:
        return Real(measures, np.zeros(0), motion)
    root, bag = folder / "greatest_hits_processed", folder / "videos" / "hitting_bag.mp4"
    if not (root.is_dir() or bag.is_file()):
        raise InputError(f"{folder} holds neither {root.name}/ nor videos/{bag.name}: give a folder that holds one")
    for clip in list_clips(root) if root.is_dir() else []:
        if clip.hits:
            times_s = [hit.time_s for hit in clip.hits]
            intervals.append(np.diff(times_s))
            mono = read_sound(clip.sound_path, sample_rate_hz=SAMPLE_RATE_HZ).mean(dim=0).numpy()
            for time_s, until_s, i in _apart(times_s, len(mono)):
                found = measure(mono, time_s, until_s)
                if found and clip.hits[i].material:
                    measures.setdefault(f"real {clip.hits[i].material}", []).append(found)
    if bag.is_file():
        intervals.append(np.diff(_BAG_S))
        mono = read_sound(bag, sample_rate_hz=SAMPLE_RATE_HZ).mean(dim=0).numpy()
        of_bag = [measure(mono, *entry[:2]) for entry in _apart(_BAG_S, len(mono))]
        measures["real bag"] = [entry for entry in of_bag if entry]
        frames = read_frames(bag, frame_rate_hz=15, size_px=112).permute(0, 2, 3, 1).numpy()
        motion["hitting_bag"] = motion_around(frames, 15.0, _BAG_S)
    return Real(measures, np.concatenate(intervals) if intervals else np.zeros(0), motion)


def motion_around(frames: np.ndarray, frame_rate_hz: float, times_s: Sequence[float]) -> np.ndarray:
    """Return the mean change between frames around hits (K,), relative to the clip's mean change, at `AROUND_S`."""
    change = np.abs(np.diff(frames.astype(np.int16), axis=0)).mean(axis=(1, 2, 3))
    change = np.maximum(change - np.quantile(change, 0.05), 0)  # subtract the noise floor
    middle_s = (np.arange(len(change)) + 1.0) / frame_rate_hz
    curves = [np.interp(time_s + AROUND_S, middle_s, change, np.nan, np.nan) for time_s in times_s]
    return np.nanmean(curves, axis=0) / max(change.mean(), 1e-6)
