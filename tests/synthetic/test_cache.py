"""Cached features of synthetic clips: what training without a cache makes of them, and found by what they depend on."""

from collections.abc import Iterator

import pytest
import torch

from common.errors import InputError
from stable_foley.features import encoder_ids
from training.cache import main
from training.config import compose, instantiate
from training.module import build_training


def options(cache, *more):
    return [
        "exp=mini_controlnet",
        "backbone.weights=null",
        "backbone.random_weights=true",
        "conditioners.frames.cavp.weights=null",
        "paths.random_weights=true",
        f"dataset.cache={cache}",
        "dataset.spec.duration_s=1.0",
        "dataset.n_train_clips=3",
        "dataset.n_val_clips=2",
        "dataset.batch_size=2",
        "dataset.samples_per_epoch=4",
        "dataset.num_workers=0",
        *more,
    ]


def losses(cache) -> Iterator[float]:
    """Losses of two epochs and of the validation batches, without a trainer."""
    torch.manual_seed(0)  # of random weights
    config = compose(*options(cache))
    training, datamodule = build_training(config), instantiate(config.dataset)
    if datamodule.cache is not None:
        datamodule.open_cache(encoder_ids(training.model))
    for epoch in range(2):
        loader = datamodule.train_dataloader()
        loader.sampler.set_epoch(epoch)
        for number, batch in enumerate(loader):
            assert (batch.wave is None) == (datamodule.cache is not None)
            yield training.loss(batch, training.noise(len(batch), epoch, number), dropping=True).item()
    for number, batch in enumerate(datamodule.val_dataloader()):
        yield training.loss(batch, training.noise(len(batch), number)).item()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    torch.manual_seed(0)
    main([*options(folder), "--workers", "0"])
    return folder


def test_losses_are_those_of_training_without_a_cache(cache):
    assert len(list(cache.rglob("*.safetensors"))) == 3 + 2
    cached, direct = list(losses(cache)), list(losses("null"))
    assert len(cached) == 2 * 2 + 1
    assert cached == pytest.approx(direct, rel=1e-5)
    assert len(set(direct)) == len(direct)


def test_the_key_follows_all_that_a_clip_is_made_with(cache):
    def path(*more):
        datamodule = instantiate(compose(*options(cache, *more)).dataset)
        ((clips, _), _) = datamodule.sets_to_encode()
        return datamodule.feature_cache({"sound": "a codec"}).path(clips.chunks[0])

    others = ["dataset.seed=7", "dataset.gain_db=[-3,0]", "dataset.clean_share=1", "dataset.spec.duration_s=2.0"]
    assert len({path(), path("dataset.n_train_clips=5"), *map(path, others)}) == 1 + len(others)


def test_clips_are_shown_with_their_sound(cache):
    torch.manual_seed(0)
    config = compose(*options(cache))
    datamodule = instantiate(config.dataset)
    datamodule.open_cache(build_training(config).encoder_ids())
    (batch,) = datamodule.preview(1)
    (validated,) = datamodule.val_dataloader()
    assert (batch.wave is None, validated.wave is None) == (False, True)
    assert batch.labels[0] == validated.labels[0]
    assert torch.equal(batch.onsets[0], validated.onsets[0])


def test_missing_features_are_refused(cache):
    datamodule = instantiate(compose(*options(cache, "dataset.n_train_clips=4")).dataset)
    torch.manual_seed(0)
    encoders = build_training(compose(*options(cache))).encoder_ids()
    with pytest.raises(InputError, match="lacks features of 1 of 4 chunks"):
        datamodule.open_cache(encoders)
