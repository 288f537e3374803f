"""Noise along an envelope has that envelope."""

import torch

from media.envelope import Envelope, fine_envelope
from video2rms.sounding import noise_along


def test_the_sound_has_the_envelope_that_it_follows():
    rms = 0.1 + 0.05 * torch.sin(torch.arange(500) / 40)
    sound = noise_along(Envelope(rms, 125.0), 16_000)
    assert sound.shape == (1, 64_000)
    ratio = fine_envelope(sound, 16_000).rms / rms
    assert abs(float(ratio.mean()) - 1) < 0.02
    assert float(ratio.std()) < 0.06


def test_silence_follows_the_end_and_stays_silent():
    sound = noise_along(Envelope(torch.cat([torch.zeros(60), torch.ones(65)]), 125.0), 22_050, duration_s=2.0)
    assert sound.shape == (1, 44_100)
    assert not sound[0, : int(0.47 * 22_050)].any()
    assert not sound[0, int(1.01 * 22_050) :].any()
    assert sound[0, 12_000:22_000].any()
