"""The network: any length, locality of the features, what it knows of time."""

import pytest
import torch

from media.frames import FrameWindow
from video2rms.features.motion import MotionFeatures
from video2rms.level_network import LevelNetwork
from video2rms.streaming import count_slots, predict_levels


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LevelNetwork(MotionFeatures(32, (8, 16)), width=32, lstm_width=16).eval()


def clip(n_frames, seed=0, size=(16, 28)):
    return torch.randint(0, 255, (1, n_frames, 3, *size), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


@pytest.mark.parametrize(("n_frames", "n_slots"), [(1, 4), (15, 62), (97, 404)])
def test_any_length(model, n_frames, n_slots):
    prediction = model(clip(n_frames), torch.zeros(1, n_frames), n_slots)
    assert prediction.level_logits.shape == (1, n_slots, 64)
    assert prediction.onset_logits.shape == (1, n_slots)


@pytest.mark.parametrize("size", [(64, 112), (112, 64), (33, 45), (240, 240)])
def test_features_of_any_size(model, size):
    assert model.features(clip(3, size=size), torch.zeros(1, 3)).shape == (1, 3, 32)


def test_features_depend_on_their_surroundings_only(model):
    frames = clip(120)
    changed = frames.clone()
    changed[0, 100] = 255 - changed[0, 100]
    near = 100 - model.features.context_frames
    before, after = (model.features(each, torch.zeros(1, 120))[0] for each in (frames, changed))
    torch.testing.assert_close(before[:near], after[:near])
    assert not torch.allclose(before[near:], after[near:])


def test_lateness_and_repetition_are_seen(model):
    frames = clip(30)
    on_time = model(frames, torch.zeros(1, 30), 125).level_logits
    late = model(frames, torch.full((1, 30), 0.01), 125).level_logits
    assert not torch.allclose(on_time, late)


def test_a_frame_that_is_held_counts_as_repeated_however_long(model):
    seen = []
    hook = model.convs[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(clip(60), torch.arange(60)[None] / 30 * (torch.arange(60) > 9), 250)
    hook.remove()
    late, repeated = seen[0][0, -2:]
    assert late.max() == 3
    assert repeated.tolist() == [0.0] * 10 + [1.0] * 50


def test_gradients_reach_every_parameter():
    model = LevelNetwork(MotionFeatures(16, (8, 8)), width=16, lstm_width=8)
    prediction = model(clip(12), torch.zeros(1, 12), 50)
    (prediction.level_logits.square().mean() + prediction.onset_logits.square().mean()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def windows_of(frames, sizes):
    first = 0
    for n in sizes:
        yield FrameWindow(first, frames[first : first + n], torch.zeros(n, dtype=torch.float64))
        first += n


def test_windows_of_any_number_of_frames_have_the_slots_of_the_whole(model):
    frames = torch.zeros(609, 3, 8, 14, dtype=torch.uint8)
    for n in range(601, 610):
        parts = [part.rms for part in predict_levels(model, windows_of(frames, [600, n - 600]))]
        assert sum(map(len, parts)) == count_slots(n)
        assert abs(count_slots(n) / 125 - n / 30) <= 0.5 / 125


def test_windows_follow_each_other_without_gap(model):
    frames = clip(1900)[0]
    parts = list(predict_levels(model, windows_of(frames, [600, 600, 600, 100])))
    assert [len(part.rms) for part in parts] == [2500, 2500, 2500, 417]
    whole = model(frames[None], torch.zeros(1, 1900), 7917)
    onset = torch.cat([part.onset for part in parts])
    torch.testing.assert_close(onset, whole.onset_logits[0].sigmoid(), atol=1e-4, rtol=0)
    with torch.no_grad():
        expected = model.bins.expected_rms(whole.level_logits[0])
    rms = torch.cat([part.rms for part in parts])
    torch.testing.assert_close(rms, expected, atol=1e-4, rtol=0)
