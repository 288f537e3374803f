"""CLAP against laion-clap's own pipeline on the same random weights; when it is built, its freezing and messages.

The oracle is `laion_clap.CLAP_Module`, imported whole. What it asks a hub for is replaced: tokenizers by nothing, and
roberta-base by a model of one layer, which the encoder under test is then built with too.
"""

import json
import pickle
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import torchaudio
import torchvision
import transformers
from tokenizers.pre_tokenizers import ByteLevel
from torch.nn import functional as F

from clap import encoder as clap
from clap.encoder import ClapEncoder, clap_encoder
from common.errors import InputError
from stable_foley.conditioners.clap import ClapConditioner

REPOSITORY = Path(__file__).resolve().parents[2]
ALPHABET = sorted(ByteLevel.alphabet())
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
PLAIN, FUSED = 0, 1


def small_roberta() -> transformers.RobertaConfig:
    return transformers.RobertaConfig(
        vocab_size=len(SPECIAL) + len(ALPHABET), num_hidden_layers=1, max_position_embeddings=514, type_vocab_size=1
    )


@pytest.fixture(scope="module")
def oracles():
    """laion-clap's own models without and with feature fusion, with random weights, in eval mode."""
    modules = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        for name in ("BertTokenizer", "RobertaTokenizer", "BartTokenizer"):
            patch.setattr(getattr(transformers, name), "from_pretrained", lambda *_: None)
        roberta = transformers.RobertaModel(small_roberta())
        patch.setattr(transformers.RobertaModel, "from_pretrained", lambda *_: roberta)
        laion_clap = pytest.importorskip("laion_clap")
        torch.manual_seed(0)
        models = [laion_clap.CLAP_Module(enable_fusion, device="cpu").eval() for enable_fusion in (False, True)]
    for name in set(sys.modules) - modules:
        if name.startswith(("laion_clap", "clap_module")):
            del sys.modules[name]
    for bands in (model.model.audio_branch.bn0 for model in models):
        bands.running_var.uniform_(5.0, 15.0)  # log-mel bands in dB; the initial statistics would drown the sound
        torch.nn.init.uniform_(bands.weight, 5.0, 15.0)
    return models


@pytest.fixture(scope="module")
def checkpoints(oracles, tmp_path_factory) -> list[Path]:
    """The oracles' weights as LAION's training saves them: module prefix, numpy numbers, a constant of old releases."""
    paths = [tmp_path_factory.mktemp("clap") / f"630k-audioset{name}-best.pt" for name in ("", "-fusion")]
    for oracle, path in zip(oracles, paths, strict=True):
        state = {f"module.{key}": value for key, value in oracle.model.state_dict().items()}
        state["module.text_branch.embeddings.position_ids"] = torch.arange(514)[None]
        torch.save({"epoch": 3, "best": np.float64(0.5), "loss": np.float32(0.25), "state_dict": state}, path)
    return paths


@pytest.fixture(scope="module")
def encoders(checkpoints) -> list[ClapEncoder]:
    return [ClapEncoder(path, sample_rate_hz=48_000) for path in checkpoints]


@pytest.fixture
def encoder(encoders) -> ClapEncoder:
    return encoders[PLAIN]


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
    """What laion-clap makes of (B, C, N) at 48 kHz, quantisation included; without fusion, of at most 10 s."""
    return torch.from_numpy(oracle.get_audio_embedding_from_data(sound.mean(dim=1).numpy(), use_tensor=False))


@pytest.mark.parametrize(("n_samples", "n_channels"), [(480_000, 2), (100_000, 2), (7, 1)], ids=str)
def test_sound_embedding_equals_laions(oracles, encoder, n_samples, n_channels):
    sound = wave(n_samples, n_channels)
    embedding = encoder.embed_sound(sound)
    torch.testing.assert_close(embedding, by_oracle(oracles[PLAIN], sound), rtol=1e-4, atol=1e-5)
    assert not embedding.requires_grad


@pytest.mark.parametrize("n_samples", [100_000, 480_479, 480_480, 1_000_001])
def test_fused_embedding_equals_laions(oracles, encoders, monkeypatch, n_samples):
    """Short; longer by less than a frame; with two starts of a chunk, so that the last third has none; long.

    laion-clap draws the starts, and shrinks the spectrogram as torchvision did when the weights were trained.
    """
    monkeypatch.setattr(np.random, "choice", lambda starts: starts[len(starts) // 2])
    monkeypatch.setattr(torchvision.transforms, "Resize", partial(torchvision.transforms.Resize, antialias=False))
    sound = wave(n_samples)
    expected = by_oracle(oracles[FUSED], sound)
    torch.testing.assert_close(encoders[FUSED].embed_sound(sound), expected, rtol=1e-4, atol=1e-5)


def test_embedding_tells_sounds_apart(oracles, encoder, monkeypatch):
    """Guards the comparisons above: other sounds, or chunks of one, are far more than their tolerance apart."""
    embedding = encoder.embed_sound(wave(100_000))
    assert (embedding[0] - embedding[1]).abs().max() > 1e-3
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(2))
    fused = []
    for i in (0, -1):
        monkeypatch.setattr(np.random, "choice", lambda starts, i=i: starts[i])
        fused.append(by_oracle(oracles[FUSED], wave(1_000_001)))
    assert (fused[0] - fused[1]).abs().max() > 1e-3


@pytest.mark.parametrize(("n_samples", "starts"), [(480_001, [0, 1]), (1_000_001, [0, 260_000, 520_001])])
def test_longer_sounds_are_the_mean_of_evenly_spaced_windows(encoder, n_samples, starts):
    sound = wave(n_samples)
    windows = [encoder.embed_sound(sound[..., start : start + 480_000]) for start in starts]
    expected = F.normalize(torch.stack(windows).mean(dim=0), dim=-1)
    torch.testing.assert_close(encoder.embed_sound(sound), expected, rtol=0, atol=1e-5)


def test_the_sample_rate_given_counts(encoder, checkpoints):
    sound = wave(100_000)
    expected = encoder.embed_sound(torchaudio.functional.resample(sound, 44_100, 48_000))
    torch.testing.assert_close(ClapEncoder(checkpoints[PLAIN]).embed_sound(sound), expected, rtol=0, atol=1e-5)


def test_stays_frozen_in_training_and_float32_under_autocast(encoder):
    sound = wave(50_000)
    expected = encoder.embed_sound(sound)
    conditioner = ClapConditioner(lambda text: encoder, output_dim=48)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(conditioner.encode(sound, 0), expected)
    torch.nn.ModuleList([conditioner]).train().to(torch.float64)
    assert conditioner.training
    assert not any(module.training for module in encoder.modules())
    assert not any(value.requires_grad for value in encoder.parameters())
    assert torch.equal(conditioner.encode(sound, 0), expected)


def test_conditioner_gives_one_projected_token():
    conditioner, embedding = ClapConditioner(clap_encoder, output_dim=48), torch.randn(2, 512)
    token = conditioner(embedding)
    assert token.shape == (2, 1, 48)
    torch.testing.assert_close(token[:, 0], embedding @ conditioner.proj_out.weight.T + conditioner.proj_out.bias)


def test_encoder_is_built_at_the_first_prompt_and_again_at_the_first_text(tokenizer, monkeypatch):
    monkeypatch.setattr(clap, "_roberta_base", small_roberta)
    sound, built = wave(7)[:1], []

    def build(text):
        built.append(text)
        return ClapEncoder(text=text, tokenizer=tokenizer)

    conditioner = ClapConditioner(build, output_dim=48)
    conditioner(torch.zeros(1, 512))
    assert built == []
    embedding = conditioner.encode(sound, 0)
    conditioner.encode(sound, 0)
    assert built == [False]
    conditioner.encode_text(["hitting wood"])
    conditioner.encode_text(["hitting wood"])
    assert torch.equal(conditioner.encode(sound, 0), embedding)
    assert built == [False, True]
    assert set(conditioner.state_dict()) == {"proj_out.weight", "proj_out.bias"}


def test_encoder_follows_the_projection():
    class Where(torch.nn.Linear):
        def embed_sound(self, _):
            return self.weight.device.type

    conditioner = ClapConditioner(lambda text: Where(1, 1), output_dim=48)
    assert conditioner.encode(None, 0) == "cpu"
    assert conditioner.to("meta").encode(None, 0) == "meta"


def test_missing_weights_are_missed_at_the_first_prompt():
    conditioner = ClapConditioner(partial(clap_encoder, weights=None, random_weights=False), output_dim=48)
    with pytest.raises(InputError, match=r"paths\.clap is not set; give the path of 630k-audioset-best\.pt"):
        conditioner.encode(wave(7), 0)


def test_random_weights_are_always_the_same_and_leave_the_generator_alone(tokenizer, monkeypatch):
    monkeypatch.setattr(clap, "_roberta_base", small_roberta)
    before = torch.manual_seed(1).get_state()
    first = ClapEncoder(text=True, tokenizer=tokenizer).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = ClapEncoder(text=True, tokenizer=tokenizer).state_dict()
    assert all(torch.equal(second[key], value) for key, value in first.items())


def test_text_embedding_equals_laions(oracles, checkpoints, tokenizer, monkeypatch):
    monkeypatch.setattr(clap, "_roberta_base", small_roberta)
    hub = {("FacebookAI/roberta-base", name): tokenizer / name for name in ("vocab.json", "merges.txt")}
    monkeypatch.setattr(clap, "hub_file", lambda repo_id, filename, remedy: hub.pop((repo_id, filename)))
    prompts = ["hitting wood", "scratching a very " + "long " * 40 + "leaf"]
    oracles[PLAIN].tokenize = transformers.RobertaTokenizer.from_pretrained(tokenizer)
    expected = oracles[PLAIN].get_text_embedding(prompts, use_tensor=True)
    conditioner = ClapConditioner(partial(clap_encoder, checkpoints[PLAIN], random_weights=False), output_dim=48)
    embedding = conditioner.encode_text(prompts)
    torch.testing.assert_close(embedding, expected.detach())
    assert (embedding[0] - embedding[1]).abs().max() > 1e-3
    assert not hub


def test_sizes_of_roberta_are_the_published_ones():
    with torch.device("meta"):
        model = transformers.RobertaModel(clap._roberta_base())
    assert sum(value.numel() for value in model.parameters()) == 124_645_632


def test_text_prompt_without_text_branch_is_refused(encoder):
    with pytest.raises(InputError, match="'hitting wood' needs CLAP's text branch"):
        encoder.embed_text(["hitting wood"])


def test_tokenizer_that_cannot_be_had_is_named_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    command = "`hf download FacebookAI/roberta-base vocab.json merges.txt`"
    with pytest.raises(InputError, match=rf"^vocab\.json .*{command}.* or use a sound prompt\.$"):
        ClapEncoder(text=True)


@pytest.mark.parametrize("files", [[], ["vocab.json"], ["vocab.json", "merges.txt"]], ids=len)
def test_tokenizer_that_is_not_whole_is_refused(tokenizer, tmp_path, files):
    """Of these transformers makes tokenizers of five special tokens, without merges, and of 261 tokens."""
    for name in files:
        (tmp_path / name).write_bytes((tokenizer / name).read_bytes())
    command = f"`hf download FacebookAI/roberta-base vocab.json merges.txt --local-dir {tmp_path}`"
    with pytest.raises(InputError, match=f"with their 50265 entries.*{command}"):
        ClapEncoder(text=True, tokenizer=tmp_path)


def test_sound_without_samples_is_refused(encoder):
    with pytest.raises(InputError, match="no samples"):
        encoder.embed_sound(torch.zeros(1, 2, 0))


def test_silence_has_an_embedding(encoder):
    assert encoder.embed_sound(torch.zeros(1, 2, 44_100)).isfinite().all()


def test_checkpoint_of_older_numpy_is_read(checkpoints, encoder, tmp_path):
    """Before numpy 2 the function that rebuilds numbers stood in another module."""
    with zipfile.ZipFile(checkpoints[PLAIN]) as source, zipfile.ZipFile(tmp_path / "older.pt", "w") as target:
        for item in source.infolist():
            content = source.read(item)
            if item.filename.endswith("data.pkl"):
                assert b"numpy._core.multiarray" in content
                content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            target.writestr(item, content)
    older = ClapEncoder(tmp_path / "older.pt").state_dict()
    assert all(torch.equal(older[key], value) for key, value in encoder.state_dict().items())


def test_wrong_weights_are_listed(checkpoints, tmp_path):
    state = torch.load(checkpoints[PLAIN], weights_only=False)["state_dict"]
    del state["module.audio_projection.0.bias"]
    state["module.audio_branch.extra"] = torch.zeros(1)
    state["module.audio_branch.bn0.weight"] = torch.zeros(3)
    state["module.audio_projection.2.bias"][7] = torch.nan
    torch.save(state, tmp_path / "wrong.pt")
    problems = (
        r"missing audio_projection\.0\.bias; not expected audio_branch\.extra; audio_branch\.bn0\.weight has shape "
        r"\(3,\) instead of \(64,\); audio_projection\.2\.bias has NaN"
    )
    with pytest.raises(InputError, match=rf"wrong\.pt do not fit this model \({problems}"):
        ClapEncoder(tmp_path / "wrong.pt")


def test_file_that_would_run_code_is_refused_and_does_not(checkpoints, tmp_path):
    class Malicious:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    content = torch.load(checkpoints[PLAIN], weights_only=False) | {"optimizer": Malicious()}
    torch.save(content, tmp_path / "malicious.pt")
    with pytest.raises(InputError, match=r"malicious\.pt is refused, since loading it would run code"):
        ClapEncoder(tmp_path / "malicious.pt")
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Malicious()))  # what was refused does run elsewhere  # noqa: S301
    assert (tmp_path / "ran").exists()


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.pt does not exist"):
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
from clap.encoder import ClapEncoder
early = [name for name in ("transformers", "torchlibrosa", "laion_clap") if name in sys.modules]
path = list(sys.path)
ClapEncoder()
late = [name for name in ("transformers", "laion_clap", "clap_module") if name in sys.modules]
sys.exit(f"{early} {late}" if early or late or sys.path != path else 0)
"""
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
