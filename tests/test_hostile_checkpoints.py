"""Checkpoints whose configuration tries to run code: every way in refuses them with one sentence, and nothing runs."""

import json
import pickle

import pytest
import torch
from hydra.utils import instantiate

import infer
from cavp.weights import load_cavp
from common.errors import InputError
from stable_foley.checkpoint import load_model, read_checkpoint, split
from stable_foley.config import inference_config
from tests.conftest import REPOSITORY
from training.checkpoint import Checkpoint, read_content, save_checkpoint
from training.config import compose, composed_config
from training.stored_config import kept_sections, resolved
from video2rms.predict import load_model as load_video2rms

BUNDLED = REPOSITORY / "bundled"


@pytest.fixture
def marker(tmp_path):
    """The file that an attack makes where it succeeds."""
    return tmp_path / "it-ran"


def touch(marker):
    """The part of a configuration that makes a file when it is built."""
    return {"_target_": "pathlib.Path.touch", "_args_": [{"_target_": "pathlib.Path", "_args_": [str(marker)]}]}


def put(config, place, value):
    """A deep copy of a configuration with a value at a key with dots."""
    copy = json.loads(json.dumps(config))
    *parents, name = place.split(".")
    part = copy
    for parent in parents:
        part = part.setdefault(parent, {})
    part[name] = value
    return copy


def direct(config, place, marker):
    return put(config, place, touch(marker))


def in_a_list(config, place, marker):
    return put(config, place, [1, [touch(marker)]])


def behind_a_switch(config, place, marker):
    """Text that becomes a target when `paths.random_weights` changes, as tools of this project change it."""
    choice = {"kFalse": json.dumps({"a": 1}), "kTrue": json.dumps(touch(marker))}
    return put(put(config, "paths.t", choice), place, "${oc.create:${oc.select:'paths.t.k${paths.random_weights}'}}")


def by_reference(config, place, marker):
    return put(put(config, "paths.evil", touch(marker)), place, "${paths.evil}")


def named_by_reference(config, place, marker):
    named = put(config, "paths.name", "pathlib.Path.touch")
    return put(named, place, touch(marker) | {"_target_": "${paths.name}"})


def decoded(config, place, marker):
    return put(config, place, "${oc.decode:'" + json.dumps(touch(marker)) + "'}")


def resolved_twice(config, place, marker):
    """References that join to a resolver, which runs if the text is read once more."""
    return put(put(config, "paths.cavp", "$"), place, "${paths.cavp}{oc.decode:'" + json.dumps(touch(marker)) + "'}")


def escaped(config, place, marker):
    return put(config, place, "\\${oc.decode:'" + json.dumps(touch(marker)) + "'}")


def partially(config, place, marker):
    return put(config, place, touch(marker) | {"_partial_": "no", "_recursive_": True})


def under_a_key_with_dots(config, place, marker):
    root, _, rest = f"{place}.later".partition(".")
    copy = put(config, "seed", 0)
    copy.setdefault(root, {})[rest] = touch(marker)
    return copy


WAYS = (
    direct,
    in_a_list,
    behind_a_switch,
    by_reference,
    named_by_reference,
    decoded,
    resolved_twice,
    escaped,
    partially,
    under_a_key_with_dots,
)


def saved(path, config):
    """A checkpoint with a right checksum; a `.ckpt` as training leaves it. Its weights are never reached."""
    weights = {"weight": torch.zeros(1)}
    if path.suffix == ".ckpt":
        torch.save({"state_dict": weights, "config": config}, path)
    else:
        save_checkpoint(path, Checkpoint(weights, config))
    return path


def bundled_config(name):
    return read_content(BUNDLED / f"{name}.safetensors")["config"]


def test_the_attack_works_where_it_is_let(marker):
    instantiate(touch(marker))
    assert marker.exists()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "place",
    [
        "model",
        "sampler",
        "dataset.spec",
        "conditioners.frames.cavp",
        "conditioners.later",
        "backbone.model_config.model.pretransform",
        "paths.clap",
    ],
)
def test_a_foley_checkpoint(tmp_path, marker, place, way):
    path = saved(tmp_path / "evil.safetensors", way(bundled_config("controlnet"), place, marker))
    with pytest.raises(InputError, match=r"evil\.safetensors"):
        load_model(path, ["paths.random_weights=true", "paths.stable_audio_open=x"])
    assert not marker.exists()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["model.features", "model.later", "paths.cavp"])
def test_a_video2rms_checkpoint(tmp_path, marker, place, way):
    path = saved(tmp_path / "evil.safetensors", way(bundled_config("video2rms"), place, marker))
    with pytest.raises(InputError, match=r"evil\.safetensors"):
        load_video2rms(path)
    assert not marker.exists()


@pytest.mark.parametrize("way", [direct, behind_a_switch, decoded])
def test_what_training_leaves_for_resuming(tmp_path, marker, way):
    path = saved(tmp_path / "evil.ckpt", way(bundled_config("controlnet"), "sampler", marker))
    with pytest.raises(InputError, match=r"evil\.ckpt"):
        load_model(path)
    assert not marker.exists()


def test_what_no_inference_reads_is_never_built(tmp_path, marker):
    content = read_content(BUNDLED / "controlnet.safetensors")
    config = content["config"]
    for i, way in enumerate([direct, in_a_list, decoded, escaped, partially, under_a_key_with_dots]):
        for place in ("trainer", "callbacks", "dataset.augment", "evil"):
            config = way(config, f"{place}{i}", marker)
    save_checkpoint(tmp_path / "evil.safetensors", Checkpoint(content["state_dict"], config))
    model, kept = load_model(tmp_path / "evil.safetensors")
    assert not marker.exists()
    assert set(kept) == {"backbone", "conditioners", "model", "sampler", "dataset", "seed", "paths", "control_layers"}
    assert set(kept.dataset) == {"spec"}
    assert len(model.conditioners) == 5


def test_cavp_reads_weights_alone(tmp_path, marker):
    content = read_content(BUNDLED / "cavp.safetensors")
    config = direct(behind_a_switch(content["config"], "model", marker), "training", marker)
    save_checkpoint(tmp_path / "evil.safetensors", Checkpoint(content["state_dict"], config))
    assert load_cavp(tmp_path / "evil.safetensors", with_audio=True).embed_dim == 256
    assert not marker.exists()


def test_a_split_resolves_nothing(tmp_path, marker):
    config = decoded(bundled_config("controlnet"), "backbone.model_config", marker)
    path = saved(tmp_path / "evil.safetensors", config)
    with pytest.raises(InputError, match=r"evil\.safetensors"):
        split(path, tmp_path / "backbone.safetensors", tmp_path / "control.safetensors")
    assert not marker.exists()


class Touch:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return type(self.marker).touch, (self.marker,)


def test_a_pickled_configuration_holds_no_objects(tmp_path, marker):
    content = {"state_dict": {"weight": torch.zeros(1)}, "config": {"model": Touch(marker)}}
    torch.save(content, tmp_path / "evil.ckpt")
    for load in (load_model, load_video2rms):
        with pytest.raises(InputError, match="would run code"):
            load(tmp_path / "evil.ckpt")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Touch(marker)))  # noqa: S301 - what was refused does run elsewhere
    assert marker.exists()


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        ("sampler._target_", "pytorch_lightning.Trainer", "pytorch_lightning.Trainer"),
        ("sampler._target_", "stable_foley.backbone.build_backbone", "build_backbone"),
        ("sampler._target_", "common.weights.torch.load", "torch.load"),
        ("sampler", "${backbone}", "build_backbone as sampler"),
        ("model.trainer", {"_target_": "pytorch_lightning.Trainer"}, "model.trainer"),
        ("dataset.spec._target_", "synthetic.SyntheticFoleyModule", "SyntheticFoleyModule"),
        ("conditioners.frames._partial_", True, "FramesConditioner"),
        ("conditioners.frames._args_", [1], "_args_"),
        ("conditioners.frames._convert_", "none", "_convert_"),
        ("sampler.name", "${oc.env:HOME}", "oc.env"),
        ("sampler.name", "${", "${"),
        ("sampler.name", "${now:%Y}", "now"),
        ("sampler.name", "${bundled:../../secret}", "secret"),
        ("seed", "${sampler.nowhere}", "nowhere"),
        ("seed", "${seed}", "seed"),
        ("backbone.model_config.model.pretransform", {"type": "autoencoder", "config": {}}, "encoder"),
    ],
)
def test_each_place_takes_only_what_is_meant_for_it(tmp_path, place, value, named):
    path = saved(tmp_path / "evil.safetensors", put(bundled_config("controlnet"), place, value))
    with pytest.raises(InputError) as refused:
        load_model(path)
    assert named in str(refused.value)


@pytest.mark.parametrize(
    "override",
    [
        "sampler._target_=pytorch_lightning.Trainer",
        "sampler={_target_: pytorch_lightning.Trainer}",
        "conditioners.frames.cavp._target_=os.getcwd",
        "dataset.batch_size=3",
        "trainer.max_steps=3",
        "paths.random_weights=[1",
        "paths.random_weights=maybe",
    ],
)
@pytest.mark.parametrize("more", [[], ["backbone=debug", "paths.random_weights=true"]])
def test_options_are_held_to_the_same(inference_folder, tmp_path, capsys, override, more):
    with pytest.raises(SystemExit) as stopped:
        infer.main(
            ["--video", str(inference_folder / "silent.mp4"), "--output-dir", str(tmp_path), "--set", *more, override]
        )
    assert stopped.value.code == 2
    sentence = capsys.readouterr().err
    assert sentence.count("\n") == 1
    assert override.partition("=")[2].strip("{}").split(": ")[-1] in sentence


@pytest.mark.parametrize("choice", ["trainer=cpu", "dataset=remix,"])
def test_a_choice_without_effect_is_refused(choice):
    with pytest.raises(InputError, match=choice.partition("=")[0]):
        load_model(None, ["backbone=debug", "paths.random_weights=true", choice])


def test_values_that_are_not_plain_are_refused(tmp_path):
    config = bundled_config("controlnet")
    endless = {}
    endless["again"] = endless
    for value in ({1, 2}, torch.zeros(1), endless, list(range(20_000))):
        path = saved(tmp_path / "odd.ckpt", config | {"sampler": value})
        with pytest.raises(InputError, match=r"odd\.ckpt"):
            load_model(path)


@pytest.mark.parametrize("name", ["controlnet.safetensors", "backbone.safetensors"])
def test_the_bundled_ones_pass(name):
    assert read_checkpoint(BUNDLED / name).config["model"]["_target_"] == "stable_foley.model.FoleyModel"
    load_model(BUNDLED / name)


@pytest.mark.parametrize("backbone", [path.stem for path in (REPOSITORY / "configs" / "backbone").glob("*.yaml")])
def test_every_backbone_of_this_project_passes(backbone):
    config = inference_config(compose(f"backbone={backbone}", "paths.random_weights=true"))
    assert resolved(config, "configs/").model.backbone._target_ == "stable_foley.backbone.build_backbone"


@pytest.mark.parametrize("features", ["motion", "rgb_flow"])
def test_every_video2rms_of_this_project_passes(features):
    composed = composed_config(compose("exp=mini_video2rms", f"model/features={features}"))
    assert resolved(kept_sections(composed, "configs/", ("model", "paths")), "configs/").model.features.size_px
