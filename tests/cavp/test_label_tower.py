"""Words as embeddings: which are known, that their order says nothing, and that training brings them to their clips."""

import re

import pytest
import torch
from torch.nn import functional as F

from cavp import Cavp, Cnn14, SlowOnly
from cavp.contrast import label_loss
from cavp.label_tower import WORDS, LabelTower, words_of
from cavp.module import CavpTraining
from cavp.retrieval import heard_materials
from cavp.spectrogram import LogMel
from cavp.weights import cavp_from_state_dict
from common.errors import InputError
from data.greatest_hits import MATERIALS
from data.segments import Segments

LABELS = ("hitting wood with a drumstick", "scratching metal with a drumstick", "hitting water with a drumstick", "")


def spoken(text):
    return {WORDS[row] for row in words_of(text)}


def model(seed=0) -> Cavp:
    torch.manual_seed(seed)
    return Cavp(SlowOnly(4), Cnn14(4, embed_dim=32), LabelTower(32, width=16), embed_dim=32)


def batch() -> Segments:
    time_s = torch.arange(8000) / 16_000
    waves = torch.stack([torch.sin(2 * torch.pi * f * time_s) * 0.5 for f in (200, 900, 3000, 5000)])
    frames = torch.full((4, 1, 2, 3, 32, 32), 20, dtype=torch.uint8)
    for i in range(4):
        frames[i, :, :, i % 3, 8 * i : 8 * i + 8] = 220
    return Segments(waves[:, None], frames, torch.zeros(4, 1), torch.arange(4), list(LABELS))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wood", {"wood"}),
        ("Hitting a plastic bag with a drumstick.", {"hit", "plastic-bag"}),
        ("a wooden plank being scratched? no: scraping wood", None),
        ("scraping wood", {"scratch", "wood"}),
        ("tapping on leaves of plastic bags", {"hit", "leaf", "plastic-bag"}),
        ("plastic-bag plastic", {"plastic-bag", "plastic"}),
    ],
)
def test_words_are_found_in_texts(text, words):
    if words is None:
        with pytest.raises(InputError, match="'scratched' and 'no'"):
            words_of(text)
    else:
        assert spoken(text) == words


@pytest.mark.parametrize("word", sorted(WORDS))
def test_every_word_stands_for_itself(word):
    assert spoken(word) == {word}


@pytest.mark.parametrize("text", ["", "with a drumstick", "123"])
def test_a_text_without_a_known_word_is_refused(text):
    with pytest.raises(InputError, match="holds no word that"):
        words_of(text)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("hiting metl", ["hitting", "metal"]),
        ("metals", ["metal"]),
        ("scratched woods", ["scratches", "wood"]),
        ("tapped drywal", ["tap", "drywall"]),
        ("beeting on cermaic", ["beating", "ceramic"]),
        ("a wooden boks", []),
        ("xylophone", []),
    ],
)
def test_the_nearest_known_words_come_first(text, first):
    with pytest.raises(InputError) as refusal:
        words_of(text)
    listed = re.findall("[a-z-]+", str(refusal.value).rpartition(": use ")[2].replace("(the nearest)", ""))
    assert listed[: len(first)] == first
    assert set(WORDS) <= set(listed) | set(first)
    assert len(listed) == len(set(listed))
    for word in first:
        assert spoken(word)


def test_unknown_words_are_named_but_not_all_of_many():
    with pytest.raises(InputError) as refusal:
        words_of("qx wood rx sx tx ux vx")
    assert re.findall("'(.x)'", str(refusal.value)) == ["qx", "rx", "sx", "tx"]


def test_the_order_of_words_says_nothing():
    tower = LabelTower(8)
    torch.testing.assert_close(tower([[0, 3]]), tower([[3, 0]]))
    torch.testing.assert_close(tower([[0, 3], [5]])[1:], tower([[5]]))


def test_label_loss_written_out():
    torch.manual_seed(0)
    clips, labels = F.normalize(torch.randn(4, 8), dim=-1), F.normalize(torch.randn(3, 8), dim=-1)
    fits = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=torch.bool)  # nothing fits the last ones
    logits = 5 * clips @ labels.T
    share = (logits.exp() / logits.exp().sum(1, keepdim=True)).log()
    by_clip = -(share[0, 0] + (share[1, 0] + share[1, 1]) / 2 + share[2, 1]) / 3
    share = (logits.exp() / logits.exp().sum(0, keepdim=True)).log()
    by_label = -((share[0, 0] + share[1, 0]) / 2 + (share[1, 1] + share[2, 1]) / 2) / 2
    torch.testing.assert_close(label_loss(clips, labels, torch.tensor(5.0), fits), (by_clip + by_label) / 2)
    assert label_loss(clips, labels, torch.tensor(5.0), torch.zeros(4, 3, dtype=torch.bool)) == 0


def test_training_brings_words_to_their_frames_and_sounds():
    training = CavpTraining(
        model(), LogMel(), lambda p: torch.optim.AdamW(p, lr=5e-3), temporal_weight=0.0, label_weight=1.0
    )
    optimizer = torch.optim.AdamW(training.parameters(), lr=5e-3)
    for step in range(60):
        output = training.embed(batch())
        clips = training._gathered(output.video, output.audio, batch())
        loss = training._label_loss(clips, output.logit_scale, training.noise(len(LABELS), step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(p.grad.abs().sum(dim=-1).all() for p in training.model.label_encoder.parameters() if p.ndim == 2)
    output = training.embed(batch())
    words = training.model.encode_label(["wood", "metal", "water"])
    for embeddings in (output.video[:3, 0], output.audio[:3, 0]):
        assert (embeddings @ words.T).argmax(dim=1).tolist() == [0, 1, 2]


def test_the_nearest_material_is_heard():
    words = model().encode_label(["glass", "rock"])
    assert heard_materials(model(), words) == ["glass", "rock"]


def test_weights_with_and_without_words(tmp_path):
    trained = model(1)
    state = trained.state_dict()
    again = cavp_from_state_dict(state, with_audio=True)
    texts = sorted(MATERIALS)
    torch.testing.assert_close(again.encode_label(texts), trained.encode_label(texts))
    assert cavp_from_state_dict(state).label_encoder is None
    silent = cavp_from_state_dict({k: v for k, v in state.items() if "label" not in k}, with_audio=True)
    with pytest.raises(ValueError, match="no label tower"):
        silent.encode_label(["wood"])


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_words_need_both_a_tower_and_a_weight(weight):
    towers = SlowOnly(4), Cnn14(4, embed_dim=32), None if weight else LabelTower(32)
    with pytest.raises(InputError, match="label"):
        CavpTraining(Cavp(*towers, embed_dim=32), LogMel(), torch.optim.AdamW, label_weight=weight)
