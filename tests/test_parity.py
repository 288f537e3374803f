"""The parity command on the recorded outputs, and that it can fail."""

import shutil

import pytest
from safetensors.torch import load_file, save_file

from tests import parity


@pytest.fixture
def recorded(shared):
    folder = shared / "parity" / "small_a"
    if not folder.is_dir():
        pytest.skip(f"no recorded outputs of the published code in {folder}")
    return folder


def test_the_recorded_outputs_are_reproduced(recorded, capsys):
    assert parity.main([str(recorded)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "parity: passed"
    names = {line.split()[0] for line in lines[:-1]}
    assert names >= {
        "v",
        "v_cfg7",
        "v_control_off",
        "decoded",
        "video_features",
        "control_residual_1",
        "envelope_441000",
    }


def test_a_wrong_weight_is_noticed(recorded, tmp_path, capsys):
    folder = copied(recorded, tmp_path / "changed")
    state = load_file(folder / "state_dict.safetensors")
    state["model.model.controlnet.conv_in.weight"] *= 1.01
    save_file(state, folder / "state_dict.safetensors")
    assert parity.main([str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "parity: failed"
    errors = {name: float(error) for name, error in (line.split() for line in lines[:-1])}
    assert errors["v"] > 1e-4
    assert errors["v_control_off"] < 1e-4


def copied(recorded, folder):
    """A copy that can be changed."""
    shutil.copytree(recorded, folder)
    for path in [folder, *folder.iterdir()]:
        path.chmod(0o755)
    return folder


def test_bfloat16_has_its_own_tolerance(recorded, capsys):
    assert parity.main([str(recorded), "--dtype", "bfloat16"]) == 0
    errors = {name: float(error) for name, error in map(str.split, capsys.readouterr().out.splitlines()[:-1])}
    assert 1e-3 < errors["v"] < 0.04
    assert errors["decoded"] < 1e-4, "the VAE stays in float32"


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("model_config.json", None, "model_config.json"),
        ("tensors.safetensors", lambda t: t.pop("x"), "lacks x"),
        ("tensors.safetensors", lambda t: t.pop("v_cfg7"), "lacks v_cfgN"),
        ("tensors.safetensors", lambda t: t.update(x=t["x"][:, :5]), "holds x of shape"),
        ("state_dict.safetensors", lambda t: t.pop("model.model.model.preprocess_conv.weight"), "missing model.model"),
        ("cavp_video_state_dict.safetensors", None, "cavp_video_state_dict.safetensors does not exist"),
    ],
)
def test_damaged_folders_are_refused(recorded, tmp_path, capsys, file, change, words):
    path = copied(recorded, tmp_path / "copy") / file
    if change is None:
        path.unlink()
    else:
        tensors = load_file(path)
        change(tensors)
        save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    with pytest.raises(SystemExit) as stopped:
        parity.main([str(path.parent)])
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_a_missing_folder_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        parity.main([str(tmp_path / "nowhere")])
    assert stopped.value.code == 2
    assert "nowhere is no folder" in capsys.readouterr().err
