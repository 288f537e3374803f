"""The frames condition: published keys, frozen embedding, trained projection."""

import pytest
import torch
from torch.nn import functional as F

from cavp import Cavp, SlowOnly
from common.errors import InputError
from stable_foley.conditioners.frames import FramesConditioner

FRAMES = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def conditioner() -> FramesConditioner:
    torch.manual_seed(0)
    return FramesConditioner(Cavp(SlowOnly(4)), output_dim=48)


def test_keys_are_the_published_ones(conditioner):
    keys = {key.rsplit(".", 1)[0] for key in conditioner.state_dict()}
    assert {"proj_out", "stage1_model.video_project_head", "stage1_model.video_encoder.conv1.conv"} <= keys
    assert {key.split(".")[0] for key in keys} == {"proj_out", "stage1_model"}
    assert conditioner.proj_out.weight.shape == (48, 512)


def test_tokens_are_projected_embeddings(conditioner):
    embedding = conditioner.encode(FRAMES, 0)
    assert embedding.shape == (2, 3, 512)
    assert torch.equal(embedding, conditioner.stage1_model.encode_video(FRAMES))
    expected = F.linear(embedding, conditioner.proj_out.weight, conditioner.proj_out.bias)
    torch.testing.assert_close(conditioner(embedding), expected)


def test_training_moves_the_projection_alone(conditioner):
    before = {key: value.clone() for key, value in conditioner.state_dict().items()}
    conditioner.train()
    optimiser = torch.optim.SGD([p for p in conditioner.parameters() if p.requires_grad], lr=1.0)
    conditioner(conditioner.encode(FRAMES, 0)).square().sum().backward()
    optimiser.step()
    moved = {key for key, value in conditioner.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"proj_out.weight", "proj_out.bias"}


def test_embedding_is_the_same_in_training_and_under_autocast(conditioner):
    expected = conditioner.eval().encode(FRAMES, 0)
    outer = torch.nn.ModuleList([conditioner]).train()
    assert conditioner.training
    assert not any(module.training for module in conditioner.stage1_model.modules())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embedding = outer[0].encode(FRAMES, 0)
    assert torch.equal(embedding, expected)
    assert not embedding.requires_grad


def test_cached_embedding_takes_the_precision_of_the_projection(conditioner):
    embedding = conditioner.encode(FRAMES, 0)
    assert conditioner.to(torch.bfloat16)(embedding).dtype == torch.bfloat16


@pytest.mark.parametrize("gain", [0, -1.0, float("nan"), float("inf"), "abc"])
def test_a_gain_that_is_none_is_refused(gain):
    with pytest.raises(InputError, match=r"frames\.gain is"):
        FramesConditioner(Cavp(SlowOnly(4)), output_dim=48, gain=gain)
