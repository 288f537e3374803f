"""The frames condition: one cross-attention token per video frame, from CAVP's frozen video tower."""

import math
from typing import Self

import torch
from torch import Tensor, nn

from cavp import Cavp, SlowOnly
from cavp.weights import load_cavp
from common.errors import InputError
from common.weights import check_sha256, encoder_weights, weights_sha256
from stable_foley.conditioners.base import Conditioner


class FramesConditioner(Conditioner):
    """CAVP's frame embeddings, projected to the width of the cross-attention.

    CAVP is frozen and stays in eval mode; only the projection is trained. Attribute names are those of the published
    checkpoint.

    Args:
        cavp: the embedding model; it needs only its video tower.
        output_dim: width D of the tokens.
        gain: factor of the embeddings, whose length is 1; the square root of their width makes the model learn them
            sooner.

    Raises:
        InputError: the gain is not a number above 0.
    """

    def __init__(self, cavp: Cavp, output_dim: int, gain: float = 1.0) -> None:
        super().__init__()
        if not isinstance(gain, int | float) or not 0 < gain < math.inf:
            raise InputError(f"conditioners.frames.gain is {gain!r}; expected a number above 0: correct it.")
        self.gain = gain
        self.stage1_model = cavp.requires_grad_(False).eval()
        self.proj_out = nn.Linear(cavp.embed_dim, output_dim)

    @property
    def encoder_id(self) -> str:
        """Checksum of CAVP, see ``weights_sha256``."""
        return weights_sha256(self.stage1_model.state_dict())

    def train(self, mode: bool = True) -> Self:
        """Set the training mode of the projection; CAVP stays in eval mode."""
        super().train(mode)
        self.stage1_model.eval()
        return self

    @torch.no_grad()
    def encode(self, raw: Tensor, n_samples: int) -> Tensor:
        """Embed frames with the frozen model, in its own precision even under autocast.

        Args:
            raw: frames (B, T, 3, H, W), RGB in 0..1.
            n_samples: any.

        Returns:
            (B, T, 512), L2-normalised, without gradient.

        Raises:
            ValueError: `frames` has another shape, or is not floating point.
        """
        del n_samples
        with torch.autocast(raw.device.type, enabled=False):
            return self.stage1_model.encode_video(raw)

    def absent(self, n_clips: int, n_frames: int) -> Tensor:
        """Return zeros (B, T, 512), one for each frame of a clip."""
        return torch.zeros(n_clips, n_frames, self.proj_out.in_features, device=self.proj_out.weight.device)

    def forward(self, embedding: Tensor) -> Tensor:
        """Project embeddings (B, T, 512) to tokens (B, T, D)."""
        return self.proj_out(embedding.to(self.proj_out.weight.dtype) * self.gain)


def video_tower(
    weights: str | None, random_weights: bool, name: str, sha256: str | None = None, option: str = "paths.cavp"
) -> Cavp:
    """Return CAVP's video tower with the published weights, or with random ones.

    Args:
        weights: `cavp_epoch66.ckpt`, or a published Stable-Foley checkpoint, which contains them; None for random
            weights.
        random_weights: whether random weights are allowed.
        name: name of the weights where they are published, for errors.
        sha256: expected checksum of the tower, see ``weights_sha256``; None accepts any.
        option: the option that names their file, for errors.

    Raises:
        InputError: the weights are not given, cannot be read, do not fit, or are not the expected ones.
    """
    path = encoder_weights(option, name, weights, random_weights)
    if path is None:
        return Cavp(SlowOnly())
    cavp = load_cavp(path)
    if sha256 is not None:
        check_sha256(
            weights_sha256(cavp.state_dict()), sha256, source=path, option=option, part="conditioners.frames.cavp"
        )
    return cavp
