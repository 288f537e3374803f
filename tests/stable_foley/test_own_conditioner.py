"""A conditioner from outside the package: its class and a line of configuration are all that it takes."""

import pytest
import torch
from torch import nn

from data.batch import FoleyBatch
from media.envelope import Envelope
from stable_foley.conditioners.base import Conditioner
from stable_foley.features import encode_features, encoder_ids
from stable_foley.generator import SoundGenerator
from stable_foley.module import FoleyTraining
from training.config import compose, instantiate


class Brightness(Conditioner):
    """How bright the sound is: its spectral centroid as a share of half the sample rate, as one token."""

    reads = "wave"

    def __init__(self, output_dim: int) -> None:
        super().__init__()
        self.proj_out = nn.Linear(1, output_dim)

    @property
    def encoder_id(self):
        return "brightness 1"

    def from_recording(self, recorded):
        power = torch.fft.rfft(recorded.mean(1)).abs().square()
        shares = torch.linspace(0, 1, power.shape[-1])
        return (power * shares).sum(-1) / power.sum(-1)

    def encode(self, raw, n_samples):
        return raw[:, None]

    def absent(self, n_clips, n_frames):
        return torch.zeros(n_clips, 1)

    def forward(self, embedding):
        return self.proj_out(embedding).unsqueeze(1)


@pytest.fixture(scope="module")
def config():
    own = f"+conditioners.brightness={{_target_: {__name__}.Brightness, output_dim: 64}}"
    return compose("exp=train_gh_controlnet", "backbone=debug", "trainer=cpu", own)


@pytest.fixture
def training(config):
    return FoleyTraining.from_config(config)


@pytest.fixture
def batch(training):
    generator = torch.Generator().manual_seed(0)
    return FoleyBatch(
        wave=0.1 * torch.randn(2, 2, 44_100, generator=generator),
        frames=torch.rand(2, 4, 3, 32, 32, generator=generator),
        onsets=(torch.zeros(0),) * 2,
        labels=("", ""),
        clip_ids=("a", "b"),
        start_s=torch.zeros(2),
        duration_s=torch.ones(2),
    )


def test_it_is_trained_saved_and_cached(training, batch):
    projection = training.model.conditioners["brightness"].proj_out
    before = projection.weight.clone()
    with torch.no_grad():
        for parameter in training.model.model.parameters():  # the library starts many layers at zero
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    optimiser = torch.optim.SGD([p for p in training.parameters() if p.requires_grad], lr=0.1)
    training.loss(batch, training.noise(len(batch))).backward()
    optimiser.step()
    assert not torch.equal(projection.weight, before)
    assert "conditioner.conditioners.brightness.proj_out.weight" in training.state_dict()
    assert encoder_ids(training.model)["brightness"] == "brightness 1"
    features = encode_features(training.model, batch)["brightness"]
    torch.testing.assert_close(features, torch.full((2, 1), 0.5), atol=0.02, rtol=0)  # white noise


@torch.no_grad()
def test_it_steers_generation_or_is_left_out(config, training):
    model = training.model.eval()
    for parameter in model.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    pipeline = SoundGenerator(model, instantiate(config.dataset.spec), instantiate(config.sampler), "cpu")
    envelope = Envelope(torch.full((125,), 0.1), 125.0)
    values = [None, *({"brightness": torch.tensor([value])} for value in (0.1, 0.9))]
    sounds = [pipeline.generate(envelope, 1.0, inputs=value) for value in values]
    for i, sound in enumerate(sounds):
        assert sound.isfinite().all()
        assert not any(torch.equal(sound, other) for other in sounds[:i])
