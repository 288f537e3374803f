"""The torchmetrics classes against the functions, over batches and processes."""

import pytest
import torch

from common.errors import InputError
from evaluation.levels import e_l1_stable_v2a, e_l1_video_foley
from evaluation.metrics import EnvelopeL1, OnsetF1
from tests.evaluation.conftest import RATE_HZ, clicks

REAL = torch.stack([clicks([0.5, 1.5]), clicks([0.5, 1.5]), clicks([1.0]), torch.zeros(2, 3 * RATE_HZ)])
MADE = torch.stack([clicks([0.5, 1.5]), clicks([0.5, 2.5]), clicks([2.0]), torch.zeros(2, 3 * RATE_HZ)])


@pytest.mark.parametrize(
    ("definition", "function"), [("stable_v2a_44khz", e_l1_stable_v2a), ("video_foley_16khz", e_l1_video_foley)]
)
def test_e_l1_is_the_mean_over_all_clips(definition, function):
    metric = EnvelopeL1(definition)
    metric.update(MADE[:3], REAL[:3], RATE_HZ)
    metric.update(MADE[3:], REAL[3:], RATE_HZ)
    torch.testing.assert_close(metric.compute(), function(MADE, REAL, RATE_HZ).mean())
    metric.reset()
    metric.update(REAL, REAL, RATE_HZ)
    assert metric.compute() == 0


def test_onset_f1_leaves_out_clips_without_onsets():
    metric = OnsetF1()
    metric.update(MADE, REAL, RATE_HZ)
    assert float(metric.compute()) == pytest.approx((1 + 0.5 + 0) / 3)
    assert int(metric.n_clips) == 3
    assert float(metric(REAL[:1], REAL[:1], RATE_HZ)) == 1


def test_nothing_gives_no_number():
    metric = OnsetF1()
    metric.update(REAL[3:], REAL[3:], RATE_HZ)
    assert metric.compute().isnan()


def test_states_of_processes_add_up():
    halves = [EnvelopeL1(), EnvelopeL1()]
    for half, part in zip(halves, (slice(0, 1), slice(1, 4)), strict=True):
        half.update(MADE[part], REAL[part], RATE_HZ)
    whole = EnvelopeL1()
    whole.update(MADE, REAL, RATE_HZ)
    total, n_clips = sum(half.total for half in halves), sum(half.n_clips for half in halves)
    torch.testing.assert_close((total / n_clips).float(), whole.compute())


def test_other_shapes_and_definitions_are_refused():
    with pytest.raises(InputError, match="cannot be compared"):
        EnvelopeL1().update(MADE[:1], REAL, RATE_HZ)
    with pytest.raises(InputError, match="cannot be compared"):
        OnsetF1().update(MADE[0], REAL[0], RATE_HZ)
    with pytest.raises(InputError, match="not defined"):
        EnvelopeL1("44")
