"""The bundled CAVP as it comes: names materials better than chance by ear, by eye and in words."""

import pytest

from benchmarks.cavp import BUNDLED_CAVP, measure
from cavp.label_tower import WORDS
from cavp.weights import load_cavp

SEED = 6_000_011  # of clips that nothing else uses


@pytest.fixture(scope="module")
def model():
    return load_cavp(BUNDLED_CAVP, with_audio=True)


def test_it_tells_materials_and_finds_sounds_of_clips_it_never_saw(model):
    found = measure(model, n_clips=60, seed=SEED)
    assert found["material named from the sound"] > 0.4
    assert found["material named from the frames"] > 0.2
    assert found["video to audio: median rank"] < 20


def test_every_word_is_nearest_to_itself(model):
    embedded = model.encode_label(list(WORDS))
    assert (embedded @ embedded.T).argmax(dim=1).tolist() == list(range(len(WORDS)))
