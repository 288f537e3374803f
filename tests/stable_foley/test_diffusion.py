"""Closed forms of the diffusion process."""

import math

import pytest
import torch

from stable_foley import diffusion


def test_noise_and_target_turn_the_pair_of_signal_and_noise():
    x, noise = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    alpha, sigma = (w[:, None, None] for w in diffusion.alpha_sigma(t))
    noised, v = diffusion.noised(x, noise, t), diffusion.v_target(x, noise, t)
    torch.testing.assert_close(alpha * noised - sigma * v, x)
    torch.testing.assert_close(sigma * noised + alpha * v, noise)


def test_ends_of_the_process():
    x, noise = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(diffusion.noised(x, noise, torch.zeros(1)), x)
    torch.testing.assert_close(diffusion.noised(x, noise, torch.ones(1)), noise, atol=1e-6, rtol=0)


@pytest.mark.parametrize("sigma", [0.03, 1.0, 500.0])
def test_clean_latent_from_the_true_v(sigma):
    x, noise = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigma = torch.tensor(sigma, dtype=torch.float64)
    level = diffusion.sigma_to_level(sigma)
    assert math.isclose(math.tan(level * math.pi / 2), sigma, rel_tol=1e-9)
    v = diffusion.v_target(x, noise, level[None])
    torch.testing.assert_close(diffusion.denoised_from_v(x + sigma * noise, v, sigma), x, atol=1e-6, rtol=1e-6)


def test_levels_are_logit_normal_and_seeded():
    levels = diffusion.logit_normal_levels(20_000, torch.Generator().manual_seed(1))
    logits = torch.logit(levels)
    assert abs(logits.mean()) < 0.03
    assert abs(logits.std() - 1) < 0.03
    assert torch.equal(levels, diffusion.logit_normal_levels(20_000, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (2.0, 1.5)])
def test_quantiles_are_spread_like_the_draws(mean, std):
    draws = diffusion.logit_normal_levels(20_000, torch.Generator().manual_seed(1), mean, std)
    quantiles = diffusion.logit_normal_quantiles(9, mean, std)
    below = (draws[:, None] < quantiles).float().mean(0)
    torch.testing.assert_close(below, (torch.arange(9) + 0.5) / 9, atol=0.02, rtol=0)


def test_guidance_is_linear():
    conditional, unconditional = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(diffusion.guided(conditional, unconditional, 1.0), conditional)
    assert torch.equal(diffusion.guided(conditional, unconditional, 0.0), unconditional)
    expected = conditional + 6 * (conditional - unconditional)
    torch.testing.assert_close(diffusion.guided(conditional, unconditional, 7.0), expected)
