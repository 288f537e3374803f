"""``python -m hits`` as a user runs it."""

import csv
import io
import math

import mido
import opentimelineio as otio
import pytest
import torch

from hits.__main__ import main
from hits.files import open_envelope
from media.envelope import read_envelope_csv, write_envelope_csv
from media.writing import write_video
from tests.hits.test_edit import ROWS, changed_s, level, noisy

SUFFIXES = {"output": "csv", "table": "table.csv", "midi": "mid", "labels": "txt", "otio": "otio", "edl": "edl"}


@pytest.fixture
def envelope_csv(tmp_path):
    path = tmp_path / "in" / "clip.envelope.csv"
    write_envelope_csv(path, noisy(level(*ROWS)))
    return path


def table(text):
    """Times and levels of a table."""
    return [(float(row["time_s"]), float(row["level"])) for row in csv.DictReader(io.StringIO(text))]


def test_it_prints_the_hits(envelope_csv, capsys):
    main([str(envelope_csv)])
    rows = table(capsys.readouterr().out)
    assert [time_s for time_s, _ in rows] == pytest.approx([row[0] for row in ROWS], abs=0.005)
    assert [rms for _, rms in rows] == pytest.approx([row[1] for row in ROWS], rel=0.1)


def test_it_writes_the_edited_envelope_and_its_table(envelope_csv, tmp_path, capsys):
    before = envelope_csv.read_bytes()
    edits = "--move 3.0 3.15 --scale 3.15 -6dB --scale 3.15 0.5 --add 3.4 0.05 0.1 --level 3.4 0.2 --decay 3.4 0.3"
    edits += " --mute 3.4 --delete 3.4"
    files = ["--output", str(tmp_path / "out.csv"), "--table", str(tmp_path / "hits.csv")]
    main([str(envelope_csv), *edits.split(), *files])
    printed = table(capsys.readouterr().out)
    assert len(printed) == len(ROWS)
    assert printed[-1] == pytest.approx((3.15, 0.2 / 2 / 10 ** (6 / 20)), rel=0.1)
    first_s, last_s = changed_s(read_envelope_csv(envelope_csv), read_envelope_csv(tmp_path / "out.csv"))
    assert 2.9 < first_s < last_s < 3.6
    assert table((tmp_path / "hits.csv").read_text()) == printed
    assert envelope_csv.read_bytes() == before


def test_without_edits_the_written_envelope_is_the_same_file(envelope_csv, tmp_path):
    main([str(envelope_csv), "--output", str(tmp_path / "out.csv")])
    assert (tmp_path / "out.csv").read_bytes() == envelope_csv.read_bytes()


def test_all_hits_are_scaled_shifted_and_quantised(envelope_csv, capsys):
    main([str(envelope_csv), "--shift", "-0.1", "--scale", "all", "+6dB", "--quantise", "60bpm/4,offset=0.3"])
    rows = table(capsys.readouterr().out)
    assert [time_s for time_s, _ in rows] == pytest.approx([0.3, 1.3, 1.3, 3.3], abs=1e-5)
    assert rows[0][1] == pytest.approx(2 * ROWS[0][1], rel=0.1)


def test_hits_go_to_other_tools_and_come_back(envelope_csv, tmp_path, capsys):
    write_video(tmp_path / "in" / "video.mp4", torch.zeros(100, 3, 16, 16, dtype=torch.uint8), 25.0)
    outputs = {f"--{name}": tmp_path / f"hits.{suffix}" for name, suffix in SUFFIXES.items()}
    words = [str(word) for pair in outputs.items() for word in pair]
    video = ["--video", str(tmp_path / "in" / "video.mp4")]
    main([str(envelope_csv), "--mute", "1.2", "--tempo", "90", *video, *words])
    capsys.readouterr()
    assert {path.name for path in tmp_path.iterdir()} == {"in", *(path.name for path in outputs.values())}
    heard = [row for row in ROWS if row[0] != 1.2]
    for name in ("hits.mid", "hits.txt"):
        main([str(tmp_path / name)])
        rows = table(capsys.readouterr().out)
        assert [time_s for time_s, _ in rows] == pytest.approx([row[0] for row in heard], abs=0.005)
        assert [rms for _, rms in rows] == pytest.approx([row[1] for row in heard], rel=0.1)
    assert mido.MidiFile(tmp_path / "hits.mid").length == pytest.approx(3.0 + 0.03 * math.log(10), abs=0.02)
    picture = next(iter(otio.adapters.read_from_file(str(tmp_path / "hits.otio")).find_clips()))
    marked_s = [marker.marked_range.start_time.to_seconds() for marker in picture.markers]
    assert marked_s == pytest.approx([row[0] for row in heard], abs=0.005)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--move", "2.4", "2.5"], "2.4"),
        (["--move", "0.5", "40"], "40"),
        (["--move", "x", "1"], "x"),
        (["--scale", "0.5", "loud"], "loud"),
        (["--add", "1.0"], "--add 1.0"),
        (["--quantise", "sometimes"], "sometimes"),
        (["--output", "IN"], "clip.envelope.csv"),
        (["--table", "IN"], "clip.envelope.csv"),
        (["--table", "NEW", "--output", "NEW"], "new.csv"),
        (["--otio", "hits.otio"], "--video"),
        (["--edl", "hits.xml"], "hits.xml"),
        (["--midi", "hits.wav"], "hits.wav"),
        (["--output", "clip.mp4"], "clip.mp4"),
        (["--table", "clip"], "clip"),
        (["--labels", "hits.xml"], "hits.xml"),
        (["--tempo", "1"], "1"),
        (["--delete", "0.5", "--delete", "1.2", "--delete", "1.5", "--delete", "3", "--midi", "x.mid"], "x.mid"),
    ],
)
def test_what_is_impossible_is_one_sentence(envelope_csv, tmp_path, capsys, options, named):
    paths = {"IN": str(envelope_csv), "NEW": str(tmp_path / "new.csv")}
    out = [] if "--output" in options else ["--output", str(tmp_path / "out.csv")]
    with pytest.raises(SystemExit) as stopped:
        main([str(envelope_csv), *(paths.get(word, word) for word in options), *out])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert named in message
    assert message.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert open_envelope(str(envelope_csv)).hits
