"""Fixtures shared by all tests: the folder of real recordings and of recorded model outputs."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hydra import compose, initialize_config_dir
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings and recorded outputs; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no folder ../shared with real recordings beside the repository")
    return SHARED


def compose_config(*overrides: str):
    """A training configuration as ``python train.py …`` composes it."""
    with initialize_config_dir(str(REPOSITORY / "configs"), version_base="1.3"):
        return compose("train", overrides=[f"hydra.searchpath=[file://{REPOSITORY}]", *overrides])


def tone_clip(root: Path, clip_id: str = "clip", duration_s: float = 1.0) -> Path:
    """A clip in the processed layout: a decaying tone every quarter of a second, and frames of a colour each."""
    folder = root / clip_id
    (folder / "audio").mkdir(parents=True)
    (folder / "frames").mkdir()
    time_s = np.arange(int(44_100 * duration_s)) / 44_100
    tone = np.sin(2 * np.pi * 440 * time_s) * np.exp(-20 * (time_s % 0.25))
    soundfile.write(folder / "audio" / f"{clip_id}.resampled.wav", np.stack([tone, 0.5 * tone], axis=1), 44_100)
    for i in range(round(4 * duration_s)):
        image = Image.new("RGB", (64, 48), (40 * i % 256, 100, 200))
        image.save(folder / "frames" / f"{clip_id}.frame_{i + 1:06d}.jpg")
    return folder
