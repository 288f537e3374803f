"""infer.py as a user runs it: what it writes for a video and for a processed clip, and what it refuses."""

import json
import logging
import shutil
import subprocess
import sys

import av
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import infer
from hits.level import Hits, level_of_hits
from media.envelope import fine_envelope, read_envelope_csv
from media.probe import probe
from media.reading import read_frames, read_sound
from tests.conftest import REPOSITORY
from tests.media.clips import make_video
from video2audio.inputs import read_prompt
from video2rms.predict import BUNDLED_VIDEO2RMS, load_video2rms, predict_envelope

RATE_HZ = 44_100


def run(folder, out, *options, video="video.mp4", envelope="video.mp4"):
    files = ["--video", folder / video, "--checkpoint", folder / "model.safetensors", "--envelope", folder / envelope]
    infer.main([*map(str, files), "--steps", "2", "--output-dir", str(out), *options])


def test_a_video_gets_sound_of_its_length(inference_folder, tmp_path):
    run(inference_folder, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        f"video.{kind}" for kind in ("wav", "mp4", "envelope.csv", "png", "json")
    }
    sound = read_sound(tmp_path / "video.wav", sample_rate_hz=RATE_HZ)
    assert sound.shape == (2, 3 * RATE_HZ)
    assert torch.equal(
        read_frames(tmp_path / "video.mp4", frame_rate_hz=15.0),
        read_frames(inference_folder / "video.mp4", frame_rate_hz=15.0),
    )
    muxed = read_sound(tmp_path / "video.mp4", sample_rate_hz=RATE_HZ, duration_s=3.0)
    assert torch.corrcoef(torch.stack([muxed[0], sound[0]]))[0, 1] > 0.9
    envelope = read_envelope_csv(tmp_path / "video.envelope.csv")
    expected = fine_envelope(
        read_sound(inference_folder / "video.mp4", sample_rate_hz=RATE_HZ, duration_s=3.0), RATE_HZ
    )
    torch.testing.assert_close(envelope.rms, expected.rms, atol=1e-6, rtol=0)
    settings = json.loads((tmp_path / "video.json").read_text())
    assert settings["sampler_settings"]["n_steps"] == 2
    assert settings["seed"] == 0
    assert settings["duration_s"] == pytest.approx(3.0)


def test_the_written_envelope_gives_the_same_sound_again(inference_folder, tmp_path):
    run(inference_folder, tmp_path / "a")
    run(inference_folder, tmp_path / "b", envelope=tmp_path / "a" / "video.envelope.csv")
    first, second = (read_sound(tmp_path / n / "video.wav", sample_rate_hz=RATE_HZ) for n in "ab")
    torch.testing.assert_close(first, second, atol=1e-3, rtol=0)


def test_a_table_of_hits_is_an_envelope(inference_folder, tmp_path, caplog):
    table = "time_s,level,decay_s\n0.5,0.2,0.05\n2,0.1,0.1\n9,0.1,0.1\n"
    (tmp_path / "hits.csv").write_text(table)
    with caplog.at_level(logging.WARNING):
        run(inference_folder, tmp_path / "out", "--start", "1", envelope=tmp_path / "hits.csv")
    assert "3.00" in caplog.text  # where the video ends
    written = read_envelope_csv(tmp_path / "out" / "video.envelope.csv")
    hits = Hits(torch.tensor([0.5, 2.0]), torch.tensor([0.2, 0.1]), torch.tensor([0.05, 0.1]), torch.ones(2))
    expected = level_of_hits(hits, 375)
    torch.testing.assert_close(written.rms[126:], expected[126:], atol=1e-4, rtol=1e-3)
    assert (tmp_path / "hits.csv").read_text() == table


def test_a_section_lies_at_its_place_in_the_video(inference_folder, tmp_path):
    run(inference_folder, tmp_path, "--start", "1", "--duration", "1.5")
    assert read_sound(tmp_path / "video.wav", sample_rate_hz=RATE_HZ).shape[-1] == 1.5 * RATE_HZ
    assert probe(tmp_path / "video.mp4").duration_s == pytest.approx(3.0, abs=0.05)
    muxed = read_sound(tmp_path / "video.mp4", sample_rate_hz=RATE_HZ, duration_s=3.0)
    before, within = muxed[:, : round(0.9 * RATE_HZ)], muxed[:, RATE_HZ : round(2.4 * RATE_HZ)]
    assert before.abs().max() < 0.1 * within.abs().max()


def test_the_sound_of_a_section_says_where_it_belongs(inference_folder, tmp_path):
    run(inference_folder, tmp_path, "--start", "1.25", "--sample-rate", "48000")
    assert soundfile.info(tmp_path / "video.wav").subtype == "PCM_24"
    with av.open(str(tmp_path / "video.wav")) as container:
        assert container.metadata["time_reference"] == str(round(1.25 * 48_000))


def test_without_an_envelope_it_is_predicted_from_the_picture(inference_folder, tmp_path):
    options = ["--checkpoint", str(inference_folder / "model.safetensors"), "--steps", "2", "--start", "0.5"]
    video = inference_folder / "silent.mp4"
    infer.main(["--video", str(video), *options, "--output-dir", str(tmp_path)])
    expected = predict_envelope(load_video2rms(), video, start_s=0.5).envelope
    written = read_envelope_csv(tmp_path / "silent.envelope.csv", start_s=0.5)
    torch.testing.assert_close(written.rms, expected.rms, atol=1e-6, rtol=0)
    assert read_sound(tmp_path / "silent.wav", sample_rate_hz=RATE_HZ).shape == (2, 2.5 * RATE_HZ)


@pytest.mark.parametrize(
    ("video", "checkpoint", "words"),
    [
        ("clip", BUNDLED_VIDEO2RMS, "--envelope FILE"),
        ("video.mp4", "nowhere.safetensors", "nowhere.safetensors"),
        ("video.mp4", "model.safetensors", "is no checkpoint of Video2RMS"),
    ],
)
def test_what_cannot_be_predicted_is_refused(inference_folder, tmp_path, capsys, video, checkpoint, words):
    paths = {"--video": video, "--video2rms": checkpoint, "--checkpoint": "model.safetensors"}
    with pytest.raises(SystemExit) as stopped:
        infer.main(
            [str(word) for option, name in paths.items() for word in (option, inference_folder / name)]
            + ["--output-dir", str(tmp_path / "out")]
        )
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_several_samples_count_their_seeds(inference_folder, tmp_path):
    run(inference_folder, tmp_path, "--num-samples", "2", "--seed", "5", envelope="flat.csv")
    seeds = [json.loads((tmp_path / f"video_{i}.json").read_text())["seed"] for i in (1, 2)]
    assert seeds == [5, 6]


def test_a_processed_clip_becomes_a_video(inference_folder, tmp_path):
    run(inference_folder, tmp_path, video="clip", envelope="clip")
    info = probe(tmp_path / "clip.mp4")
    assert (info.width, info.height, info.has_sound) == (64, 48, True)
    assert info.duration_s == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--start", "7"], "--start 7.0"),
        (["--duration", "-1"], "--duration -1.0"),
        (["--steps", "0"], "--steps) 0"),
        (["--num-samples", "0"], "--num-samples 0"),
        (["--device", "abacus"], "abacus"),
        (["--prompt", "wood"], "no prompt encoder"),
        (["--cfg", "3"], "Guidance 3.0"),
        (["--video", "nowhere.mp4"], "nowhere.mp4"),
        (["--checkpoint", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--envelope", "nowhere.csv"], "nowhere.csv"),
        (["--envelope", "nowhere.wav"], "nowhere.wav"),
        (["--envelope", 300 * "a"], "too long"),
        (["--audio-prompt", 300 * "a"], "too long"),
        (["--output-dir", 300 * "a"], "too long"),
        (["--video2rms", "nowhere.safetensors"], "leave out one of them"),
        (["--seed", "-1"], "--seed -1"),
        (["--seed", "4294967295", "--num-samples", "2"], "--seed 4294967295 --num-samples 2"),
        (["--num-samples", "100000000"], "--num-samples 100000000"),
        (["--steps", "1000000000"], "--steps) 1000000000"),
        (["--level-match", "4000"], "--level-match) 4000"),
        (["--control-strength", "1e300"], "--control-strength 1e+300"),
        (["--set", "dataset.batch_size=3"], "dataset.batch_size"),
        (["--output-dir", "Makefile/out"], "--output-dir"),
    ],
)
def test_wrong_options_end_with_status_2_and_leave_nothing(inference_folder, tmp_path, capsys, options, words):
    with pytest.raises(SystemExit) as stopped:
        run(inference_folder, tmp_path / "out", *options)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


RESULTS = {f"video.{kind}" for kind in ("wav", "mp4", "envelope.csv", "png", "json")}


def refused(capsys, folder, out, *options, **files):
    """The sentence by which the command refuses; what is in the output folder stays as it was."""
    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(SystemExit) as stopped:
        run(folder, out, *options, **files)
    assert stopped.value.code == 2
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    return capsys.readouterr().err


@pytest.mark.parametrize("other", ["video.mov", "video_mic.mp4"])
def test_results_of_another_video_are_never_replaced(inference_folder, tmp_path, capsys, other):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("video.mp4", "model.safetensors"):
        shutil.copy(inference_folder / name, folder)
    shutil.copy(inference_folder / "video.mp4", folder / other)
    run(folder, out)
    sentence = refused(capsys, folder, out, video=other, envelope=other)
    assert str(folder / "video.mp4") in sentence
    assert str(folder / other) in sentence
    run(folder, out, "--seed", "1")
    assert json.loads((out / "video.json").read_text())["seed"] == 1


def test_files_of_other_people_are_never_replaced(inference_folder, tmp_path, capsys):
    (tmp_path / "video.wav").write_text("recorded in the field")
    assert str(tmp_path / "video.wav") in refused(capsys, inference_folder, tmp_path)


def test_an_edited_envelope_is_never_replaced(inference_folder, tmp_path, capsys):
    csv = tmp_path / "video.envelope.csv"
    run(inference_folder, tmp_path)
    first = (tmp_path / "video.wav").read_bytes()
    csv.write_text("time_s,rms\n0,0\n1,0\n1.1,0.2\n3,0\n")
    edited = csv.read_bytes()
    assert str(csv) in refused(capsys, inference_folder, tmp_path)
    run(inference_folder, tmp_path, envelope=csv)
    assert csv.read_bytes() == edited
    assert (tmp_path / "video.wav").read_bytes() != first
    assert str(csv) in refused(capsys, inference_folder, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == RESULTS


def test_times_of_an_envelope_are_those_of_the_video(inference_folder, tmp_path):
    part = ["--start", "1.3", "--duration", "1.5"]
    table = tmp_path / "whole.csv"
    rows = [(i / 100, 0.3 if 150 <= i < 170 else 0.0) for i in range(301)]
    table.write_text("time_s,rms\n" + "".join(f"{time_s},{rms}\n" for time_s, rms in rows))
    run(inference_folder, tmp_path / "a", *part, envelope=table)
    written = read_envelope_csv(tmp_path / "a" / "video.envelope.csv")
    loud_s = (written.rms > 0.15).nonzero().squeeze(1) / written.rate_hz
    assert (loud_s.min().item(), loud_s.max().item()) == (pytest.approx(1.5, abs=0.02), pytest.approx(1.7, abs=0.02))
    run(inference_folder, tmp_path / "b", *part, envelope=tmp_path / "a" / "video.envelope.csv")
    first, second = (read_sound(tmp_path / n / "video.wav", sample_rate_hz=RATE_HZ) for n in "ab")
    torch.testing.assert_close(first, second, atol=1e-3, rtol=0)


@pytest.mark.parametrize("peaks", ["limit", "soften", "clip"])
def test_a_sound_above_full_scale_is_limited_made_softer_or_clipped(inference_folder, tmp_path, caplog, peaks):
    caplog.set_level(logging.INFO)
    table = tmp_path / "loud.csv"
    table.write_text("time_s,rms\n0,50\n3,50\n")
    run(inference_folder, tmp_path, "--level-match", "100", "--peaks", peaks, envelope=table)
    record = json.loads((tmp_path / "video.json").read_text())
    sound = read_sound(tmp_path / "video.wav", sample_rate_hz=RATE_HZ)
    at_limit = int((sound.abs() > 0.9999).sum())
    assert record["peaks"] == peaks
    if peaks == "clip":
        assert record["gain_db"] == 0
        assert record["clipped_samples"] == pytest.approx(at_limit, rel=0.01)
        assert at_limit > 1000
        assert any(str(record["clipped_samples"]) in message for message in caplog.messages)
    else:
        assert record["gain_db"] < -20
        assert (record["clipped_samples"], at_limit) == (0, 0)
        ceiling = 10 ** (-0.1 / 20)
        assert sound.abs().max().item() <= ceiling + 1e-3
        assert sound.abs().max().item() == pytest.approx(ceiling, abs=1e-3 if peaks == "soften" else 0.1)
        assert any(f"{-record['gain_db']:.1f} dB" in message for message in caplog.messages)


def test_what_no_mp4_can_hold_is_refused_before_a_model_is_loaded_only_if_mp4_is_asked_for(
    inference_folder, tmp_path, capsys
):
    source = make_video(tmp_path / "vp8.webm", codec="libvpx")
    with pytest.raises(SystemExit) as stopped:
        run(inference_folder, tmp_path / "out", "--format", "mp4", "--codec", "copy", video=source, envelope="flat.csv")
    assert stopped.value.code == 2
    assert str(source) in (said := capsys.readouterr().err)
    assert "--codec h264" in said
    assert not (tmp_path / "out").exists()
    run(inference_folder, tmp_path / "out", video=source, envelope="flat.csv")
    assert_same_frames(tmp_path / "out" / "vp8.mkv", source)
    run(inference_folder, tmp_path / "out", "--format", "mp4", "--codec", "h264", video=source, envelope="flat.csv")
    assert not (tmp_path / "out" / "vp8.mkv").exists()
    assert json.loads((tmp_path / "out" / "vp8.json").read_text())["picture"]["codec"] == "h264"


def assert_same_frames(first, second, rate_hz=15.0):
    frames = [read_frames(path, frame_rate_hz=rate_hz) for path in (first, second)]
    assert torch.equal(*frames)


def test_image_files_become_a_video_with_sound(inference_folder, tmp_path, capsys):
    folder = tmp_path / "take"
    folder.mkdir()
    for i in range(24):
        Image.new("RGB", (64, 48), (10 * i, 0, 0)).save(folder / f"f_{i + 7:03d}.png")
    with pytest.raises(SystemExit):
        run(inference_folder, tmp_path / "out", video=folder, envelope="flat.csv")
    assert "--fps" in capsys.readouterr().err
    for video, name in ((folder, "take"), (folder / "f_%03d.png", "f")):
        run(inference_folder, tmp_path / "out", "--fps", "16", video=video, envelope="flat.csv")
        info = probe(tmp_path / "out" / f"{name}.mp4")
        assert (info.duration_s, info.frame_rate_hz, info.has_sound) == (1.5, 16.0, True)
        red = read_frames(tmp_path / "out" / f"{name}.mp4", frame_rate_hz=16.0)[:, 0].float().mean((1, 2))
        assert (red - 10 * torch.arange(24.0)).abs().max() < 6
    before = (tmp_path / "out" / "take.wav").stat().st_mtime_ns
    run(inference_folder, tmp_path / "out", "--fps", "16", video=folder, envelope="flat.csv")
    assert (tmp_path / "out" / "take.wav").stat().st_mtime_ns == before
    with pytest.raises(SystemExit):
        run(inference_folder, tmp_path / "out", "--fps", "16", video="video.mp4", envelope="flat.csv")
    assert "--fps 16" in capsys.readouterr().err


def test_a_gif_keeps_its_times(inference_folder, tmp_path):
    images = [Image.new("RGB", (64, 48), (60 * i, 0, 0)) for i in range(5)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=[100, 300, 200, 500, 400])
    run(inference_folder, tmp_path / "out", video=tmp_path / "a.gif", envelope="flat.csv")
    assert probe(tmp_path / "out" / "a.mp4").duration_s == pytest.approx(1.5)
    assert len(soundfile.read(tmp_path / "out" / "a.wav")[0]) == 1.5 * RATE_HZ
    with av.open(str(tmp_path / "out" / "a.mp4")) as film:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")[..., 0].mean()) for frame in film.decode(video=0)]
    assert [time for time, _ in frames] == pytest.approx([0.0, 0.1, 0.4, 0.6, 1.1])
    assert [red for _, red in frames] == pytest.approx([0, 60, 120, 180, 240], abs=8)


def test_the_original_sound_stays_as_a_second_track(inference_folder, tmp_path):
    run(inference_folder, tmp_path, "--keep-sound", "track", video="video.mp4")
    with av.open(str(tmp_path / "video.mp4")) as result, av.open(str(inference_folder / "video.mp4")) as original:
        new, kept = result.streams.audio
        packets = {stream.index: [] for stream in (new, kept)}
        for packet in result.demux(new, kept):
            if packet.size:
                packets[packet.stream_index].append(bytes(packet))
        assert packets[kept.index] == [bytes(packet) for packet in original.demux(audio=0) if packet.size]
    generated, _ = soundfile.read(tmp_path / "video.wav", always_2d=True)
    heard = read_sound(tmp_path / "video.mp4", sample_rate_hz=RATE_HZ)
    assert np.corrcoef(generated[:, 0], heard[0].numpy()[: len(generated)])[0, 1] > 0.9


@pytest.mark.parametrize("given", [["-6"], ["0"], [], ["+3.5"]])
def test_the_gain_of_the_original_sound_may_be_negative_or_left_out(inference_folder, tmp_path, given):
    run(inference_folder, tmp_path, "--keep-sound", *given, "--level-match", "0")
    expected = float(given[0]) if given else 0.0
    assert json.loads((tmp_path / "video.json").read_text())["keep_sound"] == expected


@pytest.mark.parametrize("address", ["https://example.com/a.mp4", "http://example.com/watch?v=1"])
@pytest.mark.parametrize("option", ["--video", "--envelope", "--audio-prompt"])
def test_a_web_address_is_to_be_downloaded_first(inference_folder, tmp_path, capsys, option, address):
    options = {"--video": str(inference_folder / "video.mp4")} | {option: address}
    with pytest.raises(SystemExit) as stopped:
        infer.main([word for pair in options.items() for word in pair] + ["--output-dir", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert "download" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--envelope", 1e30), ("--audio-prompt", 1e5)])
def test_sounds_far_above_full_scale_are_named(inference_folder, tmp_path, capsys, option, value):
    (tmp_path / "out").mkdir()
    soundfile.write(tmp_path / "loud.wav", np.full((RATE_HZ, 2), value), RATE_HZ, subtype="FLOAT")
    options = [option, str(tmp_path / "loud.wav"), "--set", "backbone=debug", "paths.random_weights=true"]
    with pytest.raises(SystemExit) as stopped:
        infer.main(["--video", str(inference_folder / "video.mp4"), *options, "--output-dir", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert "loud.wav" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_of_a_long_prompt_the_first_minute_counts(tmp_path, caplog):
    noise = np.random.default_rng(0).normal(0, 0.1, (90 * 8000, 1))
    soundfile.write(tmp_path / "long.wav", noise, 8000)
    with caplog.at_level("INFO"):
        prompt = read_prompt(tmp_path / "long.wav", 8000)
    torch.testing.assert_close(prompt[0, :].double(), torch.from_numpy(noise[: 60 * 8000, 0]), atol=1e-4, rtol=0)
    assert any("first 60 s" in message for message in caplog.messages)


def test_a_name_with_a_line_break_stays_on_one_line(inference_folder, tmp_path, caplog):
    shutil.copy(inference_folder / "silent.mp4", tmp_path / "two\nlines.mp4")
    with caplog.at_level("INFO"):
        run(inference_folder, tmp_path / "out", video=tmp_path / "two\nlines.mp4", envelope="flat.csv")
    assert (tmp_path / "out" / "two\nlines.wav").exists()
    assert not [message for message in caplog.messages if "\n" in message]


def test_help_works_as_a_command():
    result = subprocess.run(
        [sys.executable, "infer.py", "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0
    assert "--control-strength" in result.stdout


def test_the_command_says_what_it_wrote_and_what_took_how_long(inference_folder, tmp_path):
    options = ["--video", "video.mp4", "--envelope", "video.mp4", "--checkpoint", "model.safetensors", "--steps", "1"]
    command = [sys.executable, REPOSITORY / "infer.py", *options, "--output-dir", tmp_path]
    done = subprocess.run(command, cwd=inference_folder, capture_output=True, text=True, check=True)
    assert f"wrote {tmp_path / 'video.wav'}" in done.stderr
    assert "seconds: model" in done.stderr


def test_without_checkpoint_the_configuration_is_built_with_random_weights(inference_folder, tmp_path, capsys, caplog):
    """What the real sizes are measured with; here at the smallest, with a prompt of two sounds and bfloat16."""
    video, out = inference_folder / "video.mp4", tmp_path / "out"
    options = ["--video", str(video), "--audio-prompt", str(video), str(video), "--dtype", "bfloat16"]
    with caplog.at_level("INFO"):
        infer.main([*options, "--output-dir", str(out), "--set", "backbone=debug", "paths.random_weights=true"])
    assert read_sound(out / "video.wav", sample_rate_hz=RATE_HZ).shape == (2, 3 * RATE_HZ)
    stages = next(message for message in caplog.messages if message.startswith("seconds: "))
    assert [word.split()[0] for word in stages.removeprefix("seconds: ").split(", ")] == [
        "model",
        "prompts",
        "envelope",
        "network",
        "video",
        "conditions",
        "steps",
        "decode",
        "write",
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "backbone=mini"], "backbone is a section"),
        (["--set", "backbone=abacus", "paths.random_weights=true"], "backbone=abacus"),
        (["--set", "paths.random_weights=true", "colour=red"], "colour"),
    ],
)
def test_without_checkpoint_what_cannot_be_built_is_refused(inference_folder, tmp_path, capsys, options, words):
    with pytest.raises(SystemExit) as stopped:
        infer.main(["--video", str(inference_folder / "video.mp4"), "--output-dir", str(tmp_path / "out"), *options])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()
