"""What a file of configs/ or exp/ states is what the composed configuration holds."""

import functools

import hydra
import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from tests.conftest import REPOSITORY

CONFIGS = REPOSITORY / "configs"
EXPERIMENTS = sorted(path.stem for path in (REPOSITORY / "exp").glob("*.yaml"))
FILES = sorted(
    path.relative_to(CONFIGS).with_suffix("")
    for path in CONFIGS.glob("*/**/*.yaml")
    if path.relative_to(CONFIGS).parts[0] != "hydra"  # Hydra's own settings, see tests/training/test_launchers.py
)


def path_of(name):
    return next(p for p in (CONFIGS / f"{name}.yaml", REPOSITORY / f"{name}.yaml") if p.exists())


@functools.cache
def composed(*overrides):
    """A configuration, and the files that it is composed of: name and place, in the order in which they are merged."""
    options = [f"hydra.searchpath=[file://{REPOSITORY}]", *overrides]
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = OmegaConf.to_container(hydra.compose("train", options))
        found = GlobalHydra.instance().config_loader().compute_defaults_list("train", options, RunMode.RUN)
    files = {default.config_path: default.package or "" for default in found.defaults if default.config_path}
    return config, {name: place for name, place in files.items() if not name.startswith("hydra/")}


def leaves(part, place):
    """What a file states: values that are no mappings, by their place in the whole configuration."""
    if isinstance(part, dict):
        for key, inner in part.items():
            yield from leaves(inner, f"{place}.{key}" if place else key)
    else:
        yield place, part


def stated(name, place):
    content = yaml.safe_load(path_of(name).read_text()) or {}
    return dict(leaves({key: value for key, value in content.items() if key not in ("defaults", "hydra")}, place))


def value_at(config, place):
    for key in place.split("."):
        config = config[key]
    return config


def is_overridden(place, name, later):
    """Whether an experiment, or another file of the same group, states something else at a place."""
    return any(
        file.split("/")[0] in ("exp", name.split("/")[0])
        and any(other == place or other.startswith(f"{place}.") for other in values)
        for file, values in later
    )


def unheard(*overrides):
    """What files state and the composed configuration does not hold, though nothing may have overridden it."""
    config, used = composed(*overrides)
    files = [(name, stated(name, place)) for name, place in used.items()]
    return [
        f"{name}: {place} is {value_at(config, place)!r} instead of {value!r}"
        for i, (name, own) in enumerate(files)
        for place, value in own.items()
        if not is_overridden(place, name, files[i + 1 :]) and value_at(config, place) != value
    ]


@pytest.mark.parametrize("more", [[], ["trainer=cpu"]], ids=" ".join)
@pytest.mark.parametrize("exp", EXPERIMENTS)
def test_experiments_hold_what_their_files_state(exp, more):
    assert unheard(f"exp={exp}", *more) == []


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_acts_as_it_says(file):
    group = file.parent.as_posix()
    exp = ["exp=mini_video2rms"] if group in {"model/features", "training/loss"} else []
    assert file.as_posix() in composed(*exp, f"{group}={file.name}")[1]
    assert unheard(*exp, f"{group}={file.name}") == []


@pytest.mark.parametrize("backbone", ["debug", "mini", "mini_prompts", "stable_audio_open"])
def test_a_backbone_brings_what_goes_with_it(backbone):
    overrides = ["exp=train_gh_controlnet", f"backbone={backbone}"]
    assert {f"{group}/{backbone}" for group in ("backbone", "conditioners", "sampler", "form")} <= set(
        composed(*overrides)[1]
    )
    assert unheard(*overrides) == []


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_file_writes_into_another_group(file):
    assert "@package" not in path_of(file).read_text()
