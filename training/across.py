"""Owns what devices that share a batch tell each other, so that they compute what one does with the whole batch."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


def n_devices() -> int:
    """Return how many devices share each batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def shared_mean(values: Tensor) -> Tensor:
    """Return this device's share of the mean of values on all devices: the mean over devices of it is that mean.

    Use it where devices have different numbers of values, such as those of the hits of their clips. Every device must
    call it equally often. It is 0, with a gradient of 0, where there are no values.
    """
    n_values = torch.tensor(float(values.numel()), device=values.device)
    if n_devices() > 1:
        dist.all_reduce(n_values)
    return values.sum() * (n_devices() / n_values.clamp(min=1))


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation with the statistics of the batches of all devices; torch has one for GPUs only."""

    def _check_input_dim(self, input: Tensor) -> None:
        del input

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, …); in training with the mean and variance over all devices."""
        if not (self.training and n_devices() > 1):
            return super().forward(input)
        axes = [0, *range(2, input.ndim)]
        x = input if input.dtype == torch.float64 else input.float()
        n = torch.tensor(float(x.numel() // x.shape[1]), device=x.device)
        dist.all_reduce(n)
        shape = (1, -1, *[1] * (x.ndim - 2))
        mean = all_reduce(x.sum(axes)) / n
        centred = x - mean.view(shape)
        variance = all_reduce(centred.square().sum(axes)) / n
        self._remember(mean.detach(), (variance * n / (n - 1).clamp(min=1)).detach())
        normalised = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as ``torch.nn.BatchNorm2d`` does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def share_statistics(module: nn.Module, device: torch.device) -> nn.Module:
    """Make every batch normalisation in a module one over all devices, in place; return the module."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.__class__ = SharedBatchNorm
    return module


def preceding(rows: Tensor) -> Tensor:
    """Return for each clip the row (B, …) of the clip before it in the batch of all devices; the first gets the last.

    Clips go round the devices, as samplers hand them out. Every device must have as many.
    """
    n = n_devices()
    if n == 1:
        return rows.roll(1, dims=0)
    everywhere = [torch.empty_like(rows) for _ in range(n)]
    dist.all_gather(everywhere, rows.contiguous())
    return torch.stack(everywhere, dim=1).flatten(0, 1).roll(1, dims=0)[dist.get_rank() :: n]
