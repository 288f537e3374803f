"""Owns reading the inputs of a sound; the picture is decoded once for all networks that read it."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.errors import InputError, check_range, printable
from common.files import same_file
from common.stopwatch import Stopwatch
from data.dataset import read_timed_frames
from media.clip import ClipSpec
from media.envelope import Envelope, fine_envelope, read_envelope_csv
from media.frames import FrameWindow
from media.reading import FrameRequest, iter_requests, probe, read_sound
from stable_foley.generator import Prompts, SoundGenerator
from video2audio.request import FoleyRequest, Section, is_csv, sound_of
from video2audio.ring import ring_s
from video2rms.model import Video2Rms
from video2rms.predict import frames_to_predict, predict_from_frames

log = logging.getLogger(__name__)

MAX_PROMPT_S = 60.0
"""A longer prompt adds little: the encoders average over windows of 2 s (CAVP) or 10 s (CLAP)."""
MAX_PEAK = 1000.0
"""Largest peak of an input sound, where 1 is full scale: 60 dB above it, as in CSVs."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of a sound.

    Attributes:
        control: the envelope that controls the model, measured as in its training.
        envelope: the same envelope for display and files, rms (T,) in slots of 8 ms.
        onsets_s: predicted times of hits from the start of the section (K,); None if the envelope was given.
        frames: (T, 3, H, W), float32 in 0..1, or None if the model does not read them.
        prompts: prompts for the sound.
    """

    control: Envelope
    envelope: Envelope
    onsets_s: Tensor | None
    frames: Tensor | None
    prompts: Prompts


def read_inputs(
    request: FoleyRequest,
    generator: SoundGenerator,
    video2rms: Video2Rms[Any] | None,
    *,
    progress: bool = False,
    watch: Stopwatch | None = None,
) -> Inputs:
    """Read everything that a request asks for.

    Args:
        request: the request.
        generator: the model that the inputs are for.
        video2rms: predicts the envelope if none is given.
        progress: whether to show the progress of the prediction.
        watch: records the duration of the stages ``prompts``, ``envelope``, ``network``, ``video`` and ``frames``.

    Raises:
        InputError: a file cannot be used, or an envelope must be predicted without ``video2rms``.
    """
    watch, section = watch or Stopwatch(), request.section
    prompts = _read_prompts(request, generator, watch)
    frames: Tensor | None = None
    onsets_s: Tensor | None = None
    with watch.stage("envelope"):
        if request.envelope is None:
            control, onsets_s, frames = _predict(request, prompts, generator, video2rms, progress=progress, watch=watch)
            envelope = control
        elif isinstance(request.envelope, Envelope):
            control, envelope = request.envelope, _mono(request.envelope)
        else:
            control, envelope = _read_envelope(request.envelope, section, generator)
    if frames is None and generator.reads_frames:
        with watch.stage("frames"):
            frames = _read_frames(section, generator.spec)
    if not envelope.rms.any():
        source = request.envelope if isinstance(request.envelope, Path) else f"the picture of {request.video}"
        log.warning("the envelope of %s is zero throughout, which asks the model for silence", printable(source))
    return Inputs(control, envelope, onsets_s, frames, prompts)


def _mono(envelope: Envelope) -> Envelope:
    """Return an envelope averaged over channels as the root of their mean square."""
    rms = envelope.rms
    return Envelope(rms if rms.ndim == 1 else rms.square().mean(0).sqrt(), envelope.rate_hz)


def _predict(
    request: FoleyRequest,
    prompts: Prompts,
    generator: SoundGenerator,
    video2rms: Video2Rms[Any] | None,
    *,
    progress: bool,
    watch: Stopwatch,
) -> tuple[Envelope, Tensor, Tensor | None]:
    """Return the predicted envelope and onsets, and the generator's frames, all from one decoding."""
    section, seed = request.section, request.envelope_seed
    path = section.clip.video_path
    if video2rms is None or path is None:
        raise InputError("An envelope is predicted only from a video and with Video2RMS; give an envelope.")
    to_predict = frames_to_predict(video2rms, section.start_s, section.duration_s)
    requests, seen = [to_predict], list[Tensor]()
    if generator.reads_frames:
        spec = generator.spec
        requests.append(FrameRequest(spec.frame_rate_hz, spec.frame_size_px, section.start_s, section.duration_s))

    def windows() -> Iterator[FrameWindow]:
        for number, window in iter_requests(path, requests):
            if number:
                seen.append(window.frames)
            else:
                yield window

    found = predict_from_frames(
        video2rms, windows(), to_predict, section.start_s, seed=seed, progress=progress, watch=watch
    )
    decay_s = ring_s(prompts, generator)
    if decay_s is not None:
        found = found.ringing(decay_s)
    return found.envelope, found.onsets_s, torch.cat(seen).float() / 255 if seen else None


def _read_envelope(path: Path, section: Section, generator: SoundGenerator) -> tuple[Envelope, Envelope]:
    """Return the envelope that controls the model, and the same for the CSV.

    The times of a CSV are those of the video, and the sound of the video itself is read from the section; another sound
    starts at the start of the section.
    """
    if is_csv(path):
        envelope = read_envelope_csv(path, section.duration_s, section.start_s)
        _warn_if_shorter(path, section.start_s, envelope.duration_s, section)
        return envelope, envelope
    sound_path = sound_of(path)
    start_s = section.start_s if same_file(sound_path, section.clip.sound_path) else 0.0
    _warn_if_shorter(path, start_s, probe(sound_path).duration_s - start_s, section)
    rate_hz = generator.sample_rate_hz
    sound = read_sound(sound_path, sample_rate_hz=rate_hz, start_s=start_s, duration_s=section.duration_s)
    check_range(f"{path}: a peak of", float(sound.abs().max()), 0, MAX_PEAK)
    return generator.measure(sound), fine_envelope(sound, rate_hz)


def _warn_if_shorter(path: Path, start_s: float, duration_s: float, section: Section) -> None:
    """Warn that an envelope is padded, with the time at which it ends in its file."""
    if duration_s < section.duration_s - 0.1:
        log.warning("%s ends after %.2f s; silence follows", printable(path), start_s + duration_s)


def _read_frames(section: Section, spec: ClipSpec) -> Tensor:
    """Read frames (T, 3, H, W), float32 in 0..1."""
    frames = read_timed_frames(
        section.clip,
        section.start_s,
        section.duration_s,
        frame_rate_hz=spec.frame_rate_hz,
        size_px=spec.frame_size_px,
    ).frames
    return frames.float() / 255


def _read_prompts(request: FoleyRequest, generator: SoundGenerator, watch: Stopwatch) -> Prompts:
    """Return the prompts, with sounds read from their files."""
    sounds: Sequence[Tensor] = ()
    if request.audio_prompts:
        with watch.stage("prompts"):
            rate_hz = generator.sample_rate_hz
            sounds = [
                read_prompt(given, rate_hz) if isinstance(given, Path) else given for given in request.audio_prompts
            ]
    return Prompts(request.prompt, sounds, request.negative_prompt)


def read_prompt(path: Path, sample_rate_hz: int) -> Tensor:
    """Read a sound (C, N) as a prompt, at most its first minute.

    Raises:
        InputError: it cannot be read, is silent, or is far above full scale.
    """
    is_long = probe(path).duration_s > MAX_PROMPT_S
    if is_long:
        log.info("%s: only the first %.0f s are used as the prompt", printable(path), MAX_PROMPT_S)
    sound = read_sound(path, sample_rate_hz=sample_rate_hz, duration_s=MAX_PROMPT_S if is_long else None)
    if not sound.any():
        part = f"in its first {MAX_PROMPT_S:.0f} s" if is_long else ""
        raise InputError(f"--audio-prompt {path} is silent {part}".rstrip() + "; give an audible sound.")
    check_range(f"--audio-prompt {path}: a peak of", float(sound.abs().max()), 0, MAX_PEAK)
    return sound
