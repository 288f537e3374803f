"""From a generated sound to the one that is delivered: faded ends, the original sound, sample rate, level."""

import logging
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import printable
from media.clip import count_at_rate
from media.levels import loudness_lufs, true_peak_db
from media.reading import probe, read_sound
from media.sound import resampled
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

    sound: Tensor
    whole: Tensor | None
    sample_rate_hz: int
    gain_db: float
    n_clipped: int
    loudness_lufs: float | None
    true_peak_db: float | None


def finish(generated: Tensor, sample_rate_hz: int, request: FoleyRequest) -> Finished:
    """Make the sound that is delivered of a generated one.

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
    original = _original(request, rate_hz)
    first = 0 if original is None else round(section.start_s * rate_hz)
    if original is not None:
        original[:, first : first + n_samples] += sound
        sound = original
    if request.loudness_lufs is None:
        levelled = within_full_scale(sound, rate_hz, request.peaks)
    else:
        levelled = at_loudness(sound, rate_hz, request.loudness_lufs, request.peaks)
    return Finished(
        sound=levelled.sound[:, first : first + n_samples],
        whole=None if original is None else levelled.sound,
        sample_rate_hz=rate_hz,
        gain_db=levelled.gain_db,
        n_clipped=levelled.n_clipped,
        loudness_lufs=loudness_lufs(levelled.sound, rate_hz),
        true_peak_db=true_peak_db(levelled.sound),
    )


def faded(sound: Tensor, sample_rate_hz: int) -> Tensor:
    """Fade a sound (C, N) in over 1 ms and out over 10 ms, or over half of it if it is shorter."""
    n_samples = sound.shape[-1]
    gain = torch.ones(n_samples)
    for duration_s, place in ((FADE_IN_S, slice(None)), (FADE_OUT_S, slice(None, None, -1))):
        n_faded = min(round(duration_s * sample_rate_hz), n_samples // 2)
        ramp = 0.5 - 0.5 * torch.cos(math.pi * (torch.arange(n_faded) + 0.5) / max(1, n_faded))
        faded_gain = torch.cat([ramp, torch.ones(n_samples - n_faded)])
        gain *= faded_gain if place.step is None else faded_gain.flip(0)
    return sound * gain.to(sound)


def _original(request: FoleyRequest, sample_rate_hz: int) -> Tensor | None:
    """Return the original sound (2, N) of the whole video if it is to be mixed in."""
    clip = request.section.clip
    if request.keep_sound is None or request.keep_sound == "track":
        return None
    if not probe(clip.sound_path).has_sound:
        log.warning("%s has no sound to keep", printable(request.video))
        return None
    sound = read_sound(clip.sound_path, sample_rate_hz=sample_rate_hz, duration_s=clip.duration_s)
    return sound * 10 ** (request.keep_sound / 20)
