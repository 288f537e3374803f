"""A senseless value of any key ends in one sentence; a fault of the program keeps its traceback."""

import functools
import itertools

import pytest
from omegaconf import OmegaConf

import train
from common.errors import InputError
from stable_foley.config import build_model
from training import checks
from training.checks import one_sentence
from training.config import compose, instantiate
from training.module import build_training
from video2rms.bins import LevelBins

TINY = [
    "logger=tensorboard",
    "dataset.batch_size=1",
    "dataset.samples_per_epoch=1",
    "dataset.num_workers=0",
    "trainer.max_steps=1",
    "+trainer.enable_progress_bar=false",
    "tag=x",
]
EXPERIMENTS = {
    "foley": ["exp=train_gh_controlnet", "backbone=debug", "trainer=cpu", "dataset.train_split=null"],
    "video2rms": [
        "exp=mini_video2rms",
        "model.features.n_features=16",
        "model.features.channels=[8,8]",
        "model.width=16",
        "model.gru_width=8",
        "dataset.spec.duration_s=1.0",
        "dataset.n_val_clips=1",
    ],
    "cavp": ["exp=mini_cavp", "model=cavp_debug", "training.label_weight=0", "dataset.n_val_clips=1"],
}
VALUES = ("text", -1, 0, None, 1.5)


def keys_of(part, key=""):
    """All keys of a configuration but those that only Hydra reads, sections too."""
    for name, inner in part.items():
        place = f"{key}.{name}" if key else name
        if name not in ("_target_", "_partial_"):
            yield place
        if isinstance(inner, dict):
            yield from keys_of(inner, place)


def experiment(name, root, folder):
    more = ["dataset.val_split=null"] if name == "foley" else []
    return compose(*EXPERIMENTS[name], *TINY, *more, f"paths.greatest_hits={root}", f"paths.runs={folder}")


def check_pairs(name, root, folder, monkeypatch, n_values):
    """Each key with some of the values, the next key with the next ones; returns how many were refused."""
    monkeypatch.setattr(train, "fit", lambda *_: None)
    monkeypatch.chdir(folder)  # for keys that name folders
    whole = experiment(name, root, folder)
    train.train(whole.copy())
    kinds, n_refused = itertools.cycle(VALUES), 0
    for key in keys_of(OmegaConf.to_container(whole)):
        for value in itertools.islice(kinds, n_values):
            config = whole.copy()
            OmegaConf.set_struct(config, False)
            OmegaConf.update(config, key, value, merge=False)
            try:
                with one_sentence():
                    train.train(config)
            except InputError:
                n_refused += 1
            except Exception as error:
                raise AssertionError(f"{key}={value} ends in a traceback") from error
    return n_refused


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_key_takes_any_value_or_refuses_it(data_root, tmp_path, monkeypatch, name):
    assert check_pairs(name, data_root, tmp_path, monkeypatch, 1) > 20


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_so_it_does_with_every_pair(data_root, tmp_path, monkeypatch, name):
    assert check_pairs(name, data_root, tmp_path, monkeypatch, len(VALUES)) > 100


@pytest.mark.parametrize("kind", [RuntimeError, AttributeError, AssertionError, TypeError, ValueError, KeyError])
def test_a_fault_of_the_program_is_no_mistake_of_the_user(monkeypatch, kind):
    def faulty(*_args, **_kwargs):
        raise kind("a bug")

    signatures = functools.cache(checks._signature.__wrapped__)  # what is learned of `faulty` must not stay
    monkeypatch.setattr(checks, "_signature", signatures)
    monkeypatch.setattr(LevelBins, "__init__", faulty)
    with pytest.raises(kind, match="a bug") as fault, one_sentence():
        build_training(compose(*EXPERIMENTS["video2rms"]))
    assert not isinstance(fault.value, InputError)


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ({"_target_": "torch.nn.Dropout", "p": 2.0}, "2.0"),
        ({"_target_": "torch.nn.Dropout", "q": 0.5}, "part.q"),
        ({"_target_": "video2rms.bins.LevelBins", "mu": "wide"}, "part.mu is 'wide'"),
        ({"_target_": "video2rms.bins.LevelBins", "levels": 3}, "part.levels"),
        ({"_target_": "stable_foley.conditioners.seconds.SecondsConditioner"}, "part.output_dim"),
        ({"_target_": "video2rms.bins.Nothing"}, "Nothing"),
        ({"_target_": "data.datamodule.FoleyDataModule", "root": "x", "spec": {}, "batches": 3}, "part.batches"),
    ],
)
def test_arguments_are_compared_with_what_is_built(part, named):
    with pytest.raises(InputError, match=named), one_sentence():
        instantiate(OmegaConf.create({"part": part}).part)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("conditioners.seconds_total=null", "128"),
        ("conditioners.frames.output_dim=32", "conditioners.frames.output_dim is 32"),
        ("conditioners.audio.output_dim=-1", "conditioners.audio.output_dim is -1"),
        ("conditioners.seconds_start.output_dim=1", "global_cond_dim"),
        ("backbone.model_config.model.diffusion.config.global_cond_dim=64", "global_cond_dim is 64"),
        ("backbone.model_config.model.diffusion.config.num_heads=0", "num_heads|model_config"),
    ],
)
def test_conditioners_have_the_width_that_the_transformer_reads(override, named):
    with pytest.raises(InputError, match=named):
        build_model(compose("exp=train_gh_controlnet", "backbone=debug", override))


@pytest.mark.parametrize("override", ["callbacks.best=text", "logger.csv=3", "callbacks.samples=null"])
def test_parts_of_a_trainer_are_parts_or_null(tmp_path, override):
    config = experiment("video2rms", tmp_path, tmp_path)
    key, value = override.split("=")
    OmegaConf.set_struct(config, False)
    OmegaConf.update(config, key, None if value == "null" else value)
    if value == "null":
        assert train.build_trainer(config)
    else:
        with pytest.raises(InputError, match=key):
            train.build_trainer(config)
