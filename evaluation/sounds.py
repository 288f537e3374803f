"""Reads the two sounds of a pair so that they can be compared: one rate, two channels, one length."""

from dataclasses import dataclass

import librosa
import numpy as np
import torch
from torch import Tensor

from common.errors import InputError
from data.greatest_hits import read_hits
from evaluation.folders import ClipFiles, SoundFile
from evaluation.onsets import detect_onsets
from media.levels import count_clipped_runs
from media.probe import probe
from media.reading import read_sound

SAMPLE_RATE_HZ = 44_100
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 2_000, 768_000
HIGHEST_PEAK = 100.0
SAME_LENGTH_S = 1e-3
SHORTEST_S = 0.1


@dataclass(frozen=True, eq=False)
class ComparedSound:
    """A sound as it is compared: stereo at 44.1 kHz (2, N), mono doubled; the rest is about the file as it was."""

    wave: Tensor
    is_clipped: bool
    sample_rate_hz: int
    n_channels: int

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        return self.wave.shape[-1] / SAMPLE_RATE_HZ


@dataclass(frozen=True, eq=False)
class Pair:
    """Both sounds of a clip (2, N) at 44.1 kHz over their common part; onsets of the reference in seconds (K,)."""

    reference: Tensor
    generated: Tensor
    onsets_s: np.ndarray
    notes: tuple[str, ...]

    @property
    def duration_s(self) -> float:
        """Duration of both in seconds."""
        return self.generated.shape[-1] / SAMPLE_RATE_HZ


def read_for_comparison(file: SoundFile) -> ComparedSound:
    """Read a sound, or that of a video.

    Raises:
        InputError: It cannot be read, is empty, or holds impossible numbers.
    """
    info = probe(file.path)
    rate_hz = info.sample_rate_hz or SAMPLE_RATE_HZ
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        raise InputError(
            f"{file.path} has a sample rate of {rate_hz} Hz, expected {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ}: "
            "export the sound again"
        )
    wave = read_sound(file.path, sample_rate_hz=rate_hz)
    peak = float(wave.abs().amax())
    if peak > HIGHEST_PEAK:
        raise InputError(f"{file.path} reaches {peak:.3g} times full scale: export the sound with full scale at ±1")
    is_clipped = count_clipped_runs(wave) > 0
    if rate_hz != SAMPLE_RATE_HZ:
        wave = torch.from_numpy(librosa.resample(wave.numpy(), orig_sr=rate_hz, target_sr=SAMPLE_RATE_HZ))
    return ComparedSound(wave, is_clipped, rate_hz, info.n_channels or 0)


def read_annotation(files: ClipFiles) -> np.ndarray | None:
    """Read the times of a clip's annotated hits in seconds (K,), rising; None without annotation.

    Raises:
        InputError: The annotation cannot be read.
    """
    return None if files.annotation is None else np.array([hit.time_s for hit in read_hits(files.annotation)])


def common_part(reference: ComparedSound, generated: ComparedSound, hits_s: np.ndarray | None) -> Pair:
    """Cut both sounds, and the annotated hits, to the shorter duration, with notes on how the files differ.

    Args:
        reference: Real sound.
        generated: Generated sound.
        hits_s: Annotated hits in seconds (K,), rising; None: onsets are detected in the real sound.

    Raises:
        InputError: They have less than 0.1 s in common.
    """
    n_samples = min(reference.wave.shape[-1], generated.wave.shape[-1])
    first, second = reference.wave[:, :n_samples], generated.wave[:, :n_samples]
    duration_s = n_samples / SAMPLE_RATE_HZ
    if duration_s < SHORTEST_S:
        raise InputError(f"{duration_s:.3f} s of sound are too short to compare: give at least {SHORTEST_S} s")
    onsets_s = detect_onsets(first, SAMPLE_RATE_HZ).times_s if hits_s is None else hits_s[hits_s < duration_s]
    notes = []
    longer_s = generated.duration_s - reference.duration_s
    if abs(longer_s) > SAME_LENGTH_S:
        word = "longer" if longer_s > 0 else "shorter"
        notes.append(f"generated {abs(longer_s):.3f} s {word}, compared over the common {duration_s:.3f} s")
    if generated.sample_rate_hz != reference.sample_rate_hz:
        notes.append(f"generated at {generated.sample_rate_hz} Hz, reference at {reference.sample_rate_hz} Hz")
    if generated.n_channels != reference.n_channels:
        notes.append(f"generated with {generated.n_channels} channels, reference with {reference.n_channels}")
    return Pair(first, second, onsets_s, tuple(notes))
