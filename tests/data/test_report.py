"""The report on folders whose figures are known: tones, square waves, hits, and every kind of fault."""

import json
import math
import re

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from data.greatest_hits import read_hits
from data.report import __main__ as report
from data.report.page import _cell
from data.report.recording import ENVELOPE_EDGES_DB, examine
from data.report.summary import INTERVAL_EDGES_S, words_of
from media.envelope import fine_envelope
from media.levels import count_clipped_runs, loudness_lufs
from media.reading import read_sound
from media.writing import mux, write_video

CLIP = "2015-02-16-16-49-06_000s"


def tone(amplitude=0.1, duration_s=2.0, rate_hz=48_000, n_channels=2):
    """A tone of 997 Hz (N, C), for which ITU-R BS.1770 has a gain of 0 dB."""
    wave = amplitude * np.sin(2 * np.pi * 997 * np.arange(round(duration_s * rate_hz)) / rate_hz)
    return np.stack([wave] * n_channels, axis=1)


def write_clip(root, clip_id, wave, hits="", rate_hz=48_000, n_frames=8, size=(32, 24)):
    folder = root / clip_id
    (folder / "audio").mkdir(parents=True)
    soundfile.write(folder / "audio" / f"{clip_id}.resampled.wav", wave, rate_hz, subtype="FLOAT")
    if hits:
        (folder / f"{clip_id}.times.csv").write_text(hits)
    if n_frames:
        (folder / "frames").mkdir()
    for i in range(n_frames):
        Image.new("RGB", size).save(folder / "frames" / f"{clip_id}.frame_{i + 1:06d}.jpg")
    return folder


def write_videos(root, name="film"):
    """A silent film of 2 s, and the same with a tone."""
    frames = torch.zeros(20, 3, 48, 64, dtype=torch.uint8)
    write_video(root / f"{name}.mp4", frames, 10.0)
    mux(root / f"{name}.mp4", torch.from_numpy(tone(rate_hz=44_100).T).float(), 44_100, root / f"{name}_mic.mp4")


def run(root, out, *options):
    report.main(["--root", str(root), "--output-dir", str(out), "--workers", "0", *map(str, options)])
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


def findings(content):
    return {finding["title"]: dict(finding["rows"]) for finding in content["findings"]}


@pytest.fixture
def root(tmp_path):
    """A processed data set with one clip of every kind."""
    root = tmp_path / "set"
    write_clip(root, "loud", tone(0.1), "0.5,wood hit static\n1.0,wood hit deform\n1.1,None None None\n")
    write_clip(
        root, "mono", tone(0.1, n_channels=1), "0.25,wood scratch static\n1.25,metal hit static\n9,tin hit static\n"
    )
    write_clip(root, "quiet", tone(0.01), n_frames=0)
    write_clip(root, "silent", np.zeros((96_000, 2)), n_frames=4)
    square = np.zeros((48_000, 2))
    square[[10, 11, 12, 13, 14, 100, 101, 200, 201, 202], 0] = 1
    square[5000:5003, 1] = -1
    write_clip(root, "square", square, n_frames=4, size=(16, 16))
    cut = write_clip(root, "cut", tone()) / "audio" / "cut.resampled.wav"
    cut.write_bytes(cut.read_bytes()[:30])
    write_clip(root, "unclear", tone(), "0.5 wood hit\n")
    (write_clip(root, "torn", tone()) / "frames" / "torn.frame_000003.jpg").write_bytes(b"\xff\xd8")
    write_clip(root, "nan", np.full((48_000, 2), np.nan))
    return root


def test_levels_have_their_closed_forms(root, tmp_path):
    rows = {row["clip_id"]: row for row in run(root, tmp_path)["recordings"]}
    for clip_id in ("loud", "mono"):
        assert rows[clip_id]["sound"]["loudness_lufs"] == pytest.approx(-20, abs=0.1)
        assert rows[clip_id]["sound"]["peak"] == pytest.approx(0.1, rel=1e-4)
    assert rows["quiet"]["sound"]["loudness_lufs"] == pytest.approx(-40, abs=0.1)
    assert rows["silent"]["sound"]["loudness_lufs"] is None
    assert rows["square"]["sound"]["n_clipped_runs"] == 3
    assert rows["mono"]["sound"]["n_channels"] == 1
    for clip_id, rms in {"loud": 0.1 / math.sqrt(2), "quiet": 0.01 / math.sqrt(2)}.items():
        counts = np.array(examine((clip_id, root / clip_id)).sound.envelope_counts)
        level_bin = np.searchsorted(ENVELOPE_EDGES_DB, 20 * math.log10(rms)) - 1
        assert counts[level_bin] == counts.sum() == 250
    assert examine(("silent", root / "silent")).sound.envelope_counts[0] == 250


def test_the_summary_counts_what_can_be_read(root, tmp_path):
    summary = run(root, tmp_path)["summary"]
    assert (summary["n_recordings"], summary["n_readable"], summary["n_with_hits"]) == (9, 5, 2)
    assert (summary["n_with_picture"], summary["n_with_sound"]) == (4, 5)
    assert summary["total_h"] == pytest.approx((4 * 2 + 1) / 3600)
    assert summary["annotated_h"] == pytest.approx(4 / 3600)
    duration = summary["duration_s"]
    assert (duration["n"], duration["low"], duration["median"], duration["high"]) == (5, 1, 2, 2)
    assert np.histogram([2, 2, 2, 2, 1], duration["histogram"]["edges"])[0].tolist() == duration["histogram"]["counts"]
    assert summary["n_hits"] == 6
    assert summary["actions"] == {
        "wood": {"hit": 2, "scratch": 1},
        "metal": {"hit": 1},
        "not named": {"not named": 1},
        "tin": {"hit": 1},
    }
    assert summary["reactions"]["wood"] == {"static": 2, "deform": 1}
    interval = summary["interval_s"]
    assert (interval["n"], interval["low"], interval["high"]) == (4, pytest.approx(0.1), 7.75)
    assert interval["median"] == pytest.approx((0.5 + 1.0) / 2)
    expected, _ = np.histogram([0.5, 0.1, 1.0, 7.75], INTERVAL_EDGES_S)
    assert interval["histogram"]["counts"] == expected.tolist()
    assert sum(summary["envelope_db"]["counts"]) == 4 * 250 + 125
    assert summary["loudness_lufs"]["n"] == 4
    assert summary["sample_rates"] == {"48,000 Hz": 5}
    assert summary["channels"] == {"2": 4, "1": 1}
    assert summary["pictures"] == {"jpg, 32 x 24": 3, "jpg, 16 x 16": 1}


def test_every_fault_is_a_row_with_its_reason(root, tmp_path):
    found = findings(run(root, tmp_path))
    reasons = {"cut": "cut.resampled.wav", "unclear": "line 1", "torn": "torn.frame_000003.jpg", "nan": "not finite"}
    assert found["Damaged"].keys() == reasons.keys()
    assert all(word in found["Damaged"][clip_id] for clip_id, word in reasons.items())
    assert found["Silent"] == {"silent": "2.00 s of zeros"}
    assert found["Clipped"] == {"square": "3 times"}
    assert found["Without picture"].keys() == {"quiet"}
    assert found["Lengths that differ"] == {"silent": "2.00 s, but frames 1.00 s"}
    assert found["Hits after the end"] == {"mono": "1 of 3 hits after 2.00 s, the last at 9.00 s"}
    assert found["Words outside the vocabulary"] == {"mono": "tin"}
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert all(f"### {title}\n" in page for title in found)


def test_splits_are_compared_with_each_other_and_with_the_folder(tmp_path):
    for clip_id in ("a_000s", "a_010s", "b", "c", "d"):
        write_clip(tmp_path / "set", clip_id, tone(duration_s=0.5), n_frames=2)
    (tmp_path / "set" / "train.txt").write_text("a_000s\nb\nb\ngone\n\n")
    (tmp_path / "set" / "val.txt").write_text("a_010s\r\nc\r\n")
    (tmp_path / "set" / "extra.txt").write_text("c\ngone\n")
    content = run(tmp_path / "set", tmp_path / "all")
    assert content["splits"] == {
        "names": {"train": ["a_000s", "b", "b", "gone"], "val": ["a_010s", "c"]},
        "are_files": True,
    }
    found = findings(content)
    assert found == {
        "Not in the folder": {"gone": "train"},
        "Splits without file": {"test": "no file test.txt"},
        "Divided recordings": {"a": "train, val"},
        "Named more than once": {"b": "2 times in train"},
        "In no split": {"d": "in no split"},
    }
    part = run(tmp_path / "set", tmp_path / "part", "--split", "extra")
    assert [row["clip_id"] for row in part["recordings"]] == ["c"]
    assert findings(part)["In several splits"] == {"c": "val, extra", "gone": "train, extra"}
    assert "| train | 3 |" in (tmp_path / "part" / "report.md").read_text(encoding="utf-8")


def test_without_split_files_the_seeded_shares_count(tmp_path):
    for i in range(7):
        write_clip(tmp_path / "set", f"{i}", tone(duration_s=0.5), n_frames=2)
    content = run(tmp_path / "set", tmp_path / "out", "--split", "test")
    assert not content["splits"]["are_files"]
    assert [len(names) for names in content["splits"]["names"].values()] == [5, 1, 1]
    assert [row["clip_id"] for row in content["recordings"]] == content["splits"]["names"]["test"]
    assert content["findings"] == []
    assert "Nothing: every file" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_raw_videos(tmp_path):
    write_videos(tmp_path, "a")
    write_videos(tmp_path, "b")
    (tmp_path / "a.mp4").unlink()
    (tmp_path / "b_mic.mp4").unlink()
    (tmp_path / "a_times.txt").write_text("0.5 wood hit static\n")
    (tmp_path / "c_mic.mp4").write_text("no video")
    content = run(tmp_path, tmp_path / "out")
    a, b, c = content["recordings"]
    assert (a["n_hits"], a["sound"]["sample_rate_hz"]) == (1, 44_100)
    assert a["sound"]["loudness_lufs"] == pytest.approx(-20, abs=0.3)  # stored as AAC
    assert a["picture"] == {"form": "video", "width": 64, "height": 48, "frame_rate_hz": 10.0, "n_frames": None}
    assert b["sound"] is None
    assert "c_mic.mp4" in c["problem"]
    assert findings(content).keys() == {"Damaged", "Without sound"}


def test_the_page_shows_its_pictures_and_whole_tables(root, tmp_path):
    run(root, tmp_path / "out")
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", page)
    assert pictures == ["durations.png", "hits.png", "intervals.png", "levels.png"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*pictures, "report.md", "report.json"}
    for name in pictures:
        with Image.open(tmp_path / "out" / name) as image:
            assert image.width == 1000
            assert len(image.convert("L").getcolors()) > 20
    for block in re.findall(r"(?:^\|.*\|$\n?)+", page, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    assert "| wood | 2 | 1 | 0 | 3 |" in page
    assert "| all | 4 | 1 | 1 | 6 |" in page


def test_long_lists_are_cut_on_the_page_alone(tmp_path):
    for i in range(30):
        (tmp_path / f"{i:02d}.mp4").write_text("no video")
    content = run(tmp_path, tmp_path / "out")
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert content["summary"]["n_readable"] == 0
    assert len(findings(content)["Damaged"]) == 30
    assert "and 10 more" in page
    assert ".png" not in page


def test_names_are_no_markup():
    assert _cell("a|b_*<c>\n`d`") == r"a\|b\_\*\<c\> \`d\`"
    assert [_cell(value) for value in (1234, 1234.5)] == ["1,234", "1,234.500"]


def test_words_are_ordered_with_those_not_named_last():
    assert words_of({"wood": {"hit": 1, "not named": 9}, "tin": {"scratch": 2}}) == ["scratch", "hit", "not named"]


@pytest.mark.parametrize(("runs", "n"), [([2], 0), ([3], 1), ([3, 4], 2), ([7, 2, 3], 2)])
def test_clipped_runs_are_three_samples_or_more(runs, n):
    wave = torch.cat([torch.cat([torch.ones(length), torch.zeros(1)]) for length in runs])
    assert count_clipped_runs(torch.stack([wave, torch.zeros_like(wave)])) == n
    assert count_clipped_runs(torch.stack([wave, -wave])) == 2 * n
    assert count_clipped_runs(wave[None, :2]) == 0


def test_too_short_a_sound_has_no_loudness():
    wave = torch.from_numpy(tone(duration_s=0.5).T).float()
    assert loudness_lufs(wave, 48_000) == pytest.approx(-20, abs=0.1)
    assert loudness_lufs(wave[:, :19_199], 48_000) is None


@pytest.mark.parametrize("rate_hz", [8000, 44_101, 96_000])
def test_other_sample_rates_measure_alike(tmp_path, rate_hz):
    sound = examine(("a", write_clip(tmp_path, "a", tone(rate_hz=rate_hz), rate_hz=rate_hz))).sound
    assert sound.sample_rate_hz == rate_hz
    assert sound.duration_s == pytest.approx(2, abs=1e-3)
    assert sound.loudness_lufs == pytest.approx(-20, abs=0.2)
    assert sound.envelope_counts[ENVELOPE_EDGES_DB.index(-24)] >= 248


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--root", "nowhere"], "nowhere"),
        (["--split", "holdout"], "holdout.txt"),
        (["--workers", "-1"], "--workers -1"),
        (["--workers", "1000000000"], "--workers 1000000000"),
        (["--output-dir", "Makefile/out"], "--output-dir Makefile/out"),
    ],
)
def test_wrong_options_end_with_status_2_and_leave_nothing(tmp_path, capsys, options, words):
    write_clip(tmp_path / "set", "a", tone(duration_s=0.5))
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "set", tmp_path / "out", *options)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.real
def test_the_real_clip(shared, tmp_path):
    folder = shared / "real" / "greatest_hits_processed"
    content = run(folder, tmp_path)
    sound = read_sound(folder / CLIP / "audio" / f"{CLIP}.resampled.wav", sample_rate_hz=44_100)
    levels_db = 20 * np.log10(fine_envelope(sound, 44_100).rms.numpy())
    assert content["summary"]["envelope_db"]["counts"] == np.histogram(levels_db, ENVELOPE_EDGES_DB)[0].tolist()
    hits = read_hits(folder / CLIP / f"{CLIP}.times.csv")
    assert content["summary"]["n_hits"] == len(hits) == 8
    assert content["summary"]["interval_s"]["n"] == 7
    assert content["recordings"][0]["picture"]["n_frames"] == 40
    assert findings(content).keys() == {"Splits without file"}
