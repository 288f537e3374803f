"""Hits: measured from levels, turned back into levels, against sounds of noise."""

import math

import pytest
import torch

from hits.level import STRIKE_DECAY_S, Hits, level_beyond, level_of_hits, measure_hits
from media.envelope import FINE_RATE_HZ, fine_envelope
from video2rms.levels import Levels, join_levels

RATE_HZ = 16_000


def hits(*rows):
    """Hits of rows with time, level, decay and, if it is not 1, ring."""
    times_s, rms, decay_s, ring = torch.tensor([(*row, 1.0)[:4] for row in rows]).T
    return Hits(times_s, rms, decay_s, ring)


def mean_level_of_noises(rows, duration_s, n_noises=300, *, independent=False):
    """Return the root of the mean energy that `fine_envelope` measures in noises with these hits."""
    generator = torch.Generator().manual_seed(0)
    time_s = torch.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    shapes = torch.stack([a * torch.exp(-(time_s - t).clamp(min=0) / d) * (time_s >= t) for t, a, d in rows])
    n_sources = len(rows) if independent else 1
    shapes = shapes if independent else shapes.sum(dim=0, keepdim=True)
    waves = sum(shapes[i] * torch.randn(n_noises, 1, len(time_s), generator=generator) for i in range(n_sources))
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


def test_a_level_is_that_of_a_strike_with_a_ring():
    """A strike of 4 ms whose energy is ten times that of the ring in the first 32 ms."""
    window_s, ring_s = 0.032, 0.06

    def energy(decay_s):
        return decay_s / 2 * -math.expm1(-2 * window_s / decay_s) / window_s

    of_ring = 0.2**2 * energy(ring_s)
    strike = math.sqrt(10 * of_ring / energy(STRIKE_DECAY_S))
    expected = mean_level_of_noises([(0.3, 0.2, ring_s), (0.3, strike, STRIKE_DECAY_S)], 1.2, independent=True)
    ring = math.sqrt(1 / 11)
    decay_s = ring_s * (math.log(10) + math.log(ring)) / math.log(10)
    found = level_of_hits(hits((0.3, math.sqrt(11 * of_ring), decay_s, ring)), len(expected))
    torch.testing.assert_close(found, expected, atol=0.02 * math.sqrt(11 * of_ring), rtol=0.08)


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
    torch.testing.assert_close(found.ring[:3], true.ring[:3], atol=0.1, rtol=0)
    assert found.ring[3].isnan()  # too short to tell


@pytest.mark.parametrize("ring", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("decay_s", [0.03, 0.06, 0.15])
@pytest.mark.parametrize("time_s", [0.2, 0.203, 0.206])
def test_measured_strikes_with_a_ring_make_the_level_they_were_measured_from(time_s, decay_s, ring):
    true = hits((time_s, 0.5, decay_s, ring))
    level = level_of_hits(true, 300)
    found = measure_hits(level, true.times_s)
    torch.testing.assert_close(found.rms, true.rms, rtol=0.07, atol=0)
    torch.testing.assert_close(found.ring, true.ring, rtol=0.12, atol=0)
    again = level_of_hits(found, 300)
    assert (again - level).abs().max() < 0.1 * level.max()


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


def test_louder_levels_are_louder_by_so_much():
    levels = Levels(torch.linspace(0, 0.1, 250), torch.rand(250), hits((0.1, 0.5, 0.05, 0.4), (0.9, 0.2, 0.1)))
    torch.testing.assert_close(levels.louder(-20.0).envelope.rms, levels.envelope.rms / 10)
    assert levels.louder(-20.0).hits.times_s is levels.hits.times_s


def test_parts_of_levels_join_to_the_whole():
    true = hits((0.1, 0.5, 0.05), (0.9, 0.2, 0.1), (1.2, 0.4, 0.01))
    whole = Levels(torch.linspace(0, 0.1, 250), torch.rand(250), true)
    joined = join_levels([whole.part(0, 113), whole.part(113, 150), whole.part(150, 250)])
    torch.testing.assert_close(joined.hits.times_s, true.times_s)
    torch.testing.assert_close(joined.envelope.rms, whole.envelope.rms)
    assert torch.equal(joined.onset, whole.onset)
