"""The audio tower: PANNs' Cnn14 on log-mel spectrograms, with one embedding per 16 spectrogram frames.

Attribute names are those of the published weights (`conv_block1.conv1`, `fc1`, `final_project`, …).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cavp.video_tower import MAX_WIDTH
from common.errors import check_range

BLOCK_POOLS = ((2, 2), (2, 2), (2, 2), (2, 2), (1, 2), (1, 1))
"""Average pooling over (time, mel) after each block: as in PANNs, except that the fifth keeps the time resolution."""
TIME_STRIDE_FRAMES = 16
DROPOUT = 0.2


class ConvBlock(nn.Module):
    """Two 3x3 convolutions, each with batch normalisation and ReLU, then average pooling.

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        pool: factors by which the numbers of frames and mel bands are divided.
    """

    def __init__(self, n_in: int, n_out: int, pool: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.pool = nn.AvgPool2d(pool)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n_in, frames, mels) to (B, n_out, frames / pool[0], mels / pool[1])."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        return self.pool(x)


class Cnn14(nn.Module):
    """Cnn14 without its own spectrogram and without its pooling over time.

    Args:
        base_channels: channels after the first block; 64 in the published model.
        n_mels: mel bands of the input; 128 in the published model.
        embed_dim: width D of the embedding.

    Attributes:
        embed_dim: width D of the embedding.

    Source: Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition", 2020.
    """

    def __init__(self, base_channels: int = 64, n_mels: int = 128, embed_dim: int = 512) -> None:
        super().__init__()
        for name, value in (("base_channels", base_channels), ("n_mels", n_mels), ("embed_dim", embed_dim)):
            check_range(f"spec_encoder.{name}", value, 1, MAX_WIDTH, whole=True)
        self.embed_dim = embed_dim
        self.bn = nn.BatchNorm2d(n_mels)
        n_in, n_out = 1, base_channels
        for i, pool in enumerate(BLOCK_POOLS):
            self.add_module(f"conv_block{i + 1}", ConvBlock(n_in, n_out, pool))
            n_in, n_out = n_out, 2 * n_out
        self.fc1 = nn.Linear(n_in, n_in)
        self.final_project = nn.Linear(n_in, embed_dim)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Compute the embedding of every 16 frames of a spectrogram.

        Args:
            log_mel: (B, 1, frames, n_mels), log-mel spectrogram scaled to 0..1, at least 16 frames. The published
                model was trained on 128 bands of sound at 16 kHz with a hop of 256 samples.

        Returns:
            (B, frames // 16, D), not normalised.

        Raises:
            ValueError: fewer than 16 frames.
        """
        if log_mel.shape[-2] < TIME_STRIDE_FRAMES:
            raise ValueError(
                f"The spectrogram has {log_mel.shape[-2]} frames where at least {TIME_STRIDE_FRAMES} are needed: "
                "give a longer sound."
            )
        x = self.bn(log_mel.transpose(1, 3)).transpose(1, 3)
        for i in range(len(BLOCK_POOLS)):
            x = F.dropout(self.get_submodule(f"conv_block{i + 1}")(x), DROPOUT, self.training)
        x = x.mean(dim=-1)
        x = F.max_pool1d(x, 3, stride=1, padding=1) + F.avg_pool1d(x, 3, stride=1, padding=1)
        x = x.transpose(1, 2)
        for _ in range(2):  # the published model applies the same layer twice
            x = torch.relu(self.fc1(x))
        return self.final_project(x)
