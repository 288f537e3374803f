"""Published checkpoints: importing them, using them as they are, and what is refused.

The checkpoint is made of the recorded weights of the published code, which have its layout at a small size, with
projections and CAVP added as facts about the published file say.
"""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from common.errors import InputError
from common.weights import read_weights
from media.clip import ClipSpec
from media.envelope import Envelope
from stable_foley.checkpoint import import_published, load_model, main, read_checkpoint
from stable_foley.generator import SoundGenerator
from stable_foley.sampler import SamplerSettings
from tests import parity
from training.config import instantiate

CONDITIONERS = "model.conditioner.conditioners."


@pytest.fixture(scope="module")
def recorded(shared):
    folder = shared / "parity" / "small_a"
    if not folder.is_dir():
        pytest.skip(f"no recorded weights of the published code in {folder}")
    return folder


@pytest.fixture(scope="module")
def state(recorded):
    """The state dict of a published Lightning checkpoint."""
    state = load_file(recorded / "state_dict.safetensors")
    cavp = load_file(recorded / "cavp_video_state_dict.safetensors")
    state |= {f"{CONDITIONERS}frames.stage1_model.{key}": value for key, value in cavp.items()}
    state[f"{CONDITIONERS}frames.stage1_model.logit_scale"] = torch.tensor(2.6)
    generator = torch.Generator().manual_seed(0)
    for key in ("frames", "audio"):
        state[f"{CONDITIONERS}{key}.proj_out.weight"] = 0.05 * torch.randn(64, 512, generator=generator)
        state[f"{CONDITIONERS}{key}.proj_out.bias"] = torch.zeros(64)
    return state


@pytest.fixture(scope="module")
def published(state, tmp_path_factory):
    """The checkpoint file, named as published ones are."""
    path = tmp_path_factory.mktemp("published") / "epoch=213-valid_loss=0.493.ckpt"
    torch.save({"state_dict": state, "epoch": 213, "pytorch-lightning_version": "2.1.0"}, path)
    return path


@pytest.fixture(scope="module")
def files(state, recorded, tmp_path_factory):
    """Stable Audio Open's folder and CAVP's file, as their owners publish them."""
    folder = tmp_path_factory.mktemp("files")
    parts = ("model.model.model.", "model.pretransform.", f"{CONDITIONERS}seconds_")
    backbone = {key.removeprefix("model."): value for key, value in state.items() if key.startswith(parts)}
    (folder / "stable audio=open").mkdir()
    save_file(backbone, folder / "stable audio=open" / "model.safetensors")
    config = json.loads((recorded / "model_config.json").read_text())
    config["model"]["conditioning"]["configs"].append({"id": "prompt", "type": "t5", "config": {"t5_model_name": "x"}})
    (folder / "stable audio=open" / "model_config.json").write_text(json.dumps(config))
    prefix = f"{CONDITIONERS}frames.stage1_model."
    cavp = {f"module.{key.removeprefix(prefix)}": v for key, v in state.items() if key.startswith(prefix)}
    torch.save({"state_dict": cavp, "epoch": 66}, folder / "cavp_epoch66.ckpt")
    return folder


@pytest.fixture(scope="module")
def slim(published, tmp_path_factory):
    path = tmp_path_factory.mktemp("slim") / "model.safetensors"
    import_published(published, path)
    return path


def places(files):
    return [f"paths.stable_audio_open={files / 'stable audio=open'}", f"paths.cavp={files / 'cavp_epoch66.ckpt'}"]


def test_the_file_itself_computes_what_the_published_code_computed(published, recorded):
    model, config = load_model(published)
    tensors = read_weights(recorded / "tensors.safetensors")
    with torch.no_grad():
        outputs = {name: ours for name, ours, _ in parity.transformer_outputs(model, tensors)}
        outputs |= dict(parity.seconds_outputs(model, tensors)) | dict(parity.latent_outputs(model, tensors))
        cavp = read_weights(recorded / "cavp_tensors.safetensors")
        frames = model.conditioners["frames"].stage1_model.encode_video(cavp["video"])
    assert {"v", "v_cfg7", "control_residual_1", "decoded", "vae_encoder_out"} <= outputs.keys()
    for name, ours in outputs.items():
        assert parity.relative_error(ours, tensors[name]) < 1e-4, name
    assert parity.relative_error(frames, cavp["video_features"]) < 1e-4
    assert config.model.control_layers == 2


def test_its_sizes_are_those_of_its_own_configuration(published, recorded):
    config = load_model(published)[1]
    own = json.loads((recorded / "model_config.json").read_text())["model"]
    ours = config.backbone.model_config.model
    own["diffusion"]["config"].pop("controlnet_depth_factor")
    assert ours.diffusion.config == own["diffusion"]["config"]
    for part in ("encoder", "decoder"):
        expected = own["pretransform"]["config"][part]["config"]
        assert dict(ours.pretransform.config[part].config) == expected


def test_sampling_settings_are_the_published_ones(published, slim):
    for path in (published, slim):
        config = read_checkpoint(path).config
        assert config["sampler"] | {"_target_": ""} == {
            "_target_": "",
            "name": "dpmpp-3m-sde",
            "n_steps": 100,
            "sigma_min": 0.3,
            "sigma_max": 500.0,
            "cfg_scale": 7.0,
            "level_match_db": 0.0,
            "colour_match_db": 0.0,
            "cfg_interval": [0.0, 1e5],
        }
        assert config["conditioners"]["envelope"]["_target_"].endswith(".VaeEnvelope")
        assert config["conditioners"]["envelope"]["window_samples"] == 10_000
        assert config["dataset"]["spec"]["duration_s"] == 10.0


def test_the_slim_file_with_its_parts_makes_the_same_sound(published, slim, files):
    settings = SamplerSettings(n_steps=3)
    frames = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    sounds = []
    for path, overrides in ((published, []), (slim, places(files))):
        model, _ = load_model(path, overrides)
        pipeline = SoundGenerator(model, ClipSpec(duration_s=2.0, frame_size_px=32), settings, "cpu")
        sounds.append(pipeline.generate(Envelope(torch.full((250,), 0.1), 125.0), 2.0, frames=frames))
    assert torch.equal(*sounds)


def test_the_slim_file_holds_what_was_trained_and_names_the_rest(slim, published, state):
    weights = load_file(slim)
    kept = ("model.controlnet.", "conditioner.conditioners.seconds_", "conditioner.conditioners.frames.proj_out.")
    kept += ("conditioner.conditioners.audio.proj_out.",)
    assert all(key.startswith(kept) for key in weights)
    assert all(torch.equal(value, state[f"model.{key}"]) for key, value in weights.items())
    config = read_checkpoint(slim).config
    assert config["backbone"]["hub_id"] == "stabilityai/stable-audio-open-1.0"
    assert config["backbone"]["weights"] == "${paths.stable_audio_open}"
    assert len(config["backbone"]["sha256"]) == len(config["conditioners"]["frames"]["cavp"]["sha256"]) == 64
    assert str(published.parent) not in json.dumps(config)
    assert slim.stat().st_size < published.stat().st_size / 3


def test_the_command_says_what_it_did(published, tmp_path, capsys, state):
    out = tmp_path / "new" / "model.safetensors"
    main(["import", "--published", str(published), "--output", str(out)])
    text = capsys.readouterr().out
    assert "2 control layers on a transformer of 5" in text
    assert "transformer (89 tensors), VAE (365 tensors), CAVP video tower (320 tensors)" in text
    unused = [line.strip() for line in text.splitlines() if line.startswith("  model.")]
    used = load_file(out).keys()
    frozen = ("model.model.model.", "model.pretransform.", f"{CONDITIONERS}frames.stage1_model.video_")
    expected = [k for k in state if k.removeprefix("model.") not in used and not k.startswith(frozen)]
    assert sorted(expected) == unused
    assert f"{CONDITIONERS}frames.stage1_model.logit_scale" in unused
    assert text.rstrip().endswith(f"wrote {out}")


def test_a_state_dict_as_safetensors_is_imported_alike(state, slim, tmp_path):
    """What the conversion of a refused pickle gives."""
    save_file(state, tmp_path / "converted.safetensors")
    import_published(tmp_path / "converted.safetensors", tmp_path / "model.safetensors")
    ours, expected = (read_checkpoint(path) for path in (tmp_path / "model.safetensors", slim))
    assert ours.config == expected.config
    assert ours.weights.keys() == expected.weights.keys()
    assert all(torch.equal(ours.weights[key], expected.weights[key]) for key in expected.weights)


@pytest.mark.parametrize("part", ["backbone", "cavp"])
def test_other_weights_than_it_was_trained_over_are_refused(slim, files, tmp_path, part):
    overrides = places(files)
    if part == "backbone":
        changed = load_file(files / "stable audio=open" / "model.safetensors")
        changed["pretransform.model.encoder.layers.0.bias"] += 1
        (tmp_path / "model_config.json").write_text((files / "stable audio=open" / "model_config.json").read_text())
        save_file(changed, tmp_path / "model.safetensors")
        overrides[0] = f"paths.stable_audio_open={tmp_path}"
    else:
        content = torch.load(files / "cavp_epoch66.ckpt")
        content["state_dict"]["module.video_project_head.bias"] += 1
        torch.save(content, tmp_path / "other.ckpt")
        overrides[1] = f"paths.cavp={tmp_path / 'other.ckpt'}"
    with pytest.raises(InputError, match="SHA-256"):
        load_model(slim, overrides)


def test_missing_files_are_asked_for_by_name(slim, files):
    with pytest.raises(InputError, match=r"cavp_epoch66\.ckpt of Diff-Foley as paths\.cavp=FILE"):
        load_model(slim, places(files)[:1])
    with pytest.raises(InputError, match=r"hf download stabilityai/stable-audio-open-1.0"):
        load_model(slim, [*places(files)[1:], "paths.stable_audio_open=/no/such/folder"])


def test_the_sampler_of_an_import_can_be_changed(slim, files):
    config = load_model(slim, [*places(files), "sampler.n_steps=7"])[1]
    assert instantiate(config.sampler).n_steps == 7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("model.model.controlnet.conv_in.weight"), "missing model.controlnet.conv_in.weight"),
        (lambda s: s.pop("model.model.model.preprocess_conv.weight"), "missing model.model.preprocess_conv.weight"),
        (lambda s: s.update({"model.model.extra": torch.ones(1)}), "not expected model.extra"),
        (
            lambda s: s.update({"model.model.controlnet.conv_in.weight": torch.ones(3, 3, 1)}),
            r"conv_in.weight has shape \(3, 3, 1\) instead of \(64, 64, 1\)",
        ),
        (
            lambda s: s.update({f"{CONDITIONERS}audio.proj_out.bias": torch.full((64,), float("inf"))}),
            "audio.proj_out.bias has NaN or infinite",
        ),
        (
            lambda s: s.update({"model.pretransform.model.encoder.layers.0.bias": torch.full((4,), float("nan"))}),
            "encoder.layers.0.bias has NaN or infinite",
        ),
        (
            lambda s: s.pop(f"{CONDITIONERS}frames.stage1_model.video_project_head.bias"),
            "missing video_project_head.bias",
        ),
        (lambda s: [s.pop(k) for k in list(s) if "controlnet" in k], "no published Stable-Foley checkpoint"),
        (lambda s: s.pop("model.model.controlnet.conv_outs.1.weight"), "missing model.controlnet.conv_outs.1.weight"),
        (
            lambda s: s.pop(f"{CONDITIONERS}frames.proj_out.weight"),
            "missing conditioner.conditioners.frames.proj_out",
        ),
        (
            lambda s: s.update({"model.model.model.transformer.project_in.weight": torch.tensor(1.0)}),
            r"transformer.project_in.weight has shape \(\)",
        ),
        (
            lambda s: s.update({"model.model.model.transformer.rotary_pos_emb.inv_freq": torch.ones(0)}),
            r"inv_freq has shape \(0,\)",
        ),
        (
            lambda s: s.update({f"{CONDITIONERS}frames.stage1_model.video_project_head.weight": torch.tensor(1.0)}),
            r"video_project_head.weight has shape \(\)",
        ),
        (
            lambda s: s.update({f"{CONDITIONERS}envelope.pretransform.model.encoder.layers.0.bias": torch.ones(4)}),
            "envelope.pretransform.model.encoder.layers.0.bias differs from pretransform",
        ),
        (
            lambda s: s.update({"model.model.controlnet.conv_in.weight": torch.ones(64, 64, 1, dtype=torch.int32)}),
            "conv_in.weight has the type torch.int32",
        ),
    ],
)
@pytest.mark.parametrize("way", ["import", "load"])
def test_corrupted_checkpoints_are_refused_by_name(state, tmp_path, change, words, way):
    changed = dict(state)
    change(changed)
    path, out = tmp_path / "epoch=1.ckpt", tmp_path / "model.safetensors"
    torch.save({"state_dict": changed}, path)
    with pytest.raises(InputError, match=words):
        import_published(path, out) if way == "import" else load_model(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch=1.ckpt"]


def test_a_folder_with_a_wrong_description_is_refused(slim, files, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    weights = load_file(files / "stable audio=open" / "model.safetensors")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"model_config\.json cannot be read \(No such file"):
        load_model(slim, [f"paths.stable_audio_open={folder}", places(files)[1]])
    description = json.loads((files / "stable audio=open" / "model_config.json").read_text())
    description["model"]["diffusion"]["config"]["depth"] = 6
    (folder / "model_config.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"another model .*diffusion\.config\.depth 6 instead of 5"):
        load_model(slim, [f"paths.stable_audio_open={folder}", places(files)[1]])
    with pytest.raises(InputError, match=r"missing model\.model\.transformer\.layers\.5"):
        load_model(slim, [f"paths.stable_audio_open={folder}", places(files)[1], "backbone.sha256=null"])


def test_the_weights_may_be_a_ckpt(slim, files, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    source = files / "stable audio=open"
    (folder / "model_config.json").write_text((source / "model_config.json").read_text())
    torch.save({"state_dict": load_file(source / "model.safetensors")}, folder / "model.ckpt")
    model, _ = load_model(slim, [f"paths.stable_audio_open={folder}", places(files)[1]])
    assert model.backbone.weights == folder / "model.ckpt"


def test_an_output_that_is_there_is_left_alone(state, tmp_path):
    path = tmp_path / "published.safetensors"
    save_file(state, path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists"):
        import_published(path, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("model.model.preprocess_conv.weight"), "missing model.model.preprocess_conv.weight"),
        (
            lambda s: [s.pop(k) for k in list(s) if "seconds_total" in k],
            "missing seconds_total.embedder.embedding.0.weights",
        ),
        (lambda s: s["pretransform.model.encoder.layers.0.bias"].fill_(float("nan")), "layers.0.bias has NaN"),
    ],
)
def test_a_damaged_stable_audio_open_names_its_keys(slim, files, tmp_path, change, words):
    source = files / "stable audio=open"
    weights = load_file(source / "model.safetensors")
    change(weights)
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "model_config.json").write_text((source / "model_config.json").read_text())
    with pytest.raises(InputError, match=words):
        load_model(slim, [f"paths.stable_audio_open={tmp_path}", places(files)[1]])


def test_an_output_of_another_kind_is_refused(published, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        main(["import", "--published", str(published), "--output", str(tmp_path / "model.ckpt")])
    assert stopped.value.code == 2
    assert not list(tmp_path.iterdir())
