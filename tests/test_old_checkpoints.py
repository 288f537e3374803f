"""Checkpoints that training left before files and classes were moved: they load, and give what they gave then.

The files in fixtures/ were written by `train.py` with `backbone=debug` (30 steps) and `exp=mini_video2rms` at the
smallest size (1 step), under the names that classes had then; `expected.safetensors` was recorded with them.
"""

import pytest
import torch
from hydra.utils import get_object
from safetensors.torch import load_file, save_file

from media.envelope import Envelope
from stable_foley.generator import Prompts, SoundGenerator
from tests.conftest import REPOSITORY
from training.checkpoint import read_content
from training.stored_config import MOVED
from video2rms.predict import load_video2rms

FIXTURES = REPOSITORY / "tests" / "fixtures"


def sound():
    """Sound (2, 8192) of the Foley model, with every kind of condition."""
    pipeline = SoundGenerator.from_checkpoint(FIXTURES / "foley.safetensors", "cpu")
    width, height = pipeline.spec.frame_width_height
    frames = torch.rand(4, 3, height, width, generator=torch.Generator().manual_seed(5))
    time_s = torch.arange(44_100) / 44_100
    tone = (torch.sin(2 * torch.pi * 440 * time_s) * torch.exp(-5 * time_s)).expand(2, -1)
    envelope = Envelope(0.2 * torch.exp(-8 * (torch.arange(125) / 125 % 0.5)), 125.0)
    return pipeline.generate(envelope, 1.0, frames=frames, prompts=Prompts(sounds=[tone]), seed=3)[:, :8192]


@torch.no_grad()
def levels():
    """Level logits (1, 42, 64) of Video2RMS for ten random frames."""
    model = load_video2rms(FIXTURES / "video2rms.safetensors")
    width, height = model.features.size_px
    generator = torch.Generator().manual_seed(6)
    frames = torch.randint(0, 255, (1, 10, 3, height, width), dtype=torch.uint8, generator=generator)
    return model(frames, torch.zeros(1, 10), 42).level_logits


@pytest.mark.parametrize(("name", "compute"), [("sound", sound), ("levels", levels)])
def test_the_same_comes_out(name, compute):
    expected = load_file(FIXTURES / "expected.safetensors")[name]
    found = compute()
    assert (found - expected).norm() <= 1e-3 * expected.norm()


@pytest.mark.parametrize("name", ["foley", "video2rms"])
def test_they_are_of_the_old_layout(name):
    """Else they would prove nothing."""
    config = read_content(FIXTURES / f"{name}.safetensors")["config"]
    assert config["trainer"]["_target_"] == "pytorch_lightning.Trainer"
    assert config["dataset"]["spec"]["_target_"] in ("data.clip.ClipSpec", "data.synthetic.SyntheticSpec")


@pytest.mark.parametrize("name", MOVED.values())
def test_every_new_name_is_there(name):
    assert callable(get_object(name))


if __name__ == "__main__":
    save_file({"sound": sound().contiguous(), "levels": levels().contiguous()}, FIXTURES / "expected.safetensors")
