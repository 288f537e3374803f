"""CLAP scores and FAD of folders, with random weights and a small text branch."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel

from clap import encoder as clap
from common.errors import InputError
from evaluation.clip import ClipResult, compare_clip
from evaluation.embeddings import read_prompts, score_with_clap
from evaluation.folders import ClipFiles, SoundFile
from evaluation.statistics import frechet_distance
from media.reading import read_sound
from tests.evaluation.conftest import RATE_HZ, clicks, noise

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """CLAP with random weights and a text branch of one layer."""
    alphabet = sorted(ByteLevel.alphabet())
    folder = tmp_path_factory.mktemp("tokenizer")
    words = [*SPECIAL[:4], *alphabet, SPECIAL[4]]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    config = transformers.RobertaConfig(
        vocab_size=len(words), num_hidden_layers=1, max_position_embeddings=514, type_vocab_size=1
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clap, "_roberta_base", lambda: config)
        torch.manual_seed(0)
        return clap.ClapEncoder(text=True, tokenizer=folder)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three clips of a system, one of them shorter than its reference, and one without reference."""
    folder = tmp_path_factory.mktemp("clips")
    found = []
    for i in range(3):
        for side, wave in (("real", clicks([0.3 + 0.2 * i], 2.0)), ("made", noise(2 * RATE_HZ - 9000 * (i == 2), i))):
            soundfile.write(folder / f"{side}{i}.wav", wave.numpy().T, RATE_HZ)
        made = {"made": SoundFile(folder / f"made{i}.wav")}
        found.append(ClipFiles(f"clip{i}", SoundFile(folder / f"real{i}.wav"), made))
    return [*found, ClipFiles("extra", None, made)]


@pytest.fixture(scope="module")
def rows(clips):
    return [row for clip in clips for row in compare_clip(clip, ("made",))]


def embed(encoder, path, duration_s):
    wave = read_sound(path, sample_rate_hz=RATE_HZ, duration_s=duration_s)
    return encoder.embed_sound(wave[None])[0].double().numpy()


def test_scores_are_cosines_and_fad_is_over_the_compared_clips(encoder, clips, rows):
    scores = score_with_clap(rows, clips, encoder, {"clip1": "hitting wood"})
    pairs = []
    for before, after, clip in zip(rows[:3], scores.rows[:3], clips[:3], strict=True):
        real, made = (embed(encoder, f.path, before.duration_s) for f in (clip.reference, clip.generated["made"]))
        pairs.append((real, made))
        assert after.values["clap_audio_audio"] == pytest.approx(np.dot(real, made), abs=1e-6)
        assert dict(before.values).items() <= dict(after.values).items()
    text = encoder.embed_text(["hitting wood"])[0].double().numpy()
    assert scores.rows[1].values["clap_text_audio"] == pytest.approx(np.dot(text, pairs[1][1]), abs=1e-6)
    assert "clap_text_audio" not in scores.rows[0].values
    assert scores.rows[3] == rows[3]
    expected = frechet_distance(np.stack([made for _, made in pairs]), np.stack([real for real, _ in pairs]))
    fad = scores.frechet["made"]
    assert fad.distance == pytest.approx(expected, rel=1e-6)
    assert (fad.n_samples, fad.n_dimensions, fad.extrapolated) == (3, 512, None)


def test_a_sound_scores_one_against_itself(encoder, clips):
    twin = replace(clips[0], generated={"made": clips[0].reference})
    scores = score_with_clap(compare_clip(twin, ("made",)), [twin], encoder, {})
    assert scores.rows[0].values["clap_audio_audio"] == pytest.approx(1, abs=1e-6)
    assert scores.frechet == {}


def test_rows_without_sounds_pass_through(encoder, clips):
    row = ClipResult("made", "clip0", "failed", ("damaged",))
    assert score_with_clap([row], clips, encoder, {}).rows == [row]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_prompts_are_read(tmp_path, separator):
    path = tmp_path / "prompts.csv"
    rows = [["clip", "prompt"], ["a", "hitting wood"], ["b", '"metal, far; away"'], ["'=c", "'-d"], ["'e", "f's"]]
    path.write_text("\n".join(map(separator.join, rows)))
    assert read_prompts(path) == {"a": "hitting wood", "b": "metal, far; away", "=c": "-d", "'e": "f's"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "prompts.csv"),
        ("", "`clip,prompt`"),
        ("clip,prompt\n", "`clip,prompt`"),
        ("id,text\na,b\n", "'id,text'"),
        ("clip,prompt\na,metal, far away\n", "line 2, `a,metal,far away`"),
        ("clip,prompt\na,\n", "line 2, `a`"),
        ("clip,prompt\n,b\n", "line 2, `,b`"),
    ],
)
def test_other_tables_are_refused(tmp_path, text, words):
    path = tmp_path / "prompts.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_prompts(path)
