"""CAVP, contrastive audio-visual pretraining: models that embed silent video frames according to their sound.

The models need torch and this project's packages for errors, weight files and vocabulary; their training (module.py)
also needs `training` and `data.segments`.
Shape legend: B batch, T video frames or time steps, H height, W width, D width of the embedding.

Source: Luo et al., "Diff-Foley: Synchronized Video-to-Audio Synthesis with Latent Diffusion Models", 2023, section 3.1.
"""

from cavp.audio_tower import Cnn14
from cavp.model import Cavp, ContrastiveOutput
from cavp.video_tower import SlowOnly
from cavp.weights import cavp_from_state_dict, load_cavp

__all__ = [
    "Cavp",
    "Cnn14",
    "ContrastiveOutput",
    "SlowOnly",
    "cavp_from_state_dict",
    "load_cavp",
]
