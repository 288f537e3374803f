"""Fixtures shared by all tests: the folder of real recordings and of recorded model outputs."""

import logging
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from media.envelope import Envelope, write_envelope_csv
from media.writing import mux, write_video
from stable_foley.config import build_model, composed_config
from training.checkpoint import Checkpoint, save_checkpoint
from training.config import compose

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"

SLOW_FILES = (
    "benchmarks/test_real_clips.py",
    "cavp/test_bundled.py",
    "cavp/test_module.py",
    "cavp/test_train.py",
    "common/test_parallel.py",
    "data/test_cache.py",
    "data/test_preprocess_denoise.py",
    "evaluation/test_embeddings.py",
    "evaluation/test_evaluate.py",
    "stable_foley/test_bundled.py",
    "stable_foley/test_clap.py",
    "stable_foley/test_generate_split.py",
    "stable_foley/test_generator.py",
    "stable_foley/test_published.py",
    "stable_foley/test_sample_evaluation.py",
    "synthetic/test_cache.py",
    "synthetic/test_report.py",
    "test_bad_input.py",
    "test_demo.py",
    "test_hostile_checkpoints.py",
    "test_infer.py",
    "test_makefile.py",
    "test_parity.py",
    "test_train.py",
    "training/test_checkpoints.py",
    "training/test_command_line.py",
    "training/test_two_processes.py",
    "video2audio/test_pipeline.py",
    "video2audio/test_samples.py",
    "video2rms/features/test_rgb_flow.py",
    "video2rms/test_bundled.py",
    "video2rms/test_train.py",
)
"""Tests that train, start processes or run large networks; `make test-fast` leaves them out, as all marked slow."""


def pytest_collection_modifyitems(items):
    """Mark the tests of `SLOW_FILES` as slow."""
    slow = {REPOSITORY / "tests" / name for name in SLOW_FILES}
    for item in items:
        if item.path in slow:
            item.add_marker(pytest.mark.slow)


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell; commands under test inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


PROCESS_STATUS = Path("/proc/self/status")
PEAK_MIB = """
import re
def peak_mib():
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\\s*(\\d+)", status.read())[1]) / 1024
"""
"""Code of the most memory that a process has held; `ru_maxrss` of a process also counts the one that started it."""


@pytest.fixture(autouse=True)
def log_handlers():
    """Takes away the handlers that a command under test leaves: they write to a stream that is closed after it."""
    before = list(logging.root.handlers)
    yield
    logging.root.handlers[:] = [handler for handler in logging.root.handlers if handler in before]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings and recorded outputs; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no folder ../shared with real recordings beside the repository")
    return SHARED


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


@contextmanager
def no_file_larger_than(n_bytes):
    """A disk that is full, as far as this process can tell."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="session")
def inference_folder(tmp_path_factory):
    """A checkpoint of a mini model with random weights, a video with sound, a processed clip and an envelope."""
    folder = tmp_path_factory.mktemp("inference")
    config = compose("exp=train_gh_controlnet", "backbone=mini", "dataset.spec.duration_s=2.0")
    model = build_model(config)
    save_checkpoint(folder / "model.safetensors", Checkpoint(model.trained_state(), composed_config(config, model)))
    frames = torch.randint(0, 255, (45, 3, 48, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    write_video(folder / "silent.mp4", frames, 15.0)
    time_s = torch.arange(3 * 44_100) / 44_100
    tone = (torch.sin(2 * torch.pi * 300 * time_s) * torch.exp(-8 * (time_s % 1))).expand(2, -1)
    mux(folder / "silent.mp4", tone, 44_100, folder / "video.mp4")
    write_envelope_csv(folder / "flat.csv", Envelope(torch.full((375,), 0.1), 125.0))
    tone_clip(folder, "clip")
    return folder
