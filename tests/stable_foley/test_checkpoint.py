"""Checkpoint files: what they hold, that they rebuild the same model, and what is refused."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from common.errors import InputError
from stable_foley.checkpoint import BUNDLED, default_checkpoint, load_model, main, read_checkpoint, split
from stable_foley.config import build_model, composed_config
from stable_foley.generator import SoundGenerator
from training.checkpoint import Checkpoint, save_checkpoint
from training.config import compose


def saved_mini(path, *overrides):
    """A mini model whose trained weights are away from the start, and its file."""
    config = compose("exp=train_gh_controlnet", "backbone=mini", *overrides)
    model = build_model(config)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.01)
    save_checkpoint(path, Checkpoint(model.trained_state(), composed_config(config, model)))
    return model


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    """A mini model over a backbone file, its control branch moved away from the start, and the two files."""
    folder = tmp_path_factory.mktemp("checkpoints")
    backbone_config = compose("exp=train_backbone", "seed=3")
    backbone = build_model(backbone_config)
    backbone_path = folder / "backbone.safetensors"
    save_checkpoint(backbone_path, Checkpoint(backbone.trained_state(), composed_config(backbone_config, backbone)))
    path = folder / "control=branch.safetensors"
    return saved_mini(path, f"backbone.weights={backbone_path}"), path, backbone_path


def test_a_model_comes_back_from_its_files(mini):
    model, path, _ = mini
    loaded, config = load_model(path)
    for (name, ours), (other, theirs) in zip(loaded.state_dict().items(), model.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(ours, theirs), name
    assert config.sampler.name == "dpmpp-2m"
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def test_a_checkpoint_holds_the_trained_weights_only(mini):
    _, path, backbone_path = mini
    assert all(key.startswith(("model.controlnet.", "conditioner.conditioners.envelope.")) for key in load_file(path))
    kinds = {key.split(".")[0] + "." + key.split(".")[1] for key in load_file(backbone_path)}
    assert kinds == {"model.model", "conditioner.conditioners"}


def test_one_trained_with_its_transformer_becomes_two(mini, tmp_path):
    _, _, start = mini
    both = tmp_path / "both.safetensors"
    model = saved_mini(both, f"backbone.weights={start}", "model.trainable=all")
    backbone, control = tmp_path / "backbone.safetensors", tmp_path / "control.safetensors"
    main(["split", "--checkpoint", str(both), "--backbone", str(backbone), "--output", str(control)])
    loaded, loaded_config = load_model(control)
    for name, ours in model.state_dict().items():
        assert torch.equal(ours, loaded.state_dict()[name]), name
    assert loaded_config.model.trainable == "control"
    assert not set(load_file(backbone)) & set(load_file(control))
    alone, alone_config = load_model(backbone)
    assert alone_config.backbone.weights is None
    assert alone.model.controlnet is None
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in alone.state_dict().items())
    with pytest.raises(InputError, match=r"backbone\.safetensors exists"):
        split(both, backbone, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="two names"):
        split(both, tmp_path / "one.safetensors", tmp_path / "one.safetensors")
    with pytest.raises(InputError, match="does not hold a transformer"):
        split(control, tmp_path / "b.safetensors", tmp_path / "c.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in (both, backbone, control))


@pytest.mark.parametrize(
    ("overrides", "bundled"),
    [
        ([], True),
        (["sampler.n_steps=5"], True),
        (["paths.random_weights=false"], True),
        (["paths.random_weights=True"], False),
        (["paths.random_weights=1", "backbone=debug"], False),
    ],
)
def test_the_bundled_one_is_taken_unless_weights_are_to_be_random(overrides, bundled):
    assert default_checkpoint(overrides) == (BUNDLED if bundled else None)


def test_random_weights_depend_on_the_seed_alone():
    torch.manual_seed(11)
    first = build_model(compose("backbone=mini"))
    torch.manual_seed(12)
    second = build_model(compose("backbone=mini"))
    other = build_model(compose("backbone=mini", "seed=1"))
    key = "model.model.transformer.project_in.weight"
    assert torch.equal(first.get_parameter(key), second.get_parameter(key))
    assert not torch.equal(first.get_parameter(key), other.get_parameter(key))


def test_another_backbone_is_refused(mini, tmp_path):
    _, path, backbone_path = mini
    other = load_file(backbone_path)
    other["model.model.transformer.project_in.weight"] += 1
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="SHA-256"):
        load_model(path, [f"backbone.weights={tmp_path / 'other.safetensors'}"])


def test_a_moved_backbone_is_found_by_an_override(mini, tmp_path):
    _, path, backbone_path = mini
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(backbone_path.read_bytes())
    loaded, _ = load_model(path, [f"backbone.weights={moved}"])
    assert loaded.backbone.weights == moved


@pytest.mark.parametrize("override", ["backbone.colour=red", "nonsense", "sampler=,"])
def test_overrides_that_change_nothing_are_refused(mini, override):
    with pytest.raises(InputError, match="--set"):
        load_model(mini[1], [override])


def resave(state, path, target):
    """Write changed weights with their own checksum."""
    save_checkpoint(target, Checkpoint(state, read_checkpoint(path).config))


def flipped(path, target):
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    target.write_bytes(content)


def cut(path, target):
    target.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_weight(path, target):
    state = load_file(path)
    del state["model.controlnet.conv_in.weight"]
    resave(state, path, target)


def misshapen(path, target):
    state = load_file(path)
    state["model.controlnet.conv_in.weight"] = torch.zeros(3, 3, 1)
    resave(state, path, target)


def without_config(path, target):
    save_file(load_file(path), target)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, "cut"),
        (flipped, "is damaged"),
        (without_weight, "missing model.controlnet.conv_in.weight"),
        (misshapen, r"shape \(3, 3, 1\)"),
        (without_config, "no published"),
        (lambda path, target: target.write_text("no weights"), "cannot be read"),
        (lambda path, target: None, "does not exist"),
    ],
)
def test_damaged_files_are_refused(mini, tmp_path, damage, words):
    target = tmp_path / "damaged.safetensors"
    damage(mini[1], target)
    with pytest.raises(InputError, match=words):
        load_model(target)


def test_a_ckpt_that_is_none_is_refused(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        load_model(tmp_path / "last.ckpt")
    torch.save({"state_dict": {"weight": torch.ones(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="no published"):
        load_model(tmp_path / "other.ckpt")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: [1], "configuration without"),
        (lambda c: {k: v for k, v in c.items() if k != "sampler"}, "without sampler"),
        (lambda c: c | {"seed": "abc"}, "seed abc"),
        (lambda c: c | {"backbone": "text"}, "does not describe"),
        (lambda c: c | {"model": None}, "does not describe"),
        (lambda c: c | {"conditioners": {"envelope": {"window_samples": "${nowhere}"}}}, "nowhere"),
    ],
)
def test_configurations_that_describe_nothing_are_refused(mini, tmp_path, change, words):
    content = read_checkpoint(mini[1])
    save_checkpoint(tmp_path / "x.safetensors", Checkpoint(content.weights, change(content.config)))
    with pytest.raises(InputError, match=words):
        SoundGenerator.from_checkpoint(tmp_path / "x.safetensors")


def test_frozen_weights_in_a_checkpoint_are_refused(mini, tmp_path):
    content = read_checkpoint(mini[1])
    weights = dict(content.weights) | {"model.model.preprocess_conv.weight": torch.full((64, 64, 1), 9.0)}
    save_checkpoint(tmp_path / "x.safetensors", Checkpoint(weights, content.config))
    with pytest.raises(InputError, match=r"not expected model\.model\.preprocess_conv\.weight"):
        load_model(tmp_path / "x.safetensors")


def test_a_changed_configuration_is_noticed(mini, tmp_path):
    content = mini[1].read_bytes()
    assert content.count(b'cfg_scale\\": 1.0') == 1
    (tmp_path / "x.safetensors").write_bytes(content.replace(b'cfg_scale\\": 1.0', b'cfg_scale\\": 7.0'))
    with pytest.raises(InputError, match="is damaged"):
        load_model(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["c=d e,[1]: x", "{a}", "[x]", "#h", "123", "it's $HOME"])
def test_names_of_files_are_taken_as_they_are(mini, tmp_path, name):
    moved = tmp_path / name
    moved.write_bytes(mini[2].read_bytes())
    loaded, _ = load_model(mini[1], [f"backbone.weights={moved}"])
    assert loaded.backbone.weights == moved
    with pytest.raises(InputError, match="gone"):
        load_model(mini[1], [f"backbone.weights={moved}.gone"])
