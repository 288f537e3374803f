"""Timelines for editors, read back by OpenTimelineIO, by its reader of EDLs, and as JSON and text."""

import json
import re
from fractions import Fraction
from urllib.parse import unquote, urlparse

import opentimelineio as otio
import pytest
import torch

from common.errors import InputError
from hits.timeline import Scene, write_edl, write_otio
from media.probe import probe
from media.writing import mux, write_sound, write_video
from tests.hits.test_level import hits
from tests.media.clips import make_video

RATE_HZ = 48_000
FILM = {"times_s": [k * Fraction(1001, 30_000) for k in range(60)], "time_base": Fraction(1001, 30_000)}
ROWS = [(0.5, 0.4, 0.04), (1.21, 0.1, 0.15), (1.5, 0.0, 0.05), (2.6037, 0.02, 0.03), (7.0, 0.1, 0.1)]
HEARD_S = [0.5, 1.21, 2.6037]  # the third is muted, the last after the end


@pytest.fixture
def scene_of(tmp_path):
    """Makes a scene of 3 s at a frame rate, with a sound that starts 1 s later by its time reference."""

    def make(frame_rate_hz):
        frames = torch.zeros(round(3 * frame_rate_hz), 3, 16, 16, dtype=torch.uint8)
        write_video(tmp_path / "silent.mp4", frames, frame_rate_hz)
        mux(tmp_path / "silent.mp4", torch.zeros(1, 3 * RATE_HZ), RATE_HZ, tmp_path / "my film.mp4")
        write_sound(tmp_path / "late.wav", torch.zeros(2, RATE_HZ), RATE_HZ, start_of_day_s=1.0)
        write_sound(tmp_path / "plain.wav", torch.zeros(2, 2 * 44_100), 44_100)
        sounds = [tmp_path / "late.wav", tmp_path / "plain.wav"]
        return Scene.of(tmp_path / "my film.mp4", sounds, hits(*ROWS))

    return make


@pytest.mark.parametrize("frame_rate_hz", [25.0, 30_000 / 1001, 21.5])
def test_an_otio_timeline_has_the_video_its_sounds_and_exact_markers(scene_of, tmp_path, frame_rate_hz):
    write_otio(tmp_path / "out.otio", scene_of(frame_rate_hz))
    timeline = otio.adapters.read_from_file(str(tmp_path / "out.otio"))
    assert [(track.name, track.kind) for track in timeline.tracks] == [
        ("V1", "Video"),
        ("A1", "Audio"),
        ("A2", "Audio"),
        ("A3", "Audio"),
    ]
    picture, own, late, plain = (next(iter(track.find_clips())) for track in timeline.tracks)
    marked_s = [marker.marked_range.start_time.to_seconds() for marker in picture.markers]
    assert marked_s == pytest.approx(HEARD_S, abs=0.5 / 48_000)
    assert [marker.name for marker in picture.markers] == ["-7.96 dB", "-20.00 dB", "-33.98 dB"]
    for clip in (picture, own):
        assert unquote(urlparse(clip.media_reference.target_url).path) == str((tmp_path / "my film.mp4").resolve())
        assert clip.duration().to_seconds() == pytest.approx(3.0, abs=0.51 / frame_rate_hz)
    starts_s = [clip.range_in_parent().start_time.to_seconds() for clip in (picture, own, late, plain)]
    assert starts_s == pytest.approx([0, 0, 1, 0])
    assert [clip.duration().to_seconds() for clip in (late, plain)] == pytest.approx([1, 2])
    assert late.source_range.start_time.to_seconds() == pytest.approx(1.0)  # by its own time reference
    raw = json.loads((tmp_path / "out.otio").read_text())
    assert raw["OTIO_SCHEMA"].startswith("Timeline.")


@pytest.mark.parametrize(("frame_rate_hz", "counted_hz"), [(25.0, 25), (30_000 / 1001, 30), (15.0, 30), (21.5, 30)])
def test_an_edl_has_events_and_locators_to_the_frame(scene_of, tmp_path, frame_rate_hz, counted_hz):
    write_edl(tmp_path / "out.edl", scene_of(frame_rate_hz))
    text = (tmp_path / "out.edl").read_text()
    timeline = otio.adapters.read_from_string(text, "cmx_3600", rate=counted_hz)
    tracks = {track.name: track for track in timeline.tracks}
    assert set(tracks) == {"V", "A1", "A2", "A3"}
    picture = next(iter(tracks["V"].find_clips()))
    actual_hz = frame_rate_hz if frame_rate_hz > 25 else counted_hz
    marked_s = [marker.marked_range.start_time.to_frames() / actual_hz for marker in picture.markers]
    assert marked_s == pytest.approx(HEARD_S, abs=0.51 / actual_hz)
    assert picture.name == "my film.mp4"
    assert next(iter(tracks["A2"].find_clips())).name == "late.wav"
    late = next(line.split() for line in text.splitlines() if line.startswith("003"))
    assert late[4:] == ["00:00:01:00", "00:00:02:00", "00:00:01:00", "00:00:02:00"]
    assert re.findall(r"^(\d{3})  ", text, re.MULTILINE) == ["001", "002", "003", "004"]
    assert "FCM: NON-DROP FRAME" in text


def test_an_edl_of_a_video_with_drop_frames_counts_like_it(tmp_path):
    make_video(tmp_path / "tc.mov", rate=Fraction(30_000, 1001), timecode="10:00:00;00", **FILM)
    write_edl(tmp_path / "out.edl", Scene.of(tmp_path / "tc.mov", [], hits((1.0, 0.1, 0.1))))
    text = (tmp_path / "out.edl").read_text()
    assert "FCM: DROP FRAME" in text
    assert "10:00:01:00 RED" in text


def test_a_video_with_timecode_is_marked_in_its_timecode(tmp_path):
    make_video(tmp_path / "tc.mov", timecode="10:00:00:00")
    write_sound(tmp_path / "early.wav", torch.zeros(2, RATE_HZ), RATE_HZ, start_of_day_s=36_000 - 0.25)
    write_sound(tmp_path / "other.wav", torch.zeros(2, RATE_HZ), RATE_HZ, start_of_day_s=100.0)
    scene = Scene.of(tmp_path / "tc.mov", [tmp_path / "early.wav"], hits((0.4, 0.1, 0.1)))
    write_otio(tmp_path / "out.otio", scene)
    timeline = otio.adapters.read_from_file(str(tmp_path / "out.otio"))
    assert timeline.global_start_time.to_seconds() == 36_000
    picture, sound = (next(iter(track.find_clips())) for track in (timeline.tracks[0], timeline.tracks[-1]))
    assert picture.markers[0].marked_range.start_time.to_seconds() == pytest.approx(36_000.4, abs=1e-4)
    assert sound.source_range.start_time.to_seconds() == pytest.approx(36_000)
    assert sound.duration().to_seconds() == pytest.approx(0.75)
    write_edl(tmp_path / "out.edl", scene)
    assert "10:00:00:10 RED" in (tmp_path / "out.edl").read_text()
    with pytest.raises(InputError, match=r"other\.wav"):
        Scene.of(tmp_path / "tc.mov", [tmp_path / "other.wav"], hits((0.4, 0.1, 0.1)))


def test_files_of_the_wrong_kind_are_refused(scene_of, tmp_path):
    scene_of(25.0)
    for video, sounds in (("late.wav", []), ("my film.mp4", ["silent.mp4"])):
        with pytest.raises(InputError, match=re.escape((sounds or [video])[0])):
            Scene.of(tmp_path / video, [tmp_path / name for name in sounds], hits(*ROWS))
    assert probe(tmp_path / "my film.mp4").has_sound
