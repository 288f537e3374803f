"""From a generated sound to the one that is delivered: faded ends, the original sound, sample rate, level."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import printable
from media.clip import count_at_rate
from media.levels import loudness_lufs, true_peak_db
from media.probe import probe
from media.reading import iter_sound
from media.sound import resampled
from media.stored import SomeSound, Sound, like, parts
from video2audio.peaks import at_loudness, within_full_scale
from video2audio.request import FoleyRequest

log = logging.getLogger(__name__)

FADE_IN_S, FADE_OUT_S = 0.001, 0.01
"""Fades at the ends of a generated sound: nothing clicks, and a hit on the first frame keeps its attack."""


@dataclass(frozen=True, eq=False)
class Finished:
    """A sound as it is delivered.

    Args:
        sound: The sound (C, N) of the section, full scale ±1.
        whole: The sound (C, N') of the whole video, if the original is mixed in; otherwise None: the rest is silent.
        sample_rate_hz: Samples per second.
        gain_db: See `video2audio.peaks.Levelled`.
        n_clipped: Number of samples that exceed full scale.
        loudness_lufs: Integrated loudness (ITU-R BS.1770-4); None below 0.4 s and where it is silent.
        true_peak_db: True peak in dB of full scale (dBTP); None where it is silent.
    """

    sound: Sound
    whole: Sound | None
    sample_rate_hz: int
    gain_db: float
    n_clipped: int
    loudness_lufs: float | None
    true_peak_db: float | None


def finish(generated: Sound, sample_rate_hz: int, request: FoleyRequest) -> Finished:
    """Make the sound that is delivered of a generated one; on disk if that is, otherwise in memory.

    Args:
        generated: Sound (C, N) of the section.
        sample_rate_hz: Its samples per second.
        request: What is asked for: original sound, sample rate, loudness, and treatment of peaks.

    Raises:
        InputError: The original sound cannot be read.
    """
    rate_hz = request.sample_rate_hz or sample_rate_hz
    section = request.section
    n_samples = count_at_rate(section.duration_s, rate_hz)
    sound = resampled(faded(generated, sample_rate_hz), sample_rate_hz, rate_hz, n_samples)
    keeps_sound = _keeps_sound(request)
    first = round(section.start_s * rate_hz) if keeps_sound else 0
    if keeps_sound:
        sound = like(sound, _with_original(sound, rate_hz, first, request))
    if request.loudness_lufs is None:
        levelled = within_full_scale(sound, rate_hz, request.peaks)
    else:
        levelled = at_loudness(sound, rate_hz, request.loudness_lufs, request.peaks)
    return Finished(
        sound=like(levelled.sound, parts(levelled.sound, first, first + n_samples)) if keeps_sound else levelled.sound,
        whole=levelled.sound if keeps_sound else None,
        sample_rate_hz=rate_hz,
        gain_db=levelled.gain_db,
        n_clipped=levelled.n_clipped,
        loudness_lufs=loudness_lufs(levelled.sound, rate_hz),
        true_peak_db=true_peak_db(levelled.sound),
    )


def faded(sound: SomeSound, sample_rate_hz: int) -> SomeSound:
    """Fade a sound (C, N) in over 1 ms and out over 10 ms, or over half of it if it is shorter."""
    n_samples = sound.shape[-1]

    def faded_parts() -> Iterator[Tensor]:
        start = 0
        for part in parts(sound):
            place = start + torch.arange(part.shape[-1])
            gain = _ramp(place, FADE_IN_S, sample_rate_hz, n_samples)
            gain *= _ramp(n_samples - 1 - place, FADE_OUT_S, sample_rate_hz, n_samples)
            yield part * gain.to(part)
            start += part.shape[-1]

    return like(sound, faded_parts())


def _ramp(from_end: Tensor, duration_s: float, sample_rate_hz: int, n_samples: int) -> Tensor:
    """Return the gains of samples that are a number of samples (n,) from the end that is faded."""
    n_faded = max(1, min(round(duration_s * sample_rate_hz), n_samples // 2))
    return 0.5 - 0.5 * torch.cos(math.pi * ((from_end + 0.5) / n_faded).clamp(max=1))


def _keeps_sound(request: FoleyRequest) -> bool:
    """Return whether the original sound is to be mixed in, and there is one."""
    if request.keep_sound is None or request.keep_sound == "track":
        return False
    if not probe(request.section.clip.sound_path).has_sound:
        log.warning("%s has no sound to keep", printable(request.video))
        return False
    return True


def _with_original(sound: Sound, sample_rate_hz: int, first: int, request: FoleyRequest) -> Iterator[Tensor]:
    """Yield parts (2, n) of the original sound of the whole video, with a sound added from sample `first` on."""
    assert isinstance(request.keep_sound, float | int)
    gain = 10 ** (request.keep_sound / 20)
    clip = request.section.clip
    for window in iter_sound(clip.sound_path, sample_rate_hz=sample_rate_hz, duration_s=clip.duration_s):
        part = window.wave * gain
        start = max(window.first, first)
        added = sound[:, start - first : max(start, window.first + part.shape[-1]) - first]
        part[:, start - window.first :][:, : added.shape[-1]] += added
        yield part
