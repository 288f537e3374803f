"""Owns reading the inputs of a sound; the picture is decoded once for all networks that read it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from common.errors import InputError, check_range, printable
from common.stopwatch import Stopwatch
from data.dataset import read_timed_frames
from hits.files import is_table, read_envelope, read_hits
from hits.find import find_hits
from hits.level import Hits
from media.clip import ClipSpec
from media.envelope import Envelope, fine_envelope
from media.reading import iter_frames
from media.sound_part import SoundPart, read_part, read_part_for, sound_end_s
from media.stored import StoredRows
from stable_foley.generator import SoundGenerator
from stable_foley.windows import Frames, Prompts
from video2audio.prediction import Kept, predict
from video2audio.request import FoleyRequest, Section
from video2audio.ring import ring_of
from video2audio.unfinished import Unfinished
from video2rms.model import Video2Rms

log = logging.getLogger(__name__)

MAX_PROMPT_S = 60.0
"""A longer prompt adds little: the encoders average over windows of 2 s (CAVP) or 10 s (CLAP)."""
MEASURED_RATE_HZ = 44_100
"""Sample rate at which a sound is read whose envelope is measured for no model."""
MAX_PEAK = 1000.0
"""Largest peak of an input sound, where 1 is full scale: 60 dB above it, as in CSVs."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of a sound.

    Attributes:
        control: the envelope that controls the model, measured as in its training.
        envelope: the same envelope for display and files, rms (T,) in slots of 8 ms.
        onsets_s: predicted times of hits from the start of the section (K,); None if the envelope was given.
        frames: (T, 3, H, W), uint8, or None if the model does not read them.
        prompts: prompts for the sound.
        hits: hits of the envelope, with times from the start of the section on, if recordings are played at them.
    """

    control: Envelope
    envelope: Envelope
    onsets_s: Tensor | None
    frames: Frames | None
    prompts: Prompts
    hits: Hits | None = None


def read_inputs(
    request: FoleyRequest,
    generator: SoundGenerator | None,
    video2rms: Video2Rms[Any] | None,
    *,
    progress: bool = False,
    on_progress: Callable[[float], None] | None = None,
    watch: Stopwatch | None = None,
    unfinished: Unfinished | None = None,
) -> Inputs:
    """Read everything that a request asks for.

    Args:
        request: the request.
        generator: the model that the inputs are for; None: nothing is generated.
        video2rms: predicts the envelope if none is given.
        progress: whether to show the progress of the prediction.
        on_progress: called with the share of the prediction that is done.
        watch: records the duration of the stages ``prompts``, ``envelope``, ``network``, ``video`` and ``frames``.
        unfinished: keeps frames and the prediction on disk, and knows those of an interrupted run; None: in memory.

    Raises:
        InputError: a file cannot be used, or an envelope must be predicted without ``video2rms``.
    """
    watch, section = watch or Stopwatch(), request.section
    prompts = Prompts() if generator is None else _read_prompts(request, generator, watch)
    frames: Frames | None = None
    hits: Hits | None = None
    kept = Kept(unfinished, generator.spec if generator is not None and generator.reads_frames else None)
    with watch.stage("envelope"):
        if request.envelope is None:
            shown: dict[str, Any] = {"progress": progress, "on_progress": on_progress, "watch": watch}
            ring = None if generator is None else ring_of(prompts, generator)
            control, hits = predict(request, generator, video2rms, kept, ring, **shown)
            envelope, frames = control, kept.frames
        elif isinstance(request.envelope, Envelope):
            control, envelope = request.envelope, _mono(request.envelope)
        else:
            control, envelope = _read_envelope(request, generator)
    onsets_s = None if hits is None else hits.times_s
    if frames is None and generator is not None and kept.frames is not None:
        with watch.stage("frames"):
            _read_frames(section, generator.spec, kept.frames)
            frames = kept.frames
    if not envelope.rms.any():
        source = request.envelope_file or f"the picture of {request.video}"
        log.warning("the envelope of %s is zero throughout, which asks the model for silence", printable(source))
    if request.sampler_dir is not None:
        with watch.stage("hits"):
            hits = _hits(request, envelope) if hits is None else hits
            hits = hits[hits.rms > 0]
    return Inputs(control, envelope, onsets_s, frames, prompts, hits)


def _hits(request: FoleyRequest, envelope: Envelope) -> Hits:
    """Return the hits of a given envelope, as its file states them or as they are found in it."""
    part = request.envelope_file
    stated = read_hits(part.path) if part is not None and is_table(part.path) else None
    return find_hits(envelope) if stated is None else stated.later(-request.section.start_s)


def _mono(envelope: Envelope) -> Envelope:
    """Return an envelope averaged over channels as the root of their mean square."""
    rms = envelope.rms
    return Envelope(rms if rms.ndim == 1 else rms.square().mean(0).sqrt(), envelope.rate_hz)


def _read_envelope(request: FoleyRequest, generator: SoundGenerator | None) -> tuple[Envelope, Envelope]:
    """Return the envelope that controls the model, and the same for the CSV; the times of a CSV are of the video."""
    section, part, given = request.section, request.envelope_sound, str(request.envelope)
    if part is None:
        envelope = read_envelope(Path(given), section.duration_s, section.start_s)
        _warn_of_late_hits(request)
        _warn_if_shorter(given, section.start_s, envelope.duration_s, section)
        return envelope, envelope
    start_s = part.from_s or 0.0
    rate_hz = MEASURED_RATE_HZ if generator is None else generator.sample_rate_hz
    _warn_if_shorter(given, start_s, sound_end_s(replace(part, from_s=None)) - start_s, section)
    sound = read_part_for(part, section.duration_s, sample_rate_hz=rate_hz)
    check_range(f"{given}: a peak of", float(sound.abs().max()), 0, MAX_PEAK)
    fine = fine_envelope(sound, rate_hz)
    return fine if generator is None else generator.measure(sound), fine


def _warn_if_shorter(name: str, start_s: float, duration_s: float, section: Section) -> None:
    """Warn that an envelope is padded, with the time at which it ends in its file."""
    if duration_s < section.duration_s - 0.1:
        log.warning("%s ends after %.2f s; silence follows", printable(name), start_s + duration_s)


def _read_frames(section: Section, spec: ClipSpec, seen: StoredRows) -> None:
    """Add the generator's frames (T, 3, H, W), uint8, to `seen`."""
    clip, rate_hz, size = section.clip, spec.frame_rate_hz, spec.frame_size_px
    if clip.frames_dir is not None or clip.video_path is None:
        start_s, duration_s = section.start_s, section.duration_s
        seen.append(read_timed_frames(clip, start_s, duration_s, frame_rate_hz=rate_hz, size_px=size).frames)
        return
    windows = iter_frames(
        clip.video_path,
        frame_rate_hz=rate_hz,
        size_px=size,
        start_s=section.start_s,
        duration_s=section.duration_s,
    )
    for window in windows:
        seen.append(window.frames)


def _warn_of_late_hits(request: FoleyRequest) -> None:
    """Warn of hits in a file that come after the end of the video."""
    hits, end_s = read_hits(Path(str(request.envelope))), request.section.clip.duration_s
    n_late = 0 if hits is None else int((hits.times_s > end_s).sum())
    if n_late:
        log.warning(
            "%s: hits after the end of the video at %.2f s are left out: %d", printable(request.envelope), end_s, n_late
        )


def _read_prompts(request: FoleyRequest, generator: SoundGenerator, watch: Stopwatch) -> Prompts:
    """Return the prompts, with sounds read from their files."""
    sounds: Sequence[Tensor] = ()
    if request.audio_prompts:
        with watch.stage("prompts"):
            rate_hz = generator.sample_rate_hz
            sounds = [
                given if isinstance(given, Tensor) else read_prompt(given, rate_hz) for given in request.audio_prompts
            ]
    return Prompts(request.prompt, sounds, request.negative_prompt)


def read_prompt(given: Path | str | SoundPart, sample_rate_hz: int) -> Tensor:
    """Read a sound (C, N), or the part of it that is named, as a prompt: at most the first minute.

    Raises:
        InputError: it cannot be read, is silent, or is far above full scale.
    """
    part, n_samples = SoundPart.of(given), round(MAX_PROMPT_S * sample_rate_hz)
    sound = read_part(part, sample_rate_hz=sample_rate_hz, at_most_s=(n_samples + 1) / sample_rate_hz)
    is_long = sound.shape[1] > n_samples
    if is_long:
        log.info("%s: only the first %.0f s are used as the prompt", printable(given), MAX_PROMPT_S)
    sound = sound[:, :n_samples]
    if not sound.any():
        if is_long:
            later = replace(part, from_s=(part.from_s or 0) + MAX_PROMPT_S, to_s=None)
            raise InputError(
                f"--audio-prompt {given} is silent in its first {MAX_PROMPT_S:.0f} s; give an audible part of it, for "
                f"instance {later}, or another sound."
            )
        raise InputError(f"--audio-prompt {given} is silent; give an audible sound.")
    check_range(f"--audio-prompt {given}: a peak of", float(sound.abs().max()), 0, MAX_PEAK)
    return sound
