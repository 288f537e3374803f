"""Levels as classes: round trips, no bias, no class outside, targets that are distributions."""

import math

import numpy as np
import pytest
import torch

from common.errors import InputError
from video2rms.bins import LevelBins


def mu_law(rms):
    return np.log1p(63 * np.asarray(rms, float)) / math.log(64)


def test_every_class_survives_decoding_and_encoding():
    bins = LevelBins()
    classes = torch.arange(64)
    assert torch.equal(bins.encode(bins.decode(classes)), classes)


def test_the_edges_are_those_of_the_mu_law():
    bins = LevelBins()
    np.testing.assert_allclose(mu_law(bins.edges.numpy()), np.linspace(mu_law(0.01), 1, 64), atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_no_level_moves_by_more_than_half_a_bin_and_none_on_average(seed):
    bins = LevelBins()
    scale = np.random.default_rng(seed).uniform(mu_law(0.01), 1, 20_000)
    rms = np.expm1(scale * math.log(64)) / 63
    moved = mu_law(bins.decode(bins.encode(torch.from_numpy(rms).float())).numpy()) - scale
    width = (1 - mu_law(0.01)) / 63
    assert np.abs(moved).max() <= width / 2 + 1e-5
    assert abs(moved.mean()) < 0.02 * width


def test_silence_is_silent_and_loud_is_the_last_class():
    bins = LevelBins()
    assert bins.decode(bins.encode(torch.tensor([0.0, 0.0099]))).tolist() == [0.0, 0.0]
    assert bins.encode(torch.tensor([1.0, 1.7, math.inf])).tolist() == [63] * 3
    assert bins.encode(torch.tensor([0.0101])).item() == 1


def test_targets_are_distributions_around_the_class():
    bins = LevelBins()
    rms = torch.cat([torch.zeros(1), bins.centres])
    targets = bins.soft_targets(rms)
    torch.testing.assert_close(targets.sum(dim=-1), torch.ones(65))
    assert torch.equal(targets.argmax(dim=-1), bins.encode(rms))
    assert ((targets[10] > 0).sum()) == 5
    assert targets[0, 0] == 1.0
    inner = targets[10][targets[10] > 0]
    torch.testing.assert_close(inner / inner[2], torch.exp(-0.5 * torch.arange(-2.0, 3.0) ** 2))


def test_expected_level_of_a_certain_class_is_its_centre():
    bins = LevelBins()
    logits = 100.0 * torch.eye(64)
    loud = bins.centres >= 0.02
    torch.testing.assert_close(bins.expected_rms(logits)[loud], bins.centres[loud])


@pytest.mark.parametrize("values", [{"n_classes": 2}, {"mu": 0.0}, {"floor": 0.0}, {"floor": 1.0}])
def test_impossible_classes_are_refused(values):
    with pytest.raises(InputError, match="are not possible"):
        LevelBins(**values)


def test_levels_fade_to_silence_without_a_jump():
    bins = LevelBins()
    share = torch.linspace(0, 0.06, 601)  # of the class at 0.5 or so, the rest of silence
    logits = torch.full((601, 64), -1e4)
    logits[:, 0], logits[:, 50] = (1 - share).clamp(min=1e-30).log(), share.clamp(min=1e-30).log()
    rms, mean = bins.expected_rms(logits), share * bins.centres[50]
    assert not rms[mean < 0.0125].any()
    torch.testing.assert_close(rms[mean > 0.02], mean[mean > 0.02])
    assert (rms.diff() >= 0).all()
    assert rms.diff().max() < 5 * mean.diff().max()
