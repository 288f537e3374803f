"""The short-time levels of the mel latent: closed forms, and what they add to a hit."""

import math

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch

from benchmarks.mel_latent import recording
from benchmarks.sounds import pulsation_db
from evaluation.hits import hit_shapes
from stable_foley.fine_levels import FineLevels
from stable_foley.mel_latent import MelLatent

RATE_HZ = 44_100


@pytest.fixture(scope="module")
def fine():
    return FineLevels(RATE_HZ)


@pytest.fixture(scope="module")
def codec():
    return MelLatent()


def noise(n_steps, seed=0):
    return 0.1 * torch.randn(1, 1536 * n_steps, generator=torch.Generator().manual_seed(seed))


def padded(mono):
    return torch.nn.functional.pad(mono, (256, 256))


def test_levels_are_those_of_frames_centred_on_their_slots(fine):
    """Against scipy's frames: three in a slot, 64 samples apart, in bands of 256 samples."""
    wave = noise(6)
    window = scipy.signal.get_window("hann", 256)
    mono = np.pad(wave[0].numpy(), 96)
    frames = np.lib.stride_tricks.sliding_window_view(mono, 256)[::64][: 24 * 6]
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2 / np.square(window).sum()
    bands = power @ fine.bands.numpy().T
    slots = bands.reshape(-1, 3, 16).mean(axis=1) + 1e-7
    around = np.stack([np.convolve(band, fine.long_window.flatten().numpy(), "same") for band in (slots - 1e-7).T]).T
    levels = 0.5 * np.log(slots / (around + 1e-7))
    cepstra = scipy.fft.dctn(levels.reshape(6, 8, 16).transpose(0, 2, 1), axes=(1, 2), norm="ortho")[:, :8]
    expected = cepstra.reshape(6, 64).T / fine.spread.numpy()
    np.testing.assert_allclose(fine.encode(padded(wave))[0].numpy(), expected, atol=2e-3)


def test_a_click_is_loud_in_its_own_slot(fine):
    for slot in range(8):
        wave = torch.zeros(1, 1536 * 9)
        wave[0, 1536 * 4 + 192 * slot + 96] = 1.0
        levels = fine.levels(fine.encode(padded(wave)))[0].mean(dim=0)
        assert int(levels.argmax()) == 8 * 4 + slot


def test_silence_and_gain_change_nothing(fine):
    assert not fine.encode(torch.zeros(1, 512 + 1536 * 4)).any()
    wave = padded(noise(8))
    torch.testing.assert_close(fine.encode(0.1 * wave), fine.encode(wave), atol=0.02, rtol=0)


def test_imposing_brings_levels_nearer_and_keeps_what_has_them(fine):
    click = torch.zeros(1, 1536 * 8)
    click[0, 5000:5100] = noise(1)[0, :100]
    target = fine.levels(fine.encode(padded(click)))
    wave = padded(noise(8, seed=1))

    def distance(mono):
        return (fine.levels(fine.encode(mono)) - target).abs().mean().item()

    once = fine.impose(wave, target)
    assert once.shape == wave.shape
    assert distance(once) < 0.7 * distance(wave)
    steady = padded(noise(8, seed=2))
    own = fine.levels(fine.encode(steady))
    assert (fine.impose(steady, own) - steady).norm() < 0.2 * steady.norm()  # eight orders of sixteen are kept


def test_errors_in_a_latent_do_not_make_steady_sound_pulsate(codec):
    latent = codec.encode(noise(58)[None])
    wrong = latent + 0.2 * torch.randn(latent.shape, generator=torch.Generator().manual_seed(1))
    for sound in (codec.decode(latent), codec.decode(wrong)):
        assert pulsation_db(sound[0], RATE_HZ / 512) < 6


def test_a_smooth_decay_of_partials_stays_smooth(codec):
    time_s = torch.arange(1536 * 40) / RATE_HZ
    decay = torch.exp(-(time_s - 0.3).clamp(min=0) / 0.25) * (time_s > 0.3)
    wave = 0.1 * decay * sum(torch.sin(2 * math.pi * hz * time_s) for hz in (440, 1210, 2380, 4100))
    copy = codec.decode(codec.encode(wave[None, None]))[0, 0, round(0.35 * RATE_HZ) : round(1.0 * RATE_HZ)]
    level_db = 10 * copy[: len(copy) // 441 * 441].view(-1, 441).square().mean(dim=1).log10()
    slope = np.polyfit(np.arange(len(level_db)), level_db.numpy(), 1)
    assert (level_db.numpy() - np.polyval(slope, np.arange(len(level_db)))).std() < 1.5


@pytest.mark.real
def test_recorded_impacts_keep_their_attack(codec, shared):
    """The time within which a hit rises, around its peak: the median difference over the impacts is below 1.5 ms."""
    differences_ms = []
    for path in sorted((shared / "real" / "impacts").glob("*.flac")):
        wave = torch.nn.functional.pad(recording(path), (8820, 2000))
        copy = codec.decode(codec.encode(wave[None]))[0, :1, : wave.shape[1]]
        peak_s = np.array([int(wave.abs().argmax()) / RATE_HZ])
        before, after = (hit_shapes(each, RATE_HZ, peak_s)[0].attack_ms for each in (wave, copy))
        differences_ms.append(after - before)
    assert len(differences_ms) == 30
    assert abs(np.nanmedian(differences_ms)) < 1.5
