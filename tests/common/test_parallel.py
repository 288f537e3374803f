"""Work in several processes: order, faults, an interrupt."""

import multiprocessing
import operator
import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial

import pytest
import torch

from common import parallel
from common.errors import InputError
from common.parallel import for_each
from tests.conftest import REPOSITORY

# what the processes run is named by modules that they can import: those of the standard library


def test_without_processes_results_come_in_order_of_the_jobs():
    assert list(for_each(abs, [-1, 2], 0, "")) == [1, 2]
    assert list(for_each(abs, [], 2, "")) == []


def test_few_jobs_stay_in_this_process():
    assert set(for_each(operator.call, [os.getpid] * 3, 2, "")) == {os.getpid()}


def test_results_come_in_order_from_processes_of_one_thread_each():
    """One pair of processes for all, as starting it takes longest; few jobs go there too where that is said."""
    order = [partial(os.path.basename, f"a/{i}") for i in range(5)]
    found = list(for_each(operator.call, [*order, os.getpid, torch.get_num_threads], 2, "", few_jobs=2))
    assert found[:5] == [str(i) for i in range(5)]
    assert found[5] != os.getpid()
    assert found[6] == 1


def test_the_bar_counts_what_is_done_though_the_first_job_takes_longest(monkeypatch, tmp_path):
    counted = []

    def count(bar):
        counted.append(bar)
        if len(counted) == 9:
            (tmp_path / "nine").touch()

    monkeypatch.setattr(parallel.tqdm, "update", count)
    until_nine = f"for i in $(seq 600); do test -e '{tmp_path}/nine' && exit 0; sleep 0.05; done; exit 1"
    results = for_each(subprocess.call, [["sh", "-c", until_nine], *[["true"]] * 9], 2, "")
    assert next(results) == 0  # and not 1, after half a minute in which the others were not counted
    assert list(results) == [0] * 9
    assert len(counted) == 10


def test_work_that_is_not_wanted_any_more_ends_at_once():
    results = for_each(time.sleep, [0.01, *[300.0] * 9], 2, "")
    next(results)
    start_s = time.monotonic()
    results.close()
    assert time.monotonic() - start_s < 100
    assert not multiprocessing.active_children()


def test_a_process_that_dies_is_no_traceback():
    with pytest.raises(InputError, match="workers"):
        list(for_each(os._exit, [1] * 10, 2, ""))


@pytest.mark.slow
def test_processes_end_with_the_one_that_is_killed(tmp_path):
    process = start(tmp_path)
    process.stderr.read(1)  # of the bar: the processes are at work
    process.kill()
    process.wait()
    assert ended(process.pid)


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [1, 8], ids=["while they start", "while they work"])
def test_an_interrupt_ends_all_processes(tmp_path, after_s):
    process = start(tmp_path)
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.strip().endswith("interrupted")
    assert ended(process.pid)


def start(folder):
    """A command that works in two processes for long, in a group of its own."""
    script = folder / "long.py"
    script.write_text(
        textwrap.dedent("""
        import sys, time
        from common.errors import user_errors
        from common.parallel import for_each
        if __name__ == "__main__":
            with user_errors():
                sys.stdout.write("started\\n"); sys.stdout.flush()
                list(for_each(time.sleep, [0.2] * 1000, 2, ""))
        """)
    )
    process = subprocess.Popen(
        [sys.executable, script],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    process.stdout.readline()
    return process


def ended(group):
    """Whether no process of a group is left, soon."""
    for _ in range(50):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False
