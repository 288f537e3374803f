"""Stages of work: each has its own time, without that of stages within it."""

import time

import pytest

from common.stopwatch import Stopwatch


def test_a_stage_within_another_counts_for_itself_alone():
    watch = Stopwatch()
    with watch.stage("outer"):
        time.sleep(0.02)
        with watch.stage("inner"):
            time.sleep(0.2)
    assert list(watch.stage_s) == ["outer", "inner"]
    assert watch.stage_s["inner"] >= 0.2
    assert 0.02 <= watch.stage_s["outer"] < watch.stage_s["inner"]


def test_the_time_between_values_is_not_that_of_making_them():
    def slowly():
        for number in range(3):
            time.sleep(0.01)
            yield number

    watch, started_s = Stopwatch(), time.perf_counter()
    for _ in watch.timed("making", slowly()):
        time.sleep(0.1)
    assert time.perf_counter() - started_s >= 0.33
    assert 0.03 <= watch.stage_s["making"] < 0.3


def test_a_stage_that_fails_is_counted():
    watch = Stopwatch()
    with pytest.raises(ValueError, match="no"), watch.stage("failing"):
        raise ValueError("no")
    assert str(watch).startswith("failing 0.00")
