"""LAION-CLAP: embeds sounds (HTSAT-tiny) and, on request, texts (RoBERTa) in one space.

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
from typing import TYPE_CHECKING

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import InputError
from common.hub import hub_file
from common.weights import WeightSelection, encoder_weights, load_into, read_weights

if TYPE_CHECKING:
    from transformers import RobertaConfig, RobertaTokenizer

EMBED_DIM = 512
MAX_TEXT_TOKENS = 77
INT16_MAX = 32767
UNUSED_KEYS = ("audio_transform.", "text_transform.", "logit_scale_", "text_branch.embeddings.position_ids")
"""Prefixes of keys in LAION's checkpoints that embedding does not need; the last is a constant of old transformers."""
TEXT_KEYS = ("text_branch.", "text_projection.")
FUSION_KEYS = "audio_branch.patch_embed.mel_conv2d."
TOKENIZER = "FacebookAI/roberta-base"
TOKENIZER_FILES = ("vocab.json", "merges.txt")
DOWNLOAD = f"hf download {TOKENIZER} {' '.join(TOKENIZER_FILES)}"
_ALIAS = "_laion_clap_inner"


def _import_htsat() -> ModuleType:
    """Import the module of laion-clap that holds HTSAT, without running `laion_clap/__init__.py`.

    That file edits `sys.path` and downloads three tokenizers. Here the folder of the inner package is registered as an
    empty package with another name, within which the module's relative imports work.
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
    """Make the head of a branch, with the published key names."""
    return nn.Sequential(nn.Linear(n_in, EMBED_DIM), nn.ReLU(), nn.Linear(EMBED_DIM, EMBED_DIM))


def _roberta_base() -> "RobertaConfig":
    """Return the configuration of roberta-base."""
    from transformers import RobertaConfig

    return RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)


def _load_tokenizer(folder: Path | None, n_entries: int) -> "RobertaTokenizer":
    """Load RoBERTa's tokenizer from a folder, or from the hub or its local cache, and check that it is complete.

    If files are missing, transformers returns a tokenizer without merges, or one with special tokens only.
    """
    from transformers import RobertaTokenizer

    if folder is None:
        remedy = f"or fill that cache once by `{DOWNLOAD}` while there is network, or use a sound prompt"
        files = [hub_file(TOKENIZER, name, remedy=remedy) for name in TOKENIZER_FILES]
        folder = files[0].parent
    whole = all((folder / name).is_file() for name in TOKENIZER_FILES)
    tokenizer = RobertaTokenizer.from_pretrained(folder) if whole else None
    if tokenizer is None or len(tokenizer) != n_entries:
        raise InputError(
            f"The folder {folder} does not hold {' and '.join(TOKENIZER_FILES)} of {TOKENIZER} with their {n_entries} "
            f"entries, which a text prompt needs: run `{DOWNLOAD} --local-dir {folder}`, or use a sound prompt."
        )
    return tokenizer


def _read_clap(path: Path, *, text: bool) -> WeightSelection:
    """Read the weights for an encoder with or without text branch from a checkpoint of LAION's training."""
    state = read_weights(path)
    unused = UNUSED_KEYS if text else UNUSED_KEYS + TEXT_KEYS
    names = {key.removeprefix("module."): key for key in state}
    return WeightSelection(state, {name: key for name, key in names.items() if not name.startswith(unused)})


class ClapEncoder(nn.Module):
    """A frozen encoder of sounds and, on request, texts as unit vectors of one space, always in eval mode.

    Module names are those of LAION's checkpoints.

    Args:
        weights: checkpoint of LAION's HTSAT-tiny model, without feature fusion (`630k-audioset-best.pt`) or with it
            (`630k-audioset-fusion-best.pt`): its keys decide. None: random weights without fusion, always the same.
        text: whether to build the text branch too.
        sample_rate_hz: sample rate of the input sounds.
        tokenizer: folder with RoBERTa's `vocab.json` and `merges.txt`, for text; None: from the hub or its cache.

    Raises:
        InputError: laion-clap is not installed, the tokenizer is not available, or the weights cannot be read or do not
            fit (the first ten keys are listed).
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        text: bool = False,
        sample_rate_hz: int = 44_100,
        tokenizer: Path | None = None,
    ) -> None:
        super().__init__()
        htsat = _import_htsat()
        config_path = Path(str(htsat.__file__)).parent / "model_configs" / "HTSAT-tiny.json"
        config = json.loads(config_path.read_text(encoding="utf-8"))
        self.sample_rate_hz = sample_rate_hz
        self.audio_config = SimpleNamespace(**config["audio_cfg"])
        self.window_samples: int = self.audio_config.clip_samples
        state = None if weights is None else _read_clap(Path(weights), text=text)
        self.fusion = any(key.startswith(FUSION_KEYS) for key in state or ())
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # CPU only; torch.manual_seed would also seed the GPUs
            self.audio_branch: nn.Module = htsat.create_htsat_model(self.audio_config, self.fusion, "aff_2d")
            self.audio_projection = _projection(config["embed_dim"])
            self.text_branch: nn.Module | None = None
            if text:
                self._add_text_branch(tokenizer)
        if state is not None:
            load_into(self, state, source=weights)
        self.requires_grad_(False).eval()

    def _add_text_branch(self, tokenizer: Path | None) -> None:
        from transformers import RobertaModel

        config = _roberta_base()
        self.tokenizer = _load_tokenizer(tokenizer, config.vocab_size)
        self.text_branch = RobertaModel(config)
        self.text_projection = _projection(config.hidden_size)

    @torch.no_grad()
    def embed_sound(self, wave: Tensor) -> Tensor:
        """Embed sounds (B, C, N), -1..1 at `sample_rate_hz`, as (B, 512), L2-normalised, always in float32.

        Channels are averaged. A sound shorter than 10 s is repeated as often as it fits and padded with silence. A
        longer one is covered by the smallest number of evenly spaced 10 s windows, whose embeddings are averaged. A
        model with feature fusion instead reads a longer sound in one pass, as the whole resized to the number of frames
        of 10 s, and three 10 s chunks. laion-clap draws the start of each chunk at random from a third of the possible
        starts; here it is the middle of that third.

        Raises:
            InputError: the sound has no samples.
        """
        if wave.shape[-1] == 0:
            raise InputError("The sound prompt has no samples, where at least one was expected: give another sound.")
        with torch.autocast(wave.device.type, enabled=False):
            mono = wave.float().mean(dim=1)
            mono = torchaudio.functional.resample(mono, self.sample_rate_hz, self.audio_config.sample_rate)
            filled = self._fill((mono.clamp(-1, 1) * INT16_MAX).to(torch.int16) / INT16_MAX)
            inputs = self._whole_and_chunks(filled) if self.fusion else {"waveform": self._windows(filled)}
            embeddings = F.normalize(self.audio_projection(self.audio_branch(inputs)["embedding"]), dim=-1)
            return F.normalize(embeddings.unflatten(0, (len(wave), -1)).mean(dim=1), dim=-1)

    def _fill(self, mono: Tensor) -> Tensor:
        """Repeat sounds (B, N) shorter than 10 s as often as they fit and pad them to 10 s; keep longer ones."""
        repeated = mono.repeat(1, max(1, self.window_samples // mono.shape[-1]))
        return F.pad(repeated, (0, max(0, self.window_samples - repeated.shape[-1])))

    def _windows(self, mono: Tensor) -> Tensor:
        """Cover (B, N), at least 10 s, with evenly spaced windows: (B · n_windows, 10 s), grouped by sound."""
        n, n_window = mono.shape[-1], self.window_samples
        n_windows = math.ceil(n / n_window)
        starts = [(n - n_window) * i // max(n_windows - 1, 1) for i in range(n_windows)]
        return torch.stack([mono[:, start : start + n_window] for start in starts], dim=1).flatten(0, 1)

    def _whole_and_chunks(self, mono: Tensor) -> dict[str, Tensor]:
        """Return HTSAT's input with fusion for (B, N), at least 10 s: log-mels (B, 4, T, 64) and a longer flag (B,).

        Sounds longer than 10 s by less than a frame do not count as longer; HTSAT then reads only the first log-mel.
        The whole is resized without anti-aliasing, as in the training of the weights (torchvision before 0.17).
        """
        mel = self._log_mel(mono)
        n_frames, n_bands = self.window_samples // self.audio_config.hop_size + 1, self.audio_config.mel_bins
        n_starts = mel.shape[1] - n_frames + 1
        thirds = torch.arange(n_starts).tensor_split(3)
        starts = [int(third[len(third) // 2]) if len(third) else 0 for third in thirds]
        whole = F.interpolate(mel.unsqueeze(1), size=(n_frames, n_bands), mode="bilinear").squeeze(1)
        chunks = [mel[:, start : start + n_frames] for start in starts]
        longer = torch.full((len(mono),), n_starts > 1, device=mono.device)
        return {"mel_fusion": torch.stack([whole, *chunks], dim=1), "longer": longer}

    def _log_mel(self, mono: Tensor) -> Tensor:
        """Compute log-mel spectrograms (B, T, 64) in dB, 100 frames a second, of sounds (B, N)."""
        c = self.audio_config
        mel = torchaudio.transforms.MelSpectrogram(
            c.sample_rate, n_fft=c.window_size, hop_length=c.hop_size, f_min=c.fmin, f_max=c.fmax, n_mels=c.mel_bins
        ).to(mono.device)
        return 10 * mel(mono).clamp(min=1e-10).log10().mT

    @torch.no_grad()
    def embed_text(self, prompts: Sequence[str]) -> Tensor:
        """Embed texts as (B, 512), L2-normalised, in float32 even under autocast; texts are truncated to 77 tokens.

        Raises:
            InputError: the encoder was built without its text branch.
        """
        if self.text_branch is None:
            raise InputError(
                f"The text prompt {prompts[0]!r} needs CLAP's text branch, which this CLAP was built without: build it "
                "with text=True, or use a sound prompt."
            )
        device = next(self.parameters()).device
        form = {"padding": "max_length", "truncation": True, "max_length": MAX_TEXT_TOKENS, "return_tensors": "pt"}
        tokens = self.tokenizer(list(prompts), **form).to(device)
        with torch.autocast(device.type, enabled=False):
            pooled = self.text_branch(tokens["input_ids"], attention_mask=tokens["attention_mask"]).pooler_output
            return F.normalize(self.text_projection(pooled), dim=-1)


def clap_encoder(weights: str | None, random_weights: bool, text: bool = False) -> ClapEncoder:
    """Return LAION-CLAP with the published weights, `630k-audioset-best.pt` or `630k-audioset-fusion-best.pt`.

    Raises:
        InputError: no weights are given and random ones are not allowed, the weights cannot be read or do not fit, or
            the tokenizer is not available.
    """
    path = encoder_weights("paths.clap", "630k-audioset-best.pt of LAION-CLAP", weights, random_weights)
    return ClapEncoder(path, text=text)
