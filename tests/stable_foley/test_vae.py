"""The VAE against the library that it is from."""

import pytest
import torch
from omegaconf import OmegaConf

from stable_foley.codec import VaeLatent
from tests.conftest import REPOSITORY

RATE_HZ = 44_100


@pytest.fixture(scope="module")
def config():
    described = OmegaConf.load(REPOSITORY / "configs/backbone/debug.yaml").model_config
    return OmegaConf.to_container(described.model.pretransform.config)


def test_sounds_and_latents_are_those_of_the_library(config):
    torch.manual_seed(0)
    ours = VaeLatent(config, RATE_HZ).eval()
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if name.endswith((".alpha", ".beta")):
                parameter.uniform_(-1, 1)
    from stable_audio_tools.models.autoencoders import create_autoencoder_from_config

    theirs = create_autoencoder_from_config({"sample_rate": RATE_HZ, "model": config}).eval()
    theirs.load_state_dict(ours.model.state_dict())
    wave, latent = 0.1 * torch.randn(2, 2, 8 * 2048), torch.randn(2, 64, 8)
    with torch.no_grad():
        torch.testing.assert_close(ours.parameters_of(wave), theirs.encoder(wave), atol=5e-5, rtol=1e-3)
        torch.testing.assert_close(ours.decode(latent), theirs.decoder(latent), atol=5e-5, rtol=1e-3)
