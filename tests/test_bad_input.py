"""Files and options that cannot work, given to the command lines: status 2, one sentence, and nothing left behind."""

import json
import re
import shutil
import subprocess
import sys

import av
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import evaluate
import infer
from data.report import __main__ as report
from media.reading import read_sound
from media.writing import write_video
from stable_foley import generate_split
from tests.conftest import REPOSITORY, no_file_larger_than, tone_clip

RATE_HZ = 44_100


def write_container(path, *, picture, sound):
    """A container with a picture without frames, a sound of 1 s, or both."""
    with av.open(str(path), "w") as container:
        if picture:
            stream = container.add_stream("libx264", rate=15)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if sound:
            audio = container.add_stream("aac", rate=RATE_HZ, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, RATE_HZ), np.float32), "fltp", "mono")
            frame.sample_rate = RATE_HZ
            container.mux([*audio.encode(frame), *audio.encode(None)])
        else:
            container.start_encoding()


@pytest.fixture(scope="module")
def zoo(inference_folder, tmp_path_factory):
    """A folder of files that are not what their names say, beside the files of `inference_folder`."""
    folder = tmp_path_factory.mktemp("zoo")
    for name in ("model.safetensors", "video.mp4", "silent.mp4", "flat.csv"):
        shutil.copy(inference_folder / name, folder)
    good, weights = ((folder / name).read_bytes() for name in ("video.mp4", "model.safetensors"))
    (folder / "empty.mp4").touch()
    (folder / "empty_folder").mkdir()
    (folder / "text.mp4").write_text("no video\n" * 100)
    (folder / "truncated.mp4").write_bytes(good[: len(good) // 2])
    (folder / "codec.mp4").write_bytes(good.replace(b"avc1", b"zzzz"))
    Image.new("RGB", (64, 48)).save(folder / "picture.png")
    shutil.copy(folder / "picture.png", folder / "picture.mp4")
    write_container(folder / "sound_only.mp4", picture=False, sound=True)
    write_container(folder / "no_frames.mp4", picture=True, sound=True)
    write_container(folder / "nothing.mp4", picture=True, sound=False)
    for name, n_frames, rate_hz in (("one_frame", 1, 15.0), ("tenth", 3, 30.0)):
        write_video(folder / f"{name}.mp4", torch.zeros(n_frames, 3, 48, 64, dtype=torch.uint8), rate_hz)
    for name, n_samples, value in (("brief_silence", RATE_HZ, 0), ("no_samples", 0, 0), ("nan", RATE_HZ, np.nan)):
        soundfile.write(folder / f"{name}.wav", np.full((n_samples, 2), float(value)), RATE_HZ, subtype="FLOAT")
    (folder / "drawn.csv").write_text("time_s,rms\n0,0\n1,0\n")
    (folder / "half.safetensors").write_bytes(weights[: len(weights) // 2])
    (folder / "empty.safetensors").touch()
    (tone_clip(folder, "unclear") / "unclear.times.csv").write_text("0.5,wood hit static\nsoon,wood hit static\n")
    return folder


def infer_with(zoo, out, *options, video="video.mp4", envelope="flat.csv", checkpoint="model.safetensors"):
    files = {"--video": video, "--envelope": envelope, "--checkpoint": checkpoint}
    given = [word for option, name in files.items() if name for word in (option, zoo / name)]
    infer.main([*map(str, given), "--steps", "1", "--output-dir", str(out), *map(str, options)])


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs a command in a folder of its own and checks how it ends; the words must stand in its sentence."""

    def check(command, *words):
        with pytest.raises(SystemExit) as stopped:
            command(tmp_path / "out")
        check_refusal(stopped.value.code, capsys.readouterr().err, *words)
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*"))

    return check


def check_refusal(status, stderr, *words):
    assert status == 2, stderr
    assert "Traceback" not in stderr
    (sentence,) = re.findall("^error: (.*)$", stderr, flags=re.MULTILINE)
    for word in words:
        assert word in sentence
    assert re.search("give |correct |copy |convert |check |write |use |process |sort |export |put ", sentence), (
        "no remedy"
    )


@pytest.mark.parametrize(
    ("video", "words"),
    [
        ("missing.mp4", "does not exist"),
        ("empty_folder", "holds no video"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "cannot be read"),
        ("picture.mp4", "a text or a picture"),
        ("truncated.mp4", "cannot be read"),
        ("brief_silence.wav", "holds no picture"),
        ("sound_only.mp4", "holds no picture"),
        ("codec.mp4", "codec.mp4"),
        ("no_frames.mp4", "no_frames.mp4"),
        ("nothing.mp4", "nothing.mp4"),
        ("unclear", "unclear.times.csv, line 2, 'soon,wood hit static'"),
    ],
)
def test_what_is_no_video_is_refused(zoo, refused, video, words):
    refused(lambda out: infer_with(zoo, out, video=video), str(zoo / video), words)


@pytest.mark.parametrize(
    ("envelope", "words"),
    [
        ("silent.mp4", "holds no sound"),
        ("no_samples.wav", "holds no sound"),
        ("nan.wav", "not finite"),
        ("empty.mp4", "is empty"),
        ("picture.png", "a text or a picture"),
        ("model.safetensors", "cannot be read"),
        ("empty_folder", "no processed clip"),
    ],
)
def test_an_envelope_needs_a_sound(zoo, refused, envelope, words):
    refused(lambda out: infer_with(zoo, out, video="silent.mp4", envelope=envelope), words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the header `time_s,rms`"),
        ("0,0.5\n1,0.5\n", "the header `time_s,rms`"),
        ("time_s|rms\n0|0.5\n", "the header `time_s,rms`"),
        ("time_s,rms\n0,0.5\nnan,0.5\n", "`nan,0.5`"),
        ("time_s,rms\n0,0.5\n1,inf\n", "`1,inf`"),
        ("time_s,rms\n-1,0.5\n", "`-1,0.5`"),
        ("time_s,rms\n0,0.5\n2,0.5\n1,0.5\n", "sort the times"),
    ],
)
def test_an_envelope_that_is_no_table_is_refused_before_the_model_is_loaded(zoo, refused, tmp_path, text, words):
    path = tmp_path / "drawn.csv"
    path.write_text(text)
    refused(lambda out: infer_with(zoo, out, envelope=path, checkpoint="missing.safetensors"), str(path), words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--start", "nan"], "--start nan"),
        (["--start", "-1"], "--start -1.0"),
        (["--start", "inf"], "--start inf"),
        (["--duration", "nan"], "--duration nan"),
        (["--duration", "0"], "--duration 0.0"),
        (["--duration", "1e9"], "give at most 3.00 s"),
        (["--start", "2", "--duration", "2"], "give at most 1.00 s"),
        (["--cfg", "nan"], "--cfg) nan"),
        (["--level-match", "-3"], "--level-match) -3.0"),
        (["--level-match", "inf"], "--level-match) inf"),
        (["--control-strength", "nan"], "--control-strength nan"),
        (["--control-strength", "-1"], "--control-strength -1.0"),
        (["--audio-prompt", "missing.wav"], "missing.wav"),
        (["--audio-prompt", "Makefile"], "Makefile"),
    ],
)
def test_numbers_and_prompts_that_cannot_be_used(zoo, refused, options, words):
    refused(lambda out: infer_with(zoo, out, *options), words)


def test_a_silent_prompt_is_refused(zoo, refused):
    options = ["--audio-prompt", zoo / "brief_silence.wav", "--set", "backbone=debug", "paths.random_weights=true"]
    refused(lambda out: infer_with(zoo, out, *options, checkpoint=None), "brief_silence.wav is silent")


@pytest.mark.parametrize(
    ("checkpoint", "options", "words"),
    [
        ("half.safetensors", [], "half.safetensors cannot be read"),
        ("empty.safetensors", [], "empty.safetensors cannot be read"),
        (".", [], "is a folder"),
        (
            "model.safetensors",
            ["--set", "backbone.model_config.model.diffusion.config.embed_dim=64"],
            "do not fit this model (model.controlnet.",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(zoo, refused, checkpoint, options, words):
    refused(lambda out: infer_with(zoo, out, *options, checkpoint=checkpoint), words)


@pytest.mark.parametrize(("video", "duration_s"), [("one_frame.mp4", 1 / 15), ("tenth.mp4", 0.1)])
def test_the_shortest_videos_get_sound_of_their_length(zoo, tmp_path, video, duration_s):
    infer_with(zoo, tmp_path, video=video)
    sound = read_sound(tmp_path / video.replace("mp4", "wav"), sample_rate_hz=RATE_HZ)
    assert sound.shape[-1] == pytest.approx(duration_s * RATE_HZ, abs=1)


@pytest.mark.parametrize("envelope", ["drawn.csv", "brief_silence.wav"])
def test_an_envelope_that_is_short_or_silent_is_said(zoo, tmp_path, caplog, envelope):
    infer_with(zoo, tmp_path, envelope=envelope)
    for words in ("ends after 1.00 s; silence follows", "is zero throughout"):
        assert [message for message in caplog.messages if words in message and str(zoo / envelope) in message]
    assert read_sound(tmp_path / "video.wav", sample_rate_hz=RATE_HZ).shape[-1] == 3 * RATE_HZ


def test_a_report_of_the_whole_zoo_names_each_fault(zoo, tmp_path):
    report.main(["--root", str(zoo), "--output-dir", str(tmp_path), "--workers", "0"])
    rows = {row["clip_id"]: row for row in json.loads((tmp_path / "report.json").read_text())["recordings"]}
    damaged = {"empty", "text", "truncated", "codec", "picture", "sound_only", "no_frames", "nothing", "unclear"}
    assert {clip_id for clip_id, row in rows.items() if row["problem"]} == damaged
    assert all(clip_id in rows[clip_id]["problem"] for clip_id in damaged)
    assert {clip_id for clip_id, row in rows.items() if row["sound"]} == {"video"}


def test_videos_that_cannot_be_compared_get_a_row(zoo, tmp_path):
    real, made = tmp_path / "real", tmp_path / "made"
    real.mkdir()
    made.mkdir()
    names = ["empty", "text", "truncated", "picture", "nothing", "silent"]
    for name in [*names, "video"]:
        shutil.copy(zoo / "video.mp4", real / f"{name}.mp4")
        shutil.copy(zoo / f"{name}.mp4", made)
    evaluate.main(
        ["--reference", str(real), "--generated", str(made), "--output-dir", str(tmp_path / "out"), "--workers", "0"]
    )
    system = json.loads((tmp_path / "out" / "metrics.json").read_text())["systems"]["made"]
    assert (system["n_compared"], system["n_failed"]) == (1, len(names))


@pytest.mark.parametrize(
    ("main", "options", "words"),
    [
        (evaluate.main, ["--reference", "{zoo}/video.mp4", "--generated", "{zoo}"], "video.mp4 is not a folder"),
        (evaluate.main, ["--reference", "{zoo}", "--generated", "{zoo}/unclear"], "neither sounds nor videos"),
        (evaluate.main, ["--reference", "{zoo}", "--generated", "{zoo}", "--clap", "{zoo}/text.mp4"], "text.mp4"),
        (report.main, ["--root", "{zoo}/video.mp4"], "video.mp4 is not a folder"),
        (report.main, ["--root", "{zoo}/unclear"], "neither videos nor clips"),
        (report.main, ["--root", "{zoo}", "--split", "train/x"], "train/x.txt cannot be read"),
    ],
)
def test_folders_that_are_none_are_refused(zoo, refused, main, options, words):
    refused(lambda out: main([*(word.format(zoo=zoo) for word in options), "--output-dir", str(out)]), words)


def test_a_split_that_names_a_missing_clip_is_refused(zoo, refused, tmp_path):
    tone_clip(tmp_path / "set", "a")
    (tmp_path / "set" / "test.txt").write_text("a\ngone\n")
    options = ["--split", tmp_path / "set" / "test.txt", "--checkpoint", zoo / "model.safetensors"]
    refused(lambda out: generate_split.main([*map(str, options), "--output-dir", str(out)]), "'gone'")


@pytest.mark.parametrize("name", ["infer", "evaluate", "report"])
def test_a_full_disk_is_a_sentence(zoo, refused, tmp_path, name):
    (tmp_path / "set").mkdir()
    shutil.copy(zoo / "video.mp4", tmp_path / "set")
    folder = str(tmp_path / "set")
    commands = {
        "infer": lambda out: infer_with(zoo, out),
        "evaluate": lambda out: evaluate.main(["--reference", folder, "--generated", folder, "--output-dir", str(out)]),
        "report": lambda out: report.main(["--root", folder, "--output-dir", str(out)]),
    }

    def fill(out):
        with no_file_larger_than(100):
            commands[name](out)

    refused(fill, "cannot be written")


def test_as_a_command(tmp_path):
    command = [sys.executable, "infer.py", "--video", "nowhere.mp4", "--output-dir", str(tmp_path / "out")]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    check_refusal(result.returncode, result.stderr, "nowhere")
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()
