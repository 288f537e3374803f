"""Owns the sound prompt: LAION-CLAP (HTSAT-tiny, and RoBERTa where text is wanted) as one cross-attention token.

Importing this file loads neither laion-clap nor transformers; building an encoder does.

Source: Wu et al., "Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption
Augmentation", 2023.
"""

import importlib
import importlib.util
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional as F

from cavp import read_checkpoint
from data.errors import InputError
from stable_foley.weights import load_into, published_weights

if TYPE_CHECKING:
    from transformers import RobertaConfig, RobertaTokenizer

EMBED_DIM = 512
MAX_TEXT_TOKENS = 77
INT16_MAX = 32767
UNUSED_KEYS = ("audio_transform.", "text_transform.", "logit_scale_", "text_branch.embeddings.position_ids")
"""What keys of LAION's checkpoints begin with that no embedding needs; the last is a constant of older transformers."""
TEXT_KEYS = ("text_branch.", "text_projection.")
_ALIAS = "_laion_clap_inner"


def _import_htsat() -> ModuleType:
    """The module of laion-clap that holds HTSAT, without running `laion_clap/__init__.py`.

    That file edits `sys.path` and asks a hub for three tokenizers. Here the folder of its inner package is registered
    as an empty package of another name, within which the module's relative imports work.
    """
    if _ALIAS not in sys.modules:
        found = importlib.util.find_spec("laion_clap")
        if found is None or not found.submodule_search_locations:
            raise InputError(
                "The package laion-clap is not installed, and a sound prompt needs it: "
                "pip install --no-deps -r requirements-nodeps.txt"
            )
        package = ModuleType(_ALIAS)
        package.__path__ = [str(Path(found.submodule_search_locations[0]) / "clap_module")]
        sys.modules[_ALIAS] = package
    return importlib.import_module(f"{_ALIAS}.htsat")


def _projection(n_in: int) -> nn.Sequential:
    """The head of a branch, with the published key names."""
    return nn.Sequential(nn.Linear(n_in, EMBED_DIM), nn.ReLU(), nn.Linear(EMBED_DIM, EMBED_DIM))


def _roberta_base() -> "RobertaConfig":
    """The sizes of roberta-base, where they are not the defaults of transformers."""
    from transformers import RobertaConfig

    return RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)


def _load_tokenizer(name: str, n_entries: int) -> "RobertaTokenizer":
    """RoBERTa's tokenizer from this machine, checked to be whole.

    Where files are missing transformers may hand back a tokenizer that knows nothing but its special tokens.
    """
    from transformers import RobertaTokenizer

    try:
        tokenizer = RobertaTokenizer.from_pretrained(name, local_files_only=True)
        n_found = len(tokenizer)
    except OSError:
        n_found = 0
    if n_found != n_entries:
        raise InputError(
            f"Text prompts need the tokenizer {name!r} with {n_entries} entries, of which {n_found} are on this "
            "machine: run `hf download roberta-base vocab.json merges.txt` once, or use a sound prompt."
        )
    return tokenizer


def _read_weights(path: Path, *, text: bool) -> dict[str, Tensor]:
    """The weights that an encoder with or without text branch has, out of a checkpoint of LAION's training.

    Such a file holds numpy numbers beside the weights, hence the list of what unpickling these takes.
    """
    rebuild: Any = np.float64(0).__reduce__()[0]
    scalars = [(rebuild, "numpy.core.multiarray.scalar"), (rebuild, "numpy._core.multiarray.scalar")]
    dtypes = [type(np.dtype(kind)) for kind in ("f4", "f8", "i8")]
    try:
        with torch.serialization.safe_globals([*scalars, np.dtype, *dtypes]):
            state = read_checkpoint(path)
    except ValueError as error:
        raise InputError(str(error)) from error
    unused = UNUSED_KEYS if text else UNUSED_KEYS + TEXT_KEYS
    state = {key.removeprefix("module."): value for key, value in state.items()}
    return {key: value for key, value in state.items() if not key.startswith(unused)}


class ClapEncoder(nn.Module):
    """Sounds, and where asked for also texts, as unit vectors of one space; always frozen and in eval mode.

    Module names are those of LAION's checkpoints.

    Args:
        weights: checkpoint of LAION's HTSAT-tiny model without feature fusion, for instance `630k-audioset-best.pt`;
            None leaves the weights random.
        text: whether to build the text branch too.
        sample_rate_hz: sample rate of the sounds that will be given.
        tokenizer: name in the local cache of the hub, or folder, of RoBERTa's tokenizer, for text.

    Raises:
        InputError: laion-clap is not installed, the tokenizer cannot be had, or the weights cannot be read or do not
            fit (the first ten keys are listed).
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        text: bool = False,
        sample_rate_hz: int = 44_100,
        tokenizer: str | Path = "roberta-base",
    ) -> None:
        super().__init__()
        htsat = _import_htsat()
        config_path = Path(str(htsat.__file__)).parent / "model_configs" / "HTSAT-tiny.json"
        config = json.loads(config_path.read_text(encoding="utf-8"))
        audio_config = SimpleNamespace(**config["audio_cfg"])
        self.sample_rate_hz = sample_rate_hz
        self.inner_sample_rate_hz: int = audio_config.sample_rate
        self.window_samples: int = audio_config.clip_samples
        self.audio_branch: nn.Module = htsat.create_htsat_model(audio_config)
        self.audio_projection = _projection(config["embed_dim"])
        self.text_branch: nn.Module | None = None
        if text:
            self._add_text_branch(str(tokenizer))
        if weights is not None:
            load_into(self, _read_weights(Path(weights), text=text), source=weights)
        self.requires_grad_(False).eval()

    def _add_text_branch(self, tokenizer: str) -> None:
        from transformers import RobertaModel

        config = _roberta_base()
        self.tokenizer = _load_tokenizer(tokenizer, config.vocab_size)
        self.text_branch = RobertaModel(config)
        self.text_projection = _projection(config.hidden_size)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode whatever is asked for: dropout and spectrogram masking would change the embeddings."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def embed_sound(self, wave: Tensor) -> Tensor:
        """Embed sounds, in float32 even under autocast.

        A sound shorter than 10 s is repeated as often as it fits and padded with silence; a longer one is covered by
        the smallest number of evenly spaced 10 s windows, whose embeddings are averaged.

        Args:
            wave: (B, C, N) at `sample_rate_hz`, -1..1; any C, which is averaged, and any N of at least 1.

        Returns:
            (B, 512), L2-normalised, without gradient.

        Raises:
            InputError: the sound has no samples.
        """
        if wave.shape[-1] == 0:
            raise InputError("The sound prompt has no samples, where at least one was expected: give another sound.")
        with torch.autocast(wave.device.type, enabled=False):
            mono = torchaudio.functional.resample(
                wave.float().mean(dim=1), self.sample_rate_hz, self.inner_sample_rate_hz
            )
            quantised = (mono.clamp(-1, 1) * INT16_MAX).to(torch.int16) / INT16_MAX
            windows = self._windows(quantised)
            features = self.audio_branch({"waveform": windows.flatten(0, 1)})["embedding"]
            per_window = F.normalize(self.audio_projection(features), dim=-1).unflatten(0, windows.shape[:2])
            return F.normalize(per_window.mean(dim=1), dim=-1)

    def _windows(self, mono: Tensor) -> Tensor:
        """Cut (B, N) into evenly spaced windows (B, n_windows, 10 s) that cover it, or fill one window with it."""
        n, n_window = mono.shape[-1], self.window_samples
        if n < n_window:
            repeated = mono.repeat(1, n_window // n)
            return F.pad(repeated, (0, n_window - repeated.shape[-1])).unsqueeze(1)
        n_windows = math.ceil(n / n_window)
        starts = [(n - n_window) * i // max(n_windows - 1, 1) for i in range(n_windows)]
        return torch.stack([mono[:, start : start + n_window] for start in starts], dim=1)

    @torch.no_grad()
    def embed_text(self, prompts: Sequence[str]) -> Tensor:
        """Embed texts, in float32 even under autocast; beyond 77 tokens a text is cut.

        Args:
            prompts: B texts.

        Returns:
            (B, 512), L2-normalised, without gradient.

        Raises:
            InputError: the encoder was built without its text branch.
        """
        if self.text_branch is None:
            raise InputError(
                f"The text prompt {prompts[0]!r} needs CLAP's text branch, and this CLAP has its audio branch alone: "
                "build it with text=True, or use a sound prompt."
            )
        device = next(self.parameters()).device
        tokens = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=MAX_TEXT_TOKENS, return_tensors="pt"
        ).to(device)
        with torch.autocast(device.type, enabled=False):
            pooled = self.text_branch(tokens["input_ids"], attention_mask=tokens["attention_mask"]).pooler_output
            return F.normalize(self.text_projection(pooled), dim=-1)


class ClapConditioner(nn.Module):
    """CLAP's embedding of a sound or a text, projected to the width of the cross-attention.

    The encoder is frozen; the projection alone is trained. The published checkpoint holds `proj_out` and no CLAP.

    Args:
        clap: the embedding model.
        output_dim: width D of the token.
    """

    def __init__(self, clap: ClapEncoder, output_dim: int) -> None:
        super().__init__()
        self.clap = clap
        self.proj_out = nn.Linear(EMBED_DIM, output_dim)

    def embed(self, sound: Tensor) -> Tensor:
        """Embed sounds (B, C, N) as (B, 512); see `ClapEncoder.embed_sound`."""
        return self.clap.embed_sound(sound)

    def embed_text(self, prompts: Sequence[str]) -> Tensor:
        """Embed B texts as (B, 512); see `ClapEncoder.embed_text`."""
        return self.clap.embed_text(prompts)

    def forward(self, embedding: Tensor) -> Tensor:
        """Project embeddings (B, 512) to one token each (B, 1, D)."""
        return self.proj_out(embedding.to(self.proj_out.weight.dtype)).unsqueeze(1)


def clap_encoder(weights: str | None, random_weights: bool, text: bool = False) -> ClapEncoder:
    """LAION-CLAP with the published weights, or random ones.

    Args:
        weights: `630k-audioset-best.pt`; None for random weights.
        random_weights: whether random weights will do.
        text: whether to build the text branch too, for prompts in words.

    Raises:
        InputError: the weights are not given, cannot be read or do not fit.
    """
    return ClapEncoder(published_weights("paths.clap", weights, random_weights), text=text)
