"""Overall figures and files, from rows made by hand."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from common.spreadsheet import unguarded
from evaluation.clip import ClipResult
from evaluation.measures import MEASURES
from evaluation.report import rank
from evaluation.statistics import FrechetEstimate
from evaluation.summary import markdown, summarise, write_csv, write_json

F1, E_L1 = "onset_f1_100ms", "e_l1_video_foley_16khz"


def row(system, clip_id, **values):
    return ClipResult(system, clip_id, "compared", (), 10.0, "annotation", values)


@pytest.fixture
def evaluation():
    rows = [
        row("b", "2", **{F1: 0.9, E_L1: 0.01}),
        row("a", "2", **{F1: 0.5, E_L1: 0.03}),
        row("a", "1", **{F1: 0.7, E_L1: 0.05}),
        row("b", "1", **{E_L1: 0.02}),
        row("a", "3", **{F1: 0.3, E_L1: 0.01}),
        ClipResult("b", "3", "failed", ("3.wav holds samples that are not finite numbers",)),
        ClipResult("b", "4", "no partner", ("no reference sound of this name",)),
    ]
    frechet = {"a": FrechetEstimate(0.5, 0.4, 0.9, 3, 512)}
    return summarise(Path("real"), {"a": Path("x/a"), "b": Path("x/b")}, rows, frechet)


def test_means_and_counts(evaluation):
    a, b = evaluation.systems
    assert (a.n_compared, a.n_failed, a.n_no_partner) == (3, 0, 0)
    assert (b.n_compared, b.n_failed, b.n_no_partner) == (2, 1, 1)
    assert a.means[F1].mean == pytest.approx(0.5)
    assert a.means[F1].n == 3
    assert a.means[F1].low is None
    assert b.means[F1].n == 1
    assert b.means[F1].low is None
    assert "clap_audio_audio" not in a.means


def test_differences_are_over_clips_that_both_have(evaluation):
    (comparison,) = evaluation.comparisons
    assert (comparison.first, comparison.second) == ("a", "b")
    assert comparison.differences[F1].mean == pytest.approx(0.4)
    assert comparison.differences[F1].n == 1
    difference = comparison.differences[E_L1]
    assert difference.mean == pytest.approx((0.01 - 0.03 + 0.02 - 0.05) / 2)
    assert (difference.n, difference.low, difference.high) == (2, None, None)


@pytest.mark.parametrize(("n_clips", "has_interval"), [(2, False), (9, False), (10, True)])
def test_intervals_need_ten_clips(n_clips, has_interval):
    rows = [
        row(system, f"{i}", **{F1: offset + i / 20})
        for i in range(n_clips)
        for system, offset in zip("ab", (0, 0.1), strict=True)
    ]
    rows[0] = replace(rows[0], values={F1: 0.3})
    table = markdown(summarise(Path("real"), {"a": Path("a"), "b": Path("b")}, rows, {}))
    lines = [line for line in table.splitlines() if line.startswith("| Onset F1")]
    assert len(lines) == 2  # means, and the difference
    assert ["[" in line for line in lines] == [has_interval] * 2
    assert "fewer than 10 clips have no interval" in table


def test_rows_are_in_order(evaluation):
    assert [(r.system, r.clip_id) for r in evaluation.rows] == [
        (s, c) for s, n in (("a", "123"), ("b", "1234")) for c in n
    ]


def test_csv_has_every_row_and_empty_cells(evaluation, tmp_path):
    write_csv(tmp_path / "per_clip.csv", evaluation)
    lines = list(csv.DictReader((tmp_path / "per_clip.csv").open(encoding="utf-8")))
    assert len(lines) == 7
    assert set(lines[0]) >= {"system", "clip", "status", "notes", "duration_s", *(m.name for m in MEASURES)}
    assert (lines[0]["system"], lines[0]["clip"], lines[0][F1]) == ("a", "1", "0.7")
    assert (lines[3][F1], lines[3][E_L1]) == ("", "0.02")
    assert lines[5]["status"] == "failed"
    assert "not finite" in lines[5]["notes"]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(1)", "\tx", "\rx", "a\rb", "\r\nx", "'=1", '="a",b;c'])
def test_no_name_or_note_is_a_formula(tmp_path, name):
    rows = [ClipResult(name, name, "failed", (f"{name}.wav is damaged",))]
    write_csv(tmp_path / "per_clip.csv", summarise(Path("real"), {name: Path("x")}, rows, {}))
    with (tmp_path / "per_clip.csv").open(encoding="utf-8", newline="") as file:
        _, cells = csv.reader(file)
    assert all(cell[:1] not in tuple("=+-@\t\r\n") for cell in cells)
    assert [unguarded(cell) for cell in cells[:4]] == [name, name, "failed", f"{name}.wav is damaged"]


def test_json_is_strict_and_says_what_is_missing(evaluation, tmp_path):
    write_json(tmp_path / "metrics.json", evaluation, {"seed": 0, "out": tmp_path})
    content = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    system = content["systems"]["b"]
    assert system["means"][E_L1]["mean"] == pytest.approx(0.015)
    assert system["without_figures"]["3"].startswith("failed: 3.wav")
    assert content["systems"]["a"]["frechet"]["n_samples"] == 3
    assert content["comparisons"][0]["second_minus_first"][F1]["n"] == 1
    assert content["measures"][F1]["better"] == "higher"


def test_markdown_has_a_column_a_system(evaluation):
    everything = markdown(evaluation).splitlines()
    lines = everything[: everything.index("")]
    assert lines[0] == "| | a | b |"
    table = {line.split(" | ")[0].strip("| "): line for line in lines}
    assert "| 3 | 2 |" in table["Clips compared"]
    assert "0.900 (n 1)" in table["Onset F1 (0.1 s) ↑"]
    assert "0.4000 (N 3)" in table["FAD∞, LAION-CLAP ↓"]
    assert any(line.startswith("| b minus a, paired") for line in everything)
    assert all(line.count("|") == 4 for line in lines)


def test_the_worst_clip_is_first(evaluation):
    by_name = {measure.name: measure for measure in MEASURES}
    assert list(rank(evaluation.rows, by_name[E_L1])) == ["1", "2", "3"]
    assert list(rank(evaluation.rows, by_name[F1])) == ["3", "2", "1"]
    assert [r.system for r in rank(evaluation.rows, by_name[E_L1])["2"]] == ["a", "b"]
    assert math.isclose(rank(evaluation.rows, by_name[E_L1])["1"][0].values[E_L1], 0.05)
