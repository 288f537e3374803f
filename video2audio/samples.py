"""Recordings from a folder, played at hits: picked by level, varied, and scaled to each hit."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torchaudio.functional
from torch import Tensor

from common.errors import InputError
from hits.level import WINDOW_S, Hits
from media.envelope import sliding_mean
from media.probe import probe
from media.sound import resampled
from media.sound_part import SoundPart, read_part, sound_end_s

MOST_RECORDINGS = 1000
LONGEST_S = 60.0
"""Most seconds that are read of a recording."""
LAYER_DB = 6.0
"""Largest difference in level between recordings of a layer, unless one of them would be alone in it."""
ONSET_SHARE = 0.1
"""Share of its peak that the first sample of a recording's onset reaches."""
_LEVEL_RATE_HZ = 16_000  # at which `media.envelope.fine_envelope` measures
_IS_SOUND = re.compile(r".+\.(aac|aif|aiff|caf|flac|m4a|mp3|oga|ogg|opus|w64|wav|wave|wma|wv)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording of a hit.

    Args:
        path: Its file.
        sound: Sound (2, N), float32.
        onset: Sample at which it is struck.
        level: Highest level in windows of 32 ms of its mono at 16 kHz, as envelopes are measured, above 0.
    """

    path: Path
    sound: Tensor
    onset: int
    level: float

    @classmethod
    def read(cls, path: Path, sample_rate_hz: int) -> Self:
        """Read a recording; what is after its first minute is left out.

        Raises:
            InputError: It cannot be read, or is silent.
        """
        own_rate_hz = probe(path).sample_rate_hz
        if own_rate_hz is None:
            raise InputError(f"{path} holds no sound: remove it from --sampler-dir, or give another folder")
        sound = read_part(SoundPart(path), sample_rate_hz=own_rate_hz, at_most_s=LONGEST_S)
        level = level_of(sound, own_rate_hz)
        if level < 1e-6:  # also where the channels cancel
            raise InputError(f"{path} is silent in mono: remove it from --sampler-dir, or give another folder")
        highest = sound.abs().amax(dim=0)
        onset = int((highest >= ONSET_SHARE * highest.max()).nonzero()[0])
        n_samples = math.ceil(sound.shape[1] * sample_rate_hz / own_rate_hz)
        at_rate = resampled(sound, own_rate_hz, sample_rate_hz, n_samples)
        return cls(path, at_rate, round(onset * sample_rate_hz / own_rate_hz), level)


@dataclass(frozen=True, eq=False)
class SampleLibrary:
    """Recordings in layers of rising level.

    Args:
        layers: Recordings of similar level, softest first, at least one.
        sample_rate_hz: Samples per second of all recordings.
    """

    layers: tuple[tuple[Recording, ...], ...]
    sample_rate_hz: int

    @classmethod
    def read(cls, folder: Path, sample_rate_hz: int) -> Self:
        """Read all recordings below a folder, see `find_recordings`.

        Raises:
            InputError: The folder holds no sounds, or one of them cannot be used.
        """
        return cls(layered([Recording.read(path, sample_rate_hz) for path in find_recordings(folder)]), sample_rate_hz)

    def choose(self, levels: Sequence[float], seed: int) -> list[Recording]:
        """Choose a recording for each hit.

        The layer is the one whose mean level in dB is nearest to that of the hit. Each layer plays all of its
        recordings in random order, and then again in another order, never the same twice in succession.

        Args:
            levels: Levels of the hits in order of time, above 0.
            seed: Seed of the orders.
        """
        generator = np.random.default_rng(seed)
        means_db = np.array([np.mean([_db(recording.level) for recording in layer]) for layer in self.layers])
        queues: list[list[Recording]] = [[] for _ in self.layers]
        chosen: list[Recording] = []
        for level in levels:
            number = int(np.abs(means_db - _db(level)).argmin())
            layer, queue = self.layers[number], queues[number]
            if not queue:
                queue += [layer[i] for i in generator.permutation(len(layer))]
                if chosen and queue[0] is chosen[-1]:
                    queue.append(queue.pop(0))
            chosen.append(queue.pop(0))
        return chosen

    def play(self, hits: Hits, chosen: Sequence[Recording], n_samples: int, first_sample: int = 0) -> Tensor:
        """Return the sound (2, N) of recordings at hits.

        The onset of a recording is at the sample nearest to the hit, and its level is that of the hit. Recordings ring
        on under the next ones; what is before the start or after the end is cut off.

        Args:
            hits: The hits (K,), with levels above 0.
            chosen: K recordings.
            n_samples: Number N of samples.
            first_sample: Sample of the whole at which the result starts.
        """
        sound = torch.zeros(2, n_samples)
        for time_s, level, recording in zip(hits.times_s.tolist(), hits.rms.tolist(), chosen, strict=True):
            start = round(time_s * self.sample_rate_hz) - recording.onset - first_sample
            first, end = max(0, start), min(n_samples, start + recording.sound.shape[1])
            if first < end:
                sound[:, first:end] += recording.sound[:, first - start : end - start] * (level / recording.level)
        return sound


def find_recordings(folder: Path) -> list[Path]:
    """Return the sound files below a folder, sorted; hidden files and folders do not count.

    Raises:
        InputError: It is no folder, or holds none or too many.
    """
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"--sampler-dir {folder} {problem}: give a folder with sounds")
    found = sorted(
        path
        for path in folder.rglob("*")
        if _IS_SOUND.fullmatch(path.name)
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise InputError(f"--sampler-dir {folder} holds no sounds: give a folder with files such as .wav or .flac")
    if len(found) > MOST_RECORDINGS:
        raise InputError(
            f"--sampler-dir {folder} holds {len(found):,} sounds, more than {MOST_RECORDINGS:,}: give a folder of one "
            "kind of hit"
        )
    return found


def check_recordings(folder: Path) -> None:
    """Refuse a folder without sounds, or with a file that cannot be opened, without reading the sounds.

    Raises:
        InputError: The error names the folder or the file.
    """
    for path in find_recordings(folder):
        sound_end_s(SoundPart(path))


def level_of(sound: Tensor, sample_rate_hz: int) -> float:
    """Return the highest level of a sound (C, N) in windows of 32 ms, as `media.envelope.fine_envelope` measures it."""
    mono = torchaudio.functional.resample(sound.mean(dim=0), sample_rate_hz, _LEVEL_RATE_HZ)
    window = round(WINDOW_S * _LEVEL_RATE_HZ)
    padded = torch.nn.functional.pad(mono, (0, window))
    return float(sliding_mean(padded.square(), window, causal=True).max().clamp(min=0).sqrt())


def layered(recordings: Sequence[Recording]) -> tuple[tuple[Recording, ...], ...]:
    """Sort recordings into layers of at most 6 dB, softest first; one alone joins the layer next to it in level."""
    layers: list[list[Recording]] = []
    for recording in sorted(recordings, key=lambda each: (each.level, each.path)):
        if layers and _db(recording.level) - _db(layers[-1][0].level) <= LAYER_DB:
            layers[-1].append(recording)
        else:
            layers.append([recording])
    while len(layers) > 1:
        alone = next((i for i, layer in enumerate(layers) if len(layer) == 1), None)
        if alone is None:
            break
        gaps_db = [_db(after[0].level) - _db(before[-1].level) for before, after in pairwise(layers)]
        pairs = [(len(layers[i] + layers[i + 1]), gaps_db[i], i) for i in (alone - 1, alone) if 0 <= i < len(gaps_db)]
        near = min(pairs, key=lambda pair: (pair[0] > 2, pair[1]))[2]  # rather another one that is alone
        layers[near : near + 2] = [layers[near] + layers[near + 1]]
    return tuple(tuple(layer) for layer in layers)


def _db(level: float) -> float:
    return 20 * math.log10(level)
