"""Labels of Audacity and Reaper."""

import csv
import math

import pytest
import torch

from common.errors import InputError
from hits.labels import USUAL_LEVEL, read_labels, write_labels
from hits.level import QUIET
from tests.hits.test_level import hits

ROWS = [(0.5, 0.4, 0.04), (1.2, 0.1, 0.15), (3661.5, 0.02, 0.03)]


def test_a_label_track_of_audacity_comes_back(tmp_path):
    write_labels(tmp_path / "hits.txt", hits(*ROWS))
    lines = [line.split("\t") for line in (tmp_path / "hits.txt").read_text().splitlines()]
    assert [float(start) for start, _, _ in lines] == pytest.approx([row[0] for row in ROWS], abs=1e-4)
    assert float(lines[1][1]) - float(lines[1][0]) == pytest.approx(0.15 * QUIET, abs=1e-4)
    found, true = read_labels(tmp_path / "hits.txt"), hits(*ROWS)
    torch.testing.assert_close(found.times_s.float(), true.times_s, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.rms.float(), true.rms, rtol=0.0006, atol=0)  # hundredths of a dB
    torch.testing.assert_close(found.decay_s.float(), true.decay_s, rtol=1e-3, atol=1e-6)


def test_labels_that_people_write_are_hits(tmp_path):
    text = "\ufeff2.5\t2.5\tthud\n\\\t100\t2000\n1,25\t1,5\tdoor \u22126 dB\n\n3\t3\t\n4\t4.1\t+1.5dB bang\n"
    (tmp_path / "by_hand.txt").write_text(text, encoding="utf-8")
    found = read_labels(tmp_path / "by_hand.txt")
    assert found.times_s.tolist() == [1.25, 2.5, 3.0, 4.0]
    assert found.rms.tolist() == pytest.approx([10 ** (-6 / 20), USUAL_LEVEL, USUAL_LEVEL, 10 ** (1.5 / 20)])
    assert found.decay_s.tolist() == pytest.approx([0.25 / QUIET, 0.05, 0.05, 0.1 / QUIET])


def seconds(clock):
    hours, minutes, rest = clock.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)


def test_reaper_gets_a_marker_and_a_region_for_each_hit(tmp_path):
    write_labels(tmp_path / "hits.csv", hits(*ROWS))
    with (tmp_path / "hits.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["#"] for row in rows] == ["M1", "R1", "M2", "R2", "M3", "R3"]
    for (time_s, level, decay_s), marker, region in zip(ROWS, rows[::2], rows[1::2], strict=True):
        assert seconds(marker["Start"]) == seconds(region["Start"]) == pytest.approx(time_s, abs=0.0006)
        assert seconds(region["End"]) == pytest.approx(time_s + decay_s * QUIET, abs=0.0006)
        assert seconds(region["Length"]) == pytest.approx(decay_s * QUIET, abs=0.0006)
        assert float(region["Name"].split()[0]) == pytest.approx(20 * math.log10(level), abs=0.006)
        assert marker["Name"] == region["Name"]
        assert marker["End"] == marker["Length"] == ""


@pytest.mark.parametrize(
    ("text", "named"),
    [("", "labels.txt"), ("1.0 2.0 thud\n", "line 1"), ("1\t2\n5\t4\tx\n", "line 2"), ("-1\t2\tx\n", "line 1"),
     ("1\t2\t999 dB\n", "999"), ("nan\tnan\tx\n", "nan"), ("a\tb\tc\n", "line 1")],
)  # fmt: skip
def test_what_are_no_labels_is_refused(tmp_path, text, named):
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(InputError) as refused:
        read_labels(tmp_path / "labels.txt")
    assert named in str(refused.value)


def test_binary_files_and_other_suffixes_are_refused(tmp_path):
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="labels"):
        read_labels(tmp_path / "labels.txt")
    with pytest.raises(InputError, match=r"hits\.xml"):
        write_labels(tmp_path / "hits.xml", hits(*ROWS))
