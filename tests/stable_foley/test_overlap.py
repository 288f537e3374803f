"""The joint of two windows: cross-fades, and pieces that make up the whole."""

import pytest
import torch

from stable_foley.overlap import Joints, Known, Overlap, cross_fade


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


STEP = 250


def joined(windows, starts, fade_samples, *, resumed=False):
    """Sound and latents of windows; the latents of a step are the first sample of it."""
    joints, pieces = Joints(10_000, fade_samples, STEP), []
    for window, start in zip(windows, starts, strict=True):
        pieces.append(joints.add(window, window[:, ::STEP], start))
        if resumed:
            state, joints = joints.state(), Joints(10_000, fade_samples, STEP)
            joints.resume(state)
    pieces.append(joints.rest())
    return tuple(torch.cat(parts, dim=1) for parts in zip(*pieces, strict=True))


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("starts", [[0], [0, 8000], [0, 8000, 16_000, 24_000], [0, 8000, 8500], [0, 8000, 9750]])
def test_windows_of_one_sound_become_that_sound(starts, resumed):
    sound = noise(2, starts[-1] + 10_100)
    windows = [sound[:, start : start + 10_100] for start in starts]  # 100 samples are less than a token
    for fade_samples in (0, 100):
        found, latents = joined(windows, starts, fade_samples, resumed=resumed)
        torch.testing.assert_close(found, sound)
        assert torch.equal(latents, sound[:, ::STEP])


@pytest.mark.parametrize("keeps_noise", [False, True])
def test_what_is_known_stands_for_noise_and_prediction(keeps_noise):
    overlap, latents = Overlap(window_steps=10), noise(2, 3, 10)
    share = torch.tensor([0.0] * 4 + [0.25, 1.0, 1.0] + [0.0] * 3)
    free = share > 0
    overlap.next_window(0, Known(latents, share, keeps_noise))
    drawn, own = noise(1, 3, 10, seed=2), noise(1, 3, 10, seed=3)
    first, later, mixed = overlap.noise(drawn), overlap.noise(drawn), overlap.prediction(own)
    assert torch.equal(first[0][:, ~free], latents[1][:, ~free])
    assert torch.equal(first[0][:, free], (latents[1] if keeps_noise else drawn[0])[:, free])
    assert torch.equal(later, drawn)  # of a stochastic sampler
    assert torch.equal(mixed[0][:, share == 0], latents[0][:, share == 0])
    assert torch.equal(mixed[0][:, share == 1], own[0][:, share == 1])
    torch.testing.assert_close(mixed[0][:, 4], 0.75 * latents[0][:, 4] + 0.25 * own[0][:, 4])


@pytest.mark.parametrize("likeness", [0.0, 0.5, 1.0])
def test_cross_fades_keep_the_power(likeness):
    first, other = noise(2, 60_000), noise(2, 60_000, seed=1)
    second = likeness * first + (1 - likeness**2) ** 0.5 * other
    faded = cross_fade(first, second)
    levels = faded.unflatten(1, (10, -1)).square().mean(dim=(0, 2))
    torch.testing.assert_close(levels, torch.ones(10), atol=0.04, rtol=0)
    torch.testing.assert_close(faded[:, [0, -1]], torch.stack([first[:, 0], second[:, -1]], dim=1))


def test_silence_can_be_faded_to():
    assert cross_fade(noise(1, 100), torch.zeros(1, 100)).isfinite().all()


@pytest.mark.parametrize("hop_steps", [5, 2])
def test_only_the_overlap_of_two_windows_is_shared(hop_steps):
    overlap, n = Overlap(window_steps=9), 9 - hop_steps
    overlap.next_window(0)
    first = [overlap.noise(noise(1, 3, 10)), overlap.prediction(noise(1, 3, 10, seed=1))]
    assert torch.equal(first[0], noise(1, 3, 10))
    overlap.next_window(hop_steps)
    drawn, own = noise(1, 3, 10, seed=2), noise(1, 3, 10, seed=3)
    shared, mixed = overlap.noise(drawn), overlap.prediction(own)
    assert torch.equal(shared[..., :n], first[0][..., hop_steps:9])
    assert torch.equal(shared[..., n:], drawn[..., n:])
    torch.testing.assert_close(mixed[..., : n // 2], first[1][..., hop_steps : hop_steps + n // 2])
    assert torch.equal(mixed[..., n:], own[..., n:])
    late = torch.lerp(own[..., n - 1], first[1][..., 8], 1 / n)
    torch.testing.assert_close(mixed[..., n - 1], late)
