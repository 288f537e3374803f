"""Recordings played at hits: chosen by level, to the sample, at the level of the hit, and only where they belong."""

import json
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch

import infer
from common.errors import InputError
from hits.find import find_hits
from media.envelope import fine_envelope
from media.writing import write_sound
from tests.hits.test_level import hits
from tests.test_infer import run
from video2audio import FoleyPipeline
from video2audio.samples import SampleLibrary, find_recordings, layered, level_of

RATE_HZ = 44_100


def burst(level, *, seed=0, lead_s=0.0, decay_s=0.03, duration_s=0.3, rate_hz=RATE_HZ, n_channels=1):
    """A decaying noise after some silence; its highest level in windows of 32 ms is about the one given."""
    time_s = torch.arange(round(duration_s * rate_hz)) / rate_hz
    noise = torch.randn(n_channels, len(time_s), generator=torch.Generator().manual_seed(seed))
    noise[:, 0] = 3.0  # a contact that is sure to be heard
    sound = noise * torch.exp(-time_s / decay_s)
    sound *= level / level_of(sound, rate_hz)
    return torch.nn.functional.pad(sound, (round(lead_s * rate_hz), 0))


@pytest.fixture
def folder(tmp_path):
    """Two soft, two middling and two loud recordings, in two folders; one at 48 kHz, one in stereo."""
    for number, level in enumerate([0.01, 0.012, 0.05, 0.06, 0.3, 0.25]):
        rate_hz, n_channels = 48_000 if number == 1 else RATE_HZ, 2 if number == 3 else 1
        sound = burst(level, seed=number, lead_s=0.01 * number, rate_hz=rate_hz, n_channels=n_channels)
        place = tmp_path / "library" / ("soft" if number < 2 else "")
        write_sound(place / f"hit_{number}.wav", sound, rate_hz, 32)
    (tmp_path / "library" / "notes.txt").write_text("no sound")
    (tmp_path / "library" / ".hidden.wav").write_text("no sound")
    return tmp_path / "library"


def names(recordings):
    return [recording.path.stem[-1] for recording in recordings]


def test_recordings_lie_in_layers_of_rising_level(folder):
    library = SampleLibrary.read(folder, RATE_HZ)
    assert [sorted(names(layer)) for layer in library.layers] == [["0", "1"], ["2", "3"], ["4", "5"]]
    chosen = names(library.choose([0.001, 0.02, 0.055, 0.2, 1.0], seed=0))
    assert [number in layer for number, layer in zip(chosen, ["01", "01", "23", "45", "45"], strict=True)] == [True] * 5


def test_one_alone_joins_the_layer_next_to_it(folder):
    recordings = [recording for layer in SampleLibrary.read(folder, RATE_HZ).layers for recording in layer]
    by_name = dict(zip(names(recordings), recordings, strict=True))
    assert [names(layer) for layer in layered([by_name[name] for name in "0124"])] == [["0", "1"], ["2", "4"]]
    assert [names(layer) for layer in layered([by_name["2"], by_name["4"]])] == [["2", "4"]]
    assert [names(layer) for layer in layered([by_name["5"]])] == [["5"]]


@pytest.mark.parametrize("seed", range(5))
def test_each_round_plays_all_and_none_twice_in_succession(tmp_path, seed):
    for number in range(5):
        write_sound(tmp_path / f"hit_{number}.wav", burst(0.1, seed=number), RATE_HZ)
    library = SampleLibrary.read(tmp_path, RATE_HZ)
    chosen = names(library.choose([0.1] * 40, seed))
    assert all(before != after for before, after in pairwise(chosen))
    assert all(Counter(chosen[i : i + 5]) == Counter("01234") for i in range(0, 40, 5))
    assert chosen == names(library.choose([0.1] * 40, seed))
    assert chosen != names(library.choose([0.1] * 40, seed + 1))


def test_a_recording_is_struck_on_the_sample_of_its_hit_and_rings_on(tmp_path):
    sound = burst(0.1, lead_s=0.0123, duration_s=0.5, decay_s=0.2)
    write_sound(tmp_path / "hit.wav", sound, RATE_HZ, 32)
    library = SampleLibrary.read(tmp_path, RATE_HZ)
    wanted = hits((0.7, 0.05, 0.1), (0.9, 0.2, 0.1))
    played = library.play(wanted, library.choose([0.05, 0.2], 0), 2 * RATE_HZ)
    expected = torch.zeros(2 * RATE_HZ)
    own_level = level_of(sound, RATE_HZ)
    assert own_level == pytest.approx(0.1, rel=0.01)
    for time_s, gain in ((0.7, 0.05 / own_level), (0.9, 0.2 / own_level)):
        start = round(time_s * RATE_HZ) - round(0.0123 * RATE_HZ)
        expected[start : start + sound.shape[1]] += gain * sound[0]
    torch.testing.assert_close(played, expected.expand(2, -1), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("own_rate_hz", [44_100, 48_000, 22_050, 96_000])
def test_resampling_keeps_the_contact_in_its_place(tmp_path, own_rate_hz):
    click = torch.zeros(1, own_rate_hz // 2)
    click[0, own_rate_hz // 10] = 0.9
    write_sound(tmp_path / "click.wav", click, own_rate_hz, 32)
    library = SampleLibrary.read(tmp_path, RATE_HZ)
    played = library.play(hits((0.25, 0.01, 0.05)), library.choose([0.01], 0), RATE_HZ)
    assert int(played[0].abs().argmax()) == round(0.25 * RATE_HZ)


def test_the_level_is_that_of_the_hit_and_channels_stay(folder):
    library = SampleLibrary.read(folder, RATE_HZ)
    rows = [(0.5, 0.4, 0.03), (1.5, 0.055, 0.03), (2.5, 0.016, 0.03), (3.5, 0.06, 0.03)]
    wanted = hits(*rows)
    recordings = library.choose(wanted.rms.tolist(), 3)
    played = library.play(wanted, recordings, 4 * RATE_HZ)
    for (time_s, level, _), recording in zip(rows, recordings, strict=True):
        part = played[:, round((time_s - 0.3) * RATE_HZ) : round((time_s + 0.4) * RATE_HZ)]
        assert level_of(part, RATE_HZ) == pytest.approx(level, rel=0.001)
        is_stereo = recording.path.stem == "hit_3"
        assert torch.equal(part[0], part[1]) != is_stereo
    assert "3" in names(recordings)
    found = find_hits(fine_envelope(played, RATE_HZ))
    torch.testing.assert_close(found.times_s, wanted.times_s, atol=0.005, rtol=0)
    torch.testing.assert_close(found.rms, wanted.rms, rtol=0.12, atol=0)


def test_what_is_outside_is_cut_off(folder):
    library = SampleLibrary.read(folder, RATE_HZ)
    wanted = hits((-5.0, 0.1, 0.1), (-0.05, 0.1, 0.1), (0.99, 0.1, 0.1), (7.0, 0.1, 0.1))
    played = library.play(wanted, library.choose(wanted.rms.tolist(), 0), RATE_HZ)
    assert played.shape == (2, RATE_HZ)
    assert played[:, :1000].any()
    assert played[:, -300:].any()
    assert not played[:, RATE_HZ // 2 : RATE_HZ // 2 + 1000].any()


def unreadable(tmp_path, kind):
    folder = tmp_path / "library"
    if kind == "absent":
        return folder
    folder.mkdir()
    if kind == "a file":
        return tmp_path / "library" / "x.wav"
    if kind == "broken":
        (folder / "broken.wav").write_bytes(b"RIFF and nothing more")
    if kind == "silent":
        write_sound(folder / "silent.wav", torch.zeros(1, RATE_HZ), RATE_HZ)
    if kind == "cancels":
        sound = burst(0.1)
        write_sound(folder / "cancels.wav", torch.cat([sound, -sound]), RATE_HZ)
    return folder


@pytest.mark.parametrize(
    ("kind", "named"),
    [("absent", "library"), ("a file", "x.wav"), ("empty", "library"), ("broken", "broken.wav"),
     ("silent", "silent.wav"), ("cancels", "cancels.wav")],
)  # fmt: skip
def test_folders_that_cannot_be_played_are_refused(tmp_path, kind, named):
    with pytest.raises(InputError, match=re.escape(named)):
        SampleLibrary.read(unreadable(tmp_path, kind), RATE_HZ)


def test_hidden_files_and_other_files_do_not_count(folder):
    assert [path.name for path in find_recordings(folder)] == [f"hit_{i}.wav" for i in (2, 3, 4, 5, 0, 1)]


TABLE = "time_s,level,decay_s\n0.5,0.3,0.05\n1.2,0.05,0.05\n2,0,0.1\n2.6,0.25,0.1\n"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "hits.csv"
    path.write_text(TABLE)
    return path


def sampled(inference_folder, folder, out, table, *options):
    """Run infer.py with recordings; return the sound (N, C) and the record."""
    files = ["--video", inference_folder / "video.mp4", "--envelope", table, "--sampler-dir", folder]
    infer.main([*map(str, files), "--output-dir", str(out), *options])
    return soundfile.read(out / "video.wav")[0], json.loads((out / "video.json").read_text())


def test_recordings_replace_the_generated_sound_without_a_model(inference_folder, folder, table, tmp_path, monkeypatch):
    monkeypatch.setattr(FoleyPipeline, "from_checkpoint", None)
    sound, record = sampled(inference_folder, folder, tmp_path / "a", table, "--sample-rate", "48000")
    assert sound.shape == (3 * 48_000, 2)
    assert [time_s for time_s, _ in record["played"]] == [0.5, 1.2, 2.6]
    library = SampleLibrary.read(folder, 48_000)
    wanted = hits((0.5, 0.3, 0.05), (1.2, 0.05, 0.05), (2.6, 0.25, 0.1))
    chosen = library.choose(wanted.rms.double().tolist(), 0)
    assert [name for _, name in record["played"]] == [str(recording.path) for recording in chosen]
    expected = library.play(wanted, chosen, 3 * 48_000).numpy().T
    quiet = slice(round(1.1 * 48_000), round(1.6 * 48_000))  # no limiter there
    np.testing.assert_allclose(sound[quiet], expected[quiet], atol=2e-6)
    again, _ = sampled(inference_folder, folder, tmp_path / "b", table, "--sample-rate", "48000")
    np.testing.assert_array_equal(sound, again)
    other, _ = sampled(inference_folder, folder, tmp_path / "c", table, "--seed", "1")
    assert other.shape[0] == 3 * RATE_HZ


def test_a_section_plays_what_the_whole_plays_there(inference_folder, folder, table, tmp_path):
    whole, _ = sampled(inference_folder, folder, tmp_path / "a", table, "--peaks", "clip")
    part, _ = sampled(inference_folder, folder, tmp_path / "b", table, "--peaks", "clip", "--start", "1")
    inside = slice(100, -1000)  # between the fades
    np.testing.assert_allclose(part[inside], whole[RATE_HZ:][inside], atol=1e-6)


def test_recordings_are_mixed_with_the_generated_sound(inference_folder, folder, table, tmp_path):
    options = ["--peaks", "clip", "--bit-depth", "32"]
    alone, _ = sampled(inference_folder, folder, tmp_path / "a", table, *options)
    run(inference_folder, tmp_path / "b", *options, envelope=table)
    generated = soundfile.read(tmp_path / "b" / "video.wav")[0]
    mix = ["--sampler-mix", "-6", "--checkpoint", str(inference_folder / "model.safetensors"), "--steps", "2"]
    mixed, record = sampled(inference_folder, folder, tmp_path / "c", table, *options, *mix)
    np.testing.assert_allclose(mixed, generated + 10 ** (-6 / 20) * alone, atol=1e-5)
    assert record["sampler_gain_db"] == -6


def test_changed_recordings_make_a_new_result(inference_folder, folder, table, tmp_path, caplog):
    first, _ = sampled(inference_folder, folder, tmp_path / "a", table)
    write_sound(folder / "hit_4.wav", burst(0.3, seed=99), RATE_HZ)
    write_sound(folder / "hit_5.wav", burst(0.3, seed=98), RATE_HZ)
    second, _ = sampled(inference_folder, folder, tmp_path / "a", table)
    assert not np.array_equal(first, second)


def test_without_an_envelope_the_hits_are_predicted(inference_folder, folder, tmp_path):
    video = inference_folder / "silent.mp4"
    result = FoleyPipeline.of_recordings()(video, sampler_dir=folder)
    assert result.settings is None
    assert result.sound.shape == (2, 3 * RATE_HZ)
    assert [time_s for time_s, _ in result.played] == pytest.approx(result.onsets_s.tolist())
    with pytest.raises(InputError, match=r"silent\.mp4"):
        FoleyPipeline.of_recordings()(video)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--prompt", "wood"], "--prompt"),
        (["--cfg", "2"], "--cfg"),
        (["--steps", "3"], "--steps"),
        (["--control-strength", "2"], "--control-strength"),
        (["--set", "backbone=mini"], "--set"),
        (["--checkpoint", "model.safetensors"], "--checkpoint"),
        (["--sampler-mix", "70"], "70"),
        (["--output-dir", "INSIDE"], "--output-dir"),
    ],
)
def test_options_that_would_do_nothing_are_refused(inference_folder, folder, table, tmp_path, capsys, options, named):
    words = [str(folder / "out") if word == "INSIDE" else word for word in options]
    with pytest.raises(SystemExit) as stopped:
        sampled(inference_folder, folder, tmp_path / "out", table, *words)
    assert stopped.value.code == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not (folder / "out").exists()


def test_a_broken_recording_is_told_before_anything_is_written(inference_folder, folder, table, tmp_path, capsys):
    (folder / "broken.flac").write_bytes(b"fLaC" + bytes(100))
    with pytest.raises(SystemExit):
        sampled(inference_folder, folder, tmp_path / "out", table)
    assert "broken.flac" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        run(inference_folder, tmp_path / "out", "--sampler-mix", "-3")
    assert "--sampler-dir" in capsys.readouterr().err
