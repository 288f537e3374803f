"""Preprocessing that several jobs divide: the same folder as by one run, and nothing joined that does not belong."""

import subprocess
import sys

import pytest

from data.preprocess import main
from tests.conftest import REPOSITORY
from tests.data.test_preprocess import write_raw


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Seven videos, the fourth of which is damaged."""
    folder = tmp_path_factory.mktemp("raw")
    for number, name in enumerate("abcdefg"):
        write_raw(folder / f"{name}.mp4", 0.5, seed=number)
    (folder / "d.mp4").write_bytes(b"no video")
    return folder


def run(raw, out, *options):
    """Exit status of the command."""
    try:
        main(["--root", str(raw), "--output-dir", str(out), "--workers", "0", *options])
    except SystemExit as end:
        return end.code
    return 0


def tree(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (".lock", ".manifest-lock")
    }


def test_jobs_at_once_make_what_one_run_makes(raw, tmp_path, capsys):
    assert run(raw, tmp_path / "one") == 2  # of the damaged video
    command = [sys.executable, "-m", "data.preprocess", "--root", str(raw), "--output-dir", str(tmp_path / "many")]
    jobs = [subprocess.Popen([*command, "--workers", "0", "--shard", f"{i}/3"], cwd=REPOSITORY) for i in range(3)]
    assert sorted(job.wait(timeout=120) for job in jobs) == [0, 0, 2]
    assert not (tmp_path / "many" / "train.txt").exists()
    capsys.readouterr()
    assert run(raw, tmp_path / "many", "--join") == 2
    assert "d.mp4" in capsys.readouterr().out
    assert tree(tmp_path / "many") == tree(tmp_path / "one")
    assert {path.name for path in (tmp_path / "many").iterdir() if path.is_dir()} == set("abcefg")


def test_what_does_not_belong_together_is_not_joined(raw, tmp_path, capsys):
    assert run(raw, tmp_path, "--join") == 2
    assert "--shard" in capsys.readouterr().err
    run(raw, tmp_path, "--shard", "0/3")
    run(raw, tmp_path, "--shard", "2/3")
    assert run(raw, tmp_path, "--join") == 2
    assert "1/3" in capsys.readouterr().err
    assert run(raw, tmp_path, "--shard", "1/3", "--fps", "3") == 2
    assert "--fps" in capsys.readouterr().err
    run(raw, tmp_path, "--shard", "1/3")
    run(raw, tmp_path, "--shard", "0/2")
    assert run(raw, tmp_path, "--join") == 2
    assert "2 and of 3" in capsys.readouterr().err
    assert not (tmp_path / "train.txt").exists()


def test_a_video_that_came_later_is_missed(raw, tmp_path, capsys):
    root, out = tmp_path / "raw", tmp_path / "out"
    root.mkdir()
    for name in "ab":
        (root / f"{name}.mp4").write_bytes((raw / f"{name}.mp4").read_bytes())
    for shard in ("0/2", "1/2"):
        assert run(root, out, "--shard", shard) == 0
    (root / "c.mp4").write_bytes((raw / "c.mp4").read_bytes())
    assert run(root, out, "--join") == 2
    assert "--shard 0/2" in capsys.readouterr().err
    for shard in ("0/2", "1/2"):
        assert run(root, out, "--shard", shard) == 0
    assert run(root, out, "--join") == 0
    assert sum(len((out / f"{name}.txt").read_text().split()) for name in ("train", "val", "test")) == 3
