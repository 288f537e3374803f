"""Frozen features: those of torchvision's own networks, local in time, the same in every piece, batch and mode."""

from pathlib import PurePosixPath
from urllib.error import URLError

import pytest
import torch
from torchvision.models import get_model, get_model_weights

from common.errors import InputError
from common.weights import weights_sha256
from video2rms.features import rgb_flow
from video2rms.features.motion import MotionFeatures
from video2rms.features.rgb_flow import RgbFlowFeatures, flow_statistics
from video2rms.level_network import LevelNetwork

SMALL = {"size_px": (128, 128), "flow_updates": 2}


@pytest.fixture(scope="module")
def features():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RgbFlowFeatures(**SMALL, random_weights=True)


@pytest.fixture
def short_pieces(monkeypatch):
    monkeypatch.setattr(rgb_flow, "_PIECE_FRAMES", 4)


def clip(n_frames, seed=0):
    """Noise that grows out of large blocks, so that there is something at every scale."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.rand(n_frames, 3, 8, 8, generator=generator).repeat_interleave(16, 2).repeat_interleave(16, 3)
    noise = torch.rand(n_frames, 3, 128, 128, generator=generator)
    return (255 * (blocks + noise) / 2).to(torch.uint8)[None]


def on_time(features, frames):
    """Return the features of frames that were shown exactly when the grid says."""
    return features(frames, torch.zeros(frames.shape[:2]))


def test_rgb_features_of_all_frames_make_torchvisions_own_prediction(features, short_pieces):
    network = get_model("mc3_18").eval()
    for name, part in zip(("stem", "layer1", "layer2", "layer3", "layer4"), features.rgb, strict=True):
        getattr(network, name).load_state_dict(part.state_dict())
    frames = clip(9)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)))
    with torch.no_grad():
        expected = network(((frames / 255 - mean) / std).transpose(1, 2))
        found = network.fc(on_time(features, frames)[..., :512].mean(dim=1))
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_flow_is_that_of_raft_from_the_frame_before(features, short_pieces):
    frames = clip(6)
    pictures = 2 * (frames[0] / 255) - 1
    with torch.no_grad():
        flow = features.flow(pictures[:-1], pictures[1:], num_flow_updates=2)[-1]
    assert flow.abs().amax() > 1e-3
    torch.testing.assert_close(on_time(features, frames)[0, 1:, 512:], flow_statistics(flow), rtol=1e-3, atol=1e-5)


def test_statistics_of_an_even_flow_and_of_a_single_spot():
    even = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1).expand(1, 2, 128, 224)
    mean_x, mean_y, speed, highest = flow_statistics(even).view(4, 28)
    for found, expected in ((mean_x, 3.0), (mean_y, -4.0), (speed, 5.0), (highest, 5.0)):
        value = torch.tensor(expected)
        torch.testing.assert_close(found, (value.sign() * value.abs().log1p()).expand(28))
    spot = torch.zeros(1, 2, 128, 224)
    spot[0, :, 70, 165] = torch.tensor([3.0, -4.0])  # third row, sixth column
    found = flow_statistics(spot).view(4, 4, 7)
    assert (found != 0).nonzero()[:, 1:].tolist() == [[2, 5]] * 4
    expected = torch.tensor([3.0, -4.0, 5.0]) / 32**2
    torch.testing.assert_close(found[:3, 2, 5].abs().expm1() * found[:3, 2, 5].sign(), expected, rtol=1e-3, atol=1e-6)
    assert found[3, 2, 5].expm1().item() == pytest.approx(5.0)


def test_a_frame_matters_as_far_as_is_said_and_no_farther(features, short_pieces):
    frames, at = clip(16), 8
    changed = frames.clone()
    changed[0, at] = 255 - changed[0, at]
    before, after = on_time(features, frames)[0], on_time(features, changed)[0]
    differs = (before - after).abs().amax(dim=1) > 1e-4 * before.abs().amax()
    near = [abs(number - at) <= features.context_frames for number in range(16)]
    assert differs.tolist() == near


def test_a_window_with_its_surroundings_equals_the_whole(features, short_pieces):
    frames, context = clip(17), features.context_frames
    whole = on_time(features, frames)
    window = on_time(features, frames[:, 3:])[:, context:]
    torch.testing.assert_close(window, whole[:, 3 + context :], rtol=1e-4, atol=1e-5)


def test_neither_batch_nor_precision_of_the_training_matters(features):
    a, b = clip(3, 1), clip(3, 2)
    together = on_time(features, torch.cat([a, b]))
    assert together.shape == (2, 3, features.n_features)
    assert together.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        apart = torch.cat([on_time(features, a), on_time(features, b)])
    assert torch.equal(together, apart)


def test_the_networks_stay_frozen_whatever_the_trainer_does(features):
    model = LevelNetwork(features, width=8, lstm_width=4).train()
    before = weights_sha256(features.state_dict())
    model(clip(2), torch.zeros(1, 2), 8).level_logits.sum().backward()
    assert model.training
    assert model.convs.training
    assert not any(module.training for module in features.modules())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in features.parameters())
    assert all(p.grad is not None for name, p in model.named_parameters() if not name.startswith("features."))
    assert weights_sha256(features.state_dict()) == before


def test_identity_follows_settings_and_weights_and_trained_features_have_none(features):
    def made(seed, **settings):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return RgbFlowFeatures(**(SMALL | settings), random_weights=True).frozen_id()

    assert made(0) == features.frozen_id()
    others = [made(1), made(0, flow_updates=3), made(0, size_px=(136, 128)), made(0, flow="raft_large")]
    assert len({features.frozen_id(), *others}) == 5
    with pytest.raises(InputError, match=r"MotionFeatures is trained .* model/features=rgb_flow"):
        MotionFeatures().frozen_id()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"flow": "farneback"}, "flow farneback"),
        ({"flow_updates": 0}, "0 updates"),
        ({"size_px": (224, 120)}, "224x120"),
        ({"size_px": (225, 128)}, "225x128"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        RgbFlowFeatures(**settings, random_weights=True)


def hub_file(folder, name):
    (folder / "hub" / "checkpoints").mkdir(parents=True, exist_ok=True)
    return folder / "hub" / "checkpoints" / PurePosixPath(get_model_weights(name).DEFAULT.url).name


def test_published_weights_are_read_from_torchs_folder(tmp_path, monkeypatch):
    """Files of the published names and forms with other values, since the true ones are not at hand."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    networks = {name: get_model(name) for name in ("mc3_18", "raft_small")}
    for name, network in networks.items():
        torch.save(network.state_dict(), hub_file(tmp_path, name))
    features = RgbFlowFeatures(**SMALL)
    assert weights_sha256(features.flow.state_dict()) == weights_sha256(networks["raft_small"].state_dict())
    parts = [weights_sha256(part.state_dict()) for part in features.rgb]
    names = ("stem", "layer1", "layer2", "layer3", "layer4")
    assert parts == [weights_sha256(getattr(networks["mc3_18"], name).state_dict()) for name in names]
    path = hub_file(tmp_path, "raft_small")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=rf"{path.name} .*is damaged"):
        RgbFlowFeatures(**SMALL)
    torch.save(networks["mc3_18"].state_dict(), path)
    with pytest.raises(InputError, match=rf"{path.name} do not fit"):
        RgbFlowFeatures(**SMALL)


def test_without_network_the_sentence_says_which_file_to_put_where(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    with pytest.raises(InputError) as caught:
        RgbFlowFeatures()
    sentence = str(caught.value)
    assert str(hub_file(tmp_path, "mc3_18")) in sentence
    assert get_model_weights("mc3_18").DEFAULT.url in sentence
    assert "no route to host" in sentence
    assert "model/features=motion" in sentence
    assert "\n" not in sentence
