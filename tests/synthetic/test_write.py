"""Clips on disk are read as Greatest Hits is; writing goes on where it stopped."""

import json
from dataclasses import replace

import pytest
import torch

from common.files import locked
from data.dataset import FoleyDataset
from data.greatest_hits import list_clips
from media.clip import ClipSpec
from media.envelope import read_envelope_csv
from media.probe import probe
from synthetic import SyntheticSpec, render_clip
from synthetic.__main__ import main
from synthetic.write import Job, write_clip

SPEC = SyntheticSpec(duration_s=2.0, frame_rate_hz=15.0, width=96, height=64)
ARGUMENTS = [
    "--hours",
    "0.001",
    "--duration",
    "2",
    "--fps",
    "15",
    "30",
    "--frame-size",
    "96x64",
    "--seed",
    "4",
    "--workers",
    "0",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    main(["--output-dir", str(folder), *ARGUMENTS])
    return folder


def test_the_raw_layout_is_read_back(folder):
    clips = list_clips(folder)
    assert [clip.clip_id for clip in clips] == ["synthetic-4-000000", "synthetic-4-000001"]
    truth = render_clip(SPEC, 4, 0)
    assert [hit.material for hit in clips[0].hits] == [hit.material for hit in truth.plan.hits]
    assert [hit.time_s for hit in clips[0].hits] == pytest.approx([hit.time_s for hit in truth.plan.hits], abs=1e-6)
    assert [probe(clip.video_path).frame_rate_hz for clip in clips] == [15, 30]
    item = FoleyDataset(folder, None, ClipSpec(duration_s=2.0))[0]
    assert item.onsets.tolist() == pytest.approx([hit.time_s for hit in truth.plan.hits], abs=1e-6)
    assert torch.corrcoef(torch.stack([item.wave.mean(0), truth.wave.mean(0)]))[0, 1] > 0.95


def test_the_truth_lies_beside(folder):
    truth = render_clip(SPEC, 4, 0)
    envelope = read_envelope_csv(folder / "truth" / "synthetic-4-000000_envelope.csv")
    assert torch.allclose(envelope.rms, truth.envelope.rms)
    stored = json.loads((folder / "truth" / "synthetic-4-000000.json").read_text())
    assert len(stored["strikes"]) == len(truth.plan.strikes)
    assert stored["strikes"][0]["picture_time_s"] == pytest.approx(truth.plan.strikes[0].picture_time_s, abs=1e-6)


def test_a_second_call_writes_what_is_missing_alone(folder, capsys):
    kept = folder / "synthetic-4-000000_mic.mp4"
    before = kept.stat().st_mtime_ns
    (folder / "synthetic-4-000001_mic.mp4").unlink()
    for left in (folder / ".partial-1.mp4", folder / "truth" / ".partial-2.csv"):  # by a run that was killed
        left.touch()
    main(["--output-dir", str(folder), *ARGUMENTS])
    assert "1 clips written, 1 were there" in capsys.readouterr().out
    assert kept.stat().st_mtime_ns == before
    assert not list(folder.rglob(".*"))


def test_a_clip_is_written_with_the_same_bytes_again(tmp_path):
    written = set()
    for number in range(6):
        job = Job(replace(SPEC, duration_s=1.0), 3, 5, tmp_path / str(number))
        write_clip(job)
        written.add(job.video_path.read_bytes())
    assert len(written) == 1


def test_hours_give_no_clip_more_than_they_hold(tmp_path, monkeypatch):
    """0.003 h / 1.2 s is 9.000000000000002 in floating point."""
    jobs = []
    monkeypatch.setattr("synthetic.__main__.for_each", lambda _, given, *rest: jobs.extend(given) or [])
    main(["--output-dir", str(tmp_path), "--hours", "0.003", "--duration", "1.2"])
    assert [job.index for job in jobs] == list(range(9))


def test_a_folder_of_other_recordings_is_left_alone(tmp_path, capsys):
    (tmp_path / "2015-02-16_mic.mp4").touch()
    with pytest.raises(SystemExit) as error:
        main(["--output-dir", str(tmp_path), *ARGUMENTS])
    assert error.value.code == 2
    assert "holds other recordings" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["2015-02-16_mic.mp4"]


def test_two_runs_do_not_write_to_one_folder(folder, capsys):
    with locked(folder / ".lock"), pytest.raises(SystemExit) as error:
        main(["--output-dir", str(folder), *ARGUMENTS])
    assert error.value.code == 2
    assert "another run works" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--seed", "5"], "another seed"),
        (["--frame-size", "64x64"], "another width"),
        (["--hours", "nan"], "--hours nan"),
        (["--hours", "1e9"], "--hours 1000000000.0"),
        (["--workers", "1000000000"], "--workers 1000000000"),
        (["--seed", "1" + 100 * "0"], "--seed 1000"),
        (["--fps", "3"], "frame_rate_hz 3"),
        (["--duration", "1e9"], "duration_s 1000000000.0"),
        (["--frame-size", "1000000000x2"], "width 1000000000"),
        (["--frame-size", "4096x4096", "--duration", "600"], "GiB"),
    ],
)
def test_settings_that_do_not_work_end_in_one_sentence(folder, capsys, change, message):
    with pytest.raises(SystemExit) as error:
        main(["--output-dir", str(folder), *ARGUMENTS, *change])
    assert error.value.code == 2
    assert message in capsys.readouterr().err
