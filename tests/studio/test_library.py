"""The folder of the studio, archives of sessions, and undo, without models."""

import json
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from common.errors import InputError
from media.writing import write_sound
from session.folder import SessionFolder
from session.model import FILE, Session, Take, Track
from stable_foley.regions import Generated
from studio.archive import read_archive, write_archive
from studio.history import MOST_STATES, History
from studio.library import Library, safe_name
from tests.studio.conftest import DURATION_S, RATE_HZ, hit_envelope
from video2audio.record import fingerprint

ORIGIN = {"set": [], "dtype": "float32", "models": {"checkpoint": "abc"}}
MODEL = {"checkpoint": "bundled", "video2rms": "bundled", **ORIGIN}


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path / "studio", 2**30)


@pytest.fixture
def place(library, film):
    """A session with a track, a take of it and a sound prompt."""
    place = library.new()
    shutil.copy(film, place.folder / "video.mp4")
    prompt = place.new_file("prompt.wav")
    write_sound(prompt, torch.full((2, 4410), 0.1), RATE_HZ)
    session = Session(str(place.video), fingerprint(film), 0.0, DURATION_S, MODEL)
    opened = SessionFolder.new(place.session_folder, session)
    track = Track("main", "hitting wood", audio_prompts=(str(prompt),))
    envelope = hit_envelope(0.4, 1.2)
    sound = torch.linspace(-0.5, 0.5, 2 * 44_100).reshape(2, -1)
    track = opened.write_take(track, Take(1, 0), Generated(sound, torch.ones(8, 2, 4)), envelope, RATE_HZ)
    opened = opened.saved(session.changed(track))
    History(opened).record("Open the video")
    library.keep(place, "film.mp4")
    return place


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("film.mp4", "film.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\films\\a b.mov", "a b.mov"),
        ("..", "file"),
        (".hidden", "hidden"),
        ("a\x00b\n?.wav", "a-b-.wav"),
        ("", "file"),
        ("ä.wav", "wav"),
        ("_x.wav", "x.wav"),
    ],
)
def test_names_of_people_become_names_of_files(name, wanted):
    assert safe_name(name) == wanted


def test_long_names_are_cut():
    assert len(safe_name("x" * 1000 + "." + "y" * 1000)) < 120


@pytest.mark.parametrize("name", ["..", "../x", "0123456789abcde", "0123456789ABCDEF", "0123456789abcdef/..", ""])
def test_an_id_is_never_a_path(library, place, name):
    with pytest.raises(KeyError):
        library.place(name)


def test_files_are_found_by_name_only_in_their_session(place):
    assert place.file("prompt.wav").parent == place.files
    for name in ("../video.mp4", "/etc/passwd", "other.wav", ""):
        with pytest.raises(InputError, match="upload"):
            place.file(name)
    assert place.new_file("prompt.wav").name == "prompt-2.wav"


def test_a_full_disk_is_said_after_caches_are_gone(library, place):
    small = Library(library.folder, place.n_bytes + 1000)
    place.cache.mkdir()
    (place.cache / "preview.mp4").write_bytes(bytes(2000))
    small.check_room(500)
    assert not place.cache.exists()
    with pytest.raises(InputError, match="--most-gib"):
        small.check_room(5000)


def opened_again(library, place, origin=ORIGIN):
    return read_archive(library, write_archive(place), "again", origin)


def test_an_archive_opens_as_the_same_session_with_its_own_files(library, place):
    again = opened_again(library, place)
    one, other = place.open(), again.open()
    assert again.name == "again"
    assert other.session.video == str(again.video)
    (prompt,) = other.session.tracks[0].audio_prompts
    assert prompt == str(again.files / "prompt.wav")
    assert other.session.tracks[0].takes == one.session.tracks[0].takes
    track = other.session.tracks[0]
    assert torch.equal(other.generated(track, track.takes[0]).sound, one.generated(track, track.takes[0]).sound)
    assert len(list(library)) == 2


def changed_archive(path, folder, added=(), without=()):
    """A copy of an archive with other content."""
    copy = folder / "changed.zip"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for member in source.infolist():
            if member.filename not in without:
                target.writestr(member, source.read(member))
        for name, content in added:
            target.writestr(name, content)
    return copy


@pytest.mark.parametrize(
    "name",
    [
        "../escaped.txt",
        "/absolute/escaped.txt",
        "session/../../escaped.txt",
        "session/tracks/../envelope.csv",
        "files/../../escaped",
        "session/history/now.json",
        "about.json",
        "other.txt",
    ],
)
def test_an_archive_with_other_files_is_refused_and_nothing_is_left(library, place, tmp_path, name):
    path = changed_archive(write_archive(place), tmp_path, [(name, b"content")])
    with pytest.raises(InputError, match="no part of a session"):
        read_archive(library, path, "again", ORIGIN)
    assert len(list(library.folder.iterdir())) == 1
    assert not list(tmp_path.rglob("escaped*"))


def test_an_archive_may_not_name_files_elsewhere(library, place, tmp_path):
    secret = tmp_path / "secret.wav"
    write_sound(secret, torch.full((2, 4410), 0.1), RATE_HZ)
    opened = place.open()
    track = replace(opened.session.tracks[0], audio_prompts=(str(secret),))
    opened.saved(opened.session.changed(track))
    with pytest.raises(InputError, match=r"secret\.wav"):
        opened_again(library, place)
    assert len(list(library)) == 1


def test_an_archive_that_cannot_be_used_is_refused(library, place, tmp_path):
    packed = write_archive(place)
    with pytest.raises(InputError, match="another model"):
        read_archive(library, packed, "again", ORIGIN | {"models": {"checkpoint": "other"}})
    with pytest.raises(InputError, match="video"):
        read_archive(library, changed_archive(packed, tmp_path, without=["video.mp4"]), "again", ORIGIN)
    with pytest.raises(InputError, match="GiB"):
        read_archive(Library(library.folder, 1000), packed, "again", ORIGIN)
    (tmp_path / "no.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match="again cannot be read"):
        read_archive(library, tmp_path / "no.zip", "again", ORIGIN)
    assert len(list(library)) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("duration_s", "x"),
        ("duration_s", None),
        ("duration_s", 1e9),
        ("duration_s", 60.0),
        ("start_s", -3),
        ("start_s", 1e7),
        ("headroom_db", "x"),
        ("settings", []),
        ("prompt", 5),
        ("prompt", "\ud800"),
        ("muted", "x"),
        ("kept", 99),
        ("number", "1"),
        ("number", -1),
        ("seed", "x"),
        ("onset_f1", "x"),
        ("origin", []),
        ("origin", {"region_s": [1]}),
    ],
)
def test_a_session_with_impossible_values_is_refused_and_not_listed(library, place, tmp_path, key, value):
    packed = write_archive(place)
    content = json.loads((place.session_folder / FILE).read_text())
    track = content["tracks"][0]
    where = next(each for each in (content, track, track["takes"][0]) if key in each)
    where[key] = value
    name = f"session/{FILE}"
    path = changed_archive(packed, tmp_path, [(name, json.dumps(content))], without=[name])
    with pytest.raises(InputError):
        read_archive(library, path, "again", ORIGIN)
    assert len(list(library.folder.iterdir())) == 1


def test_an_archive_whose_sounds_are_damaged_is_refused(library, place, tmp_path):
    name = "session/tracks/main/take-1.wav"
    path = changed_archive(write_archive(place), tmp_path, [(name, b"RIFF")], without=[name])
    with pytest.raises(InputError):
        read_archive(library, path, "again", ORIGIN)
    assert len(list(library.folder.iterdir())) == 1


def test_a_change_that_history_does_not_know_is_a_state_of_its_own(place):
    opened = place.open()
    History(opened).catch_up()
    assert History(opened).undoes() is None
    track = replace(opened.session.tracks[0], gain_db=-5.0)
    opened = opened.saved(opened.session.changed(track))  # as `python -m session set` does, or a killed worker
    History(opened).catch_up()
    assert "outside" in History(opened).undoes()
    opened.write_envelope(track, hit_envelope(0.9))
    History(opened).restore()
    assert float(opened.envelope(track).rms.argmax()) != float(hit_envelope(0.9).rms.argmax())
    back = History(opened).undo()
    assert back.session.tracks[0].gain_db == 0.0


def test_every_state_comes_back_and_a_new_one_forgets_what_was_undone(place):
    opened = place.open()
    history = History(opened)
    assert (history.undoes(), history.redoes()) == (None, None)
    with pytest.raises(InputError):
        history.undo()
    for number in range(3):
        envelope = hit_envelope(0.5, level=0.1 * (number + 1))
        opened.write_envelope(opened.session.tracks[0], envelope)
        track = replace(opened.session.tracks[0], gain_db=-float(number + 1))
        opened = opened.saved(opened.session.changed(track))
        History(opened).record(f"step {number}")
    history = History(opened)
    assert history.undoes() == "step 2"
    back = History(history.undo()).undo()
    assert back.session.tracks[0].gain_db == -1.0
    assert float(back.envelope(back.session.tracks[0]).rms.max()) == pytest.approx(0.1, rel=0.1)
    history = History(back)
    assert (history.undoes(), history.redoes()) == ("step 0", "step 1")
    forward = history.again()
    assert forward.session.tracks[0].gain_db == -2.0
    assert float(forward.envelope(forward.session.tracks[0]).rms.max()) == pytest.approx(0.2, rel=0.1)
    history = History(forward)
    history.record("another")
    assert (history.undoes(), history.redoes()) == ("another", None)
    with pytest.raises(InputError):
        history.again()


def test_old_states_are_forgotten(place):
    history = History(place.open())
    for number in range(MOST_STATES + 5):
        history.record(str(number))
    states = [path for path in (place.session_folder / "history").iterdir() if path.is_dir()]
    assert len(states) == MOST_STATES
    assert history.undoes() == str(MOST_STATES + 4)


def test_takes_that_no_state_has_are_removed_but_their_numbers_are_not_used_again(place):
    opened = place.open()
    track = opened.session.tracks[0]
    sound = Generated(torch.zeros(2, 1000), torch.ones(8, 2, 4))
    with_two = opened.write_take(track, Take(2, 1), sound, hit_envelope(0.4), RATE_HZ)
    History(opened).forget_takes()
    assert not opened.sound_path(track, Take(2, 1)).exists()
    assert opened.sound_path(track, Take(1, 0)).exists()
    assert opened.next_number(track) == 3
    assert with_two.takes[-1].number == 2
    assert np.isfinite(opened.take_envelope(track, Take(2, 1)).rms.numpy()).all()
