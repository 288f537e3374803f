"""Loss and metrics of a batch, against hand-made predictions."""

import pytest
import torch

from media.envelope import FINE_RATE_HZ, Envelope, low_passed
from training.config import compose
from training.module import build_training
from video2rms.batch import VideoBatch
from video2rms.bins import LevelBins
from video2rms.level_network import LevelPrediction

LEVELS = ("model=video2rms_published", "model/features=motion", "training/loss=levels", "model.lstm_width=4")
SMALL = ("model.width=8", "model.features.n_features=8", "model.features.channels=[8,8]")
ONSETS_S = (0.5, 1.3)
N_SLOTS = 250


def training(*options):
    return build_training(compose("exp=mini_video2rms", *LEVELS, *SMALL, *options))


@pytest.fixture
def batch():
    """Two hits that decay within a tenth of a second, twice."""
    time_s = (torch.arange(N_SLOTS) + 0.5) / FINE_RATE_HZ
    rms = sum(0.4 * torch.exp(-(time_s - start_s) / 0.04) * (time_s >= start_s) for start_s in ONSETS_S)
    rms = torch.stack([rms, rms / 2])
    at_44khz = Envelope(rms, FINE_RATE_HZ).rms.repeat_interleave(3, dim=1)[:, :690]
    onsets_s = (torch.tensor(ONSETS_S),) * 2
    return VideoBatch(None, torch.zeros(2, 60), rms, at_44khz, onsets_s, ("a", "b"), torch.zeros(2, 60, 8))


def certain(classes, onsets_s):
    """A prediction that is sure of its classes and of onsets at these times."""
    onset_logits = torch.full(classes.shape, -20.0)
    for time_s in onsets_s:
        onset_logits[:, int(time_s * FINE_RATE_HZ)] = 20.0
    return LevelPrediction(50 * torch.nn.functional.one_hot(classes, 64).float(), onset_logits)


def test_the_truth_scores_best(batch):
    found = training().metrics(certain(LevelBins().encode(batch.rms), ONSETS_S), batch)
    assert [float(found[f"accuracy_{n}_bins"]) for n in (0, 2, 5, 8)] == [1.0] * 4
    assert found["onset_f1"] == found["envelope_onset_f1"] == 1.0
    assert found["rms_correlation"] > 0.99
    assert found["e_l1"] < 1e-3


def test_classes_beside_the_truth_count_from_their_distance_on(batch):
    loud = batch.rms > 0.05
    classes = torch.where(loud, LevelBins().encode(batch.rms) - 3, LevelBins().encode(batch.rms))
    found = training().metrics(certain(classes, ONSETS_S), batch)
    share = float(loud.float().mean())
    expected = [1 - share, 1 - share, 1.0, 1.0]
    assert [float(found[f"accuracy_{n}_bins"]) for n in (0, 2, 5, 8)] == pytest.approx(expected, abs=1e-6)


def test_a_silent_prediction_has_no_onsets(batch):
    found = training().metrics(certain(torch.zeros(2, N_SLOTS, dtype=torch.long), ()), batch)
    assert found["onset_f1"] == found["envelope_onset_f1"] == 0
    torch.testing.assert_close(found["e_l1"], batch.rms.mean())
    assert found["rms_correlation"] == 0


def test_onsets_elsewhere_are_wrong(batch):
    found = training().metrics(certain(LevelBins().encode(batch.rms), (0.52, 0.9)), batch)
    assert found["onset_f1"] == 0.5


def test_the_low_pass_changes_the_target_and_the_loss(batch):
    sharp, smooth = training(), training("training.loss.low_pass_hz=7.8125")
    assert torch.equal(sharp.loss_of.target(batch.rms), batch.rms)
    torch.testing.assert_close(smooth.loss_of.target(batch.rms), low_passed(Envelope(batch.rms, FINE_RATE_HZ)).rms)
    bins = LevelBins()
    of_sharp, of_smooth = (
        certain(bins.encode(target), ONSETS_S) for target in (batch.rms, smooth.loss_of.target(batch.rms))
    )
    assert sharp.loss(of_sharp, batch) < sharp.loss(of_smooth, batch)
    assert smooth.loss(of_smooth, batch) < smooth.loss(of_sharp, batch)
    assert float(smooth.metrics(of_smooth, batch)["accuracy_0_bins"]) == 1.0
