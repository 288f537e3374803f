"""The video tower: a SlowOnly ResNet3D-50, which keeps every frame and averages over space.

Attribute names are those of the published weights (`conv1.conv`, `conv1.bn`, `layer1.0.conv2.conv`, …).
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import check_range

EXPANSION = 4
MAX_WIDTH = 2**20
"""Largest number of channels in a part of CAVP; far more than would fit into memory."""
BLOCKS_PER_STAGE = (3, 4, 6, 3)
TEMPORAL_KERNEL_PER_STAGE = (1, 1, 3, 3)


def _conv_norm(n_in: int, n_out: int, kernel: tuple[int, int, int], spatial_stride: int = 1) -> nn.Sequential:
    """Make a convolution that keeps the number of frames and its batch normalisation, with the published names."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    stride = (1, spatial_stride, spatial_stride)
    conv = nn.Conv3d(n_in, n_out, kernel, stride=stride, padding=padding, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm3d(n_out)))


class Bottleneck(nn.Module):
    """A residual bottleneck: 1x1 (over three frames in the late stages), 3x3 with the stride, 1x1.

    Args:
        n_in: channels of the input.
        n_inner: channels inside; the output has four times as many.
        temporal_kernel: frames that the first convolution sees, 1 or 3.
        spatial_stride: step of the 3x3 convolution in height and width.
    """

    def __init__(self, n_in: int, n_inner: int, *, temporal_kernel: int, spatial_stride: int) -> None:
        super().__init__()
        n_out = n_inner * EXPANSION
        self.conv1 = _conv_norm(n_in, n_inner, (temporal_kernel, 1, 1))
        self.conv2 = _conv_norm(n_inner, n_inner, (1, 3, 3), spatial_stride)
        self.conv3 = _conv_norm(n_inner, n_out, (1, 1, 1))
        same_shape = n_in == n_out and spatial_stride == 1
        self.downsample = nn.Identity() if same_shape else _conv_norm(n_in, n_out, (1, 1, 1), spatial_stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n_in, T, H, W) to (B, 4 n_inner, T, H / stride, W / stride)."""
        y = F.relu(self.conv1(x), inplace=True)
        y = F.relu(self.conv2(y), inplace=True)
        return F.relu(self.conv3(y) + self.downsample(x), inplace=True)


def _stage(n_in: int, n_inner: int, *, n_blocks: int, temporal_kernel: int, spatial_stride: int) -> nn.Sequential:
    """Make a stage of bottlenecks; the first one has the stride."""
    first = Bottleneck(n_in, n_inner, temporal_kernel=temporal_kernel, spatial_stride=spatial_stride)
    rest = (
        Bottleneck(n_inner * EXPANSION, n_inner, temporal_kernel=temporal_kernel, spatial_stride=1)
        for _ in range(n_blocks - 1)
    )
    return nn.Sequential(first, *rest)


class SlowOnly(nn.Module):
    """ResNet3D-50 without any temporal stride: one feature vector per frame.

    Only the last two stages see neighbouring frames; a frame's features depend on nine frames on either side.

    Args:
        base_channels: channels after the first convolution; 64 in the published model.

    Attributes:
        n_features: width of the output, 32 x base_channels.

    Source: Feichtenhofer et al., "SlowFast Networks for Video Recognition", 2019 (only the slow pathway).
    """

    def __init__(self, base_channels: int = 64) -> None:
        super().__init__()
        check_range("video_encoder.base_channels", base_channels, 1, MAX_WIDTH, whole=True)
        self.conv1 = _conv_norm(3, base_channels, (1, 7, 7), spatial_stride=2)
        self.maxpool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        n_in = base_channels
        for i, (n_blocks, temporal_kernel) in enumerate(zip(BLOCKS_PER_STAGE, TEMPORAL_KERNEL_PER_STAGE, strict=True)):
            n_inner = base_channels * 2**i
            spatial_stride = 1 if i == 0 else 2
            stage = _stage(
                n_in, n_inner, n_blocks=n_blocks, temporal_kernel=temporal_kernel, spatial_stride=spatial_stride
            )
            self.add_module(f"layer{i + 1}", stage)
            n_in = n_inner * EXPANSION
        self.n_features = n_in

    def forward(self, video: Tensor) -> Tensor:
        """Compute the features of every frame.

        Args:
            video: (B, 3, T, H, W), RGB in 0..1; any T, H and W.

        Returns:
            (B, T, n_features).
        """
        x = self.maxpool(F.relu(self.conv1(video), inplace=True))
        for i in range(len(BLOCKS_PER_STAGE)):
            x = self.get_submodule(f"layer{i + 1}")(x)
        return x.mean(dim=(-2, -1)).transpose(1, 2)
