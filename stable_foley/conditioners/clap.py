"""The sound prompt of the published model: LAION-CLAP's embedding of a sound or a text as one cross-attention token."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from clap.encoder import EMBED_DIM, ClapEncoder
from common.weights import weights_sha256


class ClapConditioner(nn.Module):
    """CLAP's embedding of a sound or a text, projected to the width of the cross-attention.

    The encoder is frozen; the projection alone is trained. The encoder is built at the first prompt, and with its text
    branch at the first text, since its file is large and needed by prompts alone. It is no sub-module: checkpoints hold
    `proj_out` alone, as the published one does, and the encoder follows it from device to device.

    Args:
        clap: builds the embedding model; called with `text=True` where it needs the text branch.
        output_dim: width D of the token.
    """

    def __init__(self, clap: Callable[..., ClapEncoder], output_dim: int) -> None:
        super().__init__()
        self.clap = clap
        self.proj_out = nn.Linear(EMBED_DIM, output_dim)
        self._built: list[ClapEncoder] = []  # none or one; an attribute of its own would be a sub-module

    def _encoder(self, *, text: bool) -> ClapEncoder:
        """The encoder, on the device of the projection; built where there is none, or none for the text asked for."""
        if not self._built or (text and self._built[0].text_branch is None):
            self._built = [self.clap(text=text)]
        return self._built[0].to(self.proj_out.weight.device)

    @property
    def sha256(self) -> str:
        """Checksum of what embeds sounds, see ``weights_sha256``."""
        encoder = self._built[0] if self._built else self.clap(text=False)
        branches = ("audio_branch.", "audio_projection.")
        return weights_sha256({k: v for k, v in encoder.state_dict().items() if k.startswith(branches)})

    def embed(self, sound: Tensor) -> Tensor:
        """Embed sounds (B, C, N) as (B, 512); errors as in `clap_encoder` and `ClapEncoder.embed_sound`."""
        return self._encoder(text=False).embed_sound(sound)

    def embed_text(self, prompts: Sequence[str]) -> Tensor:
        """Embed B texts as (B, 512); errors as in `clap_encoder` and `ClapEncoder.embed_text`."""
        return self._encoder(text=True).embed_text(prompts)

    def forward(self, embedding: Tensor) -> Tensor:
        """Project embeddings (B, 512) to one token each (B, 1, D)."""
        return self.proj_out(embedding.to(self.proj_out.weight.dtype)).unsqueeze(1)
