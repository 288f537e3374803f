"""Generation: lengths, windows, prompts, seeds, and what is refused."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from common.errors import InputError
from media.envelope import Envelope
from stable_foley.config import build_model
from stable_foley.generator import Prompts, SoundGenerator
from stable_foley.noise import noise_source
from stable_foley.sampler import SamplerSettings
from stable_foley.windows import prompt_features
from training.config import compose, instantiate

RATE_HZ = 44_100
FAST = SamplerSettings(name="dpmpp-2m", n_steps=2, sigma_min=0.02, sigma_max=100.0, cfg_scale=1.0)


@pytest.fixture(scope="module")
def mini():
    config = compose("exp=train_gh_controlnet", "backbone=mini", "dataset.spec.duration_s=2.0")
    model = build_model(config).eval().requires_grad_(False)
    return SoundGenerator(model, instantiate(config.dataset.spec), FAST, device="cpu")


@pytest.fixture(scope="module")
def debug(request):
    config = compose("exp=train_gh_controlnet", "backbone=debug")
    model = build_model(config).eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    settings = SamplerSettings(n_steps=2, cfg_scale=3.0)
    return SoundGenerator(model, instantiate(config.dataset.spec), settings, device="cpu")


def flat_envelope(duration_s=10.0):
    return Envelope(torch.full((round(125 * duration_s),), 0.1), 125.0)


@pytest.mark.parametrize("duration_s", [0.5, 1.0, 2.0, 2.5, 4.0, 7.123])
def test_the_sound_is_as_long_as_asked_for(mini, duration_s):
    sound = mini.generate(flat_envelope(), duration_s)
    assert sound.shape == (2, round(duration_s * RATE_HZ))
    assert sound.isfinite().all()


def test_seeds_repeat_and_differ(mini):
    first, again, other = (mini.generate(flat_envelope(), 1.0, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_no_two_windows_share_their_noise(mini):
    """Neither those of a sound, nor those of sounds with other seeds; the first is that of the plain seed."""
    noises = {}
    for seed in (0, 1, 2**31, 2**32 - 1):
        noises[seed, 0] = torch.randn(8, generator=torch.Generator().manual_seed(seed))
        for number in (1, 2, 3):
            noises[seed, number] = torch.randn(8, generator=noise_source(seed, number))
    assert len({tuple(noise.tolist()) for noise in noises.values()}) == 16
    raw = np.random.MT19937(np.random.SeedSequence([5, 1])).random_raw(4)[1:]  # NumPy starts at the last word
    assert torch.randint(2**16, (3,), generator=noise_source(5, 1)).tolist() == (raw % 2**16).tolist()


def test_the_envelope_is_encoded_with_other_noise_than_the_windows_start_from(mini, monkeypatch):
    noises, draw, sample = [], mini.model.conditioner.draw, mini.model.sample

    def watched_draw(features, generator):
        noises.append(torch.randn(8, generator=generator.clone_state()))
        return draw(features, generator)

    def watched_sample(conditions, n_samples, settings, generators, **options):
        noises.extend(torch.randn(8, generator=generator.clone_state()) for generator in generators)
        return sample(conditions, n_samples, settings, generators, **options)

    monkeypatch.setattr(mini.model.conditioner, "draw", watched_draw)
    monkeypatch.setattr(mini.model, "sample", watched_sample)
    mini.generate(flat_envelope(), 3.0, seed=1)
    assert len({tuple(noise.tolist()) for noise in noises}) == len(noises) == 4


def test_windows_of_a_sound_differ(mini):
    settings = replace(mini.settings, sigma_max=1e4)  # all noise, whatever the envelope
    sound = mini.generate(Envelope(torch.full((10_000,), 0.1), 125.0), 3.5, settings=settings)
    hop, start = mini.hop_samples, mini.overlap_samples
    n = hop - start
    first, second = sound[0, start : start + n], sound[0, start + hop : start + hop + n]
    assert (first - second).abs().max() > 0.1 * first.abs().max()


def test_without_control_the_envelope_does_not_matter(debug):
    frames = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    quiet, loud = Envelope(torch.zeros(125), 125.0), Envelope(torch.ones(125), 125.0)

    def difference(strength):
        sounds = [debug.generate(e, 1.0, frames=frames, control_strength=strength) for e in (quiet, loud)]
        return (sounds[0] - sounds[1]).abs().max()

    assert difference(0.0) == 0
    assert difference(1.0) > 0


@pytest.mark.parametrize("limit_db", [6.0, 200.0])
def test_levels_are_brought_to_the_envelope(mini, limit_db):
    rms = torch.cat([torch.zeros(50), torch.full((50,), 0.5), torch.full((50,), 1e-3)])
    plain, matched = (
        mini.generate(Envelope(rms, 125.0), 1.2, settings=replace(mini.settings, level_match_db=db))
        for db in (0.0, limit_db)
    )
    gain = (matched / plain)[plain.abs() > 1e-9]
    assert gain.max() <= 10 ** (limit_db / 20) * (1 + 1e-4)
    inner = torch.tensor([3, 46, 53, 96, 103, 146])  # a window's length from the steps
    asked, before, after = (each[inner] for each in (rms, mini.measure(plain).rms, mini.measure(matched).rms))
    assert (after[:2] < 1e-6).all()
    reachable = torch.minimum(asked, before * 10 ** (limit_db / 20))
    torch.testing.assert_close(after[2:], reachable[2:], rtol=0.2, atol=0)


def test_without_control_levels_are_not_matched(mini):
    settings = [replace(mini.settings, level_match_db=db) for db in (0.0, 12.0)]
    plain, other = (mini.generate(flat_envelope(), 1.0, settings=each, control_strength=0.0) for each in settings)
    assert torch.equal(plain, other)


def test_prompts_change_the_sound(debug):
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(4, 3, 32, 32, generator=generator)
    prompts = [None, *(Prompts(sounds=[torch.randn(2, RATE_HZ, generator=generator).cumsum(-1) / 200]) for _ in "ab")]
    plain, a, b = (debug.generate(flat_envelope(), 1.0, frames=frames, prompts=prompt) for prompt in prompts)
    assert not torch.allclose(plain, a)
    assert not torch.allclose(a, b)


def test_without_frames_the_video_does_not_matter(debug):
    frames = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    blind, looking = (debug.generate(flat_envelope(), 1.0, frames=given) for given in (None, frames))
    assert not torch.allclose(blind, looking)
    with torch.no_grad():
        projection = debug.model.conditioners["frames"].proj_out
        kept = [parameter.clone() for parameter in projection.parameters()]
        for parameter in projection.parameters():
            parameter.zero_()
        unseen = debug.generate(flat_envelope(), 1.0, frames=frames)
        for parameter, value in zip(projection.parameters(), kept, strict=True):
            parameter.copy_(value)
    torch.testing.assert_close(blind, unseen)


def test_several_prompts_are_averaged(debug):
    sounds = [torch.randn(2, RATE_HZ, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    single = [prompt_features(debug.model, None, [sound]) for sound in sounds]
    both = prompt_features(debug.model, None, sounds)
    mean = (single[0] + single[1]) / 2
    torch.testing.assert_close(both, mean / mean.norm())


def test_a_negative_prompt_acts_with_and_without_a_prompt(debug, monkeypatch):
    def encode_text(prompts):
        return torch.nn.functional.normalize(torch.tensor([[float(ord(c)) for c in (p * 512)[:512]] for p in prompts]))

    monkeypatch.setattr(debug.model.conditioners["audio"], "encode_text", encode_text)
    frames = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    prompts = [None, Prompts(negative_text="wood"), Prompts("tin"), Prompts("tin", negative_text="wood")]
    sounds = [debug.generate(flat_envelope(), 1.0, frames=frames, prompts=prompt) for prompt in prompts]
    for i, sound in enumerate(sounds):
        assert not any(torch.allclose(sound, other) for other in sounds[:i])


def test_windows_follow_the_frames(debug):
    frames = torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    changed = frames.clone()
    changed[8:] = 0
    first, second = (debug.generate(flat_envelope(), 3.0, frames=f, seed=1) for f in (frames, changed))
    assert first.shape == (2, 3 * RATE_HZ)
    alike = (first - second).abs()
    assert alike[:, :RATE_HZ].max() < 0.01 * alike[:, -RATE_HZ:].max()


def test_bfloat16_is_close_to_float32(mini):
    config = compose("exp=train_gh_controlnet", "backbone=mini", "dataset.spec.duration_s=2.0")
    model = build_model(config, dtype="bfloat16").eval().requires_grad_(False)
    assert {p.dtype for p in model.model.parameters()} == {torch.bfloat16}
    model.load_state_dict(mini.model.state_dict())
    half = SoundGenerator(model, mini.spec, FAST, device="cpu")
    exact, rounded = (p.generate(flat_envelope(), 1.0).square().mean().sqrt().item() for p in (mini, half))
    assert rounded == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prompts": Prompts(text="wood")}, "no prompt encoder"),
        ({"prompts": Prompts(sounds=[torch.zeros(2, 100)])}, "no prompt encoder"),
        ({"settings": SamplerSettings(n_steps=2, cfg_scale=4.0)}, "Guidance 4.0"),
        ({"seed": 2**32}, "4294967296"),
        ({"control_strength": 1e300}, "1e\\+300"),
    ],
)
def test_what_the_model_cannot_serve_is_refused(mini, arguments, words):
    with pytest.raises(InputError, match=words):
        mini.generate(flat_envelope(), 1.0, **arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"frames": torch.zeros(4, 3, 32, 32), "prompts": Prompts(text="wood")}, "hf download FacebookAI/roberta-base"),
        (
            {
                "frames": torch.zeros(4, 3, 32, 32),
                "prompts": Prompts(negative_text="wood"),
                "settings": SamplerSettings(n_steps=2, cfg_scale=1.0),
            },
            "negative prompt",
        ),
    ],
)
def test_what_is_missing_is_named(debug, arguments, words):
    with pytest.raises(InputError, match=words):
        debug.generate(flat_envelope(), 1.0, **arguments)


def test_a_window_begins_as_the_one_before_it_ends(debug, monkeypatch):
    latents, sample = [], debug.model.sample

    def watched(*inputs, **options):
        latents.append(sample(*inputs, **options))
        return latents[-1]

    monkeypatch.setattr(debug.model, "sample", watched)
    for name in ("dpmpp-2m", "euler", "dpmpp-3m-sde"):  # the last draws noise in every step
        latents.clear()
        sound = debug.generate(flat_envelope(), 2.5, settings=replace(FAST, name=name, n_steps=3))
        assert sound.shape == (2, 2.5 * RATE_HZ)
        step = debug.model.pretransform.samples_per_step
        starts = debug.window_starts(sound.shape[1])
        assert len(latents) == len(starts) == 4
        for i, (before, after) in enumerate(itertools.pairwise(latents)):
            hop = (starts[i + 1] - starts[i]) // step
            n = (debug.hop_samples + debug.overlap_samples) // step - hop
            end, start = before[..., hop : hop + n], after[..., :n]
            torch.testing.assert_close(start[..., : n // 2], end[..., : n // 2], rtol=0, atol=1e-4)
            assert (start - end)[..., -1].abs().max() > 0.01  # each has its own future


def test_windows_hear_the_envelope_as_a_whole_sound_does(mini, monkeypatch):
    signals, control = [], mini.model.conditioner.envelope.control_signal
    monkeypatch.setattr(mini.model.conditioner.envelope, "encode_signal", watched_signal(mini, signals))
    envelope = Envelope(torch.rand(600, generator=torch.Generator().manual_seed(0)), 125.0)
    mini.generate(envelope, 4.5)
    whole = control(replace(envelope, rms=envelope.rms[None]), 5 * RATE_HZ)
    for first, signal in zip(mini.window_starts(round(4.5 * RATE_HZ)), signals, strict=True):
        n = 2 * RATE_HZ - 1000
        torch.testing.assert_close(signal[..., :n], whole[..., first : first + n], rtol=1e-5, atol=1e-6)
    assert len(signals) == 3


def watched_signal(generator, signals):
    encode_signal = generator.model.conditioner.envelope.encode_signal

    def watched(signal):
        signals.append(signal)
        return encode_signal(signal)

    return watched


def test_one_progress_covers_all_windows(mini):
    ranges, taken = [], []

    def progress(steps):
        ranges.append(steps)
        for step in steps:
            taken.append(step)
            yield step
        taken.append("end")

    mini.generate(flat_envelope(), 4.0, progress=progress)
    assert ranges == [range(6)]
    assert taken == [*range(6), "end"]


@pytest.mark.parametrize("name", ["euler", "dpmpp-3m-sde"])
def test_a_sound_goes_on_after_any_piece_as_if_nothing_had_been(debug, name):
    frames = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    options = {"frames": frames, "settings": replace(FAST, name=name, n_steps=3), "seed": 2}
    pieces = list(debug.stream(flat_envelope(), 4.5, **options))
    assert len(pieces) == len(debug.window_starts(round(4.5 * RATE_HZ))) + 1 > 4
    whole = torch.cat([piece.sound for piece in pieces], dim=1)
    assert torch.equal(whole, debug.generate(flat_envelope(), 4.5, **options))
    for n in range(1, len(pieces)):
        rest = list(debug.stream(flat_envelope(), 4.5, state=pieces[n - 1].state, **options))
        assert torch.equal(torch.cat([piece.sound for piece in [*pieces[:n], *rest]], dim=1), whole)


def test_frames_in_bytes_are_those_in_0_to_1(debug):
    frames = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sounds = [debug.generate(flat_envelope(), 1.0, frames=given) for given in (frames, frames.float() / 255)]
    assert torch.equal(*sounds)
