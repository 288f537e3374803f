"""Scores of takes: agreement with hits and level of their envelope, and likeness to their prompt."""

from dataclasses import replace

from torch import Tensor

from hits.edit import HitEnvelope
from media.envelope import Envelope, fine_envelope
from session.model import Take
from stable_foley.generator import SoundGenerator
from stable_foley.windows import prompt_features
from video2audio.inputs import Inputs

AUDIBLE_DB = 40.0
"""How far below its highest level an envelope counts for the level error of a take."""


def scored(generator: SoundGenerator, take: Take, sound: Tensor, envelope: Envelope, inputs: Inputs) -> Take:
    """Return a take with its scores, see `Take`."""
    from evaluation.onsets import detect_onsets, onset_f1  # not above: librosa takes long

    rate_hz = generator.sample_rate_hz
    hits = HitEnvelope.of(envelope).as_hits
    found = onset_f1(hits.times_s.numpy(), detect_onsets(sound, rate_hz).times_s) if len(hits) else None
    return replace(
        take,
        onset_f1=None if found is None else found.f1,
        level_error_db=_level_error_db(fine_envelope(sound, rate_hz), envelope),
        likeness=_likeness(generator, sound, inputs),
    )


def _level_error_db(heard: Envelope, wanted: Envelope) -> float:
    n = min(len(heard.rms), len(wanted.rms))
    floor = float(wanted.rms.max()) * 10 ** (-AUDIBLE_DB / 20)
    audible = wanted.rms[:n] > max(floor, 1e-9)
    ratio = (heard.rms[:n].clamp(min=1e-9) / wanted.rms[:n].clamp(min=1e-9))[audible]
    return float((20 * ratio.log10()).abs().mean()) if len(ratio) else 0.0


def _likeness(generator: SoundGenerator, sound: Tensor, inputs: Inputs) -> float | None:
    prompt = prompt_features(generator.model, inputs.prompts.text, inputs.prompts.sounds)
    if prompt is None:
        return None
    heard = prompt_features(generator.model, None, [sound])
    assert heard is not None
    return float((heard * prompt).sum())
