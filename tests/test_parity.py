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
    folder = tmp_path / "changed"
    shutil.copytree(recorded, folder)
    for path in [folder, *folder.iterdir()]:
        path.chmod(0o755)
    state = load_file(folder / "state_dict.safetensors")
    state["model.model.controlnet.conv_in.weight"] *= 1.01
    save_file(state, folder / "state_dict.safetensors")
    assert parity.main([str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "parity: failed"
    errors = {name: float(error) for name, error in (line.split() for line in lines[:-1])}
    assert errors["v"] > 1e-4
    assert errors["v_control_off"] < 1e-4


def test_a_missing_folder_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        parity.main([str(tmp_path)])
    assert stopped.value.code == 2
    assert "model_config.json" in capsys.readouterr().err
