"""The video tower against recorded outputs of the published code and against torchvision's 2-D ResNet-50."""

import json
import re

import pytest
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

from cavp import Cavp, Cnn14, SlowOnly, cavp_from_state_dict


def randomise(module: nn.Module) -> None:
    """Give every layer, the batch statistics too, values that no initialisation has."""
    for name, value in module.state_dict().items():
        if value.is_floating_point() and value.ndim <= 1:
            value.uniform_(0.5, 1.5) if name.endswith(("weight", "running_var")) else value.normal_(0, 0.1)


def resnet50_with_weights_of(tower: SlowOnly, *, sum_over_time: bool) -> nn.Module:
    """torchvision's ResNet-50 holding the tower's kernels: their central frame, or their sum over frames."""
    weights = {}
    for key, value in tower.state_dict().items():
        if value.ndim == 5:
            value = value.sum(dim=2) if sum_over_time else value[:, :, value.shape[2] // 2]
        key = key.replace("downsample.conv.", "downsample.0.").replace("downsample.bn.", "downsample.1.")
        key = re.sub(r"conv(\d)\.bn\.", r"bn\1.", key).replace(".conv.", ".")
        weights[key] = value
    resnet = torchvision.models.resnet50()
    resnet.fc = nn.Identity()
    resnet.load_state_dict(weights)
    return resnet.eval()


@pytest.fixture(scope="module")
def tower() -> SlowOnly:
    torch.manual_seed(0)
    tower = SlowOnly().eval()
    randomise(tower)
    return tower


@pytest.mark.parametrize(("n_frames", "frame", "sum_over_time"), [(1, 0, False), (19, 9, True)])
@torch.no_grad()
def test_equals_a_flat_resnet50(tower, n_frames, frame, sum_over_time):
    """A single frame meets the central kernels alone; amid nine equal neighbours either side it meets their sum."""
    image = torch.rand(2, 3, 64, 48)
    expected = resnet50_with_weights_of(tower, sum_over_time=sum_over_time)(image)
    features = tower(image.unsqueeze(2).expand(-1, -1, n_frames, -1, -1))
    assert features.shape == (2, n_frames, tower.n_features)
    torch.testing.assert_close(features[:, frame], expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@torch.no_grad()
def test_a_frame_reaches_nine_frames_either_side():
    torch.manual_seed(0)
    tower = SlowOnly(base_channels=4).eval()
    video = torch.rand(1, 3, 25, 32, 32)
    changed = video.clone()
    changed[:, :, 12] = 0
    differs = (tower(video) != tower(changed)).any(dim=-1)[0]
    assert differs.nonzero().flatten().tolist() == list(range(12 - 9, 12 + 9 + 1))


@torch.no_grad()
def test_reproduces_the_published_features(shared):
    folder = shared / "parity" / "small_a"
    model = cavp_from_state_dict(load_file(folder / "cavp_video_state_dict.safetensors"))
    recorded = load_file(folder / "cavp_tensors.safetensors")
    features = model.encode_video(recorded["video"])
    expected = recorded["video_features"]
    assert (features - expected).abs().max() / expected.abs().max() < 1e-4


def test_has_the_published_layout(shared):
    layout = json.loads((shared / "parity" / "small_a" / "cavp_state_dict_layout.json").read_text())
    with torch.device("meta"):
        model = Cavp(SlowOnly(), Cnn14())
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == layout
    assert len(layout) == 402
    assert round(sum(value.numel() for value in model.parameters()) / 1e6, 1) == 113.4
