"""Samplers against the closed-form solution for Gaussian data, and their schedules."""

import pytest
import torch

from common.errors import InputError
from stable_foley import sampler

STD = 0.7


def gaussian_denoiser(x, sigma):
    """Expected clean value where the data are normal with standard deviation ``STD``."""
    return x * STD**2 / (STD**2 + sigma**2)


def exact_solution(x, sigma_from):
    """End of the probability-flow path that starts in x at ``sigma_from``, for the same data."""
    return x * STD / (STD**2 + sigma_from**2) ** 0.5


def no_noise(_):
    raise AssertionError("a deterministic sampler drew noise")


def test_schedule_falls_evenly_in_the_logarithm_and_ends_in_zero():
    sigmas = sampler.polyexponential_sigmas(100, 0.3, 500.0)
    assert len(sigmas) == 101
    assert sigmas[0] == pytest.approx(500.0)
    assert sigmas[-2] == pytest.approx(0.3)
    assert sigmas[-1] == 0
    steps = sigmas[:-1].log().diff()
    torch.testing.assert_close(steps, steps[:1].expand_as(steps))


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("dpmpp-2m", 2)])
def test_deterministic_samplers_converge_at_their_order(name, order):
    x = torch.tensor([1.0, -2.0], dtype=torch.float64) * 50.0
    errors = []
    for n_steps in (100, 200):
        sigmas = sampler.polyexponential_sigmas(n_steps, 1e-3, 50.0)
        end = sampler.FUNCTIONS[name](gaussian_denoiser, x, sigmas[:-1], no_noise)
        at_last = exact_solution(x, 50.0) / exact_solution(torch.ones(()), 1e-3)
        errors.append((end - at_last).abs().max().item())
    assert errors[0] / errors[1] > 0.8 * 2**order


def test_third_order_beats_second_order_without_noise():
    x = torch.tensor([80.0], dtype=torch.float64)
    sigmas = sampler.polyexponential_sigmas(60, 1e-3, 50.0)[:-1]
    at_last = exact_solution(x, 50.0) / exact_solution(torch.ones(()), 1e-3)
    third = sampler.dpmpp_3m_sde(gaussian_denoiser, x, sigmas, no_noise, eta=0.0)
    second = sampler.dpmpp_2m(gaussian_denoiser, x, sigmas, no_noise)
    assert (third - at_last).abs() < 0.5 * (second - at_last).abs()


def test_stochastic_sampler_reproduces_the_distribution():
    generator = torch.Generator().manual_seed(0)

    def noise(like):
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    x = noise(torch.zeros(40_000, dtype=torch.float64)) * 50.0
    sigmas = sampler.polyexponential_sigmas(100, 0.01, 50.0)
    samples = sampler.dpmpp_3m_sde(gaussian_denoiser, x, sigmas, noise)
    assert samples.std().item() == pytest.approx(STD, rel=0.02)
    assert abs(samples.mean().item()) < 0.02


@pytest.mark.parametrize("name", list(sampler.FUNCTIONS))
def test_a_constant_clean_latent_is_found_exactly(name):
    clean = torch.tensor([0.3, -0.8])
    sigmas = sampler.polyexponential_sigmas(7, 0.3, 500.0).float()
    found = sampler.FUNCTIONS[name](lambda x, s: clean.clone(), torch.randn(2) * 500, sigmas, torch.randn_like)
    torch.testing.assert_close(found, clean, atol=1e-4, rtol=0)


def test_progress_sees_every_step():
    seen = []

    def progress(steps):
        for step in steps:
            seen.append(step)
            yield step

    sigmas = sampler.polyexponential_sigmas(5, 0.3, 500.0).float()
    sampler.dpmpp_2m(gaussian_denoiser, torch.ones(1), sigmas, no_noise, progress)
    assert seen == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "ddim"},
        {"n_steps": 0},
        {"sigma_min": 0.0},
        {"sigma_min": 5.0, "sigma_max": 1.0},
        {"colour_match_db": -1.0},
        {"colour_match_db": 100.0},
        {"cfg_interval": [5.0, 1.0]},
        {"cfg_interval": [1.0]},
        {"cfg_interval": [-1.0, 1.0]},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError):
        sampler.SamplerSettings(**wrong)
