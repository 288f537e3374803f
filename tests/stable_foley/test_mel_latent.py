"""The mel latent: shapes, closed forms, silence, and how close real recordings and synthetic strikes come back."""

import math
from dataclasses import asdict

import librosa
import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch

from benchmarks.mel_latent import between_hits_db, measure, recording, strikes
from stable_foley.mel_latent import MelLatent
from synthetic import SyntheticSpec, render_clip

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


@pytest.mark.parametrize(
    ("n_samples", "n_steps"), [(1, 1), (1535, 1), (1536, 1), (1537, 2), (12_288, 8), (441_000, 288)]
)
def test_lengths(n_samples, n_steps):
    codec = MelLatent(n_iterations=1)
    latent = codec.encode(noise(n_samples), torch.Generator())
    wave = codec.decode(latent)
    assert latent.shape == (1, 304, n_steps)
    assert wave.shape == (1, 2, 1536 * n_steps)
    assert latent.dtype == wave.dtype == torch.float32
    assert wave.isfinite().all()


def test_a_step_stands_at_its_own_samples(codec):
    wave = torch.zeros(1, 2, 1536 * 21)
    wave[..., 1536 * 10 + 768] = 1.0
    latent = codec.encode(wave)[0, :240]
    assert latent[0].argmax() == 10
    even_in_time = (torch.arange(240) % 3) != 1
    torch.testing.assert_close(latent[even_in_time], latent[even_in_time].flip(1), atol=1e-3, rtol=0)
    torch.testing.assert_close(latent[~even_in_time], -latent[~even_in_time].flip(1), atol=1e-3, rtol=0)


def test_latents_are_the_cosine_transforms_of_log_mel_amplitudes(codec):
    """Against librosa's bands and scipy's transform."""
    wave = noise(1536 * 9)
    mono = np.pad(wave[0].mean(dim=0).numpy(), 256)  # frames begin half a hop into the sound
    window = scipy.signal.get_window("hann", 2048)
    bands = librosa.feature.melspectrogram(
        y=mono, sr=44_100, n_fft=2048, hop_length=512, window="hann", n_mels=80, norm=None, pad_mode="constant"
    )
    log_amplitude = np.log(bands / np.square(window).sum())[:, 1:-1] / 2
    steps = log_amplitude.reshape(80, 9, 3).transpose(1, 0, 2) + 8.75
    cepstra = scipy.fft.dctn(steps, axes=(1, 2), norm="ortho")
    order = np.arange(1, 81)[:, None]
    spread = np.hstack([6.4 / order**0.75, 1.6 / order**0.6, 0.8 / order**0.5])
    expected = (cepstra / spread).reshape(9, 240).T
    np.testing.assert_allclose(codec.encode(wave)[0, :240].numpy(), expected, atol=2e-3)


def test_decoding_repeats_bit_for_bit_and_ignores_the_rest_of_the_batch(quick_codec):
    latent = quick_codec.encode(noise(20_000, n_clips=2))
    together = quick_codec.decode(latent)
    assert torch.equal(together, quick_codec.decode(latent))
    torch.testing.assert_close(quick_codec.decode(latent[1:]), together[1:], atol=1e-3, rtol=0)
    assert torch.equal(together[:, 0], together[:, 1])


def test_nothing_to_store_and_nothing_to_train(codec):
    assert not codec.state_dict()
    assert not list(codec.parameters())


def test_gain_shifts_channel_0_by_its_logarithm(codec):
    wave = noise(13 * 1536)
    expected = codec.encode(wave)
    expected[:, 0] += math.log(0.3) * math.sqrt(240) / 6.4
    torch.testing.assert_close(codec.encode(0.3 * wave), expected, atol=1e-3, rtol=0)


def test_an_error_of_level_counts_more_than_one_of_detail(codec):
    weights = codec.loss_weights.flatten()
    assert weights.mean() == pytest.approx(1)
    assert weights[0] / weights[3 * 15] == pytest.approx(16**0.75)  # orders 0 and 15 in frequency
    assert weights[0] / weights[2] == pytest.approx(8)  # orders 0 and 2 in time


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


def test_silence_is_the_same_everywhere_and_decodes_to_silence(codec):
    latent = codec.encode(torch.zeros(1, 2, 20_000))
    assert (latent - latent[..., :1]).abs().max() == 0
    assert latent[:, 1:].abs().max() < 1e-4
    assert level_db(codec.decode(latent)) < -150


def test_silence_after_hits_stays_silent(quick_codec):
    assert between_hits_db(quick_codec, noise_std=0.0) < -120
    assert between_hits_db(quick_codec, noise_std=0.15) < -80


def test_wild_latents_stay_finite_and_bounded(quick_codec):
    latent = torch.zeros(2, 304, 20)
    latent[:, 0] = torch.tensor([-1e6, 1e6])[:, None]
    wave = quick_codec.decode(latent)
    assert level_db(wave[0]) < -150
    assert wave[1].isfinite().all()
    assert wave[1].abs().max() < 1000


def test_errors_of_a_model_change_the_level_little(quick_codec):
    wave = strikes(seed=3, duration_s=3.0)
    latent = quick_codec.encode(wave[None])
    wrong = latent + 0.15 * torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    assert level_db(quick_codec.decode(wrong)) == pytest.approx(level_db(quick_codec.decode(latent)), abs=2.0)


def test_synthetic_clips_encode_to_about_unit_variance(codec):
    """The levels vary more than the details, as those matter more."""
    clips = [render_clip(SyntheticSpec(width=32, height=32), 11, n, picture=False).clean for n in range(6)]
    latent = codec.encode(torch.stack([clip / (2 * clip.abs().max()) for clip in clips]))
    spread = latent.std(dim=(0, 2))
    assert latent.mean().abs() < 0.2
    assert 0.7 < spread.square().mean().sqrt() < 1.4
    assert spread.argmax() == 0
    assert spread.min() > 0.3


def test_decoded_strikes_encode_to_the_same_latent(codec):
    latent = codec.encode(strikes(seed=1, duration_s=2.0)[None])
    again = codec.encode(codec.decode(latent))
    loud = latent[:, 0] > 0
    assert (again - latent)[:, 0][loud].abs().mean() < 0.2  # 0.7 dB


def test_strikes_keep_their_onsets_and_levels(codec):
    wave = strikes(seed=0)
    fidelity = measure(wave[0], codec.decode(codec.encode(wave[None]))[0, 0, : wave.shape[1]])
    assert fidelity.onset_f1 >= 0.95
    assert fidelity.other_octaves_db < 1.2  # down to 50 dB below the loudest


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "limits"),
    [
        (GREATEST_HITS, {"log_mel_l1": 0.09, "spectral_convergence": 0.47, "before_onset_change_db": 3.0}),
        ("videos/hitting_bag.mp4", {"log_mel_l1": 0.09, "spectral_convergence": 0.24, "before_onset_change_db": 9.0}),
        ("videos/drum.mp4", {"log_mel_l1": 0.105, "spectral_convergence": 0.35, "before_onset_change_db": 9.0}),
    ],
)
def test_real_recordings_come_back(codec, shared, name, limits):
    wave = recording(shared / "real" / name)
    fidelity = asdict(measure(wave[0], codec.decode(codec.encode(wave[None]))[0, 0, : wave.shape[1]]))
    assert fidelity["onset_f1"] >= 0.97
    limits = limits | {"other_octaves_db": 1.0, "low_octave_db": 2.5, "attack_change_ms": 2.0}
    assert {key: fidelity[key] for key, limit in limits.items() if fidelity[key] > limit} == {}


@pytest.mark.parametrize("shape", [(2, 100), (1, 2, 0)])
def test_wrong_waves_are_refused(codec, shape):
    with pytest.raises(ValueError, match="wave has shape"):
        codec.encode(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(304, 10), (1, 240, 10), (1, 304, 0)])
def test_wrong_latents_are_refused(codec, shape):
    with pytest.raises(ValueError, match="latent has shape"):
        codec.decode(torch.zeros(shape))
