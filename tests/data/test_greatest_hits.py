import json
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from common.errors import InputError
from data.greatest_hits import Hit, find_recordings, label_of, list_clips, read_hits, split_ids, write_hits

CERAMIC = Hit(2.5, "ceramic", "hit", "static")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def write_processed(root: Path, clip_id: str, duration_s: float, metadata: str | None = None) -> None:
    folder = root / clip_id
    (folder / "audio").mkdir(parents=True)
    wave = np.zeros((round(duration_s * 8000), 2))
    soundfile.write(folder / "audio" / f"{clip_id}.resampled.wav", wave, 8000)
    write(folder / f"{clip_id}.times.csv", "0.5,wood hit static\n")
    if metadata is not None:
        write(folder / f"{clip_id}.metadata.json", metadata)


def write_video(path: Path, *, sound: bool = True) -> None:
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height = 64, 48
        audio = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for _ in range(20):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
        container.mux(video.encode())
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 32000), np.float32), "fltp", "mono")
            frame.sample_rate = 16000
            container.mux(audio.encode(frame))
            container.mux(audio.encode())


@pytest.mark.parametrize(
    "text",
    [
        "2.5 ceramic hit static\n5.25 None None None\n",
        "5.25\tNone None None\n\n2.5\tceramic hit static",
        "2.5,ceramic hit static\n5.25,None None None\n",
        "time,material action reaction\r\n2.5,ceramic hit static\r\n5.25,None None None\r\n",
        "\ufefftime,material,action,reaction\n2.5,ceramic,hit,static\n5.25,None,None,None\n",
    ],
)
def test_every_spelling_of_an_annotation_is_read_alike(tmp_path: Path, text: str) -> None:
    assert read_hits(write(tmp_path / "a.txt", text)) == (CERAMIC, Hit(5.25, None, None, None))


def test_empty_annotation_has_no_hits(tmp_path: Path) -> None:
    assert read_hits(write(tmp_path / "a.txt", "\n")) == ()


@pytest.mark.parametrize(
    "line", ["3.0 wood hit", "3.0", "soon wood hit static", "-1 wood hit static", "nan wood hit static", "1 a b c d"]
)
def test_line_that_is_not_understood_is_named(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "a_times.txt", f"2.5 ceramic hit static\n\n{line}\n")
    with pytest.raises(InputError, match=r"a_times\.txt, line 3, .*correct the line"):
        read_hits(path)


def test_unreadable_annotation_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00\x81")
    for name in ("a.txt", "absent.txt"):
        with pytest.raises(InputError, match=name):
            read_hits(tmp_path / name)


def test_unknown_word_is_kept_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hits = read_hits(write(tmp_path / "a.txt", "1 marble hit static\n2 None None None\n"))
    assert hits[0].material == "marble"
    assert [record.args[1] for record in caplog.records] == ["marble"]


@pytest.mark.parametrize("material", ["=1+1", "'=1", "@x", "-", "marble", None])
def test_hits_are_written_for_spreadsheets_and_read_back(tmp_path, material):
    hits = (CERAMIC, Hit(5.25, material, "hit", "static"))
    write_hits(tmp_path / "a.times.csv", hits)
    assert read_hits(tmp_path / "a.times.csv") == hits
    lines = (tmp_path / "a.times.csv").read_text(encoding="utf-8").splitlines()
    assert all(line.split(",")[1][0] not in "=+-@" for line in lines)


@pytest.mark.parametrize(
    ("pairs", "label"),
    [
        ([], ""),
        ([(None, None)], ""),
        ([("ceramic", "hit")], "hitting ceramic with a drumstick"),
        ([("plastic-bag", "scratch"), (None, None), (None, None)], "scratching plastic bag with a drumstick"),
        ([("wood", "scratch"), ("wood", "hit"), ("rock", "hit"), ("rock", "hit")], "hitting rock with a drumstick"),
        ([("wood", "hit"), ("rock", "hit")], "hitting wood with a drumstick"),
        ([("water", None)], "touching water with a drumstick"),
        ([(None, "hit")], "hitting something with a drumstick"),
    ],
)
def test_label_is_the_most_frequent_pair(pairs: list[tuple[str | None, str | None]], label: str) -> None:
    assert label_of([Hit(float(i), *pair, None) for i, pair in enumerate(pairs)]) == label


def test_processed_layout(tmp_path: Path) -> None:
    metadata = {"original": {}, "processed": {"video_duration": 3.5, "video_frame_rate": 8}}
    write_processed(tmp_path, "b", 2.0, json.dumps(metadata))
    write_processed(tmp_path, "a", 2.0)
    (tmp_path / "b" / "frames").mkdir()
    (tmp_path / "not a clip").mkdir()
    a, b = list_clips(tmp_path)
    assert (a.clip_id, a.duration_s, a.frames_rate_hz, a.frames_dir, a.video_path) == ("a", 2.0, 4.0, None, None)
    assert (b.clip_id, b.duration_s, b.frames_rate_hz, b.frames_dir) == ("b", 3.5, 8.0, tmp_path / "b" / "frames")
    assert a.sound_path.name == "a.resampled.wav"
    assert a.hits == (Hit(0.5, "wood", "hit", "static"),)


def test_split_chooses_and_orders(tmp_path: Path) -> None:
    for clip_id in ("a", "b", "c d"):
        write_processed(tmp_path, clip_id, 1.0)
    write(tmp_path / "train.txt", "c d\r\na\r\n\r\n")
    assert [clip.clip_id for clip in list_clips(tmp_path, "train")] == ["c d", "a"]


def test_split_that_names_a_clip_twice_is_refused(tmp_path: Path) -> None:
    write_processed(tmp_path, "a", 1.0)
    write(tmp_path / "train.txt", "a\na\n")
    with pytest.raises(InputError, match=r"train\.txt names 'a' twice"):
        list_clips(tmp_path, "train")


@pytest.mark.parametrize(
    "names",
    [
        ("a.mov", "a.mp4"),
        ("a.mp4", "a_mic.mp4"),
        ("a.mp4", "a_denoised.mp4"),
        ("a_mic.MP4", "a_mic.mp4"),
        ("a_denoised.mp4", "a_mic.mov", "a_mic.mp4"),
    ],
)
def test_two_files_of_one_recording_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="'a'") as caught:
        find_recordings(tmp_path)
    assert all(str(tmp_path / name) in str(caught.value) for name in names)


def test_a_recording_that_is_processed_already_is_refused_beside_its_video(tmp_path: Path) -> None:
    write_processed(tmp_path, "a", 1.0)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(InputError, match="same recording"):
        list_clips(tmp_path)


def test_recordings_are_found_by_their_names(tmp_path: Path) -> None:
    for name in ("x_mic.mp4", "x_denoised.mp4", "Été 1.b.MOV", "notes.txt", ".hidden.mp4", "x_times.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "absent.mp4")
    found = {clip_id: path.name for clip_id, path in find_recordings(tmp_path).items()}
    assert found == {"gone": "gone.mp4", "x": "x_denoised.mp4", "Été 1.b": "Été 1.b.MOV"}


def test_raw_layout(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("x_mic", "x_denoised", "y_mic", "any video"):
        write_video(tmp_path / f"{name}.mp4")
    write_video(tmp_path / "silent.MP4", sound=False)
    write(tmp_path / "x_times.txt", "2.5 ceramic hit static")
    write(tmp_path / "._x.mp4", "left by another system")
    clips = {clip.clip_id: clip for clip in list_clips(tmp_path)}
    assert sorted(clips) == ["any video", "x", "y"]
    assert clips["x"].video_path == clips["x"].sound_path == tmp_path / "x_denoised.mp4"
    assert clips["x"].hits == (CERAMIC,)
    assert clips["y"].hits == ()
    assert clips["y"].duration_s == pytest.approx(2.0, abs=0.1)
    assert "silent.MP4" in caplog.text


def test_faults_of_a_data_set_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent is not a folder"):
        list_clips(tmp_path / "absent")
    with pytest.raises(InputError, match="holds neither videos nor clips"):
        list_clips(tmp_path)
    write_video(tmp_path / "silent.mp4", sound=False)
    with pytest.raises(InputError, match=r"no recording of .* has sound"):
        list_clips(tmp_path)
    write_processed(tmp_path, "a", 1.0)
    with pytest.raises(InputError, match=r"holdout\.txt is not there"):
        list_clips(tmp_path, "holdout")
    write(tmp_path / "val.txt", " \n")
    with pytest.raises(InputError, match=r"val\.txt is empty"):
        list_clips(tmp_path, "val")
    write(tmp_path / "val.txt", "a\ngone\n")
    with pytest.raises(InputError, match=r"1 of the 2 clips of split 'val' .* 'gone'"):
        list_clips(tmp_path, "val")


@pytest.mark.parametrize("metadata", ["{", "{}", '{"processed": {"video_duration": -1}}', '{"processed": 1}', "[]"])
def test_broken_metadata_is_named(tmp_path: Path, metadata: str) -> None:
    write_processed(tmp_path, "a", 1.0, metadata)
    with pytest.raises(InputError, match=r"a\.metadata\.json .*process the clip again"):
        list_clips(tmp_path)


def test_split_has_the_published_shares() -> None:
    ids = [f"clip {i}" for i in range(977)]
    parts = split_ids(ids)
    assert [len(parts[name]) for name in ("train", "val", "test")] == [684, 98, 195]
    assert sorted(parts["train"] + parts["val"] + parts["test"]) == sorted(ids)
    assert split_ids(ids[::-1] + ids[:5]) == parts
    assert split_ids(ids, seed=43) != parts
    assert split_ids([], fractions=(0.5, 0.5, 0.0)) == {"train": [], "val": [], "test": []}


@pytest.mark.parametrize("fractions", [(0.7, 0.1, 0.1), (1.2, -0.4, 0.2)])
def test_split_fractions_must_add_up(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="do not add up to 1"):
        split_ids(["a"], fractions=fractions)


@pytest.mark.real
def test_real_clip(shared: Path) -> None:
    (clip,) = list_clips(shared / "real" / "greatest_hits_processed", "test")
    assert (clip.clip_id, clip.duration_s, clip.frames_rate_hz) == ("2015-02-16-16-49-06_000s", 10.0, 4.0)
    assert len(clip.hits) == 8
    assert clip.hits[0] == Hit(2.677438, "ceramic", "hit", "static")
    assert clip.hits[3] == Hit(5.624458, None, None, None)
    assert label_of(clip.hits) == "hitting ceramic with a drumstick"


@pytest.mark.real
def test_real_folder_of_videos(shared: Path) -> None:
    clips = {clip.clip_id: clip for clip in list_clips(shared / "real" / "videos")}
    assert sorted(clips) == ["drum", "hitting_bag"]
    assert clips["hitting_bag"].duration_s == pytest.approx(6.0, abs=0.1)


def test_without_split_files_the_seeded_split_is_taken(tmp_path):
    ids = [f"clip{i}" for i in range(10)]
    for clip_id in ids:
        write_processed(tmp_path, clip_id, 1.0)
    parts = {name: [clip.clip_id for clip in list_clips(tmp_path, name)] for name in ("train", "val", "test")}
    assert parts == split_ids(ids)
    assert [len(part) for part in parts.values()] == [7, 1, 2]
    (tmp_path / "test.txt").write_text("clip3\n")
    with pytest.raises(InputError, match=r"dataset\.train_split=test"):
        list_clips(tmp_path, "train")
    with pytest.raises(InputError, match=r"dataset\.val_split=test"):
        list_clips(tmp_path, "val")
