"""evaluate.py as a user runs it: what it writes, what it refuses, and that nothing in its page points outside."""

import base64
import csv
import io
import json
import re
import shutil
import subprocess
import sys

import pytest
import soundfile
import torch
from PIL import Image

import evaluate
from clap.encoder import ClapEncoder
from tests.conftest import REPOSITORY
from tests.evaluation.conftest import RATE_HZ, clicks, noise
from tests.evaluation.test_clip import damaged, write

FILES = {"metrics.json", "per_clip.csv", "table.md", "report.html"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Real sounds, two systems (the second worse), and annotations of one clip."""
    root = tmp_path_factory.mktemp("folders")
    for name in ("real", "good", "bad", "hits"):
        (root / name).mkdir()
    for i in range(4):
        wave = clicks([0.5 + 0.1 * i, 1.5])
        write(root / "real" / f"{i}.wav", wave, subtype="PCM_16")
        write(root / "good" / f"{i}.flac", wave + noise(wave.shape[1], i, scale=1e-3), subtype="PCM_16")
        write(root / "bad" / f"{i}.wav", clicks([1.0, 2.0 + 0.1 * i]) / (i + 1), subtype="PCM_16")
    write(root / "bad" / "extra.wav", clicks([1.0]), subtype="PCM_16")
    (root / "bad" / "3.wav").write_bytes(b"broken")
    (root / "hits" / "0.times.csv").write_text("0.5,wood hit static\n1.5,wood hit static\n2.5,wood hit static\n")
    return root


def run(folders, out, *options, generated=("good", "bad")):
    arguments = ["--reference", folders / "real", "--output-dir", out, "--workers", "0"]
    for name in generated:
        arguments += ["--generated", folders / name]
    evaluate.main([*map(str, arguments), *map(str, options)])
    return json.loads((out / "metrics.json").read_text(encoding="utf-8"))


def rows_of(out):
    with (out / "per_clip.csv").open(encoding="utf-8") as file:
        return {(row["system"], row["clip"]): row for row in csv.DictReader(file)}


def test_two_systems_are_measured_and_compared(folders, tmp_path, capsys):
    metrics = run(folders, tmp_path, "--annotations", folders / "hits")
    assert {path.name for path in tmp_path.iterdir()} == FILES
    good, bad = metrics["systems"]["good"], metrics["systems"]["bad"]
    assert (good["n_compared"], bad["n_compared"], bad["n_failed"], bad["n_no_partner"]) == (4, 3, 1, 1)
    assert good["means"]["onset_f1_100ms"]["mean"] > 0.9
    assert bad["means"]["onset_f1_100ms"]["mean"] < 0.5
    difference = metrics["comparisons"][0]["second_minus_first"]["onset_f1_100ms"]
    assert difference["n"] == 3
    assert difference["mean"] < 0
    rows = rows_of(tmp_path)
    assert rows["good", "0"]["onset_reference"] == "annotation"
    assert rows["good", "0"]["n_onsets_reference"] == "3"
    assert rows["good", "1"]["onset_reference"] == "reference sound"
    assert rows["bad", "3"]["status"] == "failed"
    assert rows["bad", "extra"]["status"] == "no partner"
    assert (tmp_path / "table.md").read_text(encoding="utf-8") in capsys.readouterr().out


def test_the_page_holds_everything_it_shows(folders, tmp_path):
    run(folders, tmp_path, "--report-clips", "2")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith("data:") for source in sources)
    pictures = [base64.b64decode(s.split(",")[1]) for s in sources if s.startswith("data:image/webp")]
    sounds = [base64.b64decode(s.split(",")[1]) for s in sources if s.startswith("data:audio/mpeg")]
    assert len(pictures) == 2
    assert len(sounds) == 6
    assert Image.open(io.BytesIO(pictures[0])).width == 1000
    data, rate_hz = soundfile.read(io.BytesIO(sounds[0]))
    assert rate_hz == RATE_HZ
    assert data.ndim == 1
    assert len(data) == pytest.approx(3 * RATE_HZ, abs=0.1 * RATE_HZ)
    titles = re.findall("<h3>(.*?)</h3>", page)
    rows = rows_of(tmp_path)
    e_l1 = {clip: float(rows["bad", clip]["e_l1_video_foley_16khz"]) for clip in "012"}
    assert titles == sorted(e_l1, key=e_l1.get, reverse=True)[:2]
    assert "broken" not in page
    assert "cannot be read" in page


def test_names_are_escaped(folders, tmp_path):
    for name in ("real", "made"):
        (tmp_path / name).mkdir()
        shutil.copy(folders / "real" / "0.wav", tmp_path / name / "a<b>&c.wav")
    run(tmp_path, tmp_path / "out", generated=("made",))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "a&lt;b&gt;&amp;c" in page
    assert "a<b>" not in page


def test_a_folder_of_damaged_files_gives_a_row_each(folders, tmp_path):
    real, made = tmp_path / "real", tmp_path / "made"
    real.mkdir()
    made.mkdir()
    names = damaged(made).keys() - {"missing.wav"}
    for name in [*names, "0.wav"]:
        shutil.copy(folders / "real" / "0.wav", real / f"{name.rsplit('.')[0]}.wav")
    shutil.copy(folders / "good" / "0.flac", made)
    metrics = run(tmp_path, tmp_path / "out", generated=("made",))
    system = metrics["systems"]["made"]
    assert system["n_compared"] == system["means"]["e_l1_video_foley_16khz"]["n"] == 1
    rows = rows_of(tmp_path / "out")
    for name in names:
        assert rows["made", name.rsplit(".")[0]]["status"] == "failed"
        assert rows["made", name.rsplit(".")[0]]["notes"]


def test_nothing_but_damaged_files_still_gives_a_report_but_fails(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "made").mkdir()
    for name in ("real", "made"):
        (tmp_path / name / "a.wav").write_bytes(b"")
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, tmp_path / "out", generated=("made",))
    assert stopped.value.code == 1
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["systems"]["made"]["n_failed"] == 1
    assert metrics["systems"]["made"]["means"] == {}
    assert "is empty" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_one_of_two_folders_without_a_comparable_clip_fails(folders, tmp_path):
    (tmp_path / "other").mkdir()
    shutil.copy(folders / "real" / "0.wav", tmp_path / "other" / "unknown.wav")
    with pytest.raises(SystemExit) as stopped:
        run(folders, tmp_path / "out", generated=("good", tmp_path / "other"))
    assert stopped.value.code == 1
    systems = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))["systems"]
    assert (systems["good"]["n_compared"], systems["other"]["n_compared"]) == (4, 0)


def test_clap_adds_scores_and_fad(folders, tmp_path, capsys):
    torch.manual_seed(0)
    torch.save({"state_dict": ClapEncoder().state_dict()}, tmp_path / "clap.pt")
    metrics = run(folders, tmp_path / "out", "--clap", tmp_path / "clap.pt", "--report-clips", "0")
    assert metrics["systems"]["good"]["means"]["clap_audio_audio"]["n"] == 4
    assert metrics["systems"]["bad"]["frechet"]["n_samples"] == 3
    assert "FAD, LAION-CLAP" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.real
def test_the_processed_layout_as_a_command(real_pair, tmp_path):
    folder, generated = real_pair
    made = tmp_path / "made"
    made.mkdir()
    shutil.copyfile(generated, made / "2015-02-16-16-49-06_000s.wav")
    command = [
        sys.executable,
        "evaluate.py",
        "--reference",
        folder,
        "--generated",
        made,
        "--output-dir",
        tmp_path / "out",
    ]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "| Onset F1 (0.1 s) ↑ | 0.941 |" in result.stdout
    assert "| E-L1 16 kHz (Video-Foley) ↓ | 0.0046 |" in result.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--workers", "-1"], "--workers -1"),
        (["--workers", "1000000000"], "--workers 1000000000"),
        (["--report-clips", "-1"], "--report-clips -1"),
        (["--report-clips", "1000000000"], "--report-clips 1000000000"),
        (["--seed", "-1"], "--seed -1"),
        (["--prompts", "p.csv"], "needs CLAP"),
        (["--reference", "nowhere"], "nowhere"),
        (["--generated", "nowhere"], "nowhere"),
        (["--annotations", "nowhere"], "nowhere"),
        (["--clap", "nowhere.pt"], "nowhere.pt"),
        (["--output-dir", "Makefile/out"], "--output-dir"),
        (["--worst-by", "beauty"], "beauty"),
    ],
)
def test_wrong_options_end_with_status_2_and_leave_nothing(folders, tmp_path, capsys, options, words):
    with pytest.raises(SystemExit) as stopped:
        run(folders, tmp_path / "out", *options, generated=("good",))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()
