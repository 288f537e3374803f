"""Options of the training whose values do not work get a sentence."""

import pytest

from data.errors import InputError
from training.config import compose, instantiate
from training.module import build_training


@pytest.mark.parametrize(
    "option",
    [
        "model.dropout=2",
        "model.width=0",
        "model.lstm_width=0",
        "training.onset_weight=-1",
        "training.onset_threshold=1",
        "training.smoothing_bins=0",
    ],
)
def test_numbers_of_network_and_loss(option):
    with pytest.raises(InputError, match="do not work"):
        build_training(compose("exp=mini_video2rms", option))


@pytest.mark.parametrize("option", ["dataset.batch_size=0", "dataset.num_workers=-1", "dataset.n_val_clips=0"])
def test_numbers_of_the_data(option):
    with pytest.raises(InputError, match="do not work"):
        instantiate(compose("exp=mini_video2rms", option).dataset)


def test_the_rate_of_the_schedule_is_that_of_the_optimiser():
    config = compose("exp=mini_video2rms", "training.optimizer.lr=0.003")
    assert config.training.scheduler.max_lr == 0.003
