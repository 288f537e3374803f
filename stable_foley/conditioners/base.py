"""The interface of conditioners: raw input → features (frozen, cacheable) → embedding → tokens (trained)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from stable_foley.codec import LatentCodec

Place = Literal["cross_attention", "global", "control"]


class Conditioner(nn.Module, ABC):
    """One kind of input that conditions the transformer.

    To add one, derive a class from this one and name it in a config file under ``conditioners``; its key there is its
    id. ``encode`` runs the frozen part: its features are deterministic, and a cache stores them. ``draw`` adds the
    random part. ``forward`` is the small trained part.

    Attributes:
        place: destination of its tokens: ``cross_attention``, (B, T, D), together with those of the other conditioners;
            ``global``, (B, 1, D), a part of the global condition; ``control``, (B, L, Z), the input of the control
            branch.
        reads: field of ``FoleyBatch`` that is passed to ``from_recording`` in training; None: the field named by its
            id.
        is_prompt: whether training drops it at random, so that a model also works without it, and guidance acts on it.
        belongs_to_backbone: whether its weights are part of the backbone and trained only with the transformer.
        trained: prefixes of its trained weights; the others are frozen and not stored in checkpoints.
    """

    place: ClassVar[Place] = "cross_attention"
    reads: ClassVar[str | None] = None
    is_prompt: ClassVar[bool] = True
    belongs_to_backbone: ClassVar[bool] = False
    trained: ClassVar[tuple[str, ...]] = ("proj_out.",)

    def attach(self, codec: LatentCodec) -> None:
        """Take what this conditioner needs from the model's latent codec; called once, when the model is built."""

    @property
    def encoder_id(self) -> str | None:
        """Settings and checksums that identify the encoder; None if encoding is too cheap to be cached."""
        return None

    def from_recording(self, recorded: Any) -> Any:
        """Convert the field of a batch that ``reads`` names to the raw input."""
        return recorded

    @abstractmethod
    def encode(self, raw: Any, n_samples: int) -> Tensor:
        """Run the frozen part.

        Args:
            raw: input of B clips.
            n_samples: length of the sound, whole tokens.

        Returns:
            Features (B, …), without gradient.
        """

    def draw(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Turn features into an embedding (B, …); by default the features themselves, without randomness."""
        del generator
        return features

    def absent(self, n_clips: int, n_frames: int) -> Tensor:
        """Return a placeholder embedding (B, …) for a prompt without input; its tokens are then dropped.

        Args:
            n_clips: number of clips B.
            n_frames: video frames of a clip.
        """
        raise NotImplementedError

    @abstractmethod
    def forward(self, embedding: Tensor) -> Tensor:
        """Map an embedding to tokens, see ``place``."""

    def tokens(self, embedding: Tensor, kept: Tensor | None = None) -> Tensor:
        """Map an embedding to tokens; clips without this condition get zeros.

        Args:
            embedding: (B, …).
            kept: which clips have the condition (B,); None: all.
        """
        tokens = self(embedding)
        return tokens if kept is None else tokens * kept[:, None, None]


class SoundPrompt(Conditioner):
    """A prompt for the sound: another sound or words, in one embedding space."""

    reads = "wave"

    @abstractmethod
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Encode B texts as features (B, D) in the space of sound features.

        Raises:
            InputError: a text has unknown words, or there is no text encoder.
        """
