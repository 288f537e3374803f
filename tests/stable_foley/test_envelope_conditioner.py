"""Envelopes as control latents, in both forms."""

import pytest
import torch

from common.errors import InputError
from media.envelope import (
    PUBLISHED_SMOOTHING_SAMPLES,
    PUBLISHED_WINDOW_SAMPLES,
    Envelope,
    control_envelope,
    fine_envelope,
    instant_envelope,
)
from stable_foley.codec import build_codec
from stable_foley.conditioners.envelope import SampledEnvelope, VaeEnvelope
from training.config import compose

STEP = 1536
VALUES = 16  # a step
N_SAMPLES = 44_100 // STEP * STEP


@pytest.fixture
def codec():
    return build_codec({"type": "mel"}, 44_100)


@pytest.fixture
def sampled(codec):
    conditioner = SampledEnvelope(fine_envelope, window_samples=1, smoothing_samples=1, values_per_step=VALUES)
    conditioner.attach(codec)
    return conditioner


@pytest.mark.parametrize(("rms", "level"), [(1.0, 1.0), (0.1, 0.75), (1e-4, 0.0), (0.0, 0.0)])
def test_levels_are_decibels_from_minus_80_to_0(sampled, rms, level):
    embedding = sampled.encode(Envelope(torch.full((2, 125), rms), 125.0), N_SAMPLES)
    assert embedding.shape == (2, N_SAMPLES // STEP, 2 * VALUES)
    inside = embedding[:, 1:-1]
    torch.testing.assert_close(inside, torch.full_like(inside, level), atol=1e-5, rtol=0)


def test_a_dropped_envelope_differs_from_silence(sampled):
    null = sampled.dropped(N_SAMPLES, torch.device("cpu"))
    assert torch.equal(null, torch.full((1, N_SAMPLES // STEP, 2 * VALUES), -1.0))
    assert sampled(null).shape == (1, N_SAMPLES // STEP, 64)


@pytest.mark.parametrize("values_per_step", [0, -1, 1.5, 50])
def test_values_that_do_not_fill_a_step_are_refused(codec, values_per_step):
    def encode_a_step():
        conditioner = SampledEnvelope(fine_envelope, 1, 1, values_per_step=values_per_step)
        conditioner.attach(codec)
        conditioner.encode_signal(torch.zeros(1, 2, STEP))

    with pytest.raises(InputError, match=f"values_per_step is {values_per_step}"):
        encode_a_step()


def test_a_later_envelope_gives_later_latents(sampled):
    rms = torch.rand(1, 125, generator=torch.Generator().manual_seed(0))
    step_s = STEP / 44_100
    early = sampled.encode(Envelope(rms, 1 / step_s), N_SAMPLES)
    late = sampled.encode(Envelope(rms.roll(7, -1), 1 / step_s), N_SAMPLES)
    torch.testing.assert_close(late[:, 8:27], early[:, 1:20], atol=1e-4, rtol=0)


def test_the_published_form_encodes_the_causal_envelope_of_each_channel():
    config = compose("backbone=debug").backbone.model_config.model.pretransform
    codec = build_codec(config, 44_100)
    n_samples = 2048 * 8
    wave = torch.randn(1, 2, n_samples, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [0.1]])
    conditioner = VaeEnvelope(instant_envelope, window_samples=10_000, smoothing_samples=2_000)
    conditioner.attach(codec)
    envelope = conditioner.from_recording(wave)
    latent = conditioner.draw(conditioner.encode(envelope, n_samples), torch.Generator().manual_seed(5))
    signal = control_envelope(instant_envelope(wave, 44_100), n_samples=n_samples, sample_rate_hz=44_100)
    expected = codec.encode(signal, torch.Generator().manual_seed(5)).mT
    torch.testing.assert_close(conditioner(latent), expected)


@pytest.mark.parametrize("name", ["debug", "stable_audio_open"])
def test_the_configured_lengths_are_the_published_ones(name):
    envelope = compose(f"conditioners={name}").conditioners.envelope
    assert (envelope.window_samples, envelope.smoothing_samples) == (
        PUBLISHED_WINDOW_SAMPLES,
        PUBLISHED_SMOOTHING_SAMPLES,
    )
