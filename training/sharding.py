"""Owns the division of weights, gradients and states of the optimiser over devices (FSDP): ``trainer=fsdp``.

Every device keeps a part of each trained weight, and of the frozen ones of layers. A layer's weights are put together
while it computes. Checkpoints hold whole weights and states, so a run goes on with any number of devices.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import ModelParallelStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer


class ShardedStrategy(ModelParallelStrategy):
    """Divides weights over all devices, and gives every device batches of its own.

    Source: Zhao et al., "PyTorch FSDP", 2023 (arXiv 2304.11277), in the form of ``torch.distributed.fsdp.fully_shard``.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Connect the devices."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def divide(self, training: pl.LightningModule) -> None:
        """Divide the weights of a model, before its optimiser is made: layer by layer, and all that is left.

        Frozen weights outside of layers, such as those of encoders, stay whole.
        """
        mesh = self.device_mesh["data_parallel"]
        units = [unit for lists in training.modules() if isinstance(lists, nn.ModuleList) for unit in lists]
        units = [unit for unit in units if any(True for _ in unit.parameters())]
        in_units = {weight for unit in units for weight in unit.parameters()}
        left = [weight for weight in training.parameters() if weight not in in_units]
        single = {weight for weight in training.parameters() if weight.ndim == 0}  # a number cannot be divided
        for unit in reversed(units):  # those inside of others first
            fully_shard(unit, mesh=mesh, ignored_params=single & in_units)
        frozen = {weight for weight in left if not weight.requires_grad}
        fully_shard(training, mesh=mesh, ignored_params=single | frozen, reshard_after_forward=True)
        for weight in single:
            if weight.requires_grad:
                weight.register_post_accumulate_grad_hook(_average_gradient)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the training step with the weights outside of layers put together."""
        return self._step("training_step", *args, **kwargs)

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the validation step with the weights outside of layers put together."""
        return self._step("validation_step", *args, **kwargs)

    def _step(self, name: str, *args: Any, **kwargs: Any) -> Any:
        training = self.lightning_module
        assert training is not None
        in_step = {"training_step": "train_step_context", "validation_step": "val_step_context"}[name]
        with getattr(self.precision_plugin, in_step)():
            return self._forward_redirection(training, training, name, *args, **kwargs)

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """Return False: weights are divided already when the model is configured."""
        return False

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Return True: checkpoints hold whole states."""
        return True

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint with whole weights and states."""
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the whole weights that a checkpoint holds; every device must ask."""
        assert self.lightning_module is not None
        return whole(self.lightning_module.state_dict())

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Divide and load the weights of a checkpoint."""
        training = self.lightning_module
        assert training is not None
        own = training.state_dict()
        state = {key: like(value, own[key]) if key in own else value for key, value in checkpoint["state_dict"].items()}
        training.load_state_dict(state, strict=strict)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the whole state of an optimiser; every device must ask."""
        return whole(optimizer.state_dict())

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Divide and load the states of the optimisers of a checkpoint."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            divided = {
                i: {key: like(value, weights[i]) for key, value in of_weight.items()}
                for i, of_weight in state["state"].items()
            }
            optimizer.load_state_dict({**state, "state": divided})


def whole(part: Any) -> Any:
    """Return a nested state with divided tensors put together; every device must ask."""
    if isinstance(part, DTensor):
        return part.full_tensor().cpu()
    if isinstance(part, dict):
        return {key: whole(value) for key, value in part.items()}
    return [whole(value) for value in part] if isinstance(part, list) else part


def like(value: Any, weight: Tensor) -> Any:
    """Return a whole tensor divided as a weight of its shape is, and on its device; anything else as it is."""
    if not (isinstance(value, Tensor) and value.shape == weight.shape and value.ndim):
        return value
    if isinstance(weight, DTensor) and not isinstance(value, DTensor):
        value = value.to(weight.device)
        return distribute_tensor(value, weight.device_mesh, weight.placements, src_data_rank=None)
    return value.to(weight.device)


@contextmanager
def whole_weights(module: nn.Module) -> Iterator[None]:
    """Inside, a device can use a module alone; every device must enter. Does nothing where weights are not divided."""
    units = [unit for unit in module.modules() if isinstance(unit, FSDPModule)]
    for unit in units:
        unit.unshard()
        unit.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for unit in units:
            unit.set_reshard_after_forward(True, recurse=False)
            unit.reshard()


def clip_gradients(weights: Sequence[nn.Parameter], largest_norm: float) -> None:
    """Limit the norm of the gradient of all weights, divided or not."""
    with_gradient = [weight for weight in weights if weight.grad is not None]
    groups = [[w for w in with_gradient if isinstance(w, DTensor) is divided] for divided in (False, True)]
    groups = [group for group in groups if group]
    norms = [whole(nn.utils.get_total_norm([w.grad for w in group if w.grad is not None])) for group in groups]
    if norms:
        total = torch.stack([norm.cpu() for norm in norms]).norm()
        for group in groups:
            nn.utils.clip_grads_with_norm_(group, largest_norm, total.to(group[0].device))


def _average_gradient(weight: Tensor) -> None:
    """Average the gradient of a weight that is not divided over all devices."""
    assert weight.grad is not None
    torch.distributed.all_reduce(weight.grad)
    weight.grad /= torch.distributed.get_world_size()
