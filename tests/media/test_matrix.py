"""Videos of many codecs, containers and odd properties, and what becomes of each when it gets new sound."""

import cv2
import numpy as np
import pytest
from av.stream import Disposition

from media.container import opened
from media.muxing import mux, plan_mux
from media.probe import probe
from media.reading import read_sound
from tests.media.clips import click, peak_s
from tests.media.sources import RATE_HZ, SOURCES, TEXT, N, jpeg, make, shown, sounds_of, texts_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")

    def get(name):
        path = folder / (name.replace(" ", "_") + SOURCES[name].suffix)
        return path if path.exists() else make(path, SOURCES[name])

    return get


@pytest.mark.parametrize("name", SOURCES)
def test_what_becomes_of_a_video(tmp_path, made, name):
    source, path = SOURCES[name], made(name)
    plan = plan_mux(path)
    assert (plan.suffix, plan.codec) == (source.expected, source.way), plan
    out = tmp_path / f"out{plan.suffix}"
    duration_s = probe(path).duration_s
    wave = click(duration_s, 0.5)
    assert mux(path, wave, RATE_HZ, out, plan) == plan

    (before, form), (after, form_after) = shown(path), shown(out)
    tolerance_s = 0.001 if plan.suffix == ".mkv" else 5e-5
    assert len(after) == len(before) == len(source.times)
    assert [float(time) for time, _ in after] == pytest.approx([float(time) for time, _ in before], abs=tolerance_s)
    if plan.codec == "copy":
        assert [digest for _, digest in after] == [digest for _, digest in before]
        assert form_after == form
    assert probe(out).duration_s == pytest.approx(duration_s, abs=tolerance_s)
    assert probe(out).rotation_deg == probe(path).rotation_deg == (source.rotation or 0)

    read = read_sound(out, sample_rate_hz=RATE_HZ, n_channels=1)
    more = read.shape[1] - round(duration_s * RATE_HZ)
    assert (0 <= more < 1024 + 45) if plan.suffix == ".mkv" else more == 0
    assert peak_s(read) == pytest.approx(0.5, abs=0.002)
    check_tracks(path, out, source, plan)


def check_tracks(path, out, source, plan):
    before, after = sounds_of(path), sounds_of(out)
    assert after[0][0] == "aac"
    assert len(after) == max(1, len(before))
    for (codec, language, content), (codec_after, language_after, content_after) in zip(
        before[1:], after[1:], strict=True
    ):
        assert language_after in ((language,) if language else (None, "und"))
        if not any("sound track 2" in phrase for phrase in plan.lost):
            assert codec_after == codec
            assert path.suffix == ".ts" or b"".join(content_after) == b"".join(content)
    if source.subtitles:
        language, lines = texts_of(out)
        assert language == "ita"
        assert [line for _, line in lines] == list(TEXT)
        assert [time for time, _ in lines] == [time for time, _ in texts_of(path)[1]]
    with opened(path) as one, opened(out) as other:
        if source.suffix in (".mp4", ".mov", ".mkv"):
            assert other.metadata["title"] == "strikes"
        assert [(c["start"] * c["time_base"], c["metadata"]) for c in other.chapters()] == [
            (c["start"] * c["time_base"], c["metadata"]) for c in one.chapters()
        ]
        if source.timecode:
            assert other.streams.video[0].metadata["timecode"] == source.timecode
        covers = [s for s in other.streams.video if s.disposition & Disposition.attached_pic]
        assert len(covers) == source.cover
        if covers:
            assert bytes(next(other.demux(covers[0]))) == jpeg()
    assert [name for name in plan.lost if "cover" in name or "subtitle" in name] == []


@pytest.mark.parametrize("name", ["turned, two sounds, chapters", "late picture", "MPEG-4 in AVI", "HDR"])
def test_another_reader_sees_the_same_pictures(tmp_path, made, name):
    path, out = made(name), tmp_path / f"out{SOURCES[name].expected}"
    mux(path, click(0.8, 0.5), RATE_HZ, out)
    films = []
    for each in (path, out):
        film = cv2.VideoCapture(str(each))
        frames = []
        while (frame := film.read())[0]:
            frames.append(frame[1])
        films.append(frames)
    assert len(films[0]) == len(films[1]) == N
    assert all(np.array_equal(a, b) for a, b in zip(*films, strict=True))
