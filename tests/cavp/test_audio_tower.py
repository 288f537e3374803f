"""The audio tower against blocks of a second implementation of Cnn14, and its shapes."""

import importlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cavp import Cnn14
from clap import encoder as clap


@pytest.fixture(scope="module")
def tower() -> Cnn14:
    torch.manual_seed(0)
    tower = Cnn14(base_channels=4, n_mels=64, embed_dim=24).eval()
    for key, value in tower.state_dict().items():
        if "bn" in key and value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return tower


@torch.no_grad()
def test_equals_panns_blocks_with_the_published_pooling(tower):
    """laion-clap carries PANNs' own blocks; around them stands what the published CAVP does."""
    clap._import_htsat()
    panns = importlib.import_module(f"{clap._ALIAS}.pann_model")
    x = log_mel = torch.rand(2, 1, 53, 64)
    x = F.batch_norm(x.movedim(3, 1), tower.bn.running_mean, tower.bn.running_var, tower.bn.weight, tower.bn.bias)
    x = x.movedim(1, 3)
    for i, pool in enumerate([(2, 2)] * 4 + [(1, 2), (1, 1)]):
        mine: nn.Module = tower.get_submodule(f"conv_block{i + 1}")
        block = panns.ConvBlock(mine.conv1.in_channels, mine.conv1.out_channels).eval()
        block.load_state_dict(mine.state_dict())
        x = block(x, pool_size=pool, pool_type="avg")
    x = x.mean(dim=3)
    padded = F.pad(x, (1, 1), value=-torch.inf).unfold(-1, 3, 1).amax(-1)
    x = (padded + F.pad(x, (1, 1)).unfold(-1, 3, 1).mean(-1)).mT
    expected = tower.final_project(tower.fc1(tower.fc1(x).relu()).relu())
    torch.testing.assert_close(tower(log_mel), expected)


@pytest.mark.parametrize("n_frames", [16, 31, 32, 256])
@torch.no_grad()
def test_gives_one_embedding_per_16_frames(tower, n_frames):
    assert tower(torch.rand(2, 1, n_frames, 64)).shape == (2, n_frames // 16, 24)


def test_refuses_fewer_than_16_frames(tower):
    with pytest.raises(ValueError, match="15 frames where at least 16"):
        tower(torch.rand(1, 1, 15, 64))


def test_drops_out_in_training_only():
    tower = Cnn14(base_channels=4, n_mels=32, embed_dim=8)
    log_mel = torch.rand(2, 1, 32, 32)
    tower(log_mel)  # batch statistics move, dropout acts
    tower.eval()
    assert torch.equal(tower(log_mel), tower(log_mel))
    tower.train()
    assert not torch.equal(tower(log_mel), tower(log_mel))
