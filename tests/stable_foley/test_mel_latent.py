"""The mel latent: shapes, closed forms, silence, and how close real recordings and synthetic strikes come back."""

import math
from dataclasses import asdict

import pytest
import torch

from benchmarks.mel_latent import between_hits_db, measure, recording, strikes
from stable_foley.mel_latent import MelLatent

GREATEST_HITS = "greatest_hits_processed/2015-02-16-16-49-06_000s/audio/2015-02-16-16-49-06_000s.resampled.wav"


@pytest.fixture(scope="module")
def codec():
    return MelLatent()


@pytest.fixture(scope="module")
def quick_codec():
    return MelLatent(n_iterations=6)


def noise(n_samples, seed=0, n_clips=1, n_channels=2):
    return 0.1 * torch.randn(n_clips, n_channels, n_samples, generator=torch.Generator().manual_seed(seed))


def sine(frequency_hz, n_samples=22_050):
    return 0.5 * torch.sin(2 * math.pi * frequency_hz / 44_100 * torch.arange(n_samples)).expand(1, 2, -1)


def level_db(wave):
    return 20 * math.log10(max(1e-10, wave.square().mean().sqrt().item()))


@pytest.mark.parametrize(("n_samples", "n_steps"), [(1, 1), (511, 1), (512, 1), (513, 2), (4096, 8), (441_000, 862)])
def test_lengths(n_samples, n_steps):
    codec = MelLatent(n_iterations=1)
    latent = codec.encode(noise(n_samples), torch.Generator())
    wave = codec.decode(latent)
    assert latent.shape == (1, 80, n_steps)
    assert wave.shape == (1, 2, 512 * n_steps)
    assert latent.dtype == wave.dtype == torch.float32
    assert wave.isfinite().all()


def test_a_step_stands_at_its_own_samples(codec):
    wave = torch.zeros(1, 2, 512 * 21)
    wave[..., 512 * 10 + 256] = 1.0
    latent = codec.encode(wave).sum(dim=1)[0]
    assert latent.argmax() == 10
    torch.testing.assert_close(latent[10 + 1 :], latent[:10].flip(0))


def test_decoding_repeats_bit_for_bit_and_ignores_the_rest_of_the_batch(quick_codec):
    latent = quick_codec.encode(noise(20_000, n_clips=2))
    together = quick_codec.decode(latent)
    assert torch.equal(together, quick_codec.decode(latent))
    torch.testing.assert_close(quick_codec.decode(latent[1:]), together[1:], atol=1e-3, rtol=0)
    assert torch.equal(together[:, 0], together[:, 1])


def test_nothing_to_store_and_nothing_to_train(codec):
    assert not codec.state_dict()
    assert not list(codec.parameters())


def test_gain_shifts_the_latent_by_its_logarithm(codec):
    wave = noise(20_000)
    expected = codec.encode(wave) + math.log(0.3) / 2.5
    torch.testing.assert_close(codec.encode(0.3 * wave), expected, atol=1e-4, rtol=0)


def test_stereo_is_averaged(codec):
    wave = noise(20_000)
    torch.testing.assert_close(codec.encode(wave), codec.encode(wave.mean(dim=1, keepdim=True)))


@pytest.mark.parametrize(
    "wave", [noise(22_050), sine(100.0), sine(1000.0), sine(9000.0)], ids=["noise", "100", "1k", "9k"]
)
def test_level_is_kept(codec, wave):
    copy = codec.decode(codec.encode(wave))
    assert level_db(copy[..., 2048:-2048]) == pytest.approx(level_db(wave.mean(dim=1)), abs=1.0)


def test_steady_noise_comes_back_without_clicks(codec):
    copy = codec.decode(codec.encode(noise(44_100)))[0, 0, 2048:-2048]
    kurtosis = copy.pow(4).mean() / copy.square().mean().square()
    assert kurtosis == pytest.approx(3.0, abs=0.3)


def test_silence_is_minus_two_and_decodes_to_silence(codec):
    latent = codec.encode(torch.zeros(1, 2, 20_000))
    assert torch.equal(latent, torch.full_like(latent, -2.0))
    assert level_db(codec.decode(latent)) < -150


def test_silence_after_hits_stays_silent(quick_codec):
    assert between_hits_db(quick_codec, noise_std=0.0) < -120
    assert between_hits_db(quick_codec, noise_std=0.15) < -80


def test_wild_latents_stay_finite_and_bounded(quick_codec):
    wave = quick_codec.decode(torch.tensor([-1e6, 1e6])[:, None, None].expand(2, 80, 20))
    assert level_db(wave[0]) < -150
    assert wave[1].isfinite().all()
    assert wave[1].abs().max() < 1000


def test_errors_of_a_model_change_the_level_little(quick_codec):
    wave = strikes(seed=3, duration_s=3.0)
    latent = quick_codec.encode(wave[None])
    wrong = latent + 0.15 * torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    assert level_db(quick_codec.decode(wrong)) == pytest.approx(level_db(quick_codec.decode(latent)), abs=2.0)


def test_strikes_encode_to_about_unit_variance(codec):
    latent = torch.cat([codec.encode(strikes(seed)[None]) for seed in range(3)])
    audible = latent[latent > -2]
    assert audible.mean().abs() < 0.5
    assert 0.7 < audible.std() < 1.3


def test_decoded_strikes_encode_to_the_same_latent(codec):
    latent = codec.encode(strikes(seed=1, duration_s=2.0)[None])
    again = codec.encode(codec.decode(latent))
    assert (again - latent)[latent > -1].abs().mean() < 0.06


def test_strikes_keep_their_onsets_and_levels(codec):
    wave = strikes(seed=0)
    fidelity = measure(wave[0], codec.decode(codec.encode(wave[None]))[0, 0, : wave.shape[1]])
    assert fidelity.onset_f1 >= 0.95
    assert fidelity.other_octaves_db < 1.0


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "limits"),
    [
        (GREATEST_HITS, {"log_mel_l1": 0.12, "spectral_convergence": 0.47, "before_onset_change_db": 6.0}),
        ("videos/hitting_bag.mp4", {"log_mel_l1": 0.12, "spectral_convergence": 0.27, "before_onset_change_db": 18.0}),
        ("videos/drum.mp4", {"log_mel_l1": 0.12, "spectral_convergence": 0.40, "before_onset_change_db": 14.0}),
    ],
)
def test_real_recordings_come_back(codec, shared, name, limits):
    wave = recording(shared / "real" / name)
    fidelity = asdict(measure(wave[0], codec.decode(codec.encode(wave[None]))[0, 0, : wave.shape[1]]))
    assert fidelity["onset_f1"] >= 0.97
    limits = limits | {"other_octaves_db": 1.0, "low_octave_db": 2.5}
    assert {key: fidelity[key] for key, limit in limits.items() if fidelity[key] > limit} == {}


@pytest.mark.parametrize("shape", [(2, 100), (1, 2, 0)])
def test_wrong_waves_are_refused(codec, shape):
    with pytest.raises(ValueError, match="wave has shape"):
        codec.encode(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(80, 10), (1, 79, 10), (1, 80, 0)])
def test_wrong_latents_are_refused(codec, shape):
    with pytest.raises(ValueError, match="latent has shape"):
        codec.decode(torch.zeros(shape))
