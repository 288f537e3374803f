"""Owns what every LightningModule here shares: optimiser, noise sources, and what a training checkpoint holds."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from common.errors import InputError
from common.weights import load_into
from training.checkpoint import read_content, weights_to_use
from training.config import build_model, instantiate
from training.resuming import take_over
from training.stored_config import stored_form

OptimizerMaker = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerMaker = Callable[[Optimizer], LRScheduler]


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

    def generator(self, *key: int) -> torch.Generator:
        """Return a CPU noise source that depends on the seed and ``key`` only."""
        state = np.random.SeedSequence([self.seed, *key]).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(state >> np.uint64(1)))

    @contextmanager
    def seeded(self, generator: torch.Generator) -> Iterator[None]:
        """Inside, dropout and whatever else takes torch's own random numbers depend on the seed of a generator only."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(generator.initial_seed())
            yield

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
