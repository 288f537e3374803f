"""Checkpoints made small: what they hold, and what is refused."""

import pytest
import torch
from safetensors.torch import load_file

from common.errors import InputError
from training.bundle import halved, main
from training.checkpoint import Checkpoint, read_content, save_checkpoint

CONFIG = {
    "model": {"_target_": "torch.nn.Linear"},
    "dataset": {"cache": "/a/folder/of/one/machine"},
    "ckpt": "runs/tag/checkpoints/last.ckpt",
}
WEIGHTS = {
    "matrix": torch.linspace(-2, 2, 600).reshape(20, 30),
    "vector": torch.full((3,), 1e5),
    "count": torch.ones(2),
}


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, Checkpoint(WEIGHTS, CONFIG))
    return path


def test_matrices_are_halved_and_the_rest_stays(tmp_path, checkpoint, capsys):
    before = checkpoint.read_bytes()
    main(["--checkpoint", str(checkpoint), "--output", str(tmp_path / "small.safetensors")])
    found = load_file(tmp_path / "small.safetensors")
    assert found["matrix"].dtype == torch.float16
    torch.testing.assert_close(found["matrix"].float(), WEIGHTS["matrix"], atol=0, rtol=2**-11)
    assert torch.equal(found["vector"], WEIGHTS["vector"])
    assert read_content(tmp_path / "small.safetensors")["config"] == {"model": CONFIG["model"]}
    assert "SHA-256" in capsys.readouterr().out
    assert checkpoint.read_bytes() == before


def test_checkpoints_are_averaged(tmp_path, checkpoint):
    others = {"b": 3.0, "c": -1.0}
    for name, factor in others.items():
        weights = {key: factor * value for key, value in WEIGHTS.items()}
        save_checkpoint(tmp_path / f"{name}.safetensors", Checkpoint(weights, CONFIG))
    paths = [str(tmp_path / f"{name}.safetensors") for name in others]
    main(["--checkpoint", str(checkpoint), "--average", *paths, "--output", str(tmp_path / "small.safetensors")])
    found = load_file(tmp_path / "small.safetensors")
    torch.testing.assert_close(found["vector"], WEIGHTS["vector"])
    torch.testing.assert_close(found["matrix"].float(), WEIGHTS["matrix"], atol=0, rtol=2**-11)


def test_another_model_is_not_averaged(tmp_path, checkpoint, capsys):
    save_checkpoint(tmp_path / "other.safetensors", Checkpoint({"matrix": torch.zeros(2, 2)}, CONFIG))
    with pytest.raises(SystemExit) as stop:
        main(
            [
                *("--checkpoint", str(checkpoint), "--average", str(tmp_path / "other.safetensors")),
                *("--output", str(tmp_path / "small.safetensors")),
            ]
        )
    assert stop.value.code == 2
    assert "average checkpoints of one model" in capsys.readouterr().err
    assert not (tmp_path / "small.safetensors").exists()


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="weight holds numbers beyond 65504"):
        halved(torch.full((2, 2), 1e5), "weight")


@pytest.mark.parametrize(
    ("name", "out", "message"),
    [
        ("best.safetensors", "best.safetensors", "exists"),
        ("best.safetensors", "small.pt", "no .safetensors file"),
        ("missing.safetensors", "small.safetensors", "missing.safetensors"),
    ],
)
def test_mistakes_get_a_sentence(checkpoint, capsys, name, out, message):
    folder = checkpoint.parent
    with pytest.raises(SystemExit) as stop:
        main(["--checkpoint", str(folder / name), "--output", str(folder / out)])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["best.safetensors"]
