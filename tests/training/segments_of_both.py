"""Train CAVP for one step on one or two devices, validate, and write what came out.

The towers are cut down to their last layers, which treat every segment alone: what remains to differ between devices is
what they exchange.
"""

from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from cavp import Cavp, Cnn14, SlowOnly
from cavp.model import ContrastiveOutput
from cavp.module import CavpTraining
from cavp.spectrogram import LogMel
from data.segments import Segments

WIDTH = 128


class LastLayers(CavpTraining):
    def embed(self, batch: Segments) -> ContrastiveOutput:
        model = self.model
        video = model.video_project_head(batch.frames.float())
        audio = model.spec_encoder.final_project(batch.wave)
        return ContrastiveOutput(F.normalize(video, dim=-1), F.normalize(audio, dim=-1), model.logit_scale.exp())


def pairs(n_recordings: int) -> list[Segments]:
    generator = torch.Generator().manual_seed(1)
    return [
        Segments(
            wave=torch.randn(3, WIDTH, generator=generator),
            frames=torch.randn(3, WIDTH, generator=generator),
            start_s=torch.arange(3.0),
            recording=torch.tensor(r),
        )
        for r in range(n_recordings)
    ]


def train_on(n_devices: int, out: Path) -> None:
    """Write the trained weights and all metrics to a file."""
    torch.manual_seed(0)
    model = Cavp(SlowOnly(4), Cnn14(base_channels=4, n_mels=32, embed_dim=8), embed_dim=8)
    training = LastLayers(model, LogMel(n_mels=32), partial(torch.optim.SGD, lr=1.0))
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=n_devices,
        strategy="ddp_find_unused_parameters_true" if n_devices > 1 else "auto",
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(training, DataLoader(pairs(4), 4 // n_devices), DataLoader(pairs(5), 2))
    if trainer.is_global_zero:
        torch.save({"weights": model.state_dict(), "metrics": dict(trainer.callback_metrics)}, out)
