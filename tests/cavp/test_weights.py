"""Round trips through every wrapping in which the weights are found, and the messages for what does not fit."""

import pytest
import torch

from cavp import Cavp, Cnn14, SlowOnly, cavp_from_state_dict, load_cavp
from common.errors import InputError


@pytest.fixture(scope="module")
def model() -> Cavp:
    torch.manual_seed(0)
    return Cavp(SlowOnly(4), Cnn14(base_channels=2, n_mels=32, embed_dim=24), embed_dim=24)


def prefixed(model: Cavp, prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in model.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "module.", "model.conditioner.conditioners.frames.stage1_model."])
@pytest.mark.parametrize("with_audio", [False, True])
def test_sizes_and_values_come_from_the_file(tmp_path, model, prefix, with_audio):
    path = tmp_path / "cavp.ckpt"
    others = {"model.pretransform.weight": torch.zeros(3)} if prefix.startswith("model.") else {}
    torch.save({"epoch": 66, "state_dict": prefixed(model, prefix) | others, "optimizer": {"state": {}}}, path)
    loaded = load_cavp(path, with_audio=with_audio)
    used = ("video_", "spec_", "logit_scale") if with_audio else ("video_",)
    expected = {key: value for key, value in model.state_dict().items() if key.startswith(used)}
    assert not loaded.training
    torch.testing.assert_close(dict(loaded.state_dict()), expected, rtol=0, atol=0)


def test_a_bare_state_dict_is_read(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "cavp.pt")
    assert load_cavp(tmp_path / "cavp.pt").embed_dim == 24


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("video_encoder.layer3.1.conv2.bn.bias"), "missing video_encoder.layer3.1.conv2.bn.b"),
        (lambda state: state.update({"video_encoder.layer5": torch.zeros(1)}), "not expected video_encoder.layer5"),
        (
            lambda state: state.update({"video_encoder.layer1.0.conv1.bn.bias": torch.zeros(3)}),
            r"conv1.bn.bias has shape \(3,\) instead of \(4,\)",
        ),
        (
            lambda state: state.update({"video_project_head.bias": torch.full((24,), float("nan"))}),
            "video_project_head.bias has NaN",
        ),
        (lambda state: state.pop("video_project_head.weight"), "lacks video_project_head.weight"),
        (lambda state: state.pop("video_encoder.conv1.conv.weight"), "has 0 keys that end in"),
        (lambda state: state.update({"a.video_encoder.conv1.conv.weight": torch.zeros(1)}), "has 2 keys that end in"),
    ],
)
def test_names_what_does_not_fit(model, change, message):
    state = dict(model.state_dict())
    change(state)
    with pytest.raises(InputError, match=message):
        cavp_from_state_dict(state)
