"""The prompt of the small model: a sound, or words of Greatest Hits, in CAVP's space, as a global condition."""

import math
from collections.abc import Sequence

import torch
import torchaudio.functional
from torch import Tensor, nn
from torch.nn import functional as F

from cavp import Cavp, Cnn14, SlowOnly
from cavp.label_tower import LabelTower
from cavp.spectrogram import LogMel
from cavp.weights import load_cavp
from common.errors import InputError
from common.weights import encoder_weights, weights_sha256
from stable_foley.conditioners.base import SoundPrompt

WINDOW_S = 2.0
"""Duration of the sounds that CAVP is trained on."""
_CAVP_RATE_HZ = 16_000


class CavpPromptConditioner(SoundPrompt):
    """CAVP's embedding of a sound or of words, projected to a part of the global condition.

    As a global condition it scales and shifts every layer from the first training step on. In cross-attention it would
    be one token among those of the frames, and a small model with a short training does not learn to attend to it. CAVP
    is frozen; only the projection is trained and stored in checkpoints.

    Args:
        cavp: the embedding model, with audio and label tower.
        output_dim: width D of the part.
        sample_rate_hz: sample rate of the input sounds.

    Raises:
        InputError: CAVP lacks a tower.
    """

    place = "global"

    def __init__(self, cavp: Cavp, output_dim: int, sample_rate_hz: int = 44_100) -> None:
        super().__init__()
        if cavp.spec_encoder is None or cavp.label_encoder is None:
            raise InputError("conditioners.audio.cavp has no tower for words: give one that exp=mini_cavp trained.")
        self.sample_rate_hz = sample_rate_hz
        self.spectrogram = LogMel(_CAVP_RATE_HZ, cavp.spec_encoder.bn.num_features)
        self.proj_out = nn.Linear(cavp.embed_dim, output_dim)
        self._cavp = [cavp.requires_grad_(False).eval()]  # in a list, so it is not a sub-module and stays in eval mode

    @property
    def cavp(self) -> Cavp:
        """The embedding model, on the device of the projection."""
        return self._cavp[0].to(self.proj_out.weight.device)

    @property
    def encoder_id(self) -> str:
        """Checksum of CAVP, see ``weights_sha256``."""
        return weights_sha256(self._cavp[0].state_dict())

    @torch.no_grad()
    def encode(self, raw: Tensor, n_samples: int) -> Tensor:
        """Embed sounds, in float32 even under autocast.

        A sound is covered by the smallest number of evenly spaced windows of 2 s, whose embeddings are averaged; a
        shorter one is padded with silence.

        Args:
            raw: sounds (B, C, N), -1..1, N at least 1.
            n_samples: any.

        Returns:
            (B, D), L2-normalised, without gradient.

        Raises:
            InputError: the sound has no samples.
        """
        del n_samples
        if raw.shape[-1] == 0:
            raise InputError("The sound prompt has no samples, where at least one was expected: give another sound.")
        with torch.autocast(raw.device.type, enabled=False):
            mono = torchaudio.functional.resample(raw.float().mean(dim=1), self.sample_rate_hz, _CAVP_RATE_HZ)
            windows = _windows(mono, round(WINDOW_S * _CAVP_RATE_HZ))
            embeddings = self.cavp.encode_audio(self.spectrogram(windows.flatten(0, 1)), pool=True)
            return F.normalize(embeddings.unflatten(0, windows.shape[:2]).mean(dim=1), dim=-1)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed B texts as (B, D).

        Raises:
            InputError: a text has an unknown word, or no known word.
        """
        return self.cavp.encode_label(texts)

    def absent(self, n_clips: int, n_frames: int) -> Tensor:
        """Return zeros (B, D)."""
        del n_frames
        return torch.zeros(n_clips, self.proj_out.in_features, device=self.proj_out.weight.device)

    def forward(self, embedding: Tensor) -> Tensor:
        """Project embeddings (B, D), scaled to unit variance, to parts (B, 1, output_dim) of the global condition."""
        scaled = embedding.to(self.proj_out.weight.dtype) * math.sqrt(embedding.shape[-1])
        return self.proj_out(scaled).unsqueeze(1)


def _windows(mono: Tensor, window_samples: int) -> Tensor:
    """Cover sounds (B, N) with evenly spaced windows (B, n_windows, window_samples)."""
    mono = F.pad(mono, (0, max(0, window_samples - mono.shape[-1])))
    n_windows = math.ceil(mono.shape[-1] / window_samples)
    spare = mono.shape[-1] - window_samples
    starts = [spare * i // max(n_windows - 1, 1) for i in range(n_windows)]
    return torch.stack([mono[:, start : start + window_samples] for start in starts], dim=1)


def prompt_towers(weights: str | None, random_weights: bool, embed_dim: int = 256) -> Cavp:
    """Return CAVP with its towers for frames, sounds and words.

    Args:
        weights: a checkpoint of exp=mini_cavp; None for random weights.
        random_weights: whether random weights are allowed.
        embed_dim: embedding width of a model with random weights.

    Raises:
        InputError: the weights are not given, cannot be read or do not fit.
    """
    option = "conditioners.frames.cavp.weights"
    path = encoder_weights(option, "a checkpoint of exp=mini_cavp", weights, random_weights)
    if path is not None:
        return load_cavp(path, with_audio=True)
    towers = SlowOnly(16), Cnn14(16, embed_dim=embed_dim), LabelTower(embed_dim)
    return Cavp(*towers, embed_dim=embed_dim).eval()
