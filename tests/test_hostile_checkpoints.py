"""Checkpoints whose configuration tries to run code: every way in refuses them with one sentence, and nothing runs."""

import json
import pickle
from collections import OrderedDict

import pytest
import torch
from hydra.utils import instantiate

import infer
import train
from cavp.weights import load_cavp
from common.errors import InputError, user_errors
from common.pickles import read_pickle
from stable_foley.checkpoint import load_model, read_checkpoint, split
from stable_foley.config import inference_config
from stable_foley.generator import SoundGenerator
from tests.conftest import REPOSITORY, tone_clip
from tests.test_train import run_config
from training.bundle import bundle
from training.checkpoint import Checkpoint, read_content, save_checkpoint
from training.config import compose
from training.stored_config import kept_sections, resolved, stored_form
from video2rms.predict import load_video2rms

BUNDLED_FOLDER = REPOSITORY / "bundled"


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
    return read_content(BUNDLED_FOLDER / f"{name}.safetensors")["config"]


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
    ],
)
def test_a_foley_checkpoint(tmp_path, marker, place, way):
    path = saved(tmp_path / "evil.safetensors", way(bundled_config("controlnet"), place, marker))
    with pytest.raises(InputError, match=r"evil\.safetensors"):
        load_model(path, ["paths.random_weights=true"])
    assert not marker.exists()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["model.features", "model.later"])
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
    content = read_content(BUNDLED_FOLDER / "controlnet.safetensors")
    config = content["config"]
    for i, way in enumerate([direct, in_a_list, decoded, escaped, partially, under_a_key_with_dots]):
        for place in ("trainer", "callbacks", "dataset.augment", "paths.clap", "evil"):
            config = way(config, f"{place}{i}", marker)
    save_checkpoint(tmp_path / "evil.safetensors", Checkpoint(content["state_dict"], config))
    model, kept = load_model(tmp_path / "evil.safetensors")
    assert not marker.exists()
    assert set(kept) == {"backbone", "conditioners", "model", "sampler", "dataset", "seed", "paths"}
    assert set(kept.dataset) == {"spec"}
    assert set(kept.paths) == {"random_weights"}
    assert len(model.conditioners) == 5


def test_cavp_reads_weights_alone(tmp_path, marker):
    content = read_content(BUNDLED_FOLDER / "cavp.safetensors")
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
        ("sampler.name", "${seed}${seed}", "${seed}"),
        ("backbone.hub_id", "somebody/else", "somebody/else"),
        ("backbone.hub_id", ["somebody/else"], "somebody/else"),
        ("conditioners.frames._partial_", [], "FramesConditioner"),
        ("backbone.model_config.model.diffusion.config.depth", 10**9, "1000000000"),
        ("conditioners.seconds_start.max_s", "much", "much"),
        ("conditioners.envelope.window_samples", "wide", "wide"),
        ("conditioners.envelope.smoothing_samples", None, "None"),
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


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_references_that_multiply_are_refused(tmp_path, kind):
    """Ten references to ten references, and so on: 10**20 values."""
    config = bundled_config("controlnet")
    config["paths"]["level0"] = 1
    for i in range(20):
        ten = {f"key{j}": f"${{paths.level{i}}}" for j in range(10)}
        config["paths"][f"level{i + 1}"] = ten if kind == "dict" else list(ten.values())
    with pytest.raises(InputError, match=r"evil\.safetensors"):
        load_model(saved(tmp_path / "evil.safetensors", config))


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        ("sampler", None, "None"),
        ("sampler", {"n_steps": 3}, "sampler"),
        ("sampler.n_steps", 10**12, "1000000000000"),
        ("dataset.spec", 5, "5"),
        ("dataset.spec.duration_s", 1e300, "1e\\+300"),
    ],
)
def test_settings_are_held_to_their_ranges(tmp_path, place, value, named):
    content = read_content(BUNDLED_FOLDER / "controlnet.safetensors")
    config = put(content["config"], place, value)
    save_checkpoint(tmp_path / "odd.safetensors", Checkpoint(content["state_dict"], config))
    with pytest.raises(InputError, match=named):
        SoundGenerator.from_checkpoint(tmp_path / "odd.safetensors", "cpu")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("width", 10**6),
        ("bins.n_classes", 10**9),
        ("features.n_features", 10**9),
        ("features.channels", [1] * 1000),
        ("features.size_px", [0, 0]),
        ("features.size_px", [10**6, 10**6]),
        ("features.size_px", ["wide", "high"]),
        ("features", {"_target_": "video2rms.features.rgb_flow.RgbFlowFeatures", "random_weights": False}),
        ("features", 5),
    ],
)
def test_sizes_of_a_video2rms_checkpoint_are_compared_before_they_take_memory(tmp_path, place, value):
    content = read_content(BUNDLED_FOLDER / "video2rms.safetensors")
    config = put(content["config"], f"model.{place}", value)
    save_checkpoint(tmp_path / "odd.safetensors", Checkpoint(content["state_dict"], config))
    with pytest.raises(InputError):
        load_video2rms(tmp_path / "odd.safetensors")


@pytest.mark.parametrize("shape", [(10**12, 0), (10**6, 1), ()])
@pytest.mark.parametrize(
    "key", ["video_project_head.weight", "spec_encoder.final_project.weight", "video_encoder.conv1.conv.weight"]
)
def test_sizes_of_cavp_are_compared_before_they_take_memory(tmp_path, key, shape):
    weights = dict(read_content(BUNDLED_FOLDER / "cavp.safetensors")["state_dict"].items())
    torch.save(weights | {key: torch.zeros(shape)}, tmp_path / "odd.ckpt")
    with pytest.raises(InputError, match=key):
        load_cavp(tmp_path / "odd.ckpt", with_audio=True)


def with_attribute(value, name, attribute):
    setattr(value, name, attribute)
    return value


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": with_attribute(OrderedDict(w=torch.zeros(1)), "values", 5)},
        with_attribute(OrderedDict(w=torch.zeros(1)), "get", 5),
        {"w": with_attribute(torch.zeros(1), "isfinite", 5)},
        {"w": torch.zeros(1), "lr_schedulers": [{"step": torch._utils._rebuild_tensor_v2}]},
        {"w": torch.zeros(1).expand(10**12)},
        {"w": torch.zeros(4, device="meta")},
        {"w": torch.zeros(4).to_sparse()},
    ],
)
def test_what_stands_for_methods_or_for_numbers_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "odd.ckpt")
    with pytest.raises(InputError, match=r"odd\.ckpt"):
        read_pickle(tmp_path / "odd.ckpt")


@pytest.mark.parametrize("config", [{"a": {1}}, {"a": torch.zeros(1)}, {(1, 2): 3}, [1], {"dataset": 5}])
def test_a_bundle_takes_plain_configurations_only(tmp_path, config):
    torch.save({"state_dict": {"w": torch.zeros(1)}, "config": config}, tmp_path / "odd.ckpt")
    with pytest.raises(InputError, match=r"odd\.ckpt"):
        bundle(tmp_path / "odd.ckpt", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_an_error_does_not_steer_the_terminal(capsys):
    with pytest.raises(SystemExit), user_errors():
        raise InputError("key \x1b[2J\nerror: another")
    sentence = capsys.readouterr().err
    assert sentence.count("\n") == 1
    assert "\x1b" not in sentence


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """Data, and what the first epoch of a training leaves for resuming."""
    folder = tmp_path_factory.mktemp("first")
    tone_clip(folder / "clips", "a")
    train.train(resuming(folder, folder, "trainer.max_epochs=1"))
    return folder, read_pickle(folder / "run" / "checkpoints" / "last.ckpt")


def resuming(first, folder, *overrides):
    """The configuration of a run in a folder."""
    return run_config(first / "clips", folder, "run", "callbacks.samples.every_n_epochs=9", *overrides)


@pytest.mark.parametrize("path", ["{folder}/run/checkpoints/../../../precious", "local://{folder}/../precious"])
def test_resuming_removes_no_files(first_run, tmp_path, path):
    """Lightning removes the best checkpoint of before, of which the file to resume from says where it is."""
    first, content = first_run
    folder, precious = tmp_path / "runs", tmp_path / "precious"
    (precious / "inner").mkdir(parents=True)
    states = content["callbacks"]
    named = {key: state | {"best_model_path": path.format(folder=folder)} for key, state in states.items()}
    callbacks = {key: named[key] if "best_model_path" in state else state for key, state in states.items()}
    assert callbacks != states
    torch.save(content | {"callbacks": callbacks}, tmp_path / "evil.ckpt")
    train.train(resuming(first, folder, "trainer.max_epochs=2", f"ckpt={tmp_path / 'evil.ckpt'}"))
    assert (folder / "run" / "checkpoints" / "last.ckpt").exists()
    assert (precious / "inner").exists()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("pytorch-lightning_version", "new"),
        ("pytorch-lightning_version", "1.0"),
        ("config", 5),
        ("config", {}),
        ("state_dict", 5),
        ("callbacks", [1]),
        ("callbacks.Ema", {"weights": {"x": torch.zeros(1)}, "n_updates": 1}),
        ("callbacks.BestCheckpoint.best_loss", "low"),
        ("loops", 5),
        ("loops.fit_loop.epoch_progress", {"current": {}, "total": {"increment_ready": 1}}),
        ("lr_schedulers", [{"step": 5}]),
        ("optimizer_states", [5]),
        ("optimizer_states.0.param_groups.0.lr", "fast"),
        ("optimizer_states.0.state", {0: {"step": torch.zeros(()), "exp_avg": 3}}),
    ],
)
def test_states_of_another_form_are_not_resumed_from(first_run, tmp_path, place, value):
    first, content = first_run
    torch.save(changed(content, place.split("."), value), tmp_path / "odd.ckpt")
    with pytest.raises(InputError):
        train.train(resuming(first, tmp_path / "runs", "trainer.max_epochs=2", f"ckpt={tmp_path / 'odd.ckpt'}"))


def changed(part, keys, value):
    """A copy of a nested state with another value at some keys."""
    if not keys:
        return value
    copy = part.copy()
    key = int(keys[0]) if isinstance(part, list) else keys[0]
    copy[key] = changed(part[key], keys[1:], value)
    return copy


@pytest.mark.parametrize("name", ["controlnet.safetensors", "backbone.safetensors"])
def test_the_bundled_ones_pass(name):
    assert read_checkpoint(BUNDLED_FOLDER / name).config["model"]["_target_"] == "stable_foley.model.FoleyModel"
    load_model(BUNDLED_FOLDER / name)


@pytest.mark.parametrize("backbone", ["debug", "mini", "mini_prompts", "stable_audio_open"])
def test_every_backbone_of_this_project_passes(backbone):
    config = inference_config(compose(f"backbone={backbone}", "paths.random_weights=true"))
    assert resolved(config, "configs/").model.backbone._target_ == "stable_foley.backbone.build_backbone"


@pytest.mark.parametrize("features", ["motion", "rgb_flow"])
def test_every_video2rms_of_this_project_passes(features):
    stored = stored_form(compose("exp=mini_video2rms", f"model/features={features}"), ("model", "seed"))
    assert resolved(kept_sections(stored, "configs/", ("model", "seed")), "configs/").model.features.size_px
