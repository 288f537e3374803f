"""Fixtures shared by all tests: the folder of real recordings and of recorded model outputs."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings and recorded outputs; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no folder ../shared with real recordings beside the repository")
    return SHARED
