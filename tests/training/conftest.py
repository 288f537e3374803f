"""Fixtures of the tests of training."""

import pytest

from tests.conftest import tone_clip


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    """A data set of one clip of a second."""
    root = tmp_path_factory.mktemp("clips")
    tone_clip(root, "a")
    return root
