"""Which files are paired, in which layouts, and what has no partner."""

from pathlib import Path

import pytest

from common.errors import InputError
from evaluation.folders import name_systems, pair_folders


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def pair(tmp_path, **kwargs):
    clips = pair_folders(tmp_path / "real", {"made": tmp_path / "made"}, **kwargs)
    return {clip.clip_id: clip for clip in clips}


def test_names_without_suffix_are_paired_and_the_others_kept(tmp_path):
    real = touch(tmp_path / "real", "a.wav", "b.flac", "c.mp4", "d.wav", "notes.txt", ".hidden.wav")
    made = touch(tmp_path / "made", "a.WAV", "b.wav", "c.wav", "e.wav", "a.envelope.csv", "a.json", "sub/x.wav")
    clips = pair(tmp_path)
    assert list(clips) == ["a", "b", "c", "d", "e"]
    assert clips["a"].generated["made"].path == made / "a.WAV"
    assert clips["c"].reference.path == real / "c.mp4"
    assert clips["d"].generated == {}
    assert clips["e"].reference is None


def test_sounds_are_taken_before_videos_and_the_rest_is_named(tmp_path):
    touch(tmp_path / "real", "a.mp4", "a.flac", "a.wav")
    touch(tmp_path / "made", "a.mp4", "a.wav")
    clip = pair(tmp_path)["a"]
    assert clip.reference.path.name == "a.wav"
    assert clip.reference.unread == ("a.flac",)
    assert clip.generated["made"].path.name == "a.wav"
    assert clip.generated["made"].unread == ()


def test_greatest_hits_raw_and_processed(tmp_path):
    touch(tmp_path / "real", "1_mic.mp4", "1_times.txt", "2/audio/2.resampled.wav", "2/2.times.csv", "3_mic.mp4")
    touch(tmp_path / "made", "1.wav", "2.wav", "3_mic.wav", "3.wav")
    clips = pair(tmp_path)
    assert clips["1_mic"].annotation == tmp_path / "real" / "1_times.txt"
    assert clips["1_mic"].generated["made"].path.name == "1.wav"
    assert clips["2"].reference.path == tmp_path / "real" / "2" / "audio" / "2.resampled.wav"
    assert clips["2"].annotation == tmp_path / "real" / "2" / "2.times.csv"
    assert clips["3_mic"].generated["made"].path.name == "3_mic.wav"
    assert clips["3_mic"].annotation is None
    assert clips["3"].reference is None


def test_both_recordings_of_one_video_stay_apart(tmp_path):
    touch(tmp_path / "real", "1_mic.wav", "1_denoised.wav")
    touch(tmp_path / "made", "1_mic.wav", "1_denoised.wav")
    clips = pair(tmp_path)
    assert all(clip.reference and clip.generated for clip in clips.values())
    assert len(clips) == 2


@pytest.mark.parametrize("name", ["a.times.csv", "a_times.txt", "a/a.times.csv", "a.csv", "a.txt"])
def test_annotations_lie_in_a_folder_of_their_own(tmp_path, name):
    touch(tmp_path / "real", "a.wav", "a_times.txt")
    touch(tmp_path / "made", "a.wav")
    given = touch(tmp_path / "hits", name)
    assert pair(tmp_path, annotations=given)["a"].annotation == given / name


def test_systems_are_named_apart():
    assert list(name_systems([Path("x/a"), Path("x/b")])) == ["a", "b"]
    assert list(name_systems([Path("x/a"), Path("y/a"), Path("y/b")])) == ["x/a", "y/a", "y/b"]
    with pytest.raises(InputError, match="twice"):
        name_systems([Path("x/a"), Path("x/../x/a")])


def test_what_cannot_be_paired_is_refused(tmp_path):
    touch(tmp_path / "real", "a.wav")
    touch(tmp_path / "made", "b.wav")
    with pytest.raises(InputError, match="has the name of one"):
        pair(tmp_path)
    with pytest.raises(InputError, match="neither sounds nor videos"):
        pair_folders(tmp_path / "real", {"made": touch(tmp_path / "none", "a.txt")})
    with pytest.raises(InputError, match="is not a folder"):
        pair_folders(tmp_path / "nowhere", {"made": tmp_path / "made"})
    with pytest.raises(InputError, match="--annotations"):
        pair(tmp_path, annotations=tmp_path / "nowhere")
