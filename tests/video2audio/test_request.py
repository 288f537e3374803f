"""Requests: which part of a sound is the envelope or the prompt, what is refused before a model is loaded."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import infer
from common.errors import InputError
from media.envelope import fine_envelope
from media.reading import read_sound
from media.sound_part import SoundPart
from stable_foley.generator import SoundGenerator
from tests.conftest import tone_clip
from tests.media.clips import click, make_video, peak_s
from video2audio import FoleyRequest
from video2audio.inputs import read_inputs, read_prompt

RATE_HZ = 44_100


@pytest.fixture(scope="module")
def generator(inference_folder):
    return SoundGenerator.from_checkpoint(inference_folder / "model.safetensors", device="cpu")


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A sound of 5 s that gets louder, and its samples (2, N)."""
    wave = np.random.default_rng(0).normal(0, 1, (5 * RATE_HZ, 2)) * np.linspace(0, 0.2, 5 * RATE_HZ)[:, None]
    path = tmp_path_factory.mktemp("noise") / "noise.wav"
    soundfile.write(path, wave, RATE_HZ, subtype="FLOAT")
    return path, torch.from_numpy(wave.T).float()


def cut(wave, start_s, stop_s, duration_s):
    """Samples of a sound, with silence up to a duration."""
    part = wave[:, round(start_s * RATE_HZ) : round(stop_s * RATE_HZ)][:, : round(duration_s * RATE_HZ)]
    return torch.nn.functional.pad(part, (0, round(duration_s * RATE_HZ) - part.shape[1]))


@pytest.mark.parametrize(
    ("options", "start_s", "stop_s", "ends_at"),
    [
        ("", 0, 5, None),
        ("#from=0", 0, 5, None),
        ("#from=1.5", 1.5, 5, None),
        ("#from=4", 4, 5, "5.00"),
        ("#to=1.25", 0, 1.25, "1.25"),
        ("#to=4,from=3.5,track=1", 3.5, 4, "4.00"),
        ("#from=2,to=5.09", 2, 5, None),
        ("#from=3.9,to=4.02", 3.9, 4.02, "4.02"),
    ],
)
@pytest.mark.parametrize("section_s", [0.0, 0.5])
def test_the_part_of_a_sound_begins_at_the_section(
    inference_folder, generator, noise, caplog, options, start_s, stop_s, ends_at, section_s
):
    path, wave = noise
    request = FoleyRequest(
        inference_folder / "silent.mp4", envelope=Path(f"{path}{options}"), start_s=section_s, duration_s=2.5
    )
    request.check()
    found = read_inputs(request, generator, None).envelope
    expected = fine_envelope(cut(wave, start_s, stop_s, 2.5), RATE_HZ)
    torch.testing.assert_close(found.rms, expected.rms, atol=1e-6, rtol=0)
    said = [message for message in caplog.messages if "silence follows" in message]
    assert len(said) == (ends_at is not None)
    assert not said or (f"{ends_at} s" in said[0] and f"{path}{options}" in said[0])


@pytest.mark.parametrize(
    ("options", "start_s", "stop_s"), [("", 1.0, 3.0), ("#track=1", 1.0, 3.0), ("#from=0", 0.0, 2.0), ("#to=2", 1, 2)]
)
def test_the_sound_of_the_video_itself_begins_at_the_section_unless_a_start_is_given(
    inference_folder, generator, options, start_s, stop_s
):
    video = inference_folder / "video.mp4"
    request = FoleyRequest(video, envelope=f"{video}{options}", start_s=1.0, duration_s=2.0)
    request.check()
    found = read_inputs(request, generator, None).envelope
    wave = read_sound(video, sample_rate_hz=RATE_HZ)
    expected = fine_envelope(cut(wave, start_s, stop_s, 2.0), RATE_HZ)
    torch.testing.assert_close(found.rms, expected.rms, atol=2e-3, rtol=0)


def test_the_folder_of_a_clip_gives_its_sound_and_parts_of_it(inference_folder, generator, tmp_path):
    clip = tone_clip(tmp_path, "other", 3.0)
    wave = read_sound(clip / "audio" / "other.resampled.wav", sample_rate_hz=RATE_HZ)
    for given, start_s in ((clip, 0.0), (Path(f"{clip}#from=1.1"), 1.1)):
        request = FoleyRequest(inference_folder / "silent.mp4", envelope=given, duration_s=1.5)
        request.check()
        expected = fine_envelope(cut(wave, start_s, 3.0, 1.5), RATE_HZ)
        torch.testing.assert_close(read_inputs(request, generator, None).envelope.rms, expected.rms)


@pytest.mark.parametrize(("options", "start_s", "stop_s"), [("", 0, 5), ("#from=1.5", 1.5, 5), ("#to=2,from=1", 1, 2)])
def test_the_part_is_the_prompt(noise, options, start_s, stop_s):
    path, wave = noise
    prompt = read_prompt(f"{path}{options}", RATE_HZ)
    torch.testing.assert_close(prompt, wave[:, round(start_s * RATE_HZ) : round(stop_s * RATE_HZ)])
    torch.testing.assert_close(read_prompt(SoundPart.parse(f"{path}{options}"), RATE_HZ), prompt)


def test_of_a_long_part_the_first_minute_is_the_prompt(tmp_path):
    wave = np.random.default_rng(0).normal(0, 0.1, 100 * 8000)
    soundfile.write(tmp_path / "long.wav", wave, 8000, subtype="FLOAT")
    for options in ("from=12.5", "from=12.5,to=90"):
        prompt = read_prompt(f"{tmp_path / 'long.wav'}#{options}", 8000)
        expected = torch.from_numpy(wave[100_000 : 100_000 + 60 * 8000]).float()
        torch.testing.assert_close(prompt, expected.expand(2, -1))


def test_the_prompt_of_a_video_may_be_longer_than_its_picture(tmp_path):
    video = make_video(tmp_path / "video.mp4", sound=click(65.0, 50.0, 8000), sound_rate_hz=8000)
    prompt = read_prompt(video, 8000)
    assert prompt.shape[1] == 60 * 8000
    assert peak_s(prompt, 8000) == pytest.approx(50.0, abs=0.01)


def test_a_prompt_is_silent_in_its_part_and_the_remedy_works(tmp_path):
    late = torch.cat([torch.zeros(1, 70 * 8000), click(5.0, 2.0, 8000)], dim=1)
    path = tmp_path / "late.wav"
    soundfile.write(path, late.T.numpy(), 8000)
    with pytest.raises(InputError, match=r"late\.wav#from=60") as refusal:
        read_prompt(path, 8000)
    remedy = next(word for word in str(refusal.value).split() if "#" in word).rstrip(",")
    assert read_prompt(remedy, 8000).any()
    with pytest.raises(InputError, match="is silent"):
        read_prompt(f"{path}#from=10,to=20", 8000)


@pytest.mark.parametrize("kind", ["envelope", "prompt"])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("track=2", "track 2"),
        ("from=5.1", "5.1"),
        ("to=5.2", "5.2"),
        ("from=2,to=1", "to"),
        ("from=-1", "-1"),
        ("colour=red", "colour"),
        ("to=soon", "soon"),
    ],
)
def test_parts_that_are_not_there_are_refused_before_a_model_is_loaded(
    inference_folder, noise, tmp_path, capsys, kind, options, named
):
    option = {"envelope": "--envelope", "prompt": "--audio-prompt"}[kind]
    files = ["--video", inference_folder / "silent.mp4", option, f"{noise[0]}#{options}", "--checkpoint", "nowhere"]
    with pytest.raises(SystemExit) as stopped:
        infer.main([*map(str, files), "--output-dir", str(tmp_path / "out")])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "noise.wav" in said
    assert named in said
    assert not (tmp_path / "out").exists()


def test_a_part_of_a_table_and_one_before_the_section_are_refused(inference_folder):
    video, table = inference_folder / "video.mp4", inference_folder / "flat.csv"
    with pytest.raises(InputError, match=r"flat\.csv#from=1"):
        FoleyRequest(video, envelope=Path(f"{table}#from=1")).check()
    with pytest.raises(InputError, match="to=1"):
        FoleyRequest(video, envelope=Path(f"{video}#to=1"), start_s=2.0).check()


def test_a_part_counts_as_its_file_and_the_record_keeps_the_text(inference_folder, noise, tmp_path):
    path = tmp_path / "video.wav"
    path.write_bytes(noise[0].read_bytes())
    video = inference_folder / "video.mp4"
    request = FoleyRequest(video, envelope=f"{path}#from=1", audio_prompts=[SoundPart(path, to_s=2.0), torch.zeros(2)])
    assert request.files == [video, path, path]
    options = ["--checkpoint", inference_folder / "model.safetensors", "--steps", 1, "--duration", 0.5]
    command = [str(word) for word in ("--video", video, "--envelope", f"{path}#from=1", *options)]
    with pytest.raises(SystemExit):
        infer.main([*command, "--output-dir", str(tmp_path)])
    assert path.read_bytes() == noise[0].read_bytes()
    infer.main([*command, "--output-dir", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out" / "video.json").read_text())["envelope"] == f"{path}#from=1"


@pytest.mark.parametrize("duration_s", [0.02, 1.0])
@pytest.mark.parametrize(("rate_hz", "n_channels", "subtype"), [(8000, 1, "PCM_U8"), (192_000, 8, "DOUBLE")])
def test_a_sound_of_any_length_and_rate_is_an_envelope_and_a_prompt(
    inference_folder, generator, tmp_path, duration_s, rate_hz, n_channels, subtype
):
    time_s = np.arange(round(rate_hz * duration_s)) / rate_hz
    tone = np.repeat(0.3 * np.sin(2 * np.pi * 500 * time_s)[:, None], n_channels, axis=1)
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone, rate_hz, subtype=subtype)
    request = FoleyRequest(inference_folder / "silent.mp4", envelope=path, audio_prompts=[path], duration_s=2.0)
    request.check()
    inputs = read_inputs(request, generator, None)
    at_rate = 0.3 * torch.sin(2 * torch.pi * 500 * torch.arange(round(RATE_HZ * duration_s)) / RATE_HZ)
    expected = fine_envelope(cut(at_rate[None], 0, duration_s, 2.0), RATE_HZ)
    torch.testing.assert_close(inputs.envelope.rms, expected.rms, atol=4e-3, rtol=0)
    (prompt,) = inputs.prompts.sounds
    assert prompt.shape[1] == pytest.approx(duration_s * RATE_HZ, abs=3)


@pytest.mark.parametrize("duration_s", [0.02, 0.3])
def test_the_shortest_prompt_is_heard(inference_folder, noise, duration_s):
    """By the encoder of the bundled model, which listens to windows of 2 s."""
    encoder = SoundGenerator.from_checkpoint(device="cpu").model.conditioner.sound_prompt
    sound = read_prompt(f"{noise[0]}#from=4,to={4 + duration_s}", RATE_HZ)
    embedding = encoder.encode(sound[None], sound.shape[1])
    assert embedding.isfinite().all()
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(1))
