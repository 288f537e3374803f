"""Preprocessing from the command line: what it writes, what it does again, and what it says."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from filelock import FileLock
from PIL import Image

from common.errors import InputError
from data.dataset import FoleyDataset
from data.greatest_hits import list_clips, read_hits
from data.preprocess import main
from data.process_clip import ProcessSettings
from media.clip import ClipSpec
from media.reading import read_frames, read_sound
from media.writing import mux, write_sound, write_video
from tests.conftest import PEAK_MIB, PROCESS_STATUS, REPOSITORY

TIMES = "0.25 ceramic hit static\n0.75 None None None\n"


def strikes(duration_s, seed=0):
    """Stereo noise that decays every quarter of a second, above a quiet floor."""
    time_s = torch.arange(round(44_100 * duration_s)) / 44_100
    noise = torch.rand(2, len(time_s), generator=torch.Generator().manual_seed(seed)) - 0.5
    return noise * torch.exp(-20 * (time_s % 0.25)) + 0.001 * noise.roll(1000)


def write_raw(path, duration_s=1.0, *, sound=True, seed=0):
    """A video of 64x48 at 15 fps whose brightness rises."""
    n_frames = max(1, round(15 * duration_s))
    frames = torch.arange(n_frames).remainder(80).mul(3).to(torch.uint8)[:, None, None, None].expand(-1, 3, 48, 64)
    silent = path.with_name(f"{path.stem}.silent.mp4")
    write_video(silent, frames, 15.0)
    if sound:
        mux(silent, strikes(duration_s, seed), 44_100, path.with_suffix(".mp4"))
        path.with_suffix(".mp4").replace(path)
        silent.unlink()
    else:
        silent.replace(path)
    return path


@pytest.fixture(scope="session")
def raw_source(tmp_path_factory):
    """Four videos of a second, two with annotation."""
    folder = tmp_path_factory.mktemp("raw")
    for i, name in enumerate(("a_mic.mp4", "b_mic.mp4", "c d.MP4", "é.x.mov")):
        write_raw(folder / name, seed=i)
    for clip_id in "ab":
        (folder / f"{clip_id}_times.txt").write_text(TIMES)
    return folder


@pytest.fixture
def raw(raw_source, tmp_path):
    """The same in a folder that a test may change."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for path in raw_source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def preprocess(raw_dir, out_dir, *options):
    """Runs the command in this process; returns its status."""
    try:
        main(["--root", str(raw_dir), "--output-dir", str(out_dir), "--workers", "0", *options])
    except SystemExit as end:
        return end.code
    return 0


def tree(folder):
    """Every file of a folder and its content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def counts(text):
    """Numbers of done, skipped and failed in the closing table."""
    words = {line.split()[0]: int(line.split()[1]) for line in text.splitlines()[:3]}
    return words["done"], words["skipped"], words["failed"]


def test_layout_is_the_one_in_use(raw, tmp_path, capsys):
    out = tmp_path / "out"
    assert preprocess(raw, out) == 0
    assert counts(capsys.readouterr().out) == (4, 0, 0)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["a", "b", "c d", "é.x", "manifest.json", "train.txt", "val.txt", "test.txt"]
    )
    assert {path for path in tree(out / "a")} == {
        "audio", "audio/a.resampled.wav", "frames", "a.times.csv", "a.metadata.json",
        *(f"frames/a.frame_{i:06d}.jpg" for i in (1, 2, 3, 4)),
    }  # fmt: skip
    assert not (out / "c d" / "c d.times.csv").exists()
    assert read_hits(out / "a" / "a.times.csv") == read_hits(raw / "a_times.txt")
    clips = list_clips(out)
    assert [clip.clip_id for clip in clips] == ["a", "b", "c d", "é.x"]
    assert clips[0].duration_s == pytest.approx(1.0, abs=0.01)
    item = FoleyDataset(out, None, ClipSpec(duration_s=1.0, frame_size_px=32))[0]
    assert item.label == "hitting ceramic with a drumstick"
    assert item.wave.abs().max() == 1


def test_the_frame_reader_changes_frames_by_rounding_alone_and_is_kept_to(raw, tmp_path, capsys):
    pytest.importorskip("decord", reason="decord exists for x86-64 only")
    assert preprocess(raw, tmp_path / "decord", "--reader", "decord") == 0
    assert preprocess(raw, tmp_path / "auto") == 0
    one, other = tree(tmp_path / "decord" / "a"), tree(tmp_path / "auto" / "a")
    assert one.keys() == other.keys()
    for name in one.keys() - {f"frames/a.frame_{i:06d}.jpg" for i in (1, 2, 3, 4)}:
        assert one[name] == other[name]
    for i in (1, 2, 3, 4):
        pictures = [Image.open(tmp_path / each / "a" / f"frames/a.frame_{i:06d}.jpg") for each in ("decord", "auto")]
        assert np.abs(np.subtract(*(np.asarray(picture, int) for picture in pictures))).max() <= 4
    for out, there, given in (("decord", "decord", "pyav"), ("auto", "pyav", "decord")):
        capsys.readouterr()
        assert preprocess(raw, tmp_path / out, "--reader", given) == 2
        assert f"--reader {there}, not {given}" in capsys.readouterr().err
    manifest = tmp_path / "auto" / "manifest.json"
    before = json.loads(manifest.read_text())
    del before["settings"]["reader"]  # as folders were before there was a choice
    manifest.write_text(json.dumps(before))
    assert preprocess(raw, tmp_path / "auto", "--reader", "pyav") == 0


def test_metadata_has_the_keys_of_the_real_example(raw, tmp_path, shared):
    preprocess(raw, tmp_path / "out")
    (real,) = (shared / "real" / "greatest_hits_processed").glob("*/*.metadata.json")
    expected = json.loads(real.read_text())
    found = json.loads((tmp_path / "out" / "a" / "a.metadata.json").read_text())
    assert {part: list(found[part]) for part in expected} == {part: list(values) for part, values in expected.items()}
    same = {"width", "height", "video_frame_rate", "audio_sample_rate", "audio_channels", "audio_bitdepth"}
    assert {key: found["processed"][key] for key in same} == {key: expected["processed"][key] for key in same}
    assert found["original"] == pytest.approx(
        {"width": 64, "height": 48, "video_frame_rate": 15, "video_duration": 1, "video_num_frames": 15,
         "audio_sample_rate": 44_100, "audio_channels": 2, "audio_duration": 1, "audio_num_samples": 44_100},
        rel=0.05,
    )  # fmt: skip


def test_sound_and_frames_are_those_of_the_video(raw, tmp_path):
    out = tmp_path / "out"
    preprocess(raw, out, "--sample-rate", "22050", "--fps", "5", "--frame-size", "64x48")
    expected = read_sound(raw / "a_mic.mp4", sample_rate_hz=22_050).clamp(-1, 1).numpy()
    found, rate_hz = soundfile.read(out / "a" / "audio" / "a.resampled.wav", dtype="float32")
    n_samples = min(len(found), expected.shape[1])
    assert rate_hz == 22_050
    assert abs(len(found) - 22_050) <= 2048
    assert soundfile.info(out / "a" / "audio" / "a.resampled.wav").subtype == "PCM_16"
    np.testing.assert_allclose(found[:n_samples].T, expected[:, :n_samples], rtol=0, atol=2**-15)
    frames = read_frames(raw / "a_mic.mp4", frame_rate_hz=5)
    assert len(frames) == len(list((out / "a" / "frames").iterdir())) == 5
    for i, frame in enumerate(frames, start=1):
        with Image.open(out / "a" / "frames" / f"a.frame_{i:06d}.jpg") as image:
            assert np.abs(np.array(image).astype(int) - frame.permute(1, 2, 0).numpy()).max() <= 3


def test_what_is_there_is_not_done_again(raw, tmp_path, capsys):
    out = tmp_path / "out"
    preprocess(raw, out)
    before = tree(out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert preprocess(raw, out) == 0
    assert counts(capsys.readouterr().out) == (0, 4, 0)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert tree(out) == before


def test_what_a_killed_run_left_is_made_good(raw, tmp_path, capsys):
    preprocess(raw, tmp_path / "whole")
    out = tmp_path / "out"
    preprocess(raw, out)
    (out / "b").rename(out / ".partial-0123456789abcdef")  # half a clip, a file half written, a lock
    (out / ".partial-0123456789abcdef" / "b.metadata.json").unlink()
    (out / ".partial-fedcba9876543210.json").write_text("{")
    (out / ".lock").touch()
    (out / "val.txt").unlink()
    capsys.readouterr()
    assert preprocess(raw, out) == 0
    assert counts(capsys.readouterr().out) == (1, 3, 0)
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.slow
def test_kill_at_any_moment_and_the_tree_is_the_same(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for i in range(12):
        write_raw(raw / f"clip {i}_mic.mp4", duration_s=4.0, seed=i)
        (raw / f"clip {i}_times.txt").write_text(TIMES)
    assert preprocess(raw, tmp_path / "whole", "--denoise") == 0
    out = tmp_path / "out"
    options = ["--root", raw, "--output-dir", out, "--workers", "2", "--denoise"]
    command = [sys.executable, "-m", "data.preprocess", *options]
    n_partial = n_interrupted = 0
    for n_whole in (1, 5):
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        start_s = time.monotonic()
        while process.poll() is None and time.monotonic() - start_s < 60:
            if n_clips(out) >= n_whole and list(out.glob(".partial-*")):
                break
            time.sleep(0.001)
        process.kill()
        n_partial += len(list(out.glob(".partial-*")))  # a worker may still end the clip it is at
        process.wait()
        time.sleep(0.5)  # the workers end with it
        n_interrupted += n_whole <= n_clips(out) < 12
    assert n_partial > 0
    assert n_interrupted == 2
    assert subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert tree(out) == tree(tmp_path / "whole")


def n_clips(folder):
    return len([path for path in folder.glob("clip*") if path.is_dir()])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--fps", "8"], "--fps 4.0, not 8.0"),
        (["--sample-rate", "48000"], "--sample-rate 44100, not 48000"),
        (["--frame-size", "32x24"], "--frame-size 320x240, not 32x24"),
        (["--denoise"], "--denoise off, not on"),
        (["--seed", "1"], "--seed 42, not 1"),
    ],
)
def test_settings_are_not_mixed(raw, tmp_path, capsys, options, told):
    out = tmp_path / "out"
    preprocess(raw, out)
    before = tree(out)
    capsys.readouterr()
    assert preprocess(raw, out, *options) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "another --output-dir" in error
    assert tree(out) == before


def test_other_versions_are_a_warning(raw, tmp_path, caplog):
    out = tmp_path / "out"
    preprocess(raw, out)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["versions"]["av"] = "1.0"
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert preprocess(raw, out) == 0
    assert "av 1.0" in caplog.text


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 99, "settings": {}, "versions": {}, "splits": null}'])
def test_other_manifests_are_refused(raw, tmp_path, capsys, text):
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text(text)
    assert preprocess(raw, out) == 2
    assert "manifest.json" in capsys.readouterr().err
    assert tree(out) == {"manifest.json": text.encode()}


def test_a_source_that_changed_is_processed_again(raw, tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    out = tmp_path / "out"
    preprocess(raw, out)
    write_raw(raw / "c d.MP4", duration_s=0.5)
    (raw / "a_times.txt").write_text("0.5 wood hit static\n")
    (raw / "b_times.txt").unlink()
    capsys.readouterr()
    assert preprocess(raw, out) == 0
    assert counts(capsys.readouterr().out) == (3, 1, 0)
    assert caplog.text.count("has changed") == 3
    clips = {clip.clip_id: clip for clip in list_clips(out)}
    assert clips["c d"].duration_s == pytest.approx(0.5, abs=0.1)
    assert clips["a"].hits[0].material == "wood"
    assert clips["b"].hits == ()
    assert not list(out.glob(".partial-*"))


def test_rows_of_what_cannot_be_processed(raw, tmp_path, capsys, caplog):
    whole = (raw / "b_mic.mp4").read_bytes()
    (raw / "b_mic.mp4").write_bytes(whole[: len(whole) // 2])
    (raw / "empty.mp4").touch()
    (raw / "text.mkv").write_text("no video")
    (raw / "dangling.mp4").symlink_to(tmp_path / "absent.mp4")
    (raw / "linked.mp4").symlink_to(raw / "a_mic.mp4")
    write_raw(raw / "mute.mp4", sound=False)
    write_sound(raw / "sound only.wav", strikes(1.0), 44_100)
    (raw / "sound only.wav").rename(raw / "sound only.mp4")
    zeros = raw / "zeros.mp4"
    write_raw(zeros, sound=False)
    mux(zeros, torch.zeros(2, 44_100), 44_100, raw / "quiet.mp4")
    write_raw(raw / "annotated.mp4")
    (raw / "annotated_times.txt").write_text("0.1 wood hit\n")
    (raw / "nobody_times.txt").write_text(TIMES)
    write_raw(raw / "train.txt.mp4")
    write_raw(raw / " spaced.mp4")
    out = tmp_path / "out"
    assert preprocess(raw, out) == 2
    table = capsys.readouterr().out
    assert counts(table) == (4, 0, 11)
    rows = {line.split(": ", 1)[0].removeprefix("  "): line for line in table.splitlines()[3:-1]}
    for name, told in {
        "b_mic.mp4": "cannot be read",
        "empty.mp4": "is empty",
        "text.mkv": "cannot be read",
        "dangling.mp4": "cannot be read",
        "mute.mp4": "no sound",
        "zeros.mp4": "no sound",
        "sound only.mp4": "no moving picture",
        "quiet.mp4": "silent throughout",
        "annotated.mp4": "line 1, '0.1 wood hit' has 3 words",
        "train.txt.mp4": "rename",
        " spaced.mp4": "rename",
    }.items():
        assert told in rows[name]
    assert "nobody_times.txt" in caplog.text
    assert [clip.clip_id for clip in list_clips(out)] == ["a", "c d", "linked", "é.x"]
    named = [line for name in ("train", "val", "test") for line in (out / f"{name}.txt").read_text().splitlines()]
    assert sorted(named) == ["a", "c d", "linked", "é.x"]
    (raw / "b_mic.mp4").write_bytes(whole)
    assert preprocess(raw, out) == 2
    assert counts(capsys.readouterr().out) == (1, 4, 10)


def test_sound_or_picture_alone_does_not_go_on_for_ever(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("data.process_clip._MOST_APART_S", 5)
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, frames_s, sound_s in (("picture", 12.0, 1.0), ("sound", 1.0, 12.0)):
        silent = write_raw(raw / f"{name}.mp4", frames_s, sound=False)
        with av.open(str(silent)) as source, av.open(str(raw / f"{name}.mkv"), "w") as target:
            picture = target.add_stream_from_template(source.streams.video[0])
            sound = target.add_stream("aac", rate=44_100, layout="stereo")
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = picture
                    target.mux(packet)
            for start_s in sorted({0.0, sound_s - 1.0}):  # what lies between is silence
                piece = av.AudioFrame.from_ndarray(strikes(1.0).numpy(), format="fltp", layout="stereo")
                piece.sample_rate, piece.pts, piece.time_base = 44_100, round(start_s * 44_100), Fraction(1, 44_100)
                target.mux(sound.encode(piece))
            target.mux(sound.encode(None))
        silent.unlink()
    assert preprocess(raw, tmp_path / "out") == 2
    rows = capsys.readouterr().out.splitlines()[3:5]
    assert ["picture.mkv" in rows[0], "sound.mkv" in rows[1]] == [True, True]
    assert all("has picture until" in row for row in rows)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.json"]


def test_names_are_taken_as_they_are(tmp_path):
    name = "-take {0} %d [1] ü"
    write_raw(tmp_path / "raw" / f"{name}_mic.mp4")
    preprocess(tmp_path / "raw", tmp_path / "out")
    (clip,) = list_clips(tmp_path / "out")
    assert clip.clip_id == name
    assert sorted(p.name for p in clip.frames_dir.iterdir()) == [f"{name}.frame_{i:06d}.jpg" for i in (1, 2, 3, 4)]


@pytest.mark.parametrize("duration_s", [1 / 15, 0.1, 0.4])
@pytest.mark.parametrize("denoise", [[], ["--denoise"]])
def test_very_short_videos(tmp_path, duration_s, denoise):
    (tmp_path / "raw").mkdir()
    write_raw(tmp_path / "raw" / "short.mp4", duration_s)
    assert preprocess(tmp_path / "raw", tmp_path / "out", *denoise) == 0
    (clip,) = list_clips(tmp_path / "out")
    assert clip.duration_s == pytest.approx(duration_s, abs=0.08)
    assert len(list(clip.frames_dir.iterdir())) == max(1, round(4 * duration_s))


def test_denoised_sound_is_as_long_and_in_time(raw, tmp_path):
    for name, options in (("noisy", []), ("clean", ["--denoise"])):
        assert preprocess(raw, tmp_path / name, *options) == 0
    noisy, clean = (
        soundfile.read(tmp_path / name / "a" / "audio" / "a.resampled.wav")[0] for name in ("noisy", "clean")
    )
    assert noisy.shape == clean.shape
    assert (noisy != clean).any()
    lags = np.correlate(noisy[2000:6000, 0], clean[2100:5900, 0])
    assert lags.argmax() == 100


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--fps", "0"], "--fps 0"),
        (["--fps", "nan"], "--fps nan"),
        (["--fps", "-1"], "--fps -1"),
        (["--fps", "1e9"], "--fps 1e+09"),
        (["--sample-rate", "0"], "--sample-rate 0"),
        (["--sample-rate", "1000000000"], "--sample-rate 1000000000"),
        (["--frame-size", "0x240"], "--frame-size 0x240"),
        (["--frame-size", "320x99999"], "--frame-size 320x99999"),
        (["--frame-size", "320"], "WIDTHxHEIGHT"),
        (["--frame-size", "-1x5"], "--frame-size"),
        (["--workers", "-1"], "--workers -1"),
        (["--workers", "1000000000"], "--workers 1000000000"),
        (["--seed", "-1"], "--seed -1"),
    ],
)
def test_options_that_are_not_possible(raw_source, tmp_path, capsys, options, told):
    assert preprocess(raw_source, tmp_path / "out", *options) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_folders_that_do_not_fit(raw, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(raw)
    other = tmp_path / "other"
    preprocess(raw, other)
    (other / "manifest.json").unlink()
    for raw_dir, out_dir, told in (
        (tmp_path / "absent", tmp_path / "out", "absent is not a folder"),
        (tmp_path / "empty", tmp_path / "out", "holds no videos"),
        (raw, raw, "lies in --output-dir"),
        (raw, tmp_path / "link", "lies in --output-dir"),
        (raw, tmp_path, "lies in --output-dir"),
        (raw, tmp_path / "file", "is a file"),
        (raw, tmp_path / "file" / "out", "cannot be written"),
        (raw, other, "no manifest.json"),
    ):
        before = tree(tmp_path)
        capsys.readouterr()
        assert preprocess(raw_dir, out_dir) == 2
        assert told in capsys.readouterr().err
        assert tree(tmp_path) == before


def test_two_files_of_one_recording_stop_the_run(raw, tmp_path, capsys):
    (raw / "a.mov").touch()
    assert preprocess(raw, tmp_path / "out") == 2
    assert "a.mov and" in capsys.readouterr().err
    (raw / "a.mov").unlink()
    write_raw(raw / "a_denoised.mp4", duration_s=0.5)
    assert preprocess(raw, tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "a" / "a.metadata.json").read_text())["source"]["file"] == "a_denoised.mp4"


def test_a_folder_of_someone_else_is_not_replaced(raw, tmp_path, capsys):
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "a" / "mine.txt").write_text("keep")
    assert preprocess(raw, out) == 2
    assert "was not made by this command" in capsys.readouterr().out
    assert tree(out / "a") == {"mine.txt": b"keep"}


def test_one_run_at_a_time(raw, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".lock"):
        assert preprocess(raw, out) == 2
    assert "another run works in" in capsys.readouterr().err
    assert [path.name for path in out.iterdir() if path.name != ".lock"] == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_full_disk_stops_the_run_and_leaves_whole_clips(raw, tmp_path, capsys, monkeypatch, number):
    save = Image.Image.save
    calls = []

    def fail_at_the_seventh(image, path, **options):
        calls.append(path)
        if len(calls) == 7:
            raise OSError(number, os.strerror(number))
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", fail_at_the_seventh)
    out = tmp_path / "out"
    assert preprocess(raw, out) == 2
    error = capsys.readouterr().err
    assert os.strerror(number) in error
    assert error.count("\n") == 1
    assert len([path for path in out.iterdir() if path.is_dir()]) == 1
    monkeypatch.undo()
    assert preprocess(raw, out) == 0
    assert counts(capsys.readouterr().out) == (3, 1, 0)
    preprocess(raw, tmp_path / "whole")
    assert tree(out) == tree(tmp_path / "whole")


def test_an_interrupt_says_how_to_go_on(raw, tmp_path, capsys, caplog, monkeypatch):
    save, calls = Image.Image.save, []

    def interrupt_at_the_seventh(image, path, **options):
        calls.append(path)
        if len(calls) == 7:
            raise KeyboardInterrupt
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", interrupt_at_the_seventh)
    out = tmp_path / "out"
    assert preprocess(raw, out) == 130
    assert "the same command goes on" in caplog.text
    assert len([path for path in out.iterdir() if path.is_dir()]) == 1
    assert not list(out.glob(".*"))


@pytest.mark.slow
def test_an_interrupt_stops_long_work_at_once(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    write_raw(raw / "a.mp4", duration_s=150.0)
    shutil.copyfile(raw / "a.mp4", raw / "b.mp4")
    process = subprocess.Popen(
        [sys.executable, "-m", "data.preprocess", "--root", raw, "--output-dir", out, "--fps", "60", "--workers", "2"],
        cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while not list(out.glob(".partial-*/frames/*")) and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert not list(out.glob("*/*.metadata.json"))
    assert "the same command goes on" in errors
    assert "Traceback" not in errors
    assert [path.name for path in out.iterdir()] == ["manifest.json"]


@pytest.mark.slow
@pytest.mark.skipif(not PROCESS_STATUS.exists(), reason="the system does not tell the memory of a program")
def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path):
    for name, duration_s in (("short", 75.0), ("long", 225.0)):
        write_raw(tmp_path / f"{name}.mp4", duration_s)
    script = """
import sys
from pathlib import Path
from data.process_clip import ProcessSettings, RawClip, process_clip
for name in ("short", "long"):
    video = Path(sys.argv[1]) / f"{name}.mp4"
    process_clip(RawClip(name, video, None), Path(sys.argv[1]), ProcessSettings(denoise=True))
    print(peak_mib())
"""
    command = [sys.executable, "-c", PEAK_MIB + script, tmp_path]
    text = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    short_mib, long_mib = map(float, text.split())
    assert long_mib - short_mib < 25  # the sound alone would take 50 MiB more


def test_damage_anywhere_is_a_row_or_a_clip_and_never_a_traceback(raw_source, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    content = (raw_source / "a_mic.mp4").read_bytes()
    damage = random.Random(0)
    for i in range(40):
        changed = bytearray(content)
        for _ in range(damage.choice([1, 5, 50])):
            changed[damage.randrange(len(changed))] = damage.randrange(256)
        (raw / f"{i}.mp4").write_bytes(changed[: damage.choice([None, damage.randrange(len(content))])])
    assert preprocess(raw, tmp_path / "out") in (0, 2)
    for clip in list_clips(tmp_path / "out"):
        assert clip.duration_s > 0


def test_input_error_of_settings_is_one_sentence():
    with pytest.raises(InputError, match=r"give 0\.01 to 240"):
        ProcessSettings(frame_rate_hz=float("inf"))


def test_paths_may_be_relative(raw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert preprocess(Path("raw"), Path("raw/out")) == 0
    assert len(list_clips(Path("raw/out"))) == 4
    assert preprocess(Path("raw"), Path("raw/out")) == 0
