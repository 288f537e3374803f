"""The contrastive model: its towers, their common embedding space and the logit scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cavp.audio_tower import Cnn14
from cavp.label_tower import LabelTower, words_of
from cavp.video_tower import MAX_WIDTH, SlowOnly
from common.errors import InputError, check_range

INITIAL_TEMPERATURE = 0.07


@dataclass(frozen=True)
class ContrastiveOutput:
    """Embeddings of a batch of clips, as a contrastive loss needs them.

    Attributes:
        video: (B, D), L2-normalised clip embeddings of the frames.
        audio: (B, D), L2-normalised clip embeddings of the sound.
        logit_scale: scalar that multiplies cosine similarities; 1 / 0.07 before training.
    """

    video: Tensor
    audio: Tensor
    logit_scale: Tensor


class Cavp(nn.Module):
    """A model that embeds frames and, with the optional towers, sounds and words as unit vectors of one space.

    Args:
        video_encoder: the video tower.
        spec_encoder: the audio tower; None if only frames are embedded, as in the Foley model. The logit scale exists
            only together with it.
        label_encoder: a tower for words, which the published model does not have; or None.
        embed_dim: width D of the embedding.

    Raises:
        InputError: embed_dim is out of range, or a tower has another embedding width.

    Source: Luo et al., "Diff-Foley", 2023, section 3.1.
    """

    def __init__(
        self,
        video_encoder: SlowOnly,
        spec_encoder: Cnn14 | None = None,
        label_encoder: LabelTower | None = None,
        *,
        embed_dim: int = 512,
    ) -> None:
        super().__init__()
        check_range("embed_dim of CAVP", embed_dim, 1, MAX_WIDTH, whole=True)
        for name, tower in (("audio", spec_encoder), ("label", label_encoder)):
            if tower is not None and tower.embed_dim != embed_dim:
                raise InputError(
                    f"The {name} tower has embeddings of width {tower.embed_dim} and the video tower of {embed_dim}: "
                    "give all the same embed_dim."
                )
        self.embed_dim = embed_dim
        self.video_encoder = video_encoder
        self.video_project_head = nn.Linear(video_encoder.n_features, embed_dim)
        self.spec_encoder = spec_encoder
        self.label_encoder = label_encoder
        initial_scale = torch.tensor(math.log(1 / INITIAL_TEMPERATURE))
        self.logit_scale = nn.Parameter(initial_scale) if spec_encoder is not None else None

    def encode_video(self, frames: Tensor, *, pool: bool = False) -> Tensor:
        """Embed frames.

        Args:
            frames: (B, T, 3, H, W), RGB in 0..1, not standardised; the published weights were trained on 4 frames per
                second at 224 x 224.
            pool: whether to embed the clip (maximum over time) instead of each frame.

        Returns:
            (B, T, D), or (B, D) when pooled; L2-normalised.

        Raises:
            ValueError: `frames` has another shape, or is not floating point.
        """
        if frames.ndim != 5 or frames.shape[2] != 3 or not frames.is_floating_point():
            raise ValueError(
                f"Frames have shape {tuple(frames.shape)} and type {frames.dtype} where (B, T, 3, H, W) of floating "
                "point in 0..1 was expected: permute the axes and divide bytes by 255."
            )
        features = self.video_project_head(self.video_encoder(frames.transpose(1, 2)))
        return _unit(features, pool=pool)

    def encode_audio(self, log_mel: Tensor, *, pool: bool = False) -> Tensor:
        """Embed a sound.

        Args:
            log_mel: (B, 1, frames, n_mels), see `Cnn14.forward`.
            pool: whether to embed the clip (maximum over time) instead of each time step.

        Returns:
            (B, frames // 16, D), or (B, D) when pooled; L2-normalised.

        Raises:
            ValueError: the model was built without its audio tower.
        """
        if self.spec_encoder is None:
            raise ValueError("This CAVP has no audio tower: build it with one, or load it with `with_audio=True`.")
        return _unit(self.spec_encoder(log_mel), pool=pool)

    def encode_label(self, texts: Sequence[str]) -> Tensor:
        """Embed texts of known words, see `words_of`.

        Args:
            texts: B texts.

        Returns:
            (B, D), L2-normalised.

        Raises:
            ValueError: the model was built without its label tower.
            InputError: a text has an unknown word, or no known word.
        """
        if self.label_encoder is None:
            raise ValueError("This CAVP has no label tower: load one that exp=mini_cavp.yaml trained.")
        return F.normalize(self.label_encoder([words_of(text) for text in texts]), dim=-1)

    def forward(self, frames: Tensor, log_mel: Tensor) -> ContrastiveOutput:
        """Embed clips and their sounds, for a contrastive loss.

        Args:
            frames: (B, T, 3, H, W), see `encode_video`.
            log_mel: (B, 1, frames, n_mels), see `Cnn14.forward`.

        Returns:
            The clip embeddings and the logit scale.

        Raises:
            ValueError: the model was built without its audio tower, or a shape is wrong.
        """
        audio = self.encode_audio(log_mel, pool=True)
        assert self.logit_scale is not None
        return ContrastiveOutput(self.encode_video(frames, pool=True), audio, self.logit_scale.exp())


def _unit(features: Tensor, *, pool: bool) -> Tensor:
    """Scale (B, T, D) to unit length per time step; if pooled, scale the maximum over time (B, D) instead."""
    return F.normalize(features.amax(dim=1) if pool else features, dim=-1)
