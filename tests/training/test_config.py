"""Changes of a configuration: what is refused, and which keys are named instead."""

import pytest
from omegaconf import OmegaConf

from common.errors import InputError
from training.config import change, nearest_keys


def config():
    sampler = {"_target_": "Sampler", "name": "euler", "sigma_min": 0.3, "sigma_max": "${paths.most}"}
    return OmegaConf.create({"sampler": sampler, "paths": {"cavp": None, "most": 500.0, "clap": "???"}, "seed": 0})


def test_changes_are_applied():
    changed = change(config(), ["sampler.sigma_max=80", "sampler.name=dpmpp-2m", "paths.cavp=a=b.ckpt"])
    assert (changed.sampler.sigma_max, changed.sampler.name, changed.paths.cavp) == (80, "dpmpp-2m", "a=b.ckpt")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("sampler.sigma_mx=3", "sampler.sigma_max"),
        ("sigma_max=3", "sampler.sigma_max"),
        ("samler.nam=euler", "sampler.name"),
        ("sampler=euler", "sampler.name"),
        ("sampler", "sampler.name"),
        ("sed=3", "seed"),
        ("colour=red", "sampler, paths, seed"),
        ("=3", "sampler, paths, seed"),
    ],
)
def test_a_key_that_is_not_there_is_refused_with_those_that_are(override, named):
    with pytest.raises(InputError, match=override) as refusal:
        change(config(), [override])
    assert named in str(refusal.value).rpartition("give KEY=VALUE")[2]


def test_the_nearest_key_is_the_first():
    assert nearest_keys(config(), "sampler.sigma_maxi")[0] == "sampler.sigma_max"
    assert nearest_keys(config(), "sampler") == ["sampler.name", "sampler.sigma_min", "sampler.sigma_max"]
    assert nearest_keys(config(), "zzz") == []
