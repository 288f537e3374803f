"""The network of hits: what it reads from a prediction, its loss, and what it knows of levels."""

from dataclasses import replace

import pytest
import torch

from hits.level import level_of_hits
from tests.hits.test_level import hits
from video2rms.bins import LevelBins
from video2rms.event_network import EventNetwork, EventPrediction
from video2rms.features.flow import FlowFeatures
from video2rms.losses import EventLoss, event_targets, onset_heights

N_SLOTS = 250
TRUE = hits((0.303, 0.4, 0.05, 0.5), (0.999, 0.1, 0.1), (1.5, 0.2, 0.03, 0.8))


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return EventNetwork(FlowFeatures(16, (8, 8), (64, 32)), width=16, gru_width=8).eval()


@pytest.fixture
def level():
    """Three hits, and something that rolls at the end."""
    rolling = torch.where(torch.arange(N_SLOTS) >= 220, 0.1, 0.0)
    return (level_of_hits(TRUE, N_SLOTS).square() + rolling.square()).sqrt()


def logits_of(rms):
    """Logits that are sure of the class of a level."""
    return 50 * torch.nn.functional.one_hot(LevelBins().encode(rms), 64).float()


def certain(level):
    """Return the prediction of a network that knows a level and its hits."""
    targets = event_targets(level, TRUE.times_s)
    heights = onset_heights([TRUE.times_s], N_SLOTS, 0.02)
    return EventPrediction(
        heights.clamp(1e-6, 1 - 1e-6).logit(),
        targets.offset_slots[None],
        logits_of(targets.peak)[None],
        targets.log_decay[None],
        targets.ring.clamp(1e-6, 1 - 1e-6).logit()[None],
        logits_of(targets.beyond)[None],
    )


def test_hits_are_read_to_a_fraction_of_a_slot(network, level):
    (found,) = network.read(certain(level))
    torch.testing.assert_close(found.hits.times_s, TRUE.times_s, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.hits.rms, TRUE.rms, rtol=0.05, atol=0)
    torch.testing.assert_close(found.hits.decay_s, TRUE.decay_s, rtol=0.15, atol=0.002)
    torch.testing.assert_close(found.hits.ring, TRUE.ring, atol=0.08, rtol=0)
    assert (found.envelope.rms - level).abs().max() < 0.03


def test_the_truth_has_the_lowest_loss(level):
    bins, loss = LevelBins(), EventLoss()
    true = certain(level)

    def value(prediction):
        return float(loss(prediction, level[None], [TRUE.times_s], bins))

    lowest = value(true)
    others = [
        replace(true, onset_logits=true.onset_logits.roll(4, dims=1)),
        replace(true, offset_slots=true.offset_slots + 1),
        replace(true, peak_logits=true.peak_logits.roll(3, dims=-1)),
        replace(true, log_decay=true.log_decay + 1),
        replace(true, ring_logits=true.ring_logits - 1),
        replace(true, level_logits=true.level_logits.roll(3, dims=-1)),
    ]
    assert all(value(other) > lowest + 0.05 for other in others)


def test_a_clip_without_hits_has_a_loss(network):
    prediction = network(torch.zeros(2, 60, 3, 32, 64, dtype=torch.uint8), torch.zeros(2, 60), N_SLOTS)
    loss = EventLoss()(prediction, torch.zeros(2, N_SLOTS), [torch.zeros(0)] * 2, network.bins)
    assert loss.isfinite()
    loss.backward()


def test_a_seed_draws_levels_from_their_distribution(network):
    n_hits, n_slots = 40, 4000
    bins = LevelBins()
    heights = torch.zeros(1, n_slots)
    heights[0, 50::100] = 1.0
    spread = torch.full((1, n_slots, 64), -50.0)
    spread[..., 20:40] = 0.0  # any of twenty classes alike
    prediction = EventPrediction(
        40 * (heights - 0.5),
        torch.zeros(1, n_slots),
        spread,
        torch.zeros(1, n_slots),
        torch.zeros(1, n_slots),
        logits_of(torch.zeros(1, n_slots)),
    )
    (median,), (drawn,), (again,), (other,) = (network.read(prediction, seed=seed) for seed in (None, 3, 3, 4))
    assert len(median.hits) == n_hits
    torch.testing.assert_close(median.hits.rms, bins.edges[29].expand(n_hits))
    assert torch.equal(drawn.hits.rms, again.hits.rms)
    assert not torch.allclose(drawn.hits.rms, other.hits.rms)
    assert bins.edges[19] <= drawn.hits.rms.min() < bins.edges[24]
    assert bins.edges[34] < drawn.hits.rms.max() <= bins.edges[39]
    (later,) = network.read(
        EventPrediction(*(getattr(prediction, name)[:, 1000:] for name in prediction.__dataclass_fields__)),
        first_slot=1000,
        seed=3,
    )
    assert torch.equal(later.hits.rms, drawn.hits.rms[10:])


def test_quantiles_of_levels_against_their_definition():
    bins = LevelBins()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 64, generator=generator)
    shares = logits.softmax(dim=-1).cumsum(dim=-1)
    for row in range(5):
        at_edges = bins.quantile(logits[row].expand(61, 64), shares[row, 1:62])
        torch.testing.assert_close(at_edges, bins.edges[1:62], atol=2e-4, rtol=1e-3)
    certain = bins.quantile(logits_of(torch.tensor([0.0, 0.3])), torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(certain, bins.decode(bins.encode(torch.tensor([0.0, 0.3]))), rtol=0.02, atol=0)


def test_gradients_reach_every_parameter(level):
    network = EventNetwork(FlowFeatures(16, (8, 8), (64, 32)), width=16, gru_width=8)
    frames = torch.randint(0, 255, (2, 60, 3, 32, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    prediction = network(frames, torch.zeros(2, 60), N_SLOTS)
    EventLoss()(prediction, level.expand(2, -1), [TRUE.times_s] * 2, network.bins).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
