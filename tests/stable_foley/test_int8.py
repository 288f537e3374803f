"""Weights in 8 bits: how near they come, and that a clip does not depend on its batch."""

import pytest
import torch
from torch import nn

from benchmarks.sounds import f1_within_100_ms, onset_times_s
from common.errors import InputError
from evaluation.levels import rms_correlation
from media.envelope import fine_envelope
from stable_foley.generator import SoundGenerator
from stable_foley.int8 import Int8Linear
from synthetic import SAMPLE_RATE_HZ, SyntheticSpec, render_clip


def layer(n_in, n_out, bias=True):
    torch.manual_seed(0)
    return nn.Linear(n_in, n_out, bias=bias).requires_grad_(False)


def relative_error(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_it_is_the_layer_to_within_a_hundredth(bias, scale):
    linear = layer(96, 40, bias)
    linear.weight *= torch.logspace(-3, 1, 40)[:, None]  # outputs of very different size
    x = scale * torch.randn(2, 7, 96) * torch.logspace(-2, 2, 7)[:, None]
    found, expected = Int8Linear(linear)(x), linear(x)
    assert found.shape == expected.shape
    for row in range(7):
        assert relative_error(found[:, row], expected[:, row]) < 0.015


def test_whole_numbers_of_7_bits_are_exact():
    linear = layer(32, 8)
    linear.weight.copy_(torch.randint(-127, 128, (8, 32)))
    linear.weight[:, 0] = 127
    x = torch.randint(-127, 128, (5, 32)).float()
    x[:, 1] = 127
    torch.testing.assert_close(Int8Linear(linear)(x), linear(x), rtol=1e-5, atol=1e-2)


def test_silence_and_rows_of_zeros_give_the_bias():
    linear = layer(16, 8)
    torch.testing.assert_close(Int8Linear(linear)(torch.zeros(3, 16)), linear.bias.expand(3, 8))


def test_a_row_does_not_depend_on_the_others():
    linear, x = Int8Linear(layer(64, 64)), torch.randn(4, 9, 64)
    loud = x.clone()
    loud[1:] *= 1000
    assert torch.equal(linear(x)[0], linear(loud)[0])


def test_the_bundled_model_makes_the_same_sound_in_8_bits():
    clip = render_clip(SyntheticSpec(10.0, max_offset_s=0.0), 8_000_010, 1, picture=False)
    envelope = fine_envelope(clip.clean, SAMPLE_RATE_HZ)
    whole, rounded = (
        SoundGenerator.from_checkpoint(dtype=dtype, device="cpu").generate(envelope, 10.0)
        for dtype in ("float32", "int8")
    )
    assert rms_correlation(rounded, whole, SAMPLE_RATE_HZ) > 0.99
    assert f1_within_100_ms(onset_times_s(whole), onset_times_s(rounded)) > 0.95


def test_it_is_for_processors(monkeypatch):
    monkeypatch.setattr("stable_foley.generator.pick_device", lambda _: torch.device("cuda"))
    with pytest.raises(InputError, match="--dtype"):
        SoundGenerator.from_checkpoint(dtype="int8")
