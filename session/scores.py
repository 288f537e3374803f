"""Scores of takes: agreement with the hits and the level of their envelope, likeness to their prompt; of hits too."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from hits.edit import Hit, HitEnvelope
from media.envelope import Envelope, fine_envelope
from session.model import Take
from stable_foley.generator import SoundGenerator
from stable_foley.windows import prompt_features
from video2audio.inputs import Inputs

AUDIBLE_DB = 40.0
"""How far below its highest level an envelope counts for the level error of a take."""
HEARD_S = 0.5
"""Sound after a hit by which CAVP or CLAP tell what it is."""
_LEAD_S = 0.02


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


def sounds_nearer(
    generator: SoundGenerator, sound: Tensor, start_s: float, words: str, other_words: str
) -> Callable[[Hit], bool]:
    """Return what tells whether a hit in a sound is nearer to words than to other words.

    Args:
        generator: Its model embeds sounds and words.
        sound: (C, N).
        start_s: Time of its first sample, where the times of hits are those of the video.
        words: The words.
        other_words: The other words.

    Raises:
        InputError: The model does not know the words.
    """
    model, rate_hz = generator.model, generator.sample_rate_hz
    wanted, other = (prompt_features(model, text, ()) for text in (words, other_words))
    assert wanted is not None
    assert other is not None

    def is_nearer(hit: Hit) -> bool:
        start = max(0, round((hit.time_s - start_s - _LEAD_S) * rate_hz))
        heard = prompt_features(model, None, [sound[:, start : start + round(HEARD_S * rate_hz)]])
        assert heard is not None
        return float((heard * wanted).sum()) > float((heard * other).sum())

    return is_nearer
