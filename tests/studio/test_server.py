"""The studio from the first video to the export, through its requests, with the bundled models."""

import io
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import av
import mido
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from starlette.testclient import TestClient

from evaluation.onsets import detect_onsets
from media.envelope import write_envelope_csv
from media.probe import probe
from media.writing import write_sound
from studio.app import create_app
from studio.library import Library
from studio.server import StudioSettings
from studio.worker import ModelChoice
from tests.studio.conftest import DURATION_S, RATE_HZ, TIMES_S, change, ended, hit_envelope, new_session, running, until

pytestmark = pytest.mark.slow
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:3.6,\nFILE\n#EXT-X-ENDLIST\n"


def sound_of(client, session, name="main", number=None):
    track = next(each for each in session["tracks"] if each["name"] == name)
    url = f"/api/sessions/{session['id']}/tracks/{name}/takes/{number or track['kept']}/sound"
    answer = client.get(url)
    assert answer.status_code == 200
    return soundfile.read(io.BytesIO(answer.content), dtype="float32")[0]


def track_of(session, name="main"):
    return next(each for each in session["tracks"] if each["name"] == name)


@pytest.fixture(scope="module")
def begun(client, film, tmp_path_factory):
    """The id of a session with a track of four known hits, `hits`, and one take of it."""
    session_id = new_session(client, film)
    table = tmp_path_factory.mktemp("table") / "hits.csv"
    write_envelope_csv(table, hit_envelope(*TIMES_S))
    name = client.post(f"/api/sessions/{session_id}/files", files={"file": ("hits.csv", table.read_bytes())}).json()
    source = {"kind": "file", "name": name["name"]}
    change(client, session_id, kind="add_track", name="hits", prompt="hitting wood", source=source)
    change(client, session_id, kind="remove_track", track="main")
    job, session = change(client, session_id, kind="generate", track="hits", seed=1)
    assert job["status"] == "done", job
    assert track_of(session, "hits")["kept"] == 1
    return session_id


def session_of(client, session_id):
    return client.get(f"/api/sessions/{session_id}").json()


def test_a_video_becomes_a_session_that_says_what_it_holds(client, begun, film):
    session = session_of(client, begun)
    assert session["name"] == "film.mp4"
    assert session["video"]["width"] == 64
    assert session["duration_s"] == pytest.approx(DURATION_S)
    track = track_of(session, "hits")
    assert [round(hit["time_s"], 2) for hit in track["hits"]] == list(TIMES_S)
    assert track["takes"][0]["best"]
    assert track["takes"][0]["onset_f1"] == 1.0
    listed = client.get("/api/sessions").json()
    assert begun in [row["id"] for row in listed]
    played = client.get(f"/api/sessions/{begun}/video", headers={"Range": "bytes=0-99"})
    assert (played.status_code, played.content) == (206, film.read_bytes()[:100])


def test_the_page_gets_envelope_thumbnails_and_spectrogram(client, begun):
    session = session_of(client, begun)
    raw = client.get(f"/api/sessions/{begun}/tracks/hits/envelope").content
    rms = np.frombuffer(raw, "<f4")
    assert np.allclose(rms, hit_envelope(*TIMES_S).rms.numpy(), atol=1e-6)
    about = client.get(f"/api/sessions/{begun}/thumbnails").json()
    sheet = Image.open(io.BytesIO(client.get(f"/api/sessions/{begun}/thumbnails.jpg").content))
    assert sheet.width == about["columns"] * about["width"]
    assert about["times_s"][0] == 0
    assert max(about["times_s"]) < session["duration_s"]
    tile = client.get(f"/api/sessions/{begun}/tracks/hits/takes/1/spectrogram/0.png")
    picture = np.asarray(Image.open(io.BytesIO(tile.content)))
    assert picture.shape == (128, 2000)
    level = picture.astype(float).mean(axis=0)
    for time_s in TIMES_S:  # a hit is brighter than what is before it
        assert level[int(200 * time_s) + 10] > level[int(200 * time_s) - 30] + 20
    assert picture[:, int(200 * DURATION_S) + 1 :].max() == 0
    assert client.get(f"/api/sessions/{begun}/tracks/hits/takes/1/spectrogram/1.png").status_code == 404


def test_a_dragged_hit_is_heard_where_it_is_and_undo_brings_all_back(client, begun):
    before = session_of(client, begun)
    sound = sound_of(client, before, "hits")
    edits = [{"kind": "move", "time_s": 2.0, "to_s": 2.15}, {"kind": "level", "time_s": 2.15, "level": 0.15}]
    job, after = change(client, begun, kind="edit", track="hits", edits=edits)
    assert job["status"] == "done"
    moved = sound_of(client, after, "hits")
    onsets_s = detect_onsets(torch.from_numpy(moved.T), RATE_HZ).times_s
    assert np.abs(onsets_s - 2.15).min() < 0.05
    assert np.abs(onsets_s - 2.0).min() > 0.1
    ((first_s, last_s),) = track_of(after, "hits")["takes"][-1]["regions_s"]
    same = (moved == sound).all(axis=1)
    assert same[: int(first_s * RATE_HZ)].all()
    assert same[int(last_s * RATE_HZ) + 1 :].all()
    assert after["undo"] == "Edit hits of hits"
    _, back = change(client, begun, kind="undo")
    assert track_of(back, "hits")["kept"] == track_of(before, "hits")["kept"]
    assert [hit["time_s"] for hit in track_of(back, "hits")["hits"]] == [
        hit["time_s"] for hit in track_of(before, "hits")["hits"]
    ]
    assert back["again"] == after["undo"]
    _, again = change(client, begun, kind="again")
    assert track_of(again, "hits") | {"envelope_version": 0} == track_of(after, "hits") | {"envelope_version": 0}
    change(client, begun, kind="undo")


def test_changes_of_the_mix_are_quick_and_checked(client, begun):
    job, session = change(client, begun, kind="change", track="hits", gain_db=-3.0, pan=0.5, muted=True)
    assert job["status"] == "done"
    track = track_of(session, "hits")
    assert (track["gain_db"], track["pan"], track["muted"]) == (-3.0, 0.5, True)
    _, session = change(client, begun, kind="undo")
    assert track_of(session, "hits")["gain_db"] == 0.0
    for body, named in (
        ({"kind": "change", "track": "hits", "gain_db": 99}, "gain_db"),
        ({"kind": "change", "track": "hits", "colour": "red"}, "colour"),
        ({"kind": "generate", "track": "hits", "n_takes": 1000}, "n_takes"),
        ({"kind": "dance"}, "kind"),
        ({"kind": "edit", "track": "hits", "edits": [{"kind": "move", "time_s": -1, "to_s": 2}]}, "time_s"),
        ({"kind": "keep", "track": "other", "take": 1}, "other"),
        ({"kind": "keep", "track": "hits", "take": 77}, "77"),
        ({"kind": "settings", "cfg_scale": 1000}, "1000"),
        ({"kind": "original", "gain_db": 0}, "no sound"),
    ):
        answer = client.post(f"/api/sessions/{begun}/jobs", json=body)
        assert answer.status_code in (400, 422), body
        assert named in answer.json()["error"]
        assert "--" not in answer.json()["error"]  # the page has no options
        assert str(client.app.state.studio.library.folder) not in answer.json()["error"]


def test_a_job_that_is_not_possible_fails_with_a_sentence(client, begun):
    edits = [{"kind": "move", "time_s": 3.3, "to_s": 3.4}]
    job, _ = change(client, begun, kind="edit", track="hits", edits=edits)
    assert job["status"] == "failed"
    assert "3.3" in job["error"]


def test_settings_and_sound_prompts_reach_what_is_generated(client, begun, tmp_path):
    before = sound_of(client, session_of(client, begun), "hits", 1)
    _, session = change(client, begun, kind="settings", n_steps=4, level_match=False)
    assert session["settings"] == {"n_steps": 4, "cfg_scale": None, "level_match": False, "control_strength": 1.0}
    _, session = change(client, begun, kind="generate", track="hits", seed=1)
    assert np.abs(sound_of(client, session, "hits") - before).max() > 0.001
    source = {"kind": "take", "track": "hits", "take": 1, "start_s": 0.35, "end_s": 0.9}
    _, session = change(client, begun, kind="add_sound_prompt", track="hits", source=source)
    assert len(track_of(session, "hits")["audio_prompts"]) == 1
    _, session = change(client, begun, kind="remove_sound_prompt", track="hits", index=0)
    assert track_of(session, "hits")["audio_prompts"] == []
    (tmp_path / "no.wav").write_text("nothing")
    name = client.post(f"/api/sessions/{begun}/files", files={"file": ("no.wav", b"nothing")}).json()["name"]
    source = {"kind": "file", "name": name}
    answer = client.post(
        f"/api/sessions/{begun}/jobs", json={"kind": "add_sound_prompt", "track": "hits", "source": source}
    )
    assert answer.status_code == 400
    change(client, begun, kind="settings", n_steps=None, level_match=None)
    last = track_of(session, "hits")["kept"]
    change(client, begun, kind="keep", track="hits", take=1)
    _, session = change(client, begun, kind="discard", track="hits", takes=[last])
    assert last not in [take["number"] for take in track_of(session, "hits")["takes"]]
    _, session = change(client, begun, kind="undo")
    sound_of(client, session, "hits", last)  # its file is still there


def test_hits_split_to_a_track_are_exported_and_the_session_opens_again(client, begun):
    job, session = change(
        client, begun, kind="split", track="hits", name="metal", times_s=[1.2], prompt="hitting metal"
    )
    assert job["status"] == "done"
    assert [round(hit["time_s"], 2) for hit in track_of(session, "metal")["hits"]] == [1.2]
    change(client, begun, kind="generate", track="metal")
    job, session = change(client, begun, kind="export", sample_rate_hz=48_000)
    assert job["status"] == "done", job
    names = {file["name"] for file in session["exports"]}
    wanted = {"film.mp4", "film.wav", "film.metal.wav", "film.hits.mid", "film.hits.txt", "film.otio", "film.edl"}
    assert names >= wanted
    midi = client.get(f"/api/sessions/{begun}/exports/film.metal.mid").content
    notes = [m for m in mido.MidiFile(file=io.BytesIO(midi)) if m.type == "note_on" and m.velocity]
    assert len(notes) == 1
    mix, rate_hz = soundfile.read(io.BytesIO(client.get(f"/api/sessions/{begun}/exports/film.wav").content))
    assert (rate_hz, len(mix)) == (48_000, round(DURATION_S * 48_000))
    timeline = client.get(f"/api/sessions/{begun}/exports/film.otio").text
    assert f"{begun}/exports/film.metal.wav" in timeline
    packed = client.get(f"/api/sessions/{begun}/archive").content
    answer = client.post("/api/sessions/open", files={"archive": ("film.session.zip", packed)})
    assert answer.status_code == 201, answer.text
    opened = answer.json()["session"]
    assert opened["id"] != begun
    for name in ("hits", "metal"):
        one, other = track_of(session, name), track_of(opened, name)
        assert one["takes"] == other["takes"]
        assert np.array_equal(sound_of(client, session, name), sound_of(client, opened, name))
    assert client.delete(f"/api/sessions/{opened['id']}").status_code == 204
    assert client.get(f"/api/sessions/{opened['id']}").status_code == 404


def test_a_job_can_be_cancelled_and_the_worker_goes_on(client, begun):
    before = session_of(client, begun)
    change(client, begun, kind="settings", n_steps=1000)
    job = client.post(f"/api/sessions/{begun}/jobs", json={"kind": "generate", "track": "hits", "seed": 9}).json()
    waiting = client.post(f"/api/sessions/{begun}/jobs", json={"kind": "change", "track": "hits", "pan": 0.1}).json()

    def running_job():
        jobs = client.get(f"/api/sessions/{begun}/jobs").json()["jobs"]
        return next(each for each in jobs if each["id"] == job["id"])

    until(lambda: running_job()["status"] == "running" and running_job()["fraction"])
    assert 0 < running_job()["fraction"] < 1
    assert client.delete(f"/api/sessions/{begun}/jobs/{job['id']}").status_code == 204
    until(lambda: running_job()["status"] == "cancelled", timeout_s=10)
    until(lambda: track_of(session_of(client, begun), "hits")["pan"] == 0.1)  # what waited was done
    assert waiting["status"] == "queued"
    change(client, begun, kind="undo")
    _, after = change(client, begun, kind="undo")
    assert track_of(after, "hits")["takes"] == track_of(before, "hits")["takes"]


def test_takes_of_a_cancelled_job_are_a_state_of_their_own(client, begun):
    before = session_of(client, begun)
    change(client, begun, kind="change", track="hits", prompt="hitting metal")
    change(client, begun, kind="settings", n_steps=40)
    job = client.post(
        f"/api/sessions/{begun}/jobs", json={"kind": "generate", "track": "hits", "n_takes": 30, "seed": 50}
    ).json()
    n_before = len(track_of(before, "hits")["takes"])
    until(lambda: len(track_of(session_of(client, begun), "hits")["takes"]) > n_before)
    client.delete(f"/api/sessions/{begun}/jobs/{job['id']}")
    until(lambda: ended(client, begun, job["id"]))
    after = session_of(client, begun)
    assert len(track_of(after, "hits")["takes"]) > n_before
    _, back = change(client, begun, kind="undo")
    assert track_of(back, "hits")["takes"] == track_of(before, "hits")["takes"]
    assert track_of(back, "hits")["prompt"] == "hitting metal"
    _, again = change(client, begun, kind="again")
    assert track_of(again, "hits")["takes"] == track_of(after, "hits")["takes"]
    for _ in range(3):
        change(client, begun, kind="undo")


def test_a_session_that_another_program_changes_does_not_stop_the_studio(client, begun):
    with client.app.state.studio.library.place(begun).open().locked():
        answer = client.post(f"/api/sessions/{begun}/jobs", json={"kind": "change", "track": "hits", "pan": 0.3})
        assert answer.json()["status"] == "queued"
        assert client.get("/api/about").status_code == 200
    until(lambda: track_of(session_of(client, begun), "hits")["pan"] == 0.3)
    change(client, begun, kind="undo")


def worker_of(client):
    return client.app.state.studio.jobs._worker._process


def test_a_killed_worker_fails_its_job_and_the_next_one_runs(client, begun):
    change(client, begun, kind="settings", n_steps=1000)
    job = client.post(f"/api/sessions/{begun}/jobs", json={"kind": "generate", "track": "hits"}).json()
    until(
        lambda: any(
            each["id"] == job["id"] and each["fraction"]
            for each in client.get(f"/api/sessions/{begun}/jobs").json()["jobs"]
        )
    )
    os.kill(worker_of(client).pid, signal.SIGKILL)
    ended = until(
        lambda: next(
            (
                each
                for each in client.get(f"/api/sessions/{begun}/jobs").json()["jobs"]
                if each["id"] == job["id"] and each["status"] == "failed"
            ),
            None,
        )
    )
    assert "worker" in ended["error"]
    change(client, begun, kind="undo")
    job, _ = change(client, begun, kind="redo", track="hits", start_s=1.0, end_s=1.6, seed=4)
    assert job["status"] == "done"
    change(client, begun, kind="undo")


@dataclass(frozen=True)
class KilledWhileLoading(ModelChoice):
    """Models whose process is killed as often as a file allows."""

    left: Path = Path()

    def load(self):
        n_left = int(self.left.read_text())
        if n_left:
            self.left.write_text(str(n_left - 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().load()


def test_a_worker_that_is_killed_while_it_loads_is_started_again(tmp_path):
    left = tmp_path / "left"
    left.write_text("1")
    choice = KilledWhileLoading(device="cpu", left=left)
    with TestClient(create_app(StudioSettings(Library(tmp_path / "studio", 2**30), choice))) as started:
        assert until(lambda: started.get("/api/about").json()["ready"])


def test_a_worker_that_never_loads_is_given_up_with_a_sentence(tmp_path):
    left, said = tmp_path / "left", []
    left.write_text("99")
    choice = KilledWhileLoading(device="cpu", left=left)
    settings = StudioSettings(Library(tmp_path / "studio", 2**30), choice, on_unable=said.append)
    with TestClient(create_app(settings)) as started:
        assert "memory" in until(lambda: said and said[0])
        assert not started.get("/api/about").json()["ready"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("broken.mp4", b"no video at all"),
        ("empty.mp4", b""),
        ("../../up.mp4", b"nothing"),
        ("sound.wav", None),
        ("list.m3u8", PLAYLIST),
    ],
)
def test_what_is_no_video_is_refused_and_nothing_is_kept(client, name, content, tmp_path, film):
    if content is PLAYLIST:  # names a file of somebody else
        content = PLAYLIST.replace(b"FILE", bytes(film.with_suffix(".ts")))
        with av.open(str(film)) as source, av.open(str(film.with_suffix(".ts")), "w") as copy:
            stream = copy.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    copy.mux(packet)
    if content is None:
        write_sound(tmp_path / name, torch.zeros(2, 4410), 44_100)
        content = (tmp_path / name).read_bytes()
    folder = client.app.state.studio.library.folder
    before = sorted(folder.iterdir())
    answer = client.post("/api/sessions", files={"video": (name, content)})
    assert answer.status_code == 400
    assert str(folder) not in answer.json()["error"]
    assert sorted(folder.iterdir()) == before


def test_a_video_that_is_too_long_is_refused(tmp_path, film):
    with running(tmp_path, longest_s=2.0) as client:
        answer = client.post("/api/sessions", files={"video": ("film.mp4", film.read_bytes())})
        assert answer.status_code == 400
        assert "2 s" in answer.json()["error"]
        assert "film.mp4" in answer.json()["error"]


def test_sessions_are_there_after_a_restart_and_a_prediction_that_was_interrupted_is_made(tmp_path, film):
    with running(tmp_path) as client:
        answer = client.post("/api/sessions", files={"video": ("film.mp4", film.read_bytes())}).json()
        os.kill(worker_of(client).pid, signal.SIGKILL)  # with its prediction unfinished
    session_id = answer["session"]["id"]
    (tmp_path / "0123456789abcdef").mkdir()  # of an upload that was interrupted
    with running(tmp_path) as client:
        assert [row["id"] for row in client.get("/api/sessions").json()] == [session_id]
        until(lambda: session_of(client, session_id)["tracks"])
    assert not (tmp_path / "0123456789abcdef").exists()


def test_a_picture_that_browsers_do_not_play_is_converted(client, tmp_path):
    path = tmp_path / "film.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=15)
        stream.width, stream.height = 64, 48
        for _ in range(15):
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    session_id = new_session(client, path)
    until(lambda: client.get(f"/api/sessions/{session_id}/video").status_code == 200)
    preview = tmp_path / "preview.mp4"
    preview.write_bytes(client.get(f"/api/sessions/{session_id}/video").content)
    assert probe(preview).duration_s == pytest.approx(1.0, abs=0.05)
    client.delete(f"/api/sessions/{session_id}")


def test_errors_of_the_framework_are_sentences(client):
    for method, path in (("GET", "/api/nothing"), ("PUT", "/api/sessions"), ("GET", "/page/none.js")):
        answer = client.request(method, path)
        assert answer.status_code in (404, 405)
        assert answer.json()["error"][0].islower()
