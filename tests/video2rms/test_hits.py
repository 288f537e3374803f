"""Hits: measured from levels, turned back into levels, against sounds of noise."""

import math

import pytest
import torch

from media.envelope import FINE_RATE_HZ, fine_envelope
from video2rms.hits import Hits, level_beyond, level_of_hits, measure_hits
from video2rms.levels import Levels, join_levels

RATE_HZ = 16_000


def hits(*rows):
    times_s, rms, decay_s = torch.tensor(rows).T
    return Hits(times_s, rms, decay_s)


def mean_level_of_noises(rows, duration_s, n_noises=300):
    """Return the root of the mean energy that `fine_envelope` measures in noises with these hits."""
    generator = torch.Generator().manual_seed(0)
    time_s = torch.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    shape = sum(a * torch.exp(-(time_s - t).clamp(min=0) / d) * (time_s >= t) for t, a, d in rows)
    waves = shape * torch.randn(n_noises, 1, len(time_s), generator=generator)
    return fine_envelope(waves, RATE_HZ).rms.square().mean(dim=0).sqrt()


@pytest.mark.parametrize("decay_s", [0.01, 0.05, 0.3])
def test_a_level_is_that_of_noise_with_a_sudden_start_and_an_exponential_decay(decay_s):
    time_s, amplitude = 0.3, 0.5
    expected = mean_level_of_noises([(time_s, amplitude, decay_s)], 1.5)
    window_s = 0.032
    peak = amplitude * math.sqrt(decay_s / 2 / window_s * -math.expm1(-2 * window_s / decay_s))
    found = level_of_hits(hits((time_s, peak, decay_s)), len(expected))
    torch.testing.assert_close(found, expected, atol=0.02 * peak, rtol=0.08)
    assert not found[: int((time_s - window_s) * FINE_RATE_HZ)].any()


def test_energies_of_hits_add_up():
    first, second = hits((0.2, 0.3, 0.1)), hits((0.25, 0.2, 0.2))
    both = Hits.joined([first, second])
    parts = level_of_hits(first, 200).square() + level_of_hits(second, 200).square()
    torch.testing.assert_close(level_of_hits(both, 200).square(), parts)


def test_measured_hits_make_the_level_they_were_measured_from():
    true = hits((0.104, 0.5, 0.03), (0.8, 0.1, 0.15), (1.6, 0.3, 0.06), (2.404, 0.02, 0.01))
    found = measure_hits(level_of_hits(true, 400), true.times_s.flip(0))
    torch.testing.assert_close(found.times_s, true.times_s)
    torch.testing.assert_close(found.rms, true.rms, rtol=0.06, atol=0)
    torch.testing.assert_close(found.decay_s, true.decay_s, rtol=0.15, atol=0.002)


def test_a_hit_that_the_next_follows_at_once_has_no_known_decay():
    level = level_of_hits(hits((0.2, 0.5, 0.3), (0.3, 0.4, 0.03)), 125)
    found = measure_hits(level, torch.tensor([0.2, 0.3]))
    assert found.decay_s.isfinite().tolist() == [False, True]
    assert found.rms[0] == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("onsets_s", [[], [5.0], [-0.1], [0.0], [0.99]])
def test_hits_at_the_ends_and_beyond_them(onsets_s):
    found = measure_hits(torch.full((125,), 0.2), torch.tensor(onsets_s))
    assert len(found) == len(onsets_s)
    assert found.rms.isfinite().all()


def test_what_hits_explain_is_not_beyond_them():
    true = hits((0.2, 0.5, 0.05), (0.9, 0.2, 0.1))
    of_hits = level_of_hits(true, 250)
    assert not level_beyond(of_hits, true).any()
    rolling = torch.where(torch.arange(250) >= 180, 0.1, 0.0)
    found = level_beyond((of_hits.square() + rolling.square()).sqrt(), true)
    torch.testing.assert_close(found[185:], rolling[185:], rtol=0.01, atol=1e-4)
    assert not found[:180].any()


def test_parts_of_levels_join_to_the_whole():
    true = hits((0.1, 0.5, 0.05), (0.9, 0.2, 0.1), (1.2, 0.4, 0.01))
    whole = Levels(torch.linspace(0, 0.1, 250), torch.rand(250), true)
    joined = join_levels([whole.part(0, 113), whole.part(113, 150), whole.part(150, 250)])
    torch.testing.assert_close(joined.hits.times_s, true.times_s)
    torch.testing.assert_close(joined.envelope.rms, whole.envelope.rms)
    assert torch.equal(joined.onset, whole.onset)
