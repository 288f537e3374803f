"""Owns the training of the Foley model: the loss of one batch. Nothing else."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from omegaconf import DictConfig
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor

from common.errors import InputError
from data.batch import FoleyBatch
from data.cache import SOUND
from stable_foley import diffusion
from stable_foley.conditions import CONTROL_ID, FRAMES_ID, PROMPT_ID
from stable_foley.config import build_model, composed_config
from stable_foley.features import encode_features, encode_levels, encoder_ids
from stable_foley.model import FoleyModel
from training.across import preceding
from training.config import describing, instantiate
from training.module import Training
from training.noise import ClipNoise

_TRAINING, _VALIDATION = 0, 1


class FoleyTraining(Training):
    """Trains a ``FoleyModel`` with the v objective.

    Noise, noise levels and dropped conditions of a clip depend on the seed, the epoch, the number of the batch and its
    place in it only. So a resumed run repeats what an uninterrupted one does, several devices do what one does with
    the whole batch, and validation losses can be compared.

    Args:
        model: the model; its trained parts are optimised.
        token_dropout: probability that a training clip loses its frames and its sound prompt (zeros instead).
        control_dropout: probability that a training clip loses its envelope (-1 everywhere instead).
        single_dropout: probability that a training clip loses its frames but not its sound prompt, and that it loses
            its sound prompt but not its frames, at most 0.5; 0 as published. Dropping each prompt separately teaches
            the model to follow either one on its own.
        mismatched_frames: probability that a training clip with both prompts sees the frames of another clip, 0 as
            published. The sound prompt then decides what is heard where the two disagree.
        words_share: share of clips whose sound prompt is their label's words instead of their sound, 0 as published.
        level_mean: mean of the noise levels' logits; 0 as published.
        level_std: standard deviation of the noise levels' logits; 1 as published.
        **common: optimiser, schedule, seed and configuration, see ``Training``.
    """

    model: FoleyModel
    n_validation_levels = 4
    """Noise levels for each validation clip."""

    def __init__(
        self,
        model: FoleyModel,
        token_dropout: float = 0.1,
        control_dropout: float = 0.2,
        single_dropout: float = 0.0,
        mismatched_frames: float = 0.0,
        words_share: float = 0.0,
        level_mean: float = 0.0,
        level_std: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(model, **common)
        self.token_dropout = token_dropout
        self.control_dropout = control_dropout
        limits = {
            "token_dropout": (token_dropout, 1.0),
            "control_dropout": (control_dropout, 1.0),
            "single_dropout": (single_dropout, 0.5),
            "mismatched_frames": (mismatched_frames, 1.0),
            "words_share": (words_share, 1.0),
            "level_std": (level_std, math.inf),
        }
        for name, (value, highest) in limits.items():
            if not 0 <= value <= highest:
                raise InputError(f"training.{name} is {value}; expected 0 to {highest:g}: give training.{name}=NUMBER.")
        self.single_dropout = single_dropout
        self.mismatched_frames = mismatched_frames
        self.words_share = words_share
        self.level_mean = level_mean
        self.level_std = level_std

    @classmethod
    def from_config(cls, config: DictConfig) -> Self:
        """Return the training, with its model, that a whole configuration describes.

        Raises:
            InputError: a part of the configuration or a file does not fit.
        """
        model = build_model(config)
        model.check_sound(config.dataset.spec.sample_rate_hz, config.dataset.spec.n_channels)
        return instantiate(config.training)(model=model, config=composed_config(config, model))

    def encoder_ids(self) -> dict[str, str]:
        """For each feature of the model, what tells its encoder from any other."""
        return encoder_ids(self.model)

    def encode(self, batch: FoleyBatch, factors: Sequence[float]) -> dict[str, Tensor]:
        """Return features of a batch whose sound is multiplied by each of the factors, see ``Training``."""
        return encode_levels(self.model, batch, factors)

    def on_fit_start(self) -> None:
        """Keep frozen weights in the type of a mixed-precision training."""
        plugin = self.trainer.precision_plugin
        if type(plugin) is MixedPrecision:  # a sub-class for sharded weights needs all of one type
            self.model.store_frozen(torch.bfloat16 if plugin.precision == "bf16-mixed" else torch.float16)

    def training_step(self, batch: FoleyBatch, batch_idx: int) -> Tensor:
        """Return the loss of a training batch, with conditions dropped."""
        noise = self.noise(len(batch), _TRAINING, self.current_epoch, batch_idx)
        loss = self.loss(batch, noise, dropping=True)
        self.log("train_loss", loss, prog_bar=True, batch_size=len(batch), sync_dist=True)
        return loss

    def validation_step(self, batch: FoleyBatch | None, batch_idx: int) -> None:
        """Find ``valid_loss``: all conditions kept, the same noise and evenly spread levels every time."""
        if batch is None:  # every chunk of it is damaged
            return
        share = self.validation_share(len(batch), batch_idx)
        batch = batch.clips(0, len(share.places))
        noise = self.noise_at(share.places, _VALIDATION, 0, batch_idx)
        quantiles = diffusion.logit_normal_quantiles(
            share.n_clips * self.n_validation_levels, self.level_mean, self.level_std
        )
        levels = quantiles.view(share.n_clips, -1)[list(share.places)]
        loss = torch.stack(self.validation_losses(batch, noise, levels)).mean()
        self.add_validated({"valid_loss": loss}, share)

    def validation_losses(self, batch: FoleyBatch, noise: ClipNoise, levels: Tensor) -> list[Tensor]:
        """Return losses of a batch at several noise levels of each clip (B, K)."""
        return [self.loss(batch, noise, levels=part) for part in levels.unbind(1)]

    def loss(
        self, batch: FoleyBatch, noise: ClipNoise, *, dropping: bool = False, levels: Tensor | None = None
    ) -> Tensor:
        """Return the mean squared error of the predicted v over a batch, channels weighted as the codec says.

        Args:
            batch: sound and frames, or their cached features.
            noise: source of everything random here.
            dropping: whether clips lose conditions, or see other frames, as in training.
            levels: noise levels (B,); None: drawn.
        """
        return self.error(*self.recorded(batch, noise, dropping=dropping), noise, levels)

    def error(
        self,
        latent: Tensor,
        embeddings: dict[str, Tensor],
        kept: dict[str, Tensor],
        noise: ClipNoise,
        levels: Tensor | None,
    ) -> Tensor:
        """Return the loss of what ``recorded`` gave; ``noise`` and ``levels`` as in ``loss``."""
        conditions = self.model.conditioner(embeddings, kept)
        added = noise.normal(*latent.shape[1:]).to(latent)
        if levels is None:
            levels = torch.cat(
                [diffusion.logit_normal_levels(1, each, self.level_mean, self.level_std) for each in noise.generators]
            )
        t = levels.to(latent)
        v = self.model(diffusion.noised(latent, added, t), t, conditions)
        error = v.float() - diffusion.v_target(latent, added, t).float()
        return (self.model.pretransform.loss_weights * error.square()).mean()

    def recorded(
        self, batch: FoleyBatch, noise: ClipNoise, *, dropping: bool
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Return latents (B, Z, L) of a batch, embeddings of its conditions by id, and which clips keep each.

        Args:
            batch: sound and frames, or their cached features.
            noise: source of everything random here.
            dropping: whether clips lose conditions, or see other frames, as in training.
        """
        with torch.autocast(self.device.type, enabled=False):  # what is measured and encoded keeps its precision
            features = batch.features or encode_features(self.model, batch)
            latent, embeddings = self._drawn(features, batch, noise)
            if PROMPT_ID in embeddings and self.words_share:
                embeddings[PROMPT_ID] = self._with_words(embeddings[PROMPT_ID], batch.labels, noise)
        kept = self._kept(noise) if dropping else {}
        if dropping and self.mismatched_frames and {FRAMES_ID, PROMPT_ID} <= embeddings.keys():
            embeddings[FRAMES_ID] = self._mismatched(embeddings[FRAMES_ID], kept.get(PROMPT_ID), noise)
        return latent, embeddings, kept

    def _drawn(
        self, features: Mapping[str, Tensor], batch: FoleyBatch, noise: ClipNoise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Draw the latent of each clip and its embeddings from features."""
        features = self.model.conditioner.with_cheap(features, batch)
        latents, embeddings = [], []
        for i, generator in enumerate(noise.generators):
            clip = {key: value[i : i + 1] for key, value in features.items()}
            latents.append(self.model.pretransform.draw(clip[SOUND], generator))
            embeddings.append(self.model.conditioner.draw(clip, generator))
        return torch.cat(latents), {key: torch.cat([each[key] for each in embeddings]) for key in embeddings[0]}

    def _kept(self, noise: ClipNoise) -> dict[str, Tensor]:
        """Draw which clips keep each condition that training drops."""
        conditioner, kept = self.model.conditioner, {}
        if CONTROL_ID in conditioner.by_id:
            drawn = noise.uniform().to(self.device)
            if self.control_dropout:
                kept[CONTROL_ID] = drawn >= self.control_dropout
        if self.single_dropout:
            drawn = noise.uniform().to(self.device)
            kept |= {FRAMES_ID: drawn >= self.single_dropout, PROMPT_ID: drawn < 1 - self.single_dropout}
        if conditioner.prompts:
            together = noise.uniform().to(self.device) >= self.token_dropout
            kept |= {key: kept[key] & together if key in kept else together for key in conditioner.prompts}
        return kept

    def _mismatched(self, frames: Tensor, prompted: Tensor | None, noise: ClipNoise) -> Tensor:
        """Return embeddings of frames (B, T, D), some of those with a prompt replaced by another clip's."""
        other = noise.uniform().to(self.device) < self.mismatched_frames
        if prompted is not None:
            other &= prompted
        return torch.where(other[:, None, None], preceding(frames), frames)

    def _with_words(self, prompts: Tensor, labels: Sequence[str], noise: ClipNoise) -> Tensor:
        """Return embeddings (B, D) of sounds, a share of them replaced by those of the clips' labels."""
        spoken = (noise.uniform() < self.words_share).tolist()
        chosen = [i for i, label in enumerate(labels) if spoken[i] and label]
        if chosen:
            words = self.model.conditioner.sound_prompt.encode_text([labels[i] for i in chosen])
            prompts = prompts.index_put((torch.tensor(chosen, device=prompts.device),), words.to(prompts))
        return prompts

    def state_dict(self, *_args: Any, **_kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """Return the trained weights; frozen ones come from the files that the configuration names."""
        return self.model.trained_state()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load what ``state_dict`` gave; always strict."""
        del strict, assign
        return self.model.load_trained_state(state_dict, source="the checkpoint")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume over another backbone, or what ``Training`` refuses.

        Raises:
            InputError: the checkpoint belongs to another run than the configuration describes.
        """
        with describing("the checkpoint to resume"):
            sha256 = checkpoint["config"]["backbone"]["sha256"]
        if sha256 != self.model.backbone.sha256:
            raise InputError("The run to resume was trained over another backbone; give backbone.weights as it had it.")
        super().on_load_checkpoint(checkpoint)
