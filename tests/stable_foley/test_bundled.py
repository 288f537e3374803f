"""The bundled model does what it is for: it follows the envelope and the prompt, on clips it never saw."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torchaudio.functional import highpass_biquad, lowpass_biquad
from torchaudio.transforms import MelSpectrogram

from benchmarks.sounds import f1_within_100_ms, lag_s, level_db, onset_times_s, pulsation_db, shifted, silenced
from evaluation.levels import rms_correlation
from media.envelope import Envelope, fine_envelope
from stable_foley.colour import colour_of
from stable_foley.generator import Prompts, SoundGenerator
from stable_foley.windows import Wanted
from synthetic import SAMPLE_RATE_HZ, SyntheticSpec, render_clip

SEED, CLIP = 8_000_009, 2  # of clips that nothing else uses
DURATION_S = 10.0


@pytest.fixture(scope="module")
def pipeline():
    return SoundGenerator.from_checkpoint()


@pytest.fixture(scope="module")
def clip(pipeline):
    """A clip's clean sound at -12 dB and its frames."""
    width, height = pipeline.spec.frame_width_height
    rendered = render_clip(SyntheticSpec(DURATION_S, 28.0, width, height, max_offset_s=0.0), SEED, CLIP)
    frames = rendered.frames[::7].float() / 255  # 28 a second, of which the model looks at 4
    return rendered.clean * (0.25 / rendered.clean.abs().max()), frames


@pytest.fixture(scope="module")
def sound(pipeline, clip):
    """The sound that is generated along an envelope."""
    _, frames = clip

    def generate(envelope, **options):
        return pipeline.generate(envelope, DURATION_S, frames=frames, **options)

    return generate


@pytest.fixture(scope="module")
def own(clip, sound):
    return sound(fine_envelope(clip[0], SAMPLE_RATE_HZ))


def test_it_follows_the_envelope(clip, own):
    truth, _ = clip
    assert rms_correlation(own, truth, SAMPLE_RATE_HZ) > 0.95
    assert f1_within_100_ms(onset_times_s(truth), onset_times_s(own)) >= 0.9
    assert level_db(own) == pytest.approx(level_db(truth.mean(dim=0, keepdim=True)), abs=1.5)  # the model is mono


def test_it_follows_edits_of_it(clip, sound, own):
    envelope = fine_envelope(clip[0], SAMPLE_RATE_HZ)
    assert lag_s(own, sound(shifted(envelope, 0.504))) == pytest.approx(0.504, abs=0.009)
    louder = sound(replace(envelope, rms=4 * envelope.rms))
    assert level_db(louder) - level_db(own) == pytest.approx(12, abs=1.5)
    assert not sound(silenced(envelope, 0.0)).any()


def test_the_same_seed_gives_the_same_sound_and_a_prompt_another(clip, sound, own):
    envelope = fine_envelope(clip[0], SAMPLE_RATE_HZ)
    assert torch.equal(sound(envelope), own)
    metal, cloth = (sound(envelope, prompts=Prompts(f"hitting {material}")) for material in ("metal", "cloth"))
    assert centroid_hz(metal) > 1.4 * centroid_hz(cloth)


def centroid_hz(wave):
    """Mean frequency of a sound (C, N), by amplitude."""
    spectrum = torch.fft.rfft(wave.mean(dim=0)).abs()
    return float((torch.fft.rfftfreq(wave.shape[-1], 1 / SAMPLE_RATE_HZ) * spectrum).sum() / spectrum.sum())


def test_a_sound_of_one_level_does_not_pulsate_with_the_tokens(pipeline):
    steady = Envelope(torch.full((1250,), 0.05), 125)
    token_hz = SAMPLE_RATE_HZ / pipeline.model.backbone.samples_per_token
    for words in ("hitting metal", "scratching wood"):
        sound = pipeline.generate(steady, DURATION_S, prompts=Prompts(words))
        assert pulsation_db(sound, token_hz) < 6


def test_the_timbre_goes_on_from_window_to_window(pipeline):
    """Across a joint the spectrum of a steady sound changes no more than elsewhere, and its level stays."""
    duration_s, token = 26.0, pipeline.model.backbone.samples_per_token
    steady = Envelope(torch.full((round(125 * duration_s),), 0.05), 125.0)
    wave = pipeline.generate(steady, duration_s, prompts=Prompts("hitting wood with a drumstick"))
    level = MelSpectrogram(SAMPLE_RATE_HZ, 2048, hop_length=441, n_mels=64)(wave.mean(dim=0)).clamp(min=1e-8).log10()

    def change_db(time_s):
        before, after = (
            10 * level[:, round(100 * t) : round(100 * t) + 60].mean(dim=1) for t in (time_s - 0.7, time_s + 0.1)
        )
        return float((before - after).abs().mean())

    starts = pipeline.window_starts(wave.shape[1])
    window = pipeline.spec.n_samples // token * token
    joints_s = [(b + (window - (b - a)) // 2) / SAMPLE_RATE_HZ for a, b in pairwise(starts)]
    elsewhere_s = [t / 2 for t in range(4, 48) if min(abs(t / 2 - joint) for joint in joints_s) > 1]
    assert len(joints_s) == 2
    assert max(map(change_db, joints_s)) <= max(map(change_db, elsewhere_s))
    around = [wave[:, round((t - 0.25) * SAMPLE_RATE_HZ) : round((t + 0.25) * SAMPLE_RATE_HZ)] for t in joints_s]
    assert [level_db(part) for part in around] == pytest.approx([level_db(wave)] * 2, abs=0.5)


def test_a_sound_prompt_gives_its_colour_and_words_stay_as_they_are(pipeline):
    envelope = Envelope(0.1 * torch.exp(-(torch.arange(1250) / 125 % 1) / 0.05), 125.0)
    noise = torch.randn(2, 2 * SAMPLE_RATE_HZ, generator=torch.Generator().manual_seed(0))
    hits = noise * torch.exp(-(torch.arange(noise.shape[1]) / SAMPLE_RATE_HZ % 0.5) / 0.03)
    plain, matched = (pipeline.settings.changed(colour_match_db=db) for db in (0.0, 12.0))
    for filtering in (lowpass_biquad, highpass_biquad):
        prompt = filtering(hits, SAMPLE_RATE_HZ, 1500.0)
        off_db = [
            distance_db(
                pipeline.generate(envelope, DURATION_S, prompts=Prompts(sounds=[prompt]), settings=each), prompt
            )
            for each in (plain, matched)
        ]
        assert off_db[1] < 0.7 * off_db[0]
    words = [
        pipeline.generate(envelope, DURATION_S, prompts=Prompts("hitting wood"), settings=s) for s in (plain, matched)
    ]
    assert torch.equal(*words)


def test_the_colour_leaves_the_level_of_each_moment(pipeline):
    envelope = Envelope(0.1 * torch.exp(-(torch.arange(1250) / 125 % 1) / 0.1), 125.0)
    noise = torch.randn(2, SAMPLE_RATE_HZ, generator=torch.Generator().manual_seed(0))
    prompts = Prompts(sounds=[highpass_biquad(noise, SAMPLE_RATE_HZ, 4000.0)])
    levels_db = []
    for colour_db in (0.0, 20.0):
        settings = pipeline.settings.changed(colour_match_db=colour_db, level_match_db=0.0)
        sound = pipeline.generate(envelope, DURATION_S, prompts=prompts, settings=settings)
        levels_db.append(20 * fine_envelope(sound, SAMPLE_RATE_HZ).rms.clamp(min=1e-3).log10())
    difference_db = (levels_db[1] - levels_db[0])[levels_db[0] > -50]
    assert difference_db.abs().median() < 0.5
    assert difference_db.abs().quantile(0.95) < 2


def test_the_colour_of_a_prompt_is_found_once_for_all_takes(pipeline, monkeypatch):
    found = []
    monkeypatch.setattr("stable_foley.generator.matching_filter", lambda *given: found.append(given) or torch.ones(1))
    envelope = Envelope(torch.full((125,), 0.05), 125.0)
    prompts = [torch.randn(1, 4410, generator=torch.Generator().manual_seed(n)) for n in range(2)]
    settings = pipeline.settings.changed(n_steps=1)
    for prompt in prompts:
        for seed in range(3):
            pipeline.generate(envelope, 1.0, prompts=Prompts(sounds=[prompt]), settings=settings, seed=seed)
    assert len(found) == len(prompts)


def test_a_colour_that_was_found_with_further_inputs_is_not_kept(pipeline, monkeypatch):
    found = []
    monkeypatch.setattr(pipeline, "_new_colour", lambda *given: found.append(given[2]) or torch.ones(1))
    monkeypatch.setattr(pipeline, "_colours", {})
    prompts = Prompts(sounds=[torch.ones(1, 4410)])
    for inputs in ({"tempo": [1.0]}, {}, {"tempo": [2.0]}, {}):
        pipeline._colour(Wanted(prompts=prompts, inputs=inputs), pipeline.settings)
    assert found == [{"tempo": [1.0]}, {}, {"tempo": [2.0]}]


def distance_db(wave, other):
    """Mean difference of the colours of two sounds, between 100 Hz and 16 kHz."""
    one, two = (10 * colour_of(each, SAMPLE_RATE_HZ).clamp(min=1e-6).log10() for each in (wave, other))
    return float((one - two)[1:-1].abs().mean())


def test_a_negative_prompt_leads_away_from_it(clip, sound):
    envelope = fine_envelope(clip[0], SAMPLE_RATE_HZ)
    without, away = (
        sound(envelope, prompts=Prompts("hitting metal", negative_text=text)) for text in (None, "hitting glass")
    )
    assert centroid_hz(away) < centroid_hz(without)
