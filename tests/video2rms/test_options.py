"""Options of the training whose values do not work get a sentence."""

import pytest

from common.errors import InputError
from training.config import compose, instantiate
from training.module import build_training


@pytest.mark.parametrize(
    "option",
    [
        "model.dropout=2",
        "model.width=0",
        "model.gru_width=0",
        "training.loss.onset_weight=0",
        "training.loss.onset_positive_weight=0",
        "training.loss.offset_weight=0",
        "training.loss.peak_weight=-1",
        "training.loss.decay_weight=0",
        "training.loss.level_weight=0",
        "training.loss.smoothing_bins=0",
    ],
)
def test_numbers_of_network_and_loss(option):
    with pytest.raises(InputError, match=option.partition("=")[0].rpartition(".")[2]):
        build_training(compose("exp=mini_video2rms", option))


@pytest.mark.parametrize(
    "option",
    [
        "model.lstm_width=0",
        "training.loss.onset_weight=0",
        "training.loss.low_pass_hz=0",
        "training.loss.low_pass_hz=62.5",
        "training.loss.smoothing_bins=0",
    ],
)
def test_numbers_of_the_published_form(option):
    published = ("model=video2rms_published", "model/features=motion", "training/loss=levels")
    with pytest.raises(InputError, match=option.partition("=")[0].rpartition(".")[2]):
        build_training(compose("exp=mini_video2rms", *published, option))


@pytest.mark.parametrize(
    "option", ["dataset.batch_size=0", "dataset.num_workers=-1", "dataset.n_val_clips=0", "dataset.seed=-1"]
)
def test_numbers_of_the_data(option):
    with pytest.raises(InputError, match=option.removeprefix("dataset.").replace("=", " ")):
        instantiate(compose("exp=mini_video2rms", option).dataset)


def test_clips_are_as_large_as_the_network_looks_at_them():
    spec = compose("exp=mini_video2rms", "model.features.size_px=[160,96]").dataset.spec
    assert (spec.width, spec.height) == (160, 96)


def test_the_rate_of_the_schedule_is_that_of_the_optimiser():
    config = compose("exp=mini_video2rms", "training.optimizer.lr=0.003")
    assert config.training.scheduler.max_lr == 0.003
