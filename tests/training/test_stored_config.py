"""What checkpoints store of a configuration: what inference reads, and nothing else."""

import json

import pytest
from omegaconf import OmegaConf
from safetensors import safe_open

from common.errors import InputError
from stable_foley.checkpoint import load_model
from stable_foley.config import NEEDED, inference_config
from tests.conftest import REPOSITORY
from training.checkpoint import read_content
from training.config import compose
from training.stored_config import kept_sections, stored_form

FOLEY = {"backbone", "conditioners", "model", "sampler", "dataset", "seed", "paths"}
BUNDLED = {
    "backbone": FOLEY,
    "controlnet": FOLEY,
    "cavp": {"model", "seed", "paths"},
    "video2rms": {"model", "seed"},
}


def targets(part):
    """All classes and functions that a configuration names."""
    if isinstance(part, dict):
        own = [part["_target_"]] if "_target_" in part else []
        return own + [target for inner in part.values() for target in targets(inner)]
    return []


@pytest.mark.parametrize("backbone", ["debug", "mini", "mini_prompts", "stable_audio_open"])
def test_a_foley_checkpoint_needs_no_class_of_the_training(backbone):
    stored = stored_form(compose("exp=mini_controlnet", f"backbone={backbone}", "backbone.weights=null"), NEEDED)
    assert set(stored) == FOLEY
    assert set(stored["dataset"]) == {"spec"}
    assert not [t for t in targets(stored) if t.split(".")[0] not in ("stable_foley", "media", "cavp", "clap")]


@pytest.mark.parametrize(("exp", "sections"), [("mini_video2rms", set()), ("mini_cavp", {"paths"})])
def test_the_other_networks_store_themselves_alone(exp, sections):
    assert set(stored_form(compose(f"exp={exp}"), ("model", "seed"))) == {"model", "seed"} | sections


def test_references_to_what_is_not_stored_become_values():
    config = compose("exp=mini_controlnet", "form.duration_s=3.0", "form.control_layers=1", "paths.cavp=a/b")
    stored = stored_form(config, NEEDED)
    assert stored["dataset"]["spec"]["duration_s"] == 3.0
    assert stored["model"]["control_layers"] == 1
    assert stored["model"]["backbone"] == "${backbone}"
    assert set(stored["paths"]) == {"random_weights"}
    config = compose("exp=train_gh_controlnet", "paths.cavp=a/b")
    assert stored_form(config, NEEDED)["paths"]["cavp"].endswith("/a/b")
    assert stored_form(config, NEEDED)["conditioners"]["frames"]["cavp"]["weights"] == "${paths.cavp}"


def test_what_is_stored_describes_the_same_model():
    config = compose("exp=train_gh_controlnet", "backbone=debug")
    kept = OmegaConf.to_container(inference_config(config), resolve=True)
    whole = OmegaConf.to_container(config, resolve=True)
    for section in ("backbone", "conditioners", "model", "sampler", "seed"):
        assert kept[section] == whole[section]
    assert kept["dataset"]["spec"] == whole["dataset"]["spec"]


def test_a_model_without_a_section_is_refused():
    with pytest.raises(InputError, match="conditioners"):
        stored_form(compose("exp=mini_video2rms"), NEEDED)


def test_references_are_followed_however_they_lead():
    described = {"a": "${b.c}", "b": {"c": "${d}", "x": 1}, "d": ["${e[0].f}"], "e": [1], "other": 2}
    assert kept_sections(described, "file", ("a",)) == {"a": "${b.c}", "b": {"c": "${d}"}, "d": ["${e[0].f}"], "e": [1]}


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_files_are_slim(name):
    path = REPOSITORY / "bundled" / f"{name}.safetensors"
    assert set(read_content(path)["config"]) == BUNDLED[name]
    with safe_open(path, "pt") as file:
        assert "torch" in json.loads(file.metadata()["versions"])


@pytest.mark.parametrize("key", ["paths.runs", "paths.greatest_hits", "paths.clap", "tag", "trainer.max_steps"])
@pytest.mark.parametrize("path", ["bundled/controlnet.safetensors", "tests/fixtures/foley.safetensors"])
def test_keys_that_no_inference_reads_cannot_be_set(path, key):
    with pytest.raises(InputError, match=f"{key}=x"):
        load_model(REPOSITORY / path, [f"{key}=x"])


@pytest.mark.parametrize("key", ["paths.runs", "paths.stable_audio_open"])
def test_nor_can_they_without_a_checkpoint(key):
    with pytest.raises(InputError, match=f"{key}=x"):
        load_model(None, ["backbone=mini", "paths.random_weights=true", f"{key}=x"])
