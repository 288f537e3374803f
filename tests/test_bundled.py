"""Bundled weights: small enough for a repository, and the ones that the model card describes."""

import hashlib

import pytest

from tests.conftest import REPOSITORY

FILES = sorted((REPOSITORY / "bundled").glob("*.safetensors"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_card_describes_the_file(path):
    card = (REPOSITORY / "bundled" / "README.md").read_text()
    assert f"## {path.name}" in card
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    assert path.stat().st_size < 25e6


def test_all_of_them_are_small():
    assert sum(path.stat().st_size for path in FILES) < 60e6
