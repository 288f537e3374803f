"""The contract of conditioners: raw input → features (frozen, cacheable) → embedding → tokens (trained)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from stable_foley.backbone import LatentCodec

Place = Literal["cross_attention", "global", "control"]


class Conditioner(nn.Module, ABC):
    """One kind of input that the transformer is conditioned on.

    To add one, derive a class from this and name it in a config file under ``conditioners``; its key there is its id.
    ``encode`` runs what is frozen: a feature is deterministic, and a cache keeps it. ``draw`` adds what is random.
    ``forward`` is the small trained part.

    Attributes:
        place: where its tokens go: ``cross_attention``, (B, T, D), beside those of the other conditioners; ``global``,
            (B, 1, D), a part of the global condition; ``control``, (B, L, Z), what the control branch reads.
        reads: field of ``FoleyBatch`` that ``from_recording`` is given in training; None: the field of its own id.
        is_prompt: whether training drops it, so that a model knows how to do without, and guidance acts on it.
        belongs_to_backbone: whether its weights are part of the backbone and trained only with the transformer.
        trained: how the names of its trained weights begin; the others are frozen and in no checkpoint.
    """

    place: ClassVar[Place] = "cross_attention"
    reads: ClassVar[str | None] = None
    is_prompt: ClassVar[bool] = True
    belongs_to_backbone: ClassVar[bool] = False
    trained: ClassVar[tuple[str, ...]] = ("proj_out.",)

    def attach(self, codec: LatentCodec) -> None:
        """Take what is needed of the model's latent codec; called once, when the model is built."""

    @property
    def encoder_id(self) -> str | None:
        """Settings and checksums that tell the encoder from any other; None: too cheap for a cache to keep features."""
        return None

    def from_recording(self, recorded: Any) -> Any:
        """Turn what a batch of recordings holds, see ``reads``, into the raw input."""
        return recorded

    @abstractmethod
    def encode(self, raw: Any, n_samples: int) -> Tensor:
        """Run what is frozen.

        Args:
            raw: input of B clips.
            n_samples: length of the sound, whole tokens.

        Returns:
            Features (B, …), without gradient.
        """

    def draw(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Turn features into an embedding (B, …), which is the features themselves unless it is random."""
        del generator
        return features

    def absent(self, n_clips: int, n_frames: int) -> Tensor:
        """Return an embedding (B, …) that stands in, and is dropped, where a prompt has no input.

        Args:
            n_clips: number of clips B.
            n_frames: video frames of a clip.
        """
        raise NotImplementedError

    @abstractmethod
    def forward(self, embedding: Tensor) -> Tensor:
        """Map an embedding to tokens, see ``place``."""

    def tokens(self, embedding: Tensor, kept: Tensor | None = None) -> Tensor:
        """Map an embedding to tokens; clips that do not keep this condition get zeros.

        Args:
            embedding: (B, …).
            kept: which clips keep it (B,); None: all.
        """
        tokens = self(embedding)
        return tokens if kept is None else tokens * kept[:, None, None]


class SoundPrompt(Conditioner):
    """What it should sound like: a sound or words, in one space of embeddings."""

    reads = "wave"

    @abstractmethod
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Encode B texts as features (B, D) in the space of those of sounds.

        Raises:
            InputError: a text cannot be understood, or the encoder of words is not there.
        """
