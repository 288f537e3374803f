"""Fixtures of the tests that read and write media."""

import pytest

from tests.media.clips import make_video


@pytest.fixture(scope="module")
def video(request, tmp_path_factory):
    """Makes each of the videos that a test module describes in `VIDEOS` once."""
    folder = tmp_path_factory.mktemp("videos")

    def make(name):
        path = folder / name
        return path if path.exists() else make_video(path, **request.module.VIDEOS[name])

    return make
