"""CLAP against laion-clap's own pipeline on the same random weights; its freezing, prompts and messages.

The oracle is `laion_clap.CLAP_Module`, imported whole. What it asks a hub for is replaced: tokenizers by nothing, and
roberta-base by a model of one layer, which the encoder under test is then built with too.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio
import transformers
from tokenizers.pre_tokenizers import ByteLevel
from torch.nn import functional as F

from data.errors import InputError
from stable_foley.conditioners import clap
from stable_foley.conditioners.clap import ClapConditioner, ClapEncoder

REPOSITORY = Path(__file__).resolve().parents[2]
ALPHABET = sorted(ByteLevel.alphabet())
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def small_roberta() -> transformers.RobertaConfig:
    return transformers.RobertaConfig(
        vocab_size=len(SPECIAL) + len(ALPHABET), num_hidden_layers=1, max_position_embeddings=514, type_vocab_size=1
    )


@pytest.fixture(scope="module")
def module_patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def oracle(module_patch):
    """laion-clap's own model with random weights, in eval mode."""
    modules = dict(sys.modules)
    module_patch.setattr(sys, "path", list(sys.path))
    for name in ("BertTokenizer", "RobertaTokenizer", "BartTokenizer"):
        module_patch.setattr(getattr(transformers, name), "from_pretrained", lambda *_: None)
    module_patch.setattr(
        transformers.RobertaModel, "from_pretrained", lambda *_: transformers.RobertaModel(small_roberta())
    )
    laion_clap = pytest.importorskip("laion_clap")
    torch.manual_seed(0)
    model = laion_clap.CLAP_Module(enable_fusion=False, device="cpu", amodel="HTSAT-tiny", tmodel="roberta")
    module_patch.undo()
    for name in set(sys.modules) - set(modules):
        if name.startswith(("laion_clap", "clap_module")):
            del sys.modules[name]
    for name, value in model.model.state_dict().items():
        if "running_var" in name or "bn0.weight" in name:
            value.uniform_(5.0, 15.0)  # log-mel bands in dB; the initial statistics would drown the sound
    return model.eval()


@pytest.fixture(scope="module")
def checkpoint(oracle, tmp_path_factory) -> Path:
    """The oracle's weights as LAION's training saves them: module prefix, numpy numbers, a constant of old releases."""
    state = {f"module.{key}": value for key, value in oracle.model.state_dict().items()}
    state["module.text_branch.embeddings.position_ids"] = torch.arange(514)[None]
    path = tmp_path_factory.mktemp("clap") / "630k-audioset-best.pt"
    torch.save({"epoch": 3, "best": np.float64(0.5), "loss": np.float32(0.25), "state_dict": state}, path)
    return path


@pytest.fixture(scope="module")
def encoder(checkpoint) -> ClapEncoder:
    return ClapEncoder(checkpoint)


@pytest.fixture(scope="module")
def encoder_48_khz(checkpoint) -> ClapEncoder:
    return ClapEncoder(checkpoint, sample_rate_hz=48_000)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    """A byte-level tokenizer without merges, in the files of roberta-base."""
    folder = tmp_path_factory.mktemp("tokenizer")
    words = [*SPECIAL[:4], *ALPHABET, SPECIAL[4]]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


def wave(n_samples: int, n_channels: int = 2) -> torch.Tensor:
    """Two different decaying noises, some of it beyond full scale."""
    noise = torch.randn(2, n_channels, n_samples, generator=torch.Generator().manual_seed(n_samples))
    return noise * torch.tensor([0.3, 1.0])[:, None, None] * torch.linspace(1, 0.1, n_samples)


def by_oracle(oracle, sound: torch.Tensor) -> torch.Tensor:
    """What laion-clap makes of (B, C, N) at 44.1 kHz, quantisation included, for at most 10 s."""
    mono = torchaudio.functional.resample(sound.mean(dim=1), 44_100, 48_000)
    return torch.from_numpy(oracle.get_audio_embedding_from_data(mono.numpy(), use_tensor=False))


@pytest.mark.parametrize(("n_samples", "n_channels"), [(441_000, 2), (100_000, 2), (7, 1)], ids=str)
def test_sound_embedding_equals_laions(oracle, encoder, n_samples, n_channels):
    sound = wave(n_samples, n_channels)
    embedding = encoder.embed_sound(sound)
    torch.testing.assert_close(embedding, by_oracle(oracle, sound), rtol=1e-4, atol=1e-5)
    assert not embedding.requires_grad


def test_embedding_tells_sounds_apart(encoder):
    """Guards the comparison above: with these random weights different sounds are far more than its tolerance apart."""
    embedding = encoder.embed_sound(wave(100_000))
    assert (embedding[0] - embedding[1]).abs().max() > 1e-3
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(2))


@pytest.mark.parametrize(("n_samples", "starts"), [(480_001, [0, 1]), (1_000_001, [0, 260_000, 520_001])])
def test_longer_sounds_are_the_mean_of_evenly_spaced_windows(encoder_48_khz, n_samples, starts):
    sound = wave(n_samples)
    windows = [encoder_48_khz.embed_sound(sound[..., start : start + 480_000]) for start in starts]
    expected = F.normalize(torch.stack(windows).mean(dim=0), dim=-1)
    torch.testing.assert_close(encoder_48_khz.embed_sound(sound), expected, rtol=0, atol=1e-5)


def test_the_sample_rate_given_counts(encoder, encoder_48_khz):
    sound = wave(100_000)
    resampled = torchaudio.functional.resample(sound, 44_100, 48_000)
    torch.testing.assert_close(encoder_48_khz.embed_sound(resampled), encoder.embed_sound(sound), rtol=0, atol=1e-5)


def test_stays_frozen_in_training_and_float32_under_autocast(encoder):
    sound = wave(50_000)
    expected = encoder.embed_sound(sound)
    conditioner = ClapConditioner(encoder, output_dim=48)
    torch.nn.ModuleList([conditioner]).train()
    assert conditioner.training
    assert not any(module.training for module in encoder.modules())
    assert [name for name, value in conditioner.named_parameters() if value.requires_grad] == [
        "proj_out.weight",
        "proj_out.bias",
    ]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(conditioner.embed(sound), expected)


def test_conditioner_gives_one_projected_token(encoder):
    conditioner = ClapConditioner(encoder, output_dim=48)
    embedding = conditioner.embed(wave(50_000))
    token = conditioner(embedding)
    assert token.shape == (2, 1, 48)
    torch.testing.assert_close(token[:, 0], embedding @ conditioner.proj_out.weight.T + conditioner.proj_out.bias)
    assert {key.split(".")[0] for key in conditioner.state_dict()} == {"clap", "proj_out"}


def test_text_embedding_equals_laions(oracle, checkpoint, tokenizer, monkeypatch):
    monkeypatch.setattr(clap, "_roberta_base", small_roberta)
    with_text = ClapEncoder(checkpoint, text=True, tokenizer=tokenizer)
    prompts = ["hitting wood", "scratching a very " + "long " * 40 + "leaf"]
    oracle.tokenize = transformers.RobertaTokenizer.from_pretrained(tokenizer)
    expected = oracle.get_text_embedding(prompts, use_tensor=True)
    embedding = ClapConditioner(with_text, output_dim=48).embed_text(prompts)
    torch.testing.assert_close(embedding, expected.detach())
    assert (embedding[0] - embedding[1]).abs().max() > 1e-3


def test_sizes_of_roberta_are_the_published_ones():
    with torch.device("meta"):
        model = transformers.RobertaModel(clap._roberta_base())
    assert sum(value.numel() for value in model.parameters()) == 124_645_632


def test_text_prompt_without_text_branch_is_refused(encoder):
    with pytest.raises(InputError, match="'hitting wood' needs CLAP's text branch"):
        encoder.embed_text(["hitting wood"])


def test_tokenizer_without_its_files_is_refused(tmp_path):
    """In an empty folder transformers finds a tokenizer of five special tokens, and says nothing."""
    with pytest.raises(InputError, match=r"50265 entries, of which 5 are on this machine: run `hf download"):
        ClapEncoder(text=True, tokenizer=tmp_path)


def test_unknown_tokenizer_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere' with 50265 entries, of which 0 are"):
        ClapEncoder(text=True, tokenizer=tmp_path / "nowhere")


def test_sound_without_samples_is_refused(encoder):
    with pytest.raises(InputError, match="no samples"):
        encoder.embed_sound(torch.zeros(1, 2, 0))


def test_silence_has_an_embedding(encoder):
    assert encoder.embed_sound(torch.zeros(1, 2, 44_100)).isfinite().all()


def test_checkpoint_of_older_numpy_is_read(checkpoint, encoder, tmp_path):
    """Before numpy 2 the function that rebuilds numbers stood in another module."""
    path = tmp_path / "older.pt"
    with zipfile.ZipFile(checkpoint) as source, zipfile.ZipFile(path, "w") as target:
        for item in source.infolist():
            content = source.read(item)
            if item.filename.endswith("data.pkl"):
                assert b"numpy._core.multiarray" in content
                content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            target.writestr(item, content)
    assert torch.equal(ClapEncoder(path).embed_sound(wave(7)), encoder.embed_sound(wave(7)))


def test_wrong_weights_are_listed(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=False)["state_dict"]
    del state["module.audio_projection.0.bias"]
    state["module.audio_branch.patch_embed.mel_conv2d.weight"] = torch.zeros(1)  # as in a model with fusion
    torch.save(state, tmp_path / "fusion.pt")
    with pytest.raises(InputError, match=r"missing audio_projection.0.bias; not expected \S+mel_conv2d.weight"):
        ClapEncoder(tmp_path / "fusion.pt")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.pt cannot be read"):
        ClapEncoder(tmp_path / "nowhere.pt")


def test_missing_package_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, clap._ALIAS, raising=False)
    monkeypatch.setattr(clap.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="laion-clap is not installed"):
        ClapEncoder()


def test_loads_only_what_it_uses_and_prints_nothing():
    """In a fresh interpreter: importing loads no CLAP; building loads no hub client, edits no path, prints nothing."""
    script = """
import sys
from stable_foley.conditioners.clap import ClapEncoder
early = [name for name in ("transformers", "torchlibrosa", "laion_clap") if name in sys.modules]
path = list(sys.path)
ClapEncoder()
late = [name for name in ("transformers", "laion_clap", "clap_module") if name in sys.modules]
sys.exit(f"{early} {late}" if early or late or sys.path != path else 0)
"""
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
