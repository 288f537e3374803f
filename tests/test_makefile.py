"""`make` sets up with the first Python that really runs and is of a version that fits."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY, SLOW_FILES

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


def test_what_the_fast_tests_leave_out_is_there():
    assert [name for name in SLOW_FILES if not (REPOSITORY / "tests" / name).is_file()] == []


@pytest.fixture
def make(tmp_path):
    """Run `make` for a new environment in an empty folder; `pythons` are shell scripts by name."""

    def run(pythons, *variables):
        (tmp_path / "bin").mkdir()
        for name in ("python3.13", "python3.12", "python3.11", "python3"):
            script = tmp_path / "bin" / name
            script.write_text(f"#!/bin/sh\n{pythons.get(name, 'exit 127')}\n")
            script.chmod(0o755)
        command = ["make", f"--file={REPOSITORY / 'Makefile'}", ".venv/bin/python", *variables]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHON" and not k.startswith("MAKE")}
        environment["PATH"] = f"{tmp_path / 'bin'}{os.pathsep}{environment['PATH']}"
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_a_python_that_does_not_run_is_skipped(make, tmp_path):
    result = make({"python3.12": "echo no such version >&2; exit 1", "python3.11": f'exec {sys.executable} "$@"'})
    assert result.returncode == 0, result.stderr
    version = subprocess.check_output([tmp_path / ".venv/bin/python", "--version"], text=True)
    assert version.split()[1] == sys.version.split()[0]
    assert subprocess.call([tmp_path / ".venv/bin/python", "-m", "pip", "--version"]) == 0


@pytest.mark.parametrize("variables", [(), ("PYTHON=python3.12",)])
def test_where_none_fits_one_sentence_says_so(make, tmp_path, variables):
    # a Python 3.10, as far as can be told from what it answers
    old = f'exec {sys.executable} -c "import sys; sys.version_info = (3, 10, 1); exec(sys.argv[2])" "$@"'
    result = make({"python3.12": old, "python3": old}, *variables)
    assert result.returncode == 2
    (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "3.11 to 3.13" in sentence
    assert (variables[0] if variables else "python3.13 python3.12 python3.11 python3") in sentence
    assert not (tmp_path / ".venv").exists()
