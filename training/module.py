"""Owns what every LightningModule here shares: optimiser, noise sources, and what a training checkpoint holds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from common.errors import InputError
from common.weights import load_into
from training.across import n_devices, share_statistics
from training.checkpoint import read_content, weights_to_use
from training.config import build_model, instantiate
from training.noise import ClipNoise
from training.resuming import take_over
from training.sharding import ShardedStrategy, clip_gradients
from training.stored_config import stored_form

OptimizerMaker = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerMaker = Callable[[Optimizer], LRScheduler]


@dataclass(frozen=True)
class ValidationShare:
    """What one of several devices has of a validation batch.

    Attributes:
        places: of its first clips in the batch of all devices.
        n_clips: in the batch of all devices, each counted once.
        weight: how many of its clips count.
    """

    places: range
    n_clips: int
    weight: int


class Training(pl.LightningModule):
    """Trains a model; sub-classes say by which loss, and log ``valid_loss``.

    Args:
        model: the model; its parameters that require a gradient are optimised.
        optimizer: makes the optimiser from parameters.
        scheduler: makes a schedule, stepped with every optimiser step, from the optimiser; None: constant rate.
        seed: of everything random in the training.
        config: what checkpoints keep of the configuration, see ``training.stored_config.stored_form``.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: OptimizerMaker,
        scheduler: SchedulerMaker | None = None,
        seed: int = 0,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.seed = seed
        self.config = dict(config or {})

    @classmethod
    def from_config(cls, config: DictConfig) -> Self:
        """Return the training, with its model, that a whole configuration describes.

        Raises:
            InputError: a part of the configuration or a file does not fit.
        """
        return instantiate(config.training)(model=build_model(config), config=stored_form(config, ("model", "seed")))

    def encoder_ids(self) -> dict[str, str]:
        """For each feature that frozen encoders make of chunks, what tells the encoder from any other.

        Raises:
            InputError: there are none, so that nothing can be cached.
        """
        raise InputError(f"{type(self).__name__} has no frozen encoders; train without dataset.cache.")

    def encode(self, batch: Any, factors: Sequence[float]) -> dict[str, Tensor]:
        """Return what a cache keeps of a batch.

        Args:
            batch: B chunks, on the device of the model, read from disk.
            factors: the sound of the chunks is multiplied by each of these.

        Returns:
            Features (B, …), by ``data.cache.tensor_name``.
        """
        raise NotImplementedError

    def setup(self, stage: str) -> None:
        """Find the cached features of the encoders, where the data module has a cache.

        Raises:
            InputError: the cache lacks some, or devices that wait for each other would skip different batches.
        """
        datamodule: Any = getattr(self.trainer, "datamodule", None)
        if getattr(datamodule, "skip_damaged", False) and self.trainer.world_size > 1:
            raise InputError("dataset.on_damaged=skip works on one device; give trainer.devices=1, or repair the data.")
        if getattr(datamodule, "cache", None) is not None:
            datamodule.open_cache(self.encoder_ids())

    def noise(self, n_clips: int, *key: int) -> ClipNoise:
        """Return noise for the clips of this device's batch; it depends on the seed, ``key`` and their places only.

        A clip's place is that in the batch of all devices, whose clips samplers hand out in turn. So several devices
        draw what one does with the whole batch.
        """
        return self.noise_at(range(self.global_rank, n_clips * n_devices(), n_devices()), *key)

    def noise_at(self, places: Iterable[int], *key: int) -> ClipNoise:
        """Return noise for the clips at some places of the batch of all devices, see ``noise``."""
        return ClipNoise([(self.seed, *key, place + 1) for place in places])

    def validation_share(self, n_clips: int, batch_idx: int) -> ValidationShare:
        """Return which clips of this device's validation batch of ``n_clips`` count.

        Samplers repeat clips at the end, so that all devices have equally many. A batch that only repeats is computed,
        as devices wait for each other, and weighs nothing.
        """
        n = n_devices()
        if n == 1:
            return ValidationShare(range(n_clips), n_clips, n_clips)
        loader: Any = self.trainer.val_dataloaders
        n_before = batch_idx * loader.batch_size * n
        n_whole = min(n_clips * n, len(loader.dataset) - n_before)
        places = range(self.global_rank, n_whole, n)[:n_clips]
        return ValidationShare(places or range(1), n_whole, len(places))

    def on_validation_epoch_start(self) -> None:
        """Start new means."""
        self._validated_sums: dict[str, Tensor] = {}
        self._validated_weight = 0

    def add_validated(self, means: Mapping[str, Tensor], share: ValidationShare) -> None:
        """Add the means over the clips of a batch to those of the validation, which are logged at its end."""
        for name, value in means.items():
            weighted = share.weight * value.detach().double()
            self._validated_sums[name] = self._validated_sums.get(name, torch.zeros_like(weighted)) + weighted
        self._validated_weight += share.weight

    def on_validation_epoch_end(self) -> None:
        """Log the means over all clips of all devices, each counted once."""
        if not self._validated_sums:
            return
        sums = torch.stack([*self._validated_sums.values()])
        weight = sums.new_tensor(self._validated_weight)
        if n_devices() > 1:
            sums, weight = (self.trainer.strategy.reduce(each, reduce_op="sum") for each in (sums, weight))
        means = (sums / weight).float()  # Lightning's own mean over devices rounds their numbers of clips
        for name, value in zip(self._validated_sums, means, strict=True):
            self.log(name, value, prog_bar=name == "valid_loss", sync_dist=True)

    def configure_model(self) -> None:
        """Let normalisation see the batches of all devices, and divide the weights where the strategy does so."""
        if self.trainer.world_size > 1:
            share_statistics(self.model, self.trainer.strategy.root_device)
        if isinstance(self.trainer.strategy, ShardedStrategy):
            self.trainer.strategy.divide(self)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Limit the norm of the gradient, of divided weights over all devices."""
        if gradient_clip_val and isinstance(self.trainer.strategy, ShardedStrategy):
            clip_gradients(self._trained_weights(), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def configure_optimizers(self) -> Any:
        """Optimiser, and schedule if any, over the trained weights.

        Raises:
            InputError: one of their values is not possible.
        """
        optimizer, scheduler = self._optimizer(self._trained_weights())
        return optimizer if scheduler is None else ([optimizer], [{"scheduler": scheduler, "interval": "step"}])

    def _trained_weights(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def _optimizer(self, weights: Sequence[nn.Parameter]) -> tuple[Optimizer, LRScheduler | None]:
        """Make the optimiser of some weights, and its schedule if there is any."""
        return optimizer_and_schedule(weights, self.make_optimizer, self.make_scheduler)

    def state_dict(self, *_args: Any, **_kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """Return the model's weights under its own names: what checkpoints hold."""
        return self.model.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load what ``state_dict`` gave; always strict."""
        del strict, assign
        return load_into(self.model, state_dict, source="the checkpoint")

    def start_from(self, path: Path) -> None:
        """Take the trained weights from a checkpoint of the same model, and nothing else.

        Raises:
            InputError: the file cannot be read, or its weights do not fit.
        """
        try:
            self.load_state_dict(weights_to_use(read_content(path), path))
        except InputError as error:
            raise InputError(f"start={path} does not work: {error}") from error

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the stored configuration, so that the file can be used without naming an experiment."""
        checkpoint["config"] = self.config

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume from other states than this run saves, or for another number of planned steps.

        Raises:
            InputError: the checkpoint belongs to another run than the configuration describes.
        """
        take_over(checkpoint, self.trainer, self._trained_weights(), self._optimizer)
        for schedule in checkpoint["lr_schedulers"]:
            planned = schedule.get("total_steps", self.trainer.max_steps)
            if planned != self.trainer.max_steps:
                raise InputError(
                    f"The run to resume was planned for {planned} steps, not {self.trainer.max_steps}; "
                    f"give trainer.max_steps={planned}, or start a new run."
                )


def optimizer_and_schedule(
    parameters: Sequence[nn.Parameter], make_optimizer: OptimizerMaker, make_scheduler: SchedulerMaker | None
) -> tuple[Optimizer, LRScheduler | None]:
    """Make an optimiser over parameters, and its schedule if there is any.

    Raises:
        InputError: one of their values is not possible.
    """
    try:
        optimizer = make_optimizer(parameters)
    except (ValueError, TypeError, ArithmeticError) as error:  # of torch
        raise InputError(f"training.optimizer cannot be made ({error}); correct what it names.") from error
    if make_scheduler is None:
        return optimizer, None
    try:
        return optimizer, make_scheduler(optimizer)
    except (ValueError, TypeError, ArithmeticError) as error:  # of torch
        raise InputError(
            f"training.scheduler cannot be made ({error}); one that plans ahead needs trainer.max_steps=N."
        ) from error


def build_training(config: DictConfig) -> Training:
    """Return the training that ``config.training`` names, with its model.

    Raises:
        InputError: a part of the configuration or a file does not fit.
    """
    made = instantiate(config.training)
    kind, recipe = getattr(made, "func", None), getattr(made, "keywords", {})
    if not (isinstance(kind, type) and issubclass(kind, Training) and callable(recipe.get("optimizer"))):
        raise InputError(f"training._target_ builds {made!r}; expected a recipe of configs/: choose training=NAME.")
    probe = nn.Parameter(torch.zeros(1))  # refuses wrong values before weights are read
    optimizer_and_schedule([probe], recipe["optimizer"], recipe.get("scheduler"))
    return kind.from_config(config)
