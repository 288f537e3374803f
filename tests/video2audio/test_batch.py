"""Many videos with one load: which are meant, resuming, failures, and two processes in one folder."""

import csv
import json
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

import infer
from common.errors import InputError
from common.files import locked
from media.probe import probe
from tests.conftest import tone_clip
from video2audio import FoleyPipeline
from video2audio.result import FoleyResult
from video2audio.videos import find_jobs


def names(jobs, output_dir):
    return [((job.folder / job.name).relative_to(output_dir).as_posix(), job.video.name) for job in jobs]


@pytest.fixture
def tree(tmp_path):
    """Videos in folders, things that are none, and results of an earlier run."""
    files = ["a.mp4", "b.MOV", "notes.txt", ".hidden.mp4", "sub/c.webm", "sub/.git/d.mp4", "out/a.mp4"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    tone_clip(tmp_path / "sub", "clip")
    return tmp_path


def test_a_folder_means_its_videos_and_keeps_its_folders(tree):
    out = tree / "out"
    expected = [("a", "a.mp4"), ("b", "b.MOV"), ("sub/c", "c.webm"), ("sub/clip", "clip")]
    assert names(find_jobs([tree], out), out) == expected
    assert names(find_jobs([tree / "a.mp4", tree, tree / "b.MOV"], out), out) == expected


def test_relative_paths_leave_the_results_out_too(tree, monkeypatch):
    monkeypatch.chdir(tree)
    assert [job.video.name for job in find_jobs([Path()], Path("out"))] == ["a.mp4", "b.MOV", "c.webm", "clip"]
    assert [job.video.name for job in find_jobs([Path("sub")], Path())] == ["c.webm", "clip"]


def test_a_pattern_means_what_matches(tree):
    out = tree / "out"
    assert names(find_jobs([tree / "*.mp4"], out), out) == [("a", "a.mp4")]
    assert [job.video.name for job in find_jobs([tree / "sub" / "**" / "c.*"], out)] == ["c.webm"]


def test_videos_of_one_name_get_different_results(tree):
    out = tree / "out"
    for name in ("a.mov", "a_mic.mp4", "sub/a.mp4"):
        (tree / name).write_bytes(b"")
    given = [tree / name for name in ("a.mp4", "a.mov", "a_mic.mp4", "sub/a.mp4")]
    found = names(find_jobs(given, out), out)
    assert [video for _, video in found] == ["a.mp4", "a.mov", "a_mic.mp4", "a.mp4"]
    assert len({name for name, _ in found}) == 4


@pytest.mark.parametrize("path", ["nowhere.mp4", "*.avi", "sub/clip/audio"])
def test_what_holds_no_video_is_named(tree, path):
    with pytest.raises(InputError, match=path.split("/")[-1].replace("*", r"\*")):
        find_jobs([tree / path], tree / "out")


def test_a_name_that_no_file_can_have_is_refused(tree):
    with pytest.raises(InputError, match="aaaa"):
        find_jobs([tree / ("a" * 300)], tree / "out")


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [unquote(value) for name, value in attributes if name in ("src", "href")]


@pytest.fixture
def videos(inference_folder, tmp_path):
    folder = tmp_path / "videos"
    (folder / "sub").mkdir(parents=True)
    shutil.copy(inference_folder / "silent.mp4", folder / "one.mp4")
    shutil.copy(inference_folder / "video.mp4", folder / "sub" / "two & two.mp4")
    (folder / "damaged.mp4").write_bytes((inference_folder / "video.mp4").read_bytes()[:2000])
    return folder


def run(folder, videos, out, *options):
    files = ["--checkpoint", folder / "model.safetensors", "--envelope", folder / "flat.csv", "--steps", 1]
    return infer.main([*map(str, ["--video", videos, *files, "--output-dir", out, *options])])


def statuses(out):
    with (out / "summary.csv").open(newline="") as file:
        return {row["name"]: row["status"] for row in csv.DictReader(file)}


def test_a_folder_with_a_damaged_video(inference_folder, videos, tmp_path):
    out = tmp_path / "out"
    assert run(inference_folder, videos, out) == 1
    assert statuses(out) == {"one": "done", "damaged": "failed", "two & two": "done"}
    with (out / "summary.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert "damaged.mp4" in rows["damaged"]["reason"]
    assert float(rows["one"]["duration_s"]) == 3.0
    assert probe(out / rows["two & two"]["result"]).has_sound
    page = Links()
    page.feed((out / "summary.html").read_text())
    assert {"one.mp4", "one.wav", "sub/two & two.mp4"} <= set(page.found)
    assert all((out / link).is_file() for link in page.found)


def test_what_is_done_is_left_alone_until_something_changes(inference_folder, videos, tmp_path):
    out = tmp_path / "out"
    (videos / "damaged.mp4").unlink()
    assert run(inference_folder, videos, out) == 0
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")}
    assert run(inference_folder, videos, out) == 0
    assert set(statuses(out).values()) == {"unchanged"}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")} == times
    (out / "one.wav").unlink()
    shutil.copy(inference_folder / "video.mp4", videos / "sub" / "two & two.mp4")  # the same content, newer
    run(inference_folder, videos, out)
    assert statuses(out) == {"one": "done", "two & two": "unchanged"}
    shutil.copy(inference_folder / "silent.mp4", videos / "sub" / "two & two.mp4")
    run(inference_folder, videos, out)
    assert statuses(out) == {"one": "unchanged", "two & two": "done"}
    run(inference_folder, videos, out, "--loudness", "-30")
    assert set(statuses(out).values()) == {"done"}
    run(inference_folder, videos, out, "--loudness", "-30", "--overwrite")
    assert set(statuses(out).values()) == {"done"}


def test_videos_that_moved_are_known_by_their_content(inference_folder, videos, tmp_path):
    out = tmp_path / "out"
    run(inference_folder, videos, out)
    videos.rename(tmp_path / "elsewhere")
    run(inference_folder, tmp_path / "elsewhere", out)
    assert statuses(out) == {"one": "unchanged", "damaged": "failed", "two & two": "unchanged"}
    shutil.copy(inference_folder / "flat.csv", tmp_path / "other.csv")
    run(inference_folder, tmp_path / "elsewhere", out, "--envelope", tmp_path / "other.csv")
    assert statuses(out)["one"] == "unchanged"
    (tmp_path / "elsewhere" / "one.mp4").write_bytes((inference_folder / "video.mp4").read_bytes())
    run(inference_folder, tmp_path / "elsewhere", out)
    assert statuses(out)["one"] == "failed"  # a result of another video, which is gone, is not replaced


def test_another_format_replaces_the_sound_of_the_former(inference_folder, videos, tmp_path):
    out, video = tmp_path / "out", videos / "one.mp4"
    run(inference_folder, video, out)
    run(inference_folder, video, out, "--sound-format", "flac", "--bit-depth", "16", "--sample-rate", "48000")
    assert not (out / "one.wav").exists()
    info = probe(out / "one.flac")
    assert (info.sample_rate_hz, info.duration_s) == (48_000, 3.0)
    assert probe(out / "one.mp4").sample_rate_hz == 48_000
    assert json.loads((out / "one.json").read_text())["sample_rate_hz"] == 48_000


def test_a_record_cannot_name_other_files_to_remove(inference_folder, videos, tmp_path):
    out, precious = tmp_path / "out", tmp_path / "precious.wav"
    precious.write_text("mine")
    run(inference_folder, videos / "one.mp4", out)
    record = json.loads((out / "one.json").read_text())
    (out / "one.json").write_text(json.dumps(record | {"files": ["../precious.wav", str(precious)]}))
    run(inference_folder, videos / "one.mp4", out, "--seed", "1")
    assert precious.read_text() == "mine"


def test_a_video_on_which_another_process_works_is_taken_last(inference_folder, videos, tmp_path):
    out = tmp_path / "out"
    (videos / "damaged.mp4").unlink()
    order = []

    def other_process():
        with locked(out / ".one.lock"):
            ready.set()
            released.wait(60)

    ready, released = threading.Event(), threading.Event()
    other = threading.Thread(target=other_process)
    other.start()
    ready.wait(60)
    results = FoleyPipeline.results

    def watched(self, request, seeds, **options):
        order.append(request.video.name)
        released.set()
        return results(self, request, seeds, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FoleyPipeline, "results", watched)
        assert run(inference_folder, videos, out) == 0
    other.join()
    assert order == ["two & two.mp4", "one.mp4"]


def test_a_summary_of_somebody_else_is_kept(inference_folder, videos, tmp_path, capsys):
    (tmp_path / "summary.csv").write_text("clip,mark\n")
    with pytest.raises(SystemExit) as ending:
        run(inference_folder, videos, tmp_path)
    assert ending.value.code == 2
    assert "summary.csv" in capsys.readouterr().err
    assert (tmp_path / "summary.csv").read_text() == "clip,mark\n"


def test_an_interrupt_leaves_a_summary_of_what_is_done(inference_folder, videos, tmp_path, monkeypatch):
    results = FoleyPipeline.results

    def interrupted(self, request, seeds, **options):
        if request.video.name.startswith("two"):
            raise KeyboardInterrupt
        return results(self, request, seeds, **options)

    monkeypatch.setattr(FoleyPipeline, "results", interrupted)
    with pytest.raises(SystemExit) as ending:
        run(inference_folder, videos, tmp_path / "out")
    assert ending.value.code == 130
    assert statuses(tmp_path / "out") == {"damaged": "failed", "one": "done"}
    assert not list((tmp_path / "out").rglob(".*"))


def test_a_result_that_cannot_be_written_is_a_row_of_its_own(inference_folder, videos, tmp_path, monkeypatch, capsys):
    save = FoleyResult.save

    def saved(self, folder, name, form):
        if name == "one":
            raise InputError("no room for one.wav")
        return save(self, folder, name, form)

    monkeypatch.setattr(FoleyResult, "save", saved)
    assert run(inference_folder, videos, tmp_path / "out") == 1
    assert statuses(tmp_path / "out") == {"one": "failed", "damaged": "failed", "two & two": "done"}
    assert not list((tmp_path / "out").rglob(".*"))  # no lock is left
    with pytest.raises(SystemExit) as ending:
        run(inference_folder, videos / "one.mp4", tmp_path / "alone")
    assert ending.value.code == 2
    assert "no room for one.wav" in capsys.readouterr().err


def test_a_video_whose_result_has_too_long_a_name_is_a_row_of_its_own(inference_folder, videos, tmp_path):
    (videos / "damaged.mp4").rename(videos / f"{250 * 'a'}.mp4")
    shutil.copy(videos / "one.mp4", videos / f"{250 * 'a'}.mp4")  # it can be read, but not NAME.envelope.csv written
    assert run(inference_folder, videos, tmp_path / "out") == 1
    assert statuses(tmp_path / "out") == {"one": "done", 250 * "a": "failed", "two & two": "done"}
