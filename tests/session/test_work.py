"""Sessions: what is edited changes, all else stays bit for bit, and everything comes back from disk."""

import json
from dataclasses import replace

import mido
import numpy as np
import opentimelineio as otio
import pytest
import soundfile
import torch

import infer
from common.errors import InputError
from evaluation.onsets import detect_onsets
from hits.edit import HitEnvelope
from hits.level import Hits
from media.muxing import mux
from media.probe import probe
from media.reading import read_sound
from media.writing import write_video
from session import __main__ as command
from session.begin import new_session
from session.folder import SessionFolder
from session.mixing import PEAK_DB, export, mixed, placed
from session.model import FILE, ORIGINAL, Session, Track
from session.work import Workshop
from video2audio import FoleyPipeline, FoleyRequest

RATE_HZ = 44_100
TIMES_S = (0.4, 1.2, 2.0, 2.8)
DURATION_S = 3.6


@pytest.fixture(scope="module")
def pipeline():
    return FoleyPipeline.from_checkpoint(video2rms=None, device="cpu")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "film.mp4"
    frames = torch.randint(0, 255, (54, 3, 48, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    write_video(path, frames, 15.0)
    return path


def hits_at(*times_s, level=0.1):
    n = len(times_s)
    return Hits(torch.tensor(times_s), torch.full((n,), level), torch.full((n,), 0.05), torch.ones(n))


def begun(folder, video, pipeline, *times_s, seeds=(1,), **options):
    envelope = HitEnvelope.of_hits(hits_at(*(times_s or TIMES_S)), DURATION_S - options.get("start_s", 0.0)).envelope
    request = FoleyRequest(video, envelope=envelope, prompt="hitting wood", **options)
    request.check()
    return new_session(folder, request, pipeline).generate(None, seeds)


@pytest.fixture
def work(tmp_path, video, pipeline):
    return begun(tmp_path / "session", video, pipeline)


def sound_of(work, name=None, number=None):
    track = work.session.track(name)
    return work.place.generated(track, track.take(track.kept if number is None else number)).sound[:, :]


def same_outside(one, other, regions_s):
    """Whether two sounds are equal bit for bit outside of regions, and differ in each of them."""
    same = (one == other).all(dim=0)
    for start_s, end_s in regions_s:
        region = slice(max(0, round(start_s * RATE_HZ)), round(end_s * RATE_HZ) + 1)
        assert not same[region].all()
        same[region] = True
    return bool(same.all())


def test_a_session_comes_back_from_disk_and_a_seed_makes_the_same_sound_again(work, video, pipeline, tmp_path):
    again = Workshop(SessionFolder.open(work.place.folder), pipeline)
    assert again.session == work.session
    assert torch.equal(sound_of(again), sound_of(work))
    other = begun(tmp_path / "other", video, pipeline)
    assert torch.equal(sound_of(other), sound_of(work))
    envelope = work.place.envelope(work.session.track(None))
    direct = pipeline.generator.generate(
        envelope, DURATION_S, **work._wanted(work._inputs(work.session.track(None), envelope), 1)
    )
    assert torch.equal(direct, sound_of(work))


def test_an_edit_changes_what_was_edited_and_keeping_a_take_undoes_it(work):
    before = work.place.envelope(work.session.track(None))
    edited = work.edit(None, [lambda hits: hits.move(2.0, 2.15)], ["--move", "2.0", "2.15"])
    track = edited.session.track(None)
    assert (track.kept, len(track.takes)) == (2, 2)
    origin = track.take(2).origin
    assert origin["edits"] == ["--move", "2.0", "2.15"]
    assert all(1.8 < start_s < end_s < 2.8 for start_s, end_s in origin["regions_s"])
    assert same_outside(sound_of(edited), sound_of(work), origin["regions_s"])
    onsets_s = detect_onsets(sound_of(edited), RATE_HZ).times_s
    assert np.abs(onsets_s - 2.15).min() < 0.05
    assert np.abs(onsets_s - 2.0).min() > 0.1
    back = edited.keep(None, 1)
    assert torch.equal(back.place.envelope(back.session.track(None)).rms, before.rms)
    assert torch.equal(sound_of(back), sound_of(work))


def test_a_muted_hit_is_silent_and_all_else_stays(work):
    edited = work.edit(None, [lambda hits: hits.mute(1.2)])
    regions_s = edited.session.track(None).take(2).origin["regions_s"]
    assert same_outside(sound_of(edited), sound_of(work), regions_s)
    heard = sound_of(edited)[:, round(1.2 * RATE_HZ) : round(1.35 * RATE_HZ)]
    assert heard.abs().max() < 0.05 * sound_of(work).abs().max()


def test_without_an_audible_change_there_is_no_new_take(work):
    assert work.edit(None, [lambda hits: hits.scale(None, 1.0)]).session == work.session


def test_a_region_is_redone_and_all_else_stays(work):
    redone = work.redo(None, 1.0, 1.7, seed=5)
    assert same_outside(sound_of(redone), sound_of(work), [(1.0, 1.7)])
    assert redone.session.track(None).take(2).origin == {"take": 1, "region_s": [1.0, 1.7]}
    assert torch.equal(sound_of(work.redo(None, 1.0, 1.7, seed=5)), sound_of(redone))


def test_times_are_those_of_the_video(tmp_path, video, pipeline):
    work = begun(tmp_path / "part", video, pipeline, 0.4, 1.2, start_s=1.6)
    assert [round(hit.time_s, 2) for hit in work.hits(work.session.track(None)).hits] == [2.0, 2.8]
    redone = work.redo(None, 1.9, 2.4, seed=3)
    assert same_outside(sound_of(redone), sound_of(work), [(0.3, 0.8)])
    edited = redone.edit(None, [lambda hits: hits.delete(2.8)])
    assert [round(hit.time_s, 2) for hit in edited.hits(edited.session.track(None)).hits] == [2.0]
    for change in (
        lambda: edited.redo(None, 1.0, 2.0, seed=3),
        lambda: edited.edit(None, [lambda hits: hits.move(2.0, 1.0)]),
    ):
        with pytest.raises(InputError, match=r"1\.6"):
            change()


def test_a_sound_prompt_that_is_no_file_is_refused(tmp_path, video, pipeline):
    with pytest.raises(InputError, match="write it to a file"):
        begun(tmp_path / "session", video, pipeline, audio_prompts=[torch.zeros(2, RATE_HZ)])
    assert not (tmp_path / "session").exists()


def test_hits_are_divided_between_tracks(work):
    whole = work.place.envelope(work.session.track(None))
    split = work.split(None, Track("high", prompt="hitting metal", pan=0.5), lambda hit: hit.time_s > 1.5)
    kept, moved = (split.place.envelope(split.session.track(name)) for name in ("main", "high"))
    torch.testing.assert_close((kept.rms.square() + moved.rms.square()).sqrt(), whole.rms, rtol=1e-3, atol=1e-5)
    assert [round(hit.time_s, 1) for hit in split.hits(split.session.track("high")).hits] == [2.0, 2.8]
    assert split.session.track("high").kept is None
    regions_s = split.session.track("main").take(2).origin["regions_s"]
    assert same_outside(sound_of(split, "main"), sound_of(work), regions_s)
    assert min(start_s for start_s, _ in regions_s) > 1.2


@pytest.mark.parametrize("has_take", [True, False])
def test_a_hit_is_in_one_track_whenever_the_session_is_read(work, has_take, monkeypatch):
    if not has_take:
        work = replace(work, place=work.place.saved(work.session.changed(replace(work.session.track(None), kept=None))))
    seen, write = [], Session.write

    def read_after(session, folder):
        write(session, folder)
        now = Workshop(SessionFolder.open(folder), work.pipeline)
        tracks = [now.hits(track).hits for track in now.session.tracks]
        seen.append(sorted(round(hit.time_s, 1) for hits in tracks for hit in hits))

    monkeypatch.setattr(Session, "write", read_after)
    work.split(None, Track("high", prompt="hitting metal"), lambda hit: hit.time_s > 1.5)
    assert seen
    assert all(times_s == list(TIMES_S) for times_s in seen)


def test_a_split_that_fails_changes_nothing(work, monkeypatch):
    def out_of_memory(*_, **__):
        raise MemoryError

    monkeypatch.setattr("session.work.regenerate", out_of_memory)
    with pytest.raises(MemoryError):
        work.split(None, Track("high", prompt="hitting metal"), lambda hit: hit.time_s > 1.5)
    again = SessionFolder.open(work.place.folder)
    assert again.session == work.session
    assert torch.equal(again.envelope(again.session.track(None)).rms, work.place.envelope(work.session.track(None)).rms)
    monkeypatch.undo()
    work.split(None, Track("high", prompt="hitting metal"), lambda hit: hit.time_s > 1.5)


def test_hits_can_be_chosen_by_what_is_heard(work, pipeline):
    metal = work.change(None, prompt="hitting metal").generate(None, [2])
    mixed_sound = sound_of(work).clone()
    half = round(1.6 * RATE_HZ)
    mixed_sound[:, half:] = sound_of(metal)[:, half:]
    track, take = metal._kept(None)
    with pytest.MonkeyPatch.context() as patch:
        made = metal.place.generated(track, take)
        patch.setattr(SessionFolder, "generated", lambda *_: replace(made, sound=mixed_sound))
        is_wood = metal.heard_as(None, "hitting wood")
        found = [is_wood(hit) for hit in metal.hits(track).hits]
    assert found[:2] != found[2:] or found == [True, True, False, False]
    assert found[0] or found[1]


def test_stems_add_up_to_the_mix_and_stay_within_full_scale(work):
    loud = work.change(None, gain_db=30.0).add(Track("left", "hitting glass", pan=-1.0), constant_hits(0.8))
    loud = loud.generate("left", [3])
    mix = mixed(loud)
    torch.testing.assert_close(sum(mix.stems.values()), mix.sound)
    highest = max(float(each.abs().max()) for each in (mix.sound, *mix.stems.values()))
    assert 0.5 * 10 ** (PEAK_DB / 20) < highest <= 10 ** (PEAK_DB / 20)
    assert mix.session.headroom_db < 0
    assert not mix.stems["left"][1].any()
    alone = mixed(loud.change("left", muted=True))
    assert list(alone.stems) == ["main"]


def constant_hits(*times_s):
    return HitEnvelope.of_hits(hits_at(*times_s), DURATION_S).envelope


def test_a_place_keeps_the_power():
    sound = torch.randn(2, 4096, generator=torch.Generator().manual_seed(0))
    mono = sound[:1].expand(2, -1)
    for pan in (-1.0, -0.4, 0.0, 0.7, 1.0):
        heard = placed(mono, 0.0, pan)
        assert float(heard.square().sum()) == pytest.approx(float(mono.square().sum()), rel=1e-5)
    assert torch.equal(placed(sound, 0.0, 0.0), sound)
    assert float(placed(sound, 6.0, 0.0).square().sum() / sound.square().sum()) == pytest.approx(10**0.6)


def test_exports_are_read_by_other_programs(work, tmp_path, video):
    work = work.split(None, Track("high", prompt="hitting metal"), lambda hit: hit.time_s > 1.5).generate("high", [4])
    out = tmp_path / "out"
    written = export(work, out, sample_rate_hz=48_000)
    assert all(path.is_file() for path in written)
    mix, rate_hz = soundfile.read(out / "film.wav", always_2d=True)
    stems = [soundfile.read(out / f"film.{name}.wav", always_2d=True)[0] for name in ("main", "high")]
    assert rate_hz == 48_000
    assert len(mix) == round(DURATION_S * 48_000)
    np.testing.assert_allclose(sum(stems), mix, atol=3 / 2**23)
    for name, times_s in (("main", (0.4, 1.2)), ("high", (2.0, 2.8))):
        time_s, starts_s = 0.0, []
        for message in mido.MidiFile(out / f"film.{name}.mid"):
            time_s += message.time
            starts_s += [time_s] if message.type == "note_on" and message.velocity else []
        assert starts_s == pytest.approx(times_s, abs=0.005)
        labels = (out / f"film.{name}.txt").read_text().splitlines()
        assert [float(line.split("\t")[0]) for line in labels] == pytest.approx(times_s, abs=0.005)
    timeline = otio.adapters.read_from_file(str(out / "film.otio"))
    urls = [clip.media_reference.target_url for clip in timeline.find_clips()]
    assert urls == [path.as_uri() for path in (video, out / "film.main.wav", out / "film.high.wav")]
    assert probe(out / "film.mp4").has_sound


def test_an_edit_changes_the_mix_only_where_it_changes_a_track(work, tmp_path):
    export(work, tmp_path / "before")
    edited = Workshop(SessionFolder.open(work.place.folder), work.pipeline).edit(
        None, [lambda hits: hits.move(2.0, 2.15)]
    )
    export(edited, tmp_path / "after")
    before, after = (read_sound(tmp_path / name / "film.wav", sample_rate_hz=RATE_HZ) for name in ("before", "after"))
    assert same_outside(before, after, edited.session.track(None).take(2).origin["regions_s"])


def test_takes_are_listed_by_score_kept_and_discarded(work, capsys):
    more = work.generate(None, [2, 3])
    track = more.session.track(None)
    assert [take.number for take in track.takes] == [1, 2, 3]
    assert track.kept == min(track.takes[1:], key=lambda take: take.rank).number
    assert all(take.onset_f1 is not None and take.onset_f1 > 0.8 for take in track.takes)
    with pytest.raises(InputError, match=str(track.kept)):
        more.discard(None, [track.kept])
    rest = more.keep(None, 1).discard(None, [2, 3])
    assert [take.number for take in rest.session.track(None).takes] == [1]
    assert sorted(path.name for path in (rest.place.folder / "tracks" / "main").iterdir()) == [
        "envelope.csv",
        "take-1.envelope.csv",
        "take-1.safetensors",
        "take-1.wav",
    ]
    with pytest.raises(InputError, match="take 9: the takes are 1"):
        rest.keep(None, 9)


def test_a_moved_video_is_found_and_another_one_refused(work, video, tmp_path):
    moved = tmp_path / "moved.mp4"
    moved.write_bytes(video.read_bytes())
    saved = work.place.saved(replace(work.session, video=str(tmp_path / "gone.mp4")))
    with pytest.raises(InputError, match=r"gone\.mp4.*--video"):
        SessionFolder.open(saved.folder)
    assert SessionFolder.open(saved.folder, moved).session.video == str(moved)
    moved.write_bytes(video.read_bytes() + b" ")
    with pytest.raises(InputError, match=r"moved\.mp4"):
        SessionFolder.open(saved.folder, moved)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", FILE),
        ("[]", "version None"),
        ('{"version": 2}', "version 2"),
        ('{"version": 1, "tracks": [{"name": "a", "volume": 3}]}', "volume"),
        ('{"version": 1, "tracks": []}', "damaged"),
        (
            '{"version": 1, "tracks": [], "video": "", "fingerprint": "", "start_s": 0, "duration_s": 1, "model": {}}',
            "checkpoint",
        ),
        (
            '{"version": 1, "tracks": [{"name": "../a"}], "video": "", "fingerprint": "", "start_s": 0, '
            '"duration_s": 1, "model": {}}',
            r"\.\./a",
        ),
    ],
)
def test_a_damaged_session_is_refused(tmp_path, content, named):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(InputError, match=named):
        Session.read(tmp_path)


def test_the_original_sound_is_a_stem_of_the_mix(work, video, tmp_path):
    tone = 0.1 * torch.sin(2 * torch.pi * 440 * torch.arange(round(3.0 * RATE_HZ)) / RATE_HZ).expand(2, -1)
    heard = tmp_path / "heard.mkv"
    mux(video, tone, RATE_HZ, heard)
    place = SessionFolder(work.place.folder, replace(work.session, video=str(heard)))
    with_sound = replace(work, place=place).keep_original(-6.0)
    mix = mixed(with_sound)
    gain = 10 ** ((mix.session.headroom_db or 0) / 20)
    stem = mix.stems[ORIGINAL]
    torch.testing.assert_close(sum(mix.stems.values()), mix.sound)
    wanted = 0.1 * 10 ** (-6 / 20) * gain
    assert float(stem[:, RATE_HZ : 2 * RATE_HZ].abs().max()) == pytest.approx(wanted, rel=0.1)
    assert stem.shape == mix.sound.shape
    assert float(stem[:, round(3.1 * RATE_HZ) :].abs().max()) < 1e-3
    assert ORIGINAL not in mixed(with_sound.keep_original(None)).stems
    with pytest.raises(InputError, match="99"):
        with_sound.keep_original(99.0)
    with pytest.raises(InputError, match="name"):
        Track(ORIGINAL).check()


def test_settings_act_on_what_is_generated_from_then_on(work):
    configured = work.configure(n_steps=3, level_match_db=0.0)
    assert configured.session.settings["n_steps"] == 3
    again = configured.generate(None, [1])
    assert not torch.equal(sound_of(again), sound_of(work))
    back = again.configure(n_steps=None, level_match_db=None).generate(None, [1])
    assert torch.equal(sound_of(back), sound_of(work))
    for wrong in ({"n_steps": 0}, {"control_strength": 11.0}, {"cfg_scale": -1.0}):
        with pytest.raises(InputError):
            work.configure(**wrong)


def test_the_commands_do_the_same_and_refuse_in_one_sentence(tmp_path, video, capsys):
    folder, table = tmp_path / "session", tmp_path / "hits.csv"
    table.write_text("time_s,level,decay_s\n0.4,0.1,0.05\n2.0,0.1,0.05\n")

    def run(*words):
        command.main([str(word) for word in words])
        return capsys.readouterr().out

    shown = run("new", folder, "--video", video, "--envelope", table, "--prompt", "hitting wood", "--device", "cpu")
    assert "* take 1: seed 0" in shown
    assert "* take 2" in run("edit", folder, "--move", "2.0", "2.2")
    assert json.loads((folder / FILE).read_text())["tracks"][0]["takes"][1]["origin"]["edits"] == [
        "--move",
        "2.0",
        "2.2",
    ]
    assert "track low" in run(
        "split", folder, "--name", "low", "--hits", "2.2", "--prompt", "hitting cloth", "--pan", "-0.5"
    )
    assert "muted" in run("set", folder, "--track", "low", "--mute")
    run("add", folder, "--name", "third", "--envelope", table)
    assert "third" not in run("remove", folder, "--track", "third")
    times_s = [float(line.split(",")[0]) for line in run("show", folder).splitlines() if line[:1].isdigit()]
    assert times_s == pytest.approx([0.4, 2.2], abs=0.005)
    run("export", folder, "--output-dir", tmp_path / "out")
    assert (tmp_path / "out" / "film.main.wav").is_file()
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    for words, named in (
        (("edit", folder, "--track", "main", "--move", "1.0", "1.1"), "1"),
        (("redo", folder, "3", "9", "--track", "main"), "9"),
        (("keep", folder, "7", "--track", "main"), "7"),
        (("generate", folder), "--track"),
        (("show", tmp_path / "none"), "none"),
        (("show", folder, "--track", "high"), "high"),
        (("new", folder, "--video", video), "not empty"),
        (("export", folder, "--output-dir", folder / "out"), "within the session"),
        (("set", folder, "--track", "low", "--pan", "2"), "2"),
        (("original", folder, "loud"), "loud"),
        (("original", folder, "0"), "no sound"),
        (("remove", folder, "--track", "high"), "high"),
        (("export", folder, "--output-dir", tmp_path / "out"), "film."),
        (("export", folder, "--output-dir", video.parent, "--overwrite"), "film.mp4"),
    ):
        with pytest.raises(SystemExit) as caught:
            run(*words)
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert caught.value.code == 2
        assert error.startswith("error: ")
        assert named in error
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before


def test_infer_keeps_a_sound_in_a_session_and_writes_its_export(tmp_path, video, pipeline, caplog):
    table = tmp_path / "hits.csv"
    table.write_text("time_s,level,decay_s\n0.4,0.1,0.05\n2.0,0.1,0.05\n")
    words = ["--video", video, "--envelope", table, "--device", "cpu", "--output-dir", tmp_path / "out"]

    def run(*more):
        return infer.main([str(word) for word in [*words, "--session", tmp_path / "session", *more]])

    with pytest.raises(SystemExit) as caught:
        run("--loudness", "-20")
    assert caught.value.code == 2
    assert not (tmp_path / "session").exists()
    assert run("--num-samples", "2", "--seed", "4") == 0
    work = Workshop(SessionFolder.open(tmp_path / "session"), pipeline)
    track = work.session.track(None)
    assert [take.seed for take in track.takes] == [4, 5]
    heard = read_sound(tmp_path / "out" / "film.wav", sample_rate_hz=RATE_HZ)
    torch.testing.assert_close(heard, mixed(work).sound, rtol=0, atol=2**-23)
