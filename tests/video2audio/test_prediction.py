"""An interrupted prediction goes on where it was, and gives the same."""

import pytest
import torch

from media.reading import iter_requests
from media.writing import write_video
from stable_foley.generator import SoundGenerator
from video2audio.inputs import read_inputs
from video2audio.request import FoleyRequest
from video2audio.unfinished import Unfinished
from video2rms.predict import load_video2rms

N_WINDOWS = 4
"""Windows of 20 s in the video, the last of which is shorter."""


@pytest.fixture(scope="module")
def models():
    return SoundGenerator.from_checkpoint(), load_video2rms()


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """70 s in which a bar goes up and down."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    cycle = torch.full((20, 3, 48, 64), 50, dtype=torch.uint8)
    for number, frame in enumerate(cycle):
        frame[:, : 4 * abs(number - 10) + 2, 24:40] = 220
    write_video(path, [cycle[number % 20] for number in range(70 * 25)], 25.0)
    return path


def request_of(film):
    request = FoleyRequest(film, start_s=3.0)
    request.check()
    return request


@pytest.fixture(scope="module")
def expected(models, film):
    """What is found without an interruption."""
    return read_inputs(request_of(film), *models)


def same(found, expected):
    pairs = [
        (found.envelope.rms, expected.envelope.rms),
        (found.frames[:], expected.frames[:]),
        *((getattr(found.hits, name), getattr(expected.hits, name)) for name in ("times_s", "rms", "decay_s", "ring")),
    ]
    return all(torch.equal(one, other) for one, other in pairs)


class StopError(Exception):
    pass


@pytest.mark.parametrize("n_read", [2, N_WINDOWS])
def test_an_interrupted_prediction_goes_on(models, film, expected, tmp_path, monkeypatch, n_read):
    request, unfinished = request_of(film), Unfinished(tmp_path / "unfinished")
    unfinished.begin({})
    calls = []

    def stop(share):
        calls.append(share)
        if len(calls) == n_read:
            raise StopError

    with pytest.raises(StopError):
        read_inputs(request, *models, on_progress=stop, unfinished=unfinished)
    starts_s = []

    def watched(path, requests):
        starts_s.append([request.start_s for request in requests])
        return iter_requests(path, requests)

    monkeypatch.setattr("video2audio.prediction.iter_requests", watched)
    assert same(read_inputs(request, *models, unfinished=unfinished), expected)
    n_predicted = max(0, n_read - 2)  # a window is predicted when the next one but one is asked for
    assert starts_s[0][0] == pytest.approx(20.0 * max(0, n_predicted - 1))
    starts_s.clear()
    assert same(read_inputs(request, *models, unfinished=unfinished), expected)
    assert not starts_s  # all is known


def test_what_another_version_kept_is_not_used(models, film, expected, tmp_path):
    request, unfinished = request_of(film), Unfinished(tmp_path / "unfinished")
    unfinished.begin({})
    unfinished.save("inputs", {"rms": torch.zeros(5), "times_s": torch.zeros(1)}, None)
    assert same(read_inputs(request, *models, unfinished=unfinished), expected)
