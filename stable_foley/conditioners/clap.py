"""The sound prompt of the published model: LAION-CLAP's embedding of a sound or a text as one cross-attention token."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from clap.encoder import EMBED_DIM, ClapEncoder
from common.weights import weights_sha256
from stable_foley.conditioners.base import SoundPrompt


class ClapConditioner(SoundPrompt):
    """CLAP's embedding of a sound or a text, projected to the width of the cross-attention.

    The encoder is frozen; only the projection is trained. Since the encoder's file is large and only prompts need it,
    the encoder is built at the first prompt, and with its text branch at the first text. It is not a sub-module:
    checkpoints hold only `proj_out`, as the published one does, and the encoder moves to the device of `proj_out`.

    Args:
        clap: builds the embedding model; called with `text=True` if the text branch is needed.
        output_dim: width D of the token.
    """

    def __init__(self, clap: Callable[..., ClapEncoder], output_dim: int) -> None:
        super().__init__()
        self.clap = clap
        self.proj_out = nn.Linear(EMBED_DIM, output_dim)
        self._built: list[ClapEncoder] = []  # none or one; in a list, so it is not a sub-module

    def _encoder(self, *, text: bool) -> ClapEncoder:
        """Return the encoder on the device of the projection, and build it if it or its text branch is missing."""
        if not self._built or (text and self._built[0].text_branch is None):
            self._built = [self.clap(text=text)]
        return self._built[0].to(self.proj_out.weight.device)

    @property
    def encoder_id(self) -> str:
        """Checksum of the sound encoder, see ``weights_sha256``."""
        encoder = self._built[0] if self._built else self.clap(text=False)
        branches = ("audio_branch.", "audio_projection.")
        return weights_sha256({k: v for k, v in encoder.state_dict().items() if k.startswith(branches)})

    def encode(self, raw: Tensor, n_samples: int) -> Tensor:
        """Embed sounds (B, C, N) as (B, 512); errors as in `clap_encoder` and `ClapEncoder.embed_sound`."""
        del n_samples
        return self._encoder(text=False).embed_sound(raw)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed B texts as (B, 512); errors as in `clap_encoder` and `ClapEncoder.embed_text`."""
        return self._encoder(text=True).embed_text(texts)

    def absent(self, n_clips: int, n_frames: int) -> Tensor:
        """Return zeros (B, 512)."""
        del n_frames
        return torch.zeros(n_clips, EMBED_DIM, device=self.proj_out.weight.device)

    def forward(self, embedding: Tensor) -> Tensor:
        """Project embeddings (B, 512) to one token each (B, 1, D)."""
        return self.proj_out(embedding.to(self.proj_out.weight.dtype)).unsqueeze(1)
