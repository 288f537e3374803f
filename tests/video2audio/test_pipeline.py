"""The one call from a video to its sound: the same as the command, with everything read once."""

import json

import pytest
import torch
from torch import Tensor

import infer
from common.errors import InputError
from media import container, probe, reading
from media.envelope import Envelope, read_envelope_csv
from media.reading import read_frames, read_sound
from media.stored import StoredSound
from media.writing import write_video
from stable_foley.generator import SoundGenerator
from video2audio import FoleyPipeline, FoleyRequest
from video2audio.inputs import read_inputs
from video2rms.predict import load_video2rms, predict_envelope

RATE_HZ = 44_100
QUICK = {"n_steps": 2}


@pytest.fixture(scope="module")
def pipeline(inference_folder):
    return FoleyPipeline.from_checkpoint(inference_folder / "model.safetensors", device="cpu")


@pytest.fixture(scope="module")
def video(inference_folder):
    return inference_folder / "silent.mp4"


def test_a_call_gives_what_the_command_writes(inference_folder, pipeline, video, tmp_path):
    result = pipeline(video, seed=3, start_s=0.5, **QUICK)
    assert result.sound.shape == (2, 2.5 * RATE_HZ)
    expected = predict_envelope(load_video2rms(), video, start_s=0.5)
    assert torch.equal(result.envelope.rms, expected.envelope.rms)
    assert torch.equal(result.onsets_s, expected.onsets_s)
    assert {"envelope", "video", "network", "conditions", "steps", "decode"} <= result.timings_s.keys()
    saved = result.save(tmp_path / "python")
    assert [path.name for path in saved] == [f"silent.{kind}" for kind in ("wav", "mp4", "envelope.csv", "png", "json")]
    options = ["--checkpoint", inference_folder / "model.safetensors", "--steps", 2, "--seed", 3, "--start", 0.5]
    infer.main([str(word) for word in ["--video", video, *options, "--device", "cpu", "--output-dir", tmp_path / "c"]])
    for kind in ("wav", "mp4", "envelope.csv"):
        assert (tmp_path / "python" / f"silent.{kind}").read_bytes() == (tmp_path / "c" / f"silent.{kind}").read_bytes()
    records = [json.loads((tmp_path / folder / "silent.json").read_text()) for folder in ("python", "c")]
    assert records[0] == records[1]


def test_a_picture_is_decoded_once(pipeline, video, tmp_path, monkeypatch):
    decoded = []

    def watched_decode(packets, *args, **options):
        decoded.append(packets)
        return container.decoded(packets, *args, **options)

    for module in (probe, reading):
        monkeypatch.setattr(module, "decoded", watched_decode)
    pipeline(video, **QUICK).save(tmp_path)
    assert len(decoded) == 2  # the first frame alone, which tells how the picture is turned, and all frames


def test_both_networks_see_what_they_would_see_alone(video):
    """One decoding serves the predictor, with what comes before the section, and the generator."""
    generator = SoundGenerator.from_checkpoint(device="cpu")
    request = FoleyRequest(video, start_s=1.0, duration_s=1.5)
    inputs = read_inputs(request, generator, load_video2rms())
    spec = generator.spec
    frames = read_frames(
        video, frame_rate_hz=spec.frame_rate_hz, size_px=spec.frame_size_px, start_s=1.0, duration_s=1.5
    )
    assert torch.equal(inputs.frames[:], frames)
    alone = predict_envelope(load_video2rms(), video, start_s=1.0, duration_s=1.5)
    assert torch.equal(inputs.envelope.rms, alone.envelope.rms)


def test_an_envelope_of_ones_own_and_a_sound_as_prompt_are_taken(video, tmp_path):
    pipeline = FoleyPipeline.from_checkpoint(
        None, None, "cpu", overrides=["backbone=debug", "paths.random_weights=true"]
    )
    envelope = Envelope(torch.full((375,), 0.1), 125.0)
    prompt = read_sound(video.parent / "video.mp4", sample_rate_hz=RATE_HZ, duration_s=1.0)
    result = pipeline(video, envelope=envelope, audio_prompts=[prompt])
    assert result.onsets_s is None
    result.save(tmp_path, name="mine")
    written = read_envelope_csv(tmp_path / "mine.envelope.csv")
    torch.testing.assert_close(written.rms, envelope.rms, atol=1e-6, rtol=0)
    record = json.loads((tmp_path / "mine.json").read_text())
    assert record["envelope"] == "Envelope"
    assert record["video2rms"] is None
    with pytest.raises(InputError, match="give an envelope"):
        pipeline(video)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start_s": 9.0}, "9.0"),
        ({"n_steps": 0}, "0"),
        ({"control_strength": 11.0}, "11.0"),
        ({"seed": -1}, "-1"),
        ({"prompt": "wood"}, "no prompt encoder"),
    ],
)
def test_what_cannot_be_used_is_refused(pipeline, video, options, words):
    with pytest.raises(InputError, match=words):
        pipeline(video, **options)


@pytest.mark.parametrize("options", [{"start_s": 2.9999}, {"duration_s": 1e-4}, {"start_s": 1.23, "duration_s": 1e-3}])
def test_the_shortest_part_gets_sound(pipeline, video, options):
    result = pipeline(video, **options, **QUICK)
    assert result.sound.shape[1] == max(1, round(result.request.section.duration_s * RATE_HZ))
    assert len(result.envelope.rms) > 0


def test_results_of_another_video_are_not_replaced(inference_folder, pipeline, tmp_path):
    flat = Envelope(torch.full((375,), 0.1), 125.0)
    pipeline(inference_folder / "silent.mp4", envelope=flat, **QUICK).save(tmp_path, name="x")
    with pytest.raises(InputError, match=r"silent\.mp4"):
        pipeline(inference_folder / "video.mp4", envelope=flat, **QUICK).save(tmp_path, name="x")


def long_request(video, **options):
    """A request for a sound of ten windows; the model's windows have 2 s."""
    envelope = Envelope(torch.rand(2000, generator=torch.Generator().manual_seed(1)), 125.0)
    return FoleyRequest(video, envelope=envelope, n_steps=2, **options)


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    frames = torch.randint(0, 255, (150, 3, 48, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    write_video(path, frames, 10.0)
    return path


@pytest.mark.parametrize("options", [{}, {"loudness_lufs": -20.0, "sample_rate_hz": 48_000, "start_s": 2.0}])
def test_a_long_sound_is_the_same_on_disk_and_in_memory(pipeline, long_video, monkeypatch, tmp_path, options):
    files = []
    for n_windows in (100, 3):
        monkeypatch.setattr("video2audio.pipeline.MOST_WINDOWS_IN_MEMORY", n_windows)
        result = next(pipeline.results(long_request(long_video, **options), [1]))
        assert isinstance(result.finished.sound, Tensor if n_windows == 100 else StoredSound)
        saved = result.save(tmp_path / str(n_windows))
        files.append({path.name: path.read_bytes() for path in saved if path.suffix != ".png"})
    assert files[0] == files[1]


def test_an_interrupted_long_sound_goes_on(pipeline, long_video, tmp_path, monkeypatch):
    request, folder = long_request(long_video), tmp_path / "unfinished"
    sample, calls = pipeline.generator.model.sample, []

    def watched(*args, **options):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return sample(*args, **options)

    expected = next(pipeline.results(request, [1])).sound
    monkeypatch.setattr(pipeline.generator.model, "sample", watched)
    with pytest.raises(KeyboardInterrupt):
        next(pipeline.results(request, [1], folder=folder))
    first, calls[:] = len(calls), [0] * 10
    (result,) = pipeline.results(request, [1], folder=folder)
    n_windows = len(pipeline.generator.window_starts(expected.shape[1]))
    assert len(calls) - 10 == n_windows - (first - 1)
    assert torch.equal(result.sound, expected)


def test_a_long_sound_starts_anew_with_other_settings_and_where_its_samples_are_gone(pipeline, long_video, tmp_path):
    def begun(request, seed=1):
        results = pipeline.results(request, [seed], folder=tmp_path / "unfinished")
        return next(results).sound  # not taken to its end, so everything is still there

    first = begun(long_request(long_video))
    assert torch.equal(begun(long_request(long_video)), first)
    assert not torch.equal(begun(long_request(long_video, control_strength=0.5)), first)
    assert torch.equal(begun(long_request(long_video)), first)
    (tmp_path / "unfinished" / "seed-1.rows").write_bytes(b"")
    assert torch.equal(begun(long_request(long_video)), first)


def test_what_was_kept_of_a_long_sound_is_removed_with_the_last_result(pipeline, long_video, tmp_path):
    assert len(list(pipeline.results(long_request(long_video), [1, 2], folder=tmp_path / "unfinished"))) == 2
    assert not any(tmp_path.iterdir())
