"""Normalisation, pooling and the pieces of the contrastive objective."""

import pytest
import torch

from cavp import Cavp, Cnn14, SlowOnly


@pytest.fixture(scope="module")
def model() -> Cavp:
    torch.manual_seed(0)
    return Cavp(SlowOnly(4), Cnn14(base_channels=4, n_mels=32, embed_dim=16), embed_dim=16).eval()


FRAMES = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
LOG_MEL = torch.rand(2, 1, 48, 32, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def test_embeddings_are_unit_vectors_of_the_projected_features(model):
    projected = model.video_project_head(model.video_encoder(FRAMES.transpose(1, 2)))
    per_frame = model.encode_video(FRAMES)
    torch.testing.assert_close(per_frame, projected / projected.norm(dim=-1, keepdim=True))
    pooled = projected.max(dim=1).values
    torch.testing.assert_close(model.encode_video(FRAMES, pool=True), pooled / pooled.norm(dim=-1, keepdim=True))


@torch.no_grad()
def test_forward_gives_clip_embeddings_and_scale(model):
    output = model(FRAMES, LOG_MEL)
    assert torch.equal(output.video, model.encode_video(FRAMES, pool=True))
    assert torch.equal(output.audio, model.encode_audio(LOG_MEL, pool=True))
    assert output.logit_scale.item() == pytest.approx(1 / 0.07)
    assert model.encode_audio(LOG_MEL).shape == (2, 3, 16)


def test_contrastive_loss_reaches_every_parameter(model):
    output = model(FRAMES, LOG_MEL)
    logits = output.logit_scale * output.video @ output.audio.T
    torch.nn.functional.cross_entropy(logits, torch.arange(2)).backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []


def test_without_audio_tower_there_is_no_trace_of_it():
    model = Cavp(SlowOnly(4))
    assert {key.split(".")[0] for key in model.state_dict()} == {"video_encoder", "video_project_head"}
    with pytest.raises(ValueError, match="no audio tower"):
        model.encode_audio(LOG_MEL)


@pytest.mark.parametrize(
    "frames", [FRAMES[0], FRAMES[:, :, :2], (FRAMES * 255).byte()], ids=["no batch", "2 channels", "bytes"]
)
def test_refuses_other_frames(model, frames):
    with pytest.raises(ValueError, match=r"of floating point in 0\.\.1 was expected"):
        model.encode_video(frames)


def test_refuses_towers_of_different_width():
    with pytest.raises(ValueError, match="width 8 and the video tower of 16"):
        Cavp(SlowOnly(4), Cnn14(base_channels=4, embed_dim=8), embed_dim=16)
