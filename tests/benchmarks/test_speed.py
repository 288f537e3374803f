"""The table of speeds: ratios of pairs, and what counts as slower than before."""

import json

import pytest

from benchmarks.speed import __main__ as command
from benchmarks.speed.report import as_table, record, slower
from benchmarks.speed.rows import Measured


def row(ours_s, others_s=(), **more):
    return record(Measured(list(ours_s), "other" if others_s else None, list(others_s), **more), 1.25)


def test_the_ratio_is_the_median_over_pairs_and_the_speed_a_share_of_the_ceiling():
    rows = {
        "sampling": row([1.0, 2.0, 9.0], [2.0, 2.0, 3.0], flop=4e9, ceiling_flops=8e9),
        "clip": row([7.0]),
    }
    text = as_table(rows)
    assert "| 2 | other | 2 | 1.00 (0.50 to 3.00) | 2 (25% of 8) |  |" in text
    assert "| 7 |  |  |  |  | 1.25 |" in text


@pytest.mark.parametrize(
    ("now", "before", "same_machine", "n_slower"),
    [
        (row([3.0, 3.1]), row([1.0, 1.1]), True, 1),
        (row([3.0, 3.1]), row([1.0, 1.1]), False, 0),  # times of another machine say nothing
        (row([3.0, 3.1], [1.0, 1.0]), row([1.0, 1.0], [1.0, 1.0]), False, 1),  # ratios do
        (row([3.0, 3.1], [3.0, 3.0]), row([1.0, 1.0], [1.0, 1.0]), True, 0),
        (row([1.2, 3.0, 3.1]), row([1.0, 1.3]), True, 0),  # some of it is within the range of before
        (row([0.5]), row([1.0]), True, 0),
    ],
)
def test_only_what_is_slower_beyond_the_range_of_before_is_named(now, before, same_machine, n_slower):
    assert len(slower({"clip": now}, {"rows": {"clip": before}}, same_machine=same_machine)) == n_slower


def test_rows_are_measured_in_processes_of_their_own_and_written(tmp_path, capsys):
    command.main(["--rows", "help", "--output-dir", str(tmp_path)])
    content = json.loads((tmp_path / "speed.json").read_text())
    assert len(content["rows"]["help"]["ours_s"]) == 5
    assert 0 < content["rows"]["help"]["peak_gib"] < 1
    assert (tmp_path / "speed.md").read_text() == capsys.readouterr().out


def test_a_row_that_is_none_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(["--rows", "flying", "--output-dir", str(tmp_path)])
    assert caught.value.code == 2
    assert "flying" in capsys.readouterr().err
