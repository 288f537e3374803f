"""Weight files: what is read, what is refused, that nothing in a file runs, and that weights load in their type."""

import functools
import os
import pickle
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from common.errors import InputError
from common.pickles import read_pickle
from common.weights import (
    SafetensorsFile,
    WeightSelection,
    check_sha256,
    fitting_weights,
    load_into,
    read_weights,
    weights_sha256,
)
from tests.conftest import PEAK_MIB, PROCESS_STATUS


class Network(nn.Module):
    """Two parameters and a buffer of whole numbers."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("steps", torch.tensor(5))


@pytest.fixture
def state():
    return {"linear.weight": torch.arange(6.0).view(2, 3), "linear.bias": torch.ones(2), "steps": torch.tensor(7)}


def written(path: Path, state) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("name", ["epoch=213-loss=0.5.safetensors", "epoch=213-loss=0.5.ckpt", "a.pt"])
def test_weights_come_back_from_every_kind_of_file(tmp_path, state, name):
    read = read_weights(written(tmp_path / name, state))
    assert dict(read).keys() == state.keys()
    assert all(torch.equal(read[key], state[key]) for key in state)


def test_weights_under_state_dict_and_beside_numbers_of_numpy_are_read(tmp_path, state):
    path = tmp_path / "training.pt"
    torch.save({"state_dict": state, "epoch": 3, "best": np.float64(0.5), "loss": np.float32(2)}, path)
    assert torch.equal(read_weights(path)["linear.weight"], state["linear.weight"])


def test_files_of_old_torch_releases_are_read(tmp_path, state):
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(read_weights(tmp_path / "old.pt")["linear.weight"], state["linear.weight"])


@pytest.mark.skipif(not PROCESS_STATUS.exists(), reason="the system does not tell the memory of a program")
def test_a_file_is_read_tensor_by_tensor(tmp_path):
    """Memory of a process that looks at every value of 400 MB in tensors of 8 MB grows by a few tensors."""
    path = tmp_path / "large.safetensors"
    save_file({f"layer{i}": torch.full((2, 1024, 1024), float(i)) for i in range(50)}, path)
    script = f"""
from pathlib import Path
from common.weights import read_weights
state = read_weights(Path({str(path)!r}))
float(state["layer0"].sum())
before = peak_mib()
total = sum(float(state[key].mean()) for key in state)
assert total == sum(range(50)), total
print(peak_mib() - before)
"""
    result = subprocess.run([sys.executable, "-c", PEAK_MIB + script], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 100


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_module_on_the_meta_device_gets_its_memory_in_its_type(state, dtype):
    with torch.device("meta"):
        module = Network().to(dtype)
    load_into(module, state, source="test")
    assert torch.equal(module.linear.weight, state["linear.weight"].to(dtype))
    assert module.linear.weight.dtype == dtype
    assert module.linear.weight.requires_grad
    assert module.steps == 7
    state["linear.weight"].zero_()
    assert module.linear.weight.abs().max() > 0, "the module's memory is its own"


def test_a_module_in_memory_is_filled_in_place(state):
    module = Network()
    weight = module.linear.weight
    load_into(
        module,
        {f"there.{key}": value for key, value in state.items()} | {"other": torch.ones(1)},
        source="test",
        prefix="there.",
    )
    assert module.linear.weight is weight
    assert torch.equal(weight, state["linear.weight"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("linear.bias"), "missing linear.bias"),
        (lambda state: state.update(extra=torch.ones(1)), "not expected extra"),
        (lambda state: state.update({"linear.bias": torch.ones(3)}), r"linear.bias has shape \(3,\) instead of \(2,\)"),
        (lambda state: state["linear.bias"].fill_(float("nan")), "linear.bias has NaN or infinite"),
        (lambda state: state.update({"linear.bias": torch.ones(2, dtype=torch.int32)}), "linear.bias has the type"),
        (lambda state: state.update({"linear.bias": torch.ones(2, dtype=torch.cfloat)}), "linear.bias has the type"),
        (lambda state: state.update({"linear.bias": torch.ones(2).to_sparse()}), "linear.bias has the type"),
        (lambda state: state.update({"linear.bias": torch.ones(2).to(torch.float8_e5m2)}), "linear.bias has the type"),
        (lambda state: state["linear.weight"].view(-1)[3:4].fill_(float("inf")), "linear.weight has NaN or infinite"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(state, change, words):
    module = Network()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    change(state)
    with pytest.raises(InputError, match=words):
        load_into(module, state, source="here.ckpt")
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_ten_differences_are_named_and_the_rest_counted():
    module = nn.Sequential(*[nn.Linear(2, 2) for _ in range(8)])
    with pytest.raises(InputError, match="and 6 more") as caught:
        load_into(module, {}, source="here.ckpt")
    assert str(caught.value).count("missing") == 10


def test_optional_weights_may_be_missing_or_unused(state):
    del state["steps"]
    module = Network()
    load_into(module, state | {"old": torch.ones(1)}, source="test", optional=["steps", "old"])
    assert module.steps == 5
    assert torch.equal(module.linear.bias, state["linear.bias"])


def test_fitting_weights_reads_without_filling(state):
    with torch.device("meta"):
        module = Network()
    assert dict(fitting_weights(module, state, source="test")).keys() == state.keys()
    assert module.linear.weight.is_meta


def test_the_checksum_is_of_the_weights_not_of_their_file(tmp_path, state):
    expected = weights_sha256(state)
    for name in ("a.safetensors", "a.ckpt"):
        assert weights_sha256(read_weights(written(tmp_path / name, dict(reversed(state.items()))))) == expected
    lossless = {key: value.to(torch.float64) for key, value in state.items()}
    assert weights_sha256(lossless) == expected
    for key in state:
        changed = {name: value + (name == key) for name, value in state.items()}
        assert weights_sha256(changed) != expected
    assert weights_sha256({f"x{key}": value for key, value in state.items()}) != expected
    assert weights_sha256(state | {"linear.weight": state["linear.weight"].view(3, 2)}) != expected


def test_another_checksum_is_refused():
    where = {"source": "w.ckpt", "option": "paths.w", "part": "w"}
    check_sha256("a" * 64, "a" * 64, **where)
    check_sha256("a" * 64, None, **where)
    with pytest.raises(InputError, match=r"w\.ckpt .*SHA-256 aaaaaaaaaaaa.*--set paths\.w=FILE.*--set w\.sha256=null"):
        check_sha256("a" * 64, "b" * 64, **where)


def test_a_selection_renames_and_reads_one_by_one(tmp_path, state):
    source = SafetensorsFile(written(tmp_path / "a.safetensors", state))
    selection = WeightSelection(source, {f"model.{key}": key for key in source}).starting_with("model.linear.")
    assert sorted(selection) == ["model.linear.bias", "model.linear.weight"]
    assert torch.equal(selection["model.linear.bias"], state["linear.bias"])


class Attack:
    """What a hostile pickle does: names a function and its arguments."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def bare(content, path):
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize(
    "write",
    [torch.save, functools.partial(torch.save, _use_new_zipfile_serialization=False), bare],
    ids=["zip", "before torch 1.6", "pickle alone"],
)
def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path, state, write):
    marker, path = tmp_path / "it-ran", tmp_path / "hostile.ckpt"
    write({"state_dict": state, "hook": Attack(marker)}, path)
    with pytest.raises(InputError, match=r"would run code.*weights_only=False.*hostile\.safetensors") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    (pickle.loads(path.read_bytes()) if write is bare else torch.load(path, weights_only=False))  # noqa: S301
    assert marker.exists(), "the attack works where it is let"


def test_the_conversion_that_a_refusal_names_works(tmp_path, state):
    """A checkpoint of a training whose settings were pickled with it, converted by the very command of the message."""
    path = tmp_path / 'it\'s $HOME "x".ckpt'
    settings = {"linear.weight": state["linear.weight"].mT.contiguous().mT, "step": 3}
    torch.save({"state_dict": state | settings, "settings": Path("somewhere")}, path)
    with pytest.raises(InputError, match=r"(Posix|Windows)Path") as caught:
        read_weights(path)
    script = shlex.split(str(caught.value).split("give the result: ")[1])[2]
    subprocess.run([sys.executable, "-c", script], check=True)
    converted = read_weights(path.with_suffix(".safetensors"))
    assert torch.equal(converted["linear.weight"], state["linear.weight"])


@pytest.mark.parametrize("name", ["a.safetensors", "a.ckpt"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_truncated_files_are_named(tmp_path, state, name, kept):
    path = written(tmp_path / name, state | {"more": torch.zeros(5000)})
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=rf"{path.name} cannot be read as .*copy it again") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7])
def test_flipped_bits_are_noticed(tmp_path, state, place):
    """Torch reads such a file without complaint; the value is another, and finite."""
    path = written(tmp_path / "a.ckpt", state | {"more": torch.ones(5000)})
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    assert not torch.equal(torch.load(path, weights_only=True)["more"], torch.ones(5000))
    with pytest.raises(InputError, match=r"a\.ckpt cannot be read .*checksum of .* is wrong.*copy it again"):
        read_weights(path)


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": 3}, {}, {"state_dict": {"a": "text"}}, {5: torch.ones(1)}])
def test_files_without_weights_are_named(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other\.pt holds"):
        read_weights(tmp_path / "other.pt")


def test_a_missing_file_is_named(tmp_path):
    for name in ("a.safetensors", "a.ckpt"):
        with pytest.raises(InputError, match="does not exist"):
            read_weights(tmp_path / name)
    with pytest.raises(InputError, match="does not exist"):
        read_pickle(tmp_path / ("a" * 200))
    with pytest.raises(InputError, match="File name too long"):
        read_pickle(tmp_path / ("a" * 300))
    with pytest.raises(InputError, match="is a folder"):
        read_pickle(tmp_path)
