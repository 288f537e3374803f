"""Owns training: the loss of one batch, the optimiser, and what a training checkpoint holds. Nothing else."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from data.dataset import FoleyBatch
from data.errors import InputError
from stable_foley import diffusion
from stable_foley.model import CONTROL_ID, Conditions, FoleyModel

_TRAINING, _VALIDATION = 0, 1
_N_VALIDATION_LEVELS = 4  # noise levels for each validation clip


def raw_conditions(model: FoleyModel, batch: FoleyBatch) -> dict[str, Any]:
    """What the model's conditioners are given for a batch: the sound itself is its prompt and gives the envelope."""
    raw = {
        "seconds_start": lambda: torch.zeros_like(batch.duration_s),
        "seconds_total": lambda: batch.duration_s,
        "frames": lambda: batch.frames,
        "audio": lambda: batch.wave,
        CONTROL_ID: lambda: model.conditioners[CONTROL_ID].measure(batch.wave, model.pretransform.sample_rate_hz),
    }
    return {key: raw[key]() for key in model.conditioners}


class FoleyTraining(pl.LightningModule):
    """Trains a ``FoleyModel`` with the v objective.

    Noise, noise levels and dropped conditions of a batch depend on the seed, the epoch and the number of the batch
    only, so a resumed run repeats what an uninterrupted one does, and validation losses can be compared.

    Args:
        model: the model; its trained parts are optimised.
        optimizer: makes the optimiser from parameters.
        scheduler: makes a schedule, stepped with every optimiser step, from the optimiser; None: constant rate.
        token_dropout: probability that a training clip loses its cross-attention tokens (zeros instead).
        control_dropout: probability that a training clip loses its envelope (-1 everywhere instead).
        level_mean: mean of the noise levels' logits; 0 as published.
        level_std: standard deviation of the noise levels' logits; 1 as published.
        seed: of noise, levels and dropping.
        config: resolved configuration, kept in checkpoints.
    """

    def __init__(
        self,
        model: FoleyModel,
        optimizer: Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler] | None = None,
        token_dropout: float = 0.1,
        control_dropout: float = 0.2,
        level_mean: float = 0.0,
        level_std: float = 1.0,
        seed: int = 0,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.token_dropout = token_dropout
        self.control_dropout = control_dropout
        self.level_mean = level_mean
        self.level_std = level_std
        self.seed = seed
        self.config = dict(config or {})

    def training_step(self, batch: FoleyBatch, batch_idx: int) -> Tensor:
        """Loss of a training batch, with conditions dropped."""
        generator = self._generator(_TRAINING, self.current_epoch, batch_idx, self.global_rank)
        loss = self.loss(batch, generator, self.token_dropout, self.control_dropout)
        self.log("train_loss", loss, prog_bar=True, batch_size=len(batch.wave))
        return loss

    def validation_step(self, batch: FoleyBatch, batch_idx: int) -> None:
        """Logs ``valid_loss``: all conditions kept, the same noise and evenly spread levels every time."""
        generator = self._generator(_VALIDATION, 0, batch_idx, self.global_rank)
        n_clips = len(batch.wave)
        levels = diffusion.logit_normal_quantiles(n_clips * _N_VALIDATION_LEVELS, self.level_mean, self.level_std)
        losses = [self.loss(batch, generator, 0.0, 0.0, part) for part in levels.view(n_clips, -1).unbind(1)]
        loss = torch.stack(losses).mean()
        self.log("valid_loss", loss, prog_bar=True, batch_size=len(batch.wave), sync_dist=True)

    def loss(
        self,
        batch: FoleyBatch,
        generator: torch.Generator,
        token_dropout: float,
        control_dropout: float,
        levels: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error of the predicted v over a batch.

        Args:
            batch: sound and frames.
            generator: CPU noise source of everything random here.
            token_dropout: probability of dropping a clip's cross-attention tokens.
            control_dropout: probability of dropping a clip's envelope.
            levels: noise levels (B,); None: drawn.
        """
        with torch.autocast(self.device.type, enabled=False):  # what is measured and encoded keeps its precision
            latent = self.model.encode(batch.wave, generator)
            n_samples = self.model.padded_length(batch.wave.shape[-1])
            embeddings = self.model.embed(raw_conditions(self.model, batch), n_samples, generator)
            null = self.model.null_control(n_samples) if CONTROL_ID in embeddings and control_dropout else None
        if CONTROL_ID in embeddings:
            kept = self._keep(len(latent), control_dropout, generator)
            if null is not None:
                embeddings[CONTROL_ID] = torch.where(kept[:, None, None], embeddings[CONTROL_ID], null)
        conditions = self.model.conditions(embeddings)
        tokens = conditions.tokens
        if tokens is not None:
            tokens = tokens * self._keep(len(latent), token_dropout, generator)[:, None, None]
        conditions = Conditions(tokens, conditions.global_embed, conditions.control)
        noise = torch.randn(latent.shape, generator=generator).to(latent)
        if levels is None:
            levels = diffusion.logit_normal_levels(len(latent), generator, self.level_mean, self.level_std)
        t = levels.to(latent)
        v = self.model(diffusion.noised(latent, noise, t), t, conditions)
        return F.mse_loss(v.float(), diffusion.v_target(latent, noise, t).float())

    def _keep(self, n: int, dropout: float, generator: torch.Generator) -> Tensor:
        """Which of ``n`` clips keep a condition (n,), as booleans."""
        return (torch.rand(n, generator=generator) >= dropout).to(self.device)

    def _generator(self, *key: int) -> torch.Generator:
        """A CPU noise source that depends on the seed and ``key`` only."""
        state = np.random.SeedSequence([self.seed, *key]).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(state >> np.uint64(1)))

    def configure_optimizers(self) -> Any:
        """Optimiser, and schedule if any, over the trained weights."""
        optimizer = self.make_optimizer([p for p in self.parameters() if p.requires_grad])
        if self.make_scheduler is None:
            return optimizer
        try:
            scheduler = self.make_scheduler(optimizer)
        except ValueError as error:
            raise InputError(
                f"training.scheduler cannot be made ({error}); one that plans ahead needs trainer.max_steps=N."
            ) from error
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def state_dict(self, *_args: Any, **_kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """The trained weights only: frozen ones come from the files that the configuration names."""
        return self.model.trained_state()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load what ``state_dict`` gave; always strict."""
        del strict, assign
        return self.model.load_trained_state(state_dict, source="the checkpoint")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the resolved configuration, so that the file can be used without naming an experiment."""
        checkpoint["config"] = self.config

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses to resume over another backbone, or for another number of planned steps.

        Raises:
            InputError: the checkpoint belongs to another run than the configuration describes.
        """
        if checkpoint["config"]["backbone"]["sha256"] != self.model.backbone.sha256:
            raise InputError("The run to resume was trained over another backbone; give backbone.weights as it had it.")
        for schedule in checkpoint["lr_schedulers"]:
            planned = schedule.get("total_steps", self.trainer.max_steps)
            if planned != self.trainer.max_steps:
                raise InputError(
                    f"The run to resume was planned for {planned} steps, not {self.trainer.max_steps}; "
                    f"give trainer.max_steps={planned}, or start a new run."
                )
