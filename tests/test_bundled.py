"""Bundled weights: small enough for a repository, and the ones that the model card describes."""

import hashlib

import pytest

from tests.conftest import REPOSITORY
from training.checkpoint import read_content

FILES = sorted((REPOSITORY / "bundled").glob("*.safetensors"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_card_describes_the_file(path):
    card = (REPOSITORY / "bundled" / "README.md").read_text()
    assert f"## {path.name}" in card
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    assert path.stat().st_size < 25e6


def test_all_of_them_are_small():
    assert sum(path.stat().st_size for path in FILES) < 60e6


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_their_configurations_name_no_place_on_one_machine(path):
    config = read_content(path)["config"]
    texts = [value for value in leaves(config) if isinstance(value, str)]
    assert texts
    assert config.get("ckpt") is None
    assert not [text for text in texts if text.startswith(("/", "~")) or str(REPOSITORY) in text]


def leaves(part):
    if isinstance(part, dict | list):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from leaves(inner)
    else:
        yield part
