"""The way mistakes are shown, and files that are written whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import InputError, user_errors
from common.files import PARTIAL, atomic_files, atomic_folder, atomic_path, remove_partial
from tests.conftest import REPOSITORY

WRITE_AND_WAIT = """
import sys
from pathlib import Path
from common.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary.name, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [(InputError("rate 0 is not possible: give 1"), 2, "error: rate 0 is not possible: give 1\n"),
     (KeyboardInterrupt(), 130, "interrupted\n")],
)  # fmt: skip
def test_user_errors_end_the_command_with_one_line(error, status, shown, capsys):
    @user_errors()
    def main():
        raise error

    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == status
    assert capsys.readouterr().err == shown


def test_faults_of_the_program_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), user_errors():
        1 / 0  # noqa: B018


def test_no_error_lets_the_result_through():
    @user_errors()
    def main():
        return 7

    assert main() == 7


def test_atomic_path_replaces_the_file_and_creates_folders(tmp_path):
    path = tmp_path / "new" / "deeper" / "clip.wav"
    for text in ("first", "second"):
        with atomic_path(path) as temporary:
            assert temporary.suffix == ".wav"
            assert temporary.parent == path.parent
            temporary.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_atomic_path_leaves_the_old_file_when_interrupted(tmp_path, error):
    path = tmp_path / "clip.wav"
    path.write_text("old")

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def start_writer(path):
    """A process that is in the middle of writing a file, and the name of its temporary file."""
    command = [sys.executable, "-c", WRITE_AND_WAIT, str(path)]
    writer = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return writer, writer.stdout.readline().strip()


def test_what_killed_writers_left_goes_with_the_next_file_and_what_others_write_stays(tmp_path):
    killed, left = start_writer(tmp_path / "clip.wav")
    killed.kill()
    killed.wait()
    assert [path.name for path in tmp_path.iterdir()] == [left]
    alive, writing = start_writer(tmp_path / "clip.wav")
    assert [path.name for path in tmp_path.iterdir()] == [writing]
    with atomic_path(tmp_path / "other.wav"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {writing, "other.wav"}
    alive.communicate("")
    assert alive.returncode == 0
    assert (tmp_path / "clip.wav").read_text() == "half"


def test_files_of_other_machines_go_once_nobody_can_be_writing_them(tmp_path):
    old, new = tmp_path / f"{PARTIAL}0-1-2.wav", tmp_path / f"{PARTIAL}0-1-3.wav"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    with atomic_path(tmp_path / "clip.wav"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {new.name, "clip.wav"}


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    path, synced = tmp_path / "clip.wav", []

    def record(handle):
        synced.append((os.fstat(handle).st_ino, path.exists()))

    monkeypatch.setattr(os, "fsync", record)
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert synced == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


def _file_as_folder(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file" / "out.wav"


@pytest.mark.parametrize(("make", "told"), [(_file_as_folder, "cannot be written"), (lambda folder: folder, "folder")])
def test_atomic_path_says_where_it_cannot_write(tmp_path, make, told):
    path = make(tmp_path)
    with pytest.raises(InputError, match=told) as caught, atomic_path(path):
        pass
    assert str(tmp_path) in str(caught.value)


def test_atomic_folder_appears_whole_and_replaces(tmp_path):
    path = tmp_path / "new" / "clip"
    for text in ("first", "second"):
        with atomic_folder(path) as temporary:
            assert temporary.parent == path.parent
            (temporary / "inside").mkdir()
            (temporary / "inside" / f"{text}.txt").write_text(text)
            assert not path.exists() or text == "second"
        assert [file.name for file in (path / "inside").iterdir()] == [f"{text}.txt"]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("there", [True, False])
def test_atomic_folder_leaves_what_was_there_when_interrupted(tmp_path, error, there):
    path = tmp_path / "clip"
    if there:
        path.mkdir()
        (path / "old.txt").write_text("old")

    def write_half():
        with atomic_folder(path) as temporary:
            (temporary / "half.txt").write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert [file.name for file in tmp_path.rglob("*")] == (["clip", "old.txt"] if there else [])


def test_atomic_folder_puts_the_old_one_back_when_the_new_one_cannot_be_moved(tmp_path, monkeypatch):
    path = tmp_path / "clip"
    path.mkdir()
    (path / "old.txt").touch()
    rename = Path.rename

    def fail_for_the_new_one(source, target):
        if (source / "new.txt").exists():
            raise OSError("no")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with pytest.raises(OSError, match="no"), atomic_folder(path) as temporary:
        (temporary / "new.txt").touch()
    assert [file.name for file in tmp_path.rglob("*")] == ["clip", "old.txt"]


def test_atomic_folder_refuses_a_file(tmp_path):
    (tmp_path / "clip").touch()
    with pytest.raises(InputError, match="is a file"), atomic_folder(tmp_path / "clip"):
        pass


def test_what_killed_writers_left_is_removed(tmp_path):
    kept = []
    for context in (atomic_path(tmp_path / "clip.wav"), atomic_folder(tmp_path / "clip")):
        kept.append((context, context.__enter__()))  # never left, as in a process that is killed
    (kept[1][1] / "inside.txt").touch()
    (tmp_path / "mine.txt").touch()
    assert remove_partial(tmp_path) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


COMMANDS = [
    ["infer.py", "--video", "missing.mp4"],
    ["evaluate.py", "--reference", "missing", "--generated", "missing"],
    ["demo.py", "--output-dir", "/dev/null/demo"],
    ["train.py", "exp=missing"],
    ["-m", "video2rms.predict", "--video", "missing.mp4", "--output", "missing.csv"],
    [
        "-m",
        "stable_foley.generate_split",
        "--split",
        "missing.txt",
        "--checkpoint",
        "missing",
        "--output-dir",
        "missing",
    ],
    ["-m", "stable_foley.checkpoint", "import", "--published", "missing.ckpt", "--output", "missing.safetensors"],
    ["-m", "data.preprocess", "--root", "missing", "--output-dir", "missing"],
    ["-m", "data.report", "--root", "missing"],
    ["-m", "synthetic", "--output-dir", "/dev/null/synthetic", "--hours", "1"],
    ["-m", "training.bundle", "--checkpoint", "missing", "--output", "missing.safetensors"],
    ["-m", "training.cache", "exp=missing"],
    ["-m", "synthetic.report", "--output-dir", "/dev/null/report"],
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "imported"),
    [(command, "torch._C") for command in COMMANDS]
    + [(COMMANDS[0], imported) for imported in ("argparse", "numpy", "torch.nn.functional")],
)
def test_an_interrupt_while_a_command_imports_ends_it_with_one_line(command, imported):
    """It comes when the module is imported; `-X importtime` says when that is."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", *command], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True
    )
    lines, is_sent = [], False
    for line in process.stderr:
        if not line.startswith("import time:"):
            lines.append(line)
        elif line.split("|")[-1].strip() == imported and not is_sent:
            process.send_signal(signal.SIGINT)
            is_sent = True  # some modules have two lines
    assert process.wait() == 130
    assert lines == ["interrupted\n"]


def test_files_that_belong_together_appear_together_or_not_at_all(tmp_path):
    folder = tmp_path / "new" / "out"

    def write(text, error=None):
        with atomic_files(folder) as temporary:
            for name in ("a.wav", "a.json"):
                (temporary / name).write_text(text)
                assert not (folder / name).exists() or (folder / name).read_text() == "first"
            if error:
                raise error

    write("first")
    with pytest.raises(RuntimeError):
        write("second", RuntimeError())
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a.wav": "first", "a.json": "first"}
    write("third")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a.wav": "third", "a.json": "third"}
