"""Chunks of recordings as training material: which frame stands where, how late it is, and what is heard."""

import numpy as np
import pytest
import torch

from common.errors import InputError
from media.clip import ClipSpec
from media.envelope import fine_envelope
from media.reading import read_sound
from tests.conftest import tone_clip
from tests.media.clips import UNEVEN_S, click, make_video, numbers
from video2rms.batch import collate_undamaged_videos, collate_videos
from video2rms.datamodule import RecordingModule
from video2rms.recordings import RecordingDataset

SPEC = ClipSpec(1.0, 44_100, 2, frame_rate_hz=30.0, frame_size_px=(64, 48))


def video(folder, name="a_mic.mp4", sound=None, **settings):
    folder.mkdir(exist_ok=True)
    return make_video(folder / name, sound=click(2.4, 0.5) if sound is None else sound, **settings)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    wave = 0.4 * click(2.4, 0.5) + 0.8 * click(2.4, 1.25)
    video(folder, sound=wave)
    (folder / "a_times.txt").write_text("0.5 wood hit static\n1.25 metal hit None\n")
    return folder


def test_every_grid_time_shows_the_nearest_frame_with_its_lateness(root):
    items = [RecordingDataset(root, None, SPEC)[i] for i in range(2)]
    for start_s, item in enumerate(items):
        times_s, stamps_s = start_s + np.arange(30) / 30, np.arange(60) / 25
        shown = numbers(item.frames)
        distance_s = np.abs(times_s[:, None] - stamps_s)
        np.testing.assert_allclose(distance_s[np.arange(30), shown], distance_s.min(axis=1), atol=1e-6)
        np.testing.assert_allclose(item.lateness_s, times_s - stamps_s[shown], atol=1e-6)
        assert item.frames.dtype == torch.uint8
        assert item.frames.shape == (30, 3, 48, 64)
        assert item.lateness_s.dtype == torch.float32


def test_lateness_follows_time_stamps_of_a_variable_rate(tmp_path):
    video(tmp_path, times_s=UNEVEN_S[:20])
    item = RecordingDataset(tmp_path, None, SPEC)[0]
    stamps_s = UNEVEN_S[numbers(item.frames)]
    np.testing.assert_allclose(item.lateness_s, np.arange(30) / 30 - stamps_s, atol=1e-6)


def test_levels_are_those_of_the_chunk_with_a_peak_of_1(root):
    dataset = RecordingDataset(root, None, SPEC)
    for start_s, onset_s in ((0.0, 0.5), (1.0, 0.25)):
        item = dataset[int(start_s)]
        wave = read_sound(root / "a_mic.mp4", sample_rate_hz=44_100, start_s=start_s, duration_s=1.0)
        torch.testing.assert_close(item.rms, fine_envelope(wave / wave.abs().max(), 44_100).rms)
        assert len(item.rms) == 125
        assert (item.rms.argmax() + 0.5).item() / 125 == pytest.approx(onset_s, abs=0.02)
        assert item.onsets_s.tolist() == pytest.approx([onset_s])
        assert item.clip_id == f"a-{start_s:.1f}s"


def test_silence_has_the_level_0(tmp_path):
    video(tmp_path, sound=torch.zeros(1, 44_100))
    rms = RecordingDataset(tmp_path, None, SPEC)[0].rms
    assert torch.equal(rms, torch.zeros(125))


def test_the_end_of_a_recording_is_padded_with_silence_and_a_frame_that_gets_later(root):
    item = RecordingDataset(root, None, ClipSpec(1.5, frame_rate_hz=30.0, frame_size_px=(64, 48)))[1]
    assert len(item.frames) == 45
    assert numbers(item.frames)[-18:] == [59] * 18
    np.testing.assert_allclose(np.diff(item.lateness_s[-18:]), 1 / 30, atol=1e-6)
    assert not item.rms[-60:].any()


def test_stored_frames_are_laid_on_the_grid_with_a_warning(tmp_path, caplog):
    tone_clip(tmp_path, "a", duration_s=2.0)
    item = RecordingDataset(tmp_path, None, SPEC)[1]
    assert "1 of 1 recordings" in caplog.text
    assert "4 per second" in caplog.text
    times_s = np.arange(30) / 30
    shown = np.floor(4 * times_s + 0.5)  # of those stored in this second; the next second is there no more
    np.testing.assert_allclose(item.lateness_s, times_s - np.minimum(shown, 3) / 4, atol=1e-6)
    reds = item.frames[:, 0].float().mean(dim=(1, 2))
    np.testing.assert_allclose(reds, 40 * (4 + np.minimum(shown, 3)) % 256, atol=3)


def test_videos_come_without_warning(root, caplog):
    RecordingDataset(root, None, SPEC)
    assert not caplog.records


def test_other_rates_are_refused(root):
    with pytest.raises(InputError, match=r"frame_rate_hz is 4\.0, expected 30"):
        RecordingDataset(root, None, ClipSpec(1.0))


def test_sounds_without_pictures_are_refused(tmp_path):
    for path in (tone_clip(tmp_path, "a") / "frames").iterdir():
        path.unlink()
    (tmp_path / "a" / "frames").rmdir()
    with pytest.raises(InputError, match="neither frames nor a video"):
        RecordingDataset(tmp_path, None, SPEC)


def test_training_takes_as_many_samples_as_asked_for_and_validation_each_chunk_once(root):
    module = RecordingModule(root, SPEC, train_split=None, val_split=None, batch_size=2, samples_per_epoch=5)
    module.setup("fit")
    batches = list(module.train_dataloader())
    assert [len(batch) for batch in batches] == [2, 2, 1]
    (batch,) = module.val_dataloader()
    assert batch.clip_ids == ("a-0.0s", "a-1.0s")
    assert batch.frames.shape == (2, 30, 3, 48, 64)


def test_damaged_chunks_are_left_out_of_a_batch(root):
    item = RecordingDataset(root, None, SPEC)[0]
    assert len(collate_undamaged_videos([None, item])) == 1
    assert collate_undamaged_videos([None]) is None
    assert collate_videos([item]).features is None


@pytest.mark.real
def test_hits_of_greatest_hits_are_heard_where_they_are_annotated(shared):
    spec = ClipSpec(10.0, frame_rate_hz=30.0, frame_size_px=(224, 128))
    item = RecordingDataset(shared / "real" / "greatest_hits_processed", "test", spec)[0]
    assert item.frames.shape == (300, 3, 128, 224)
    assert item.lateness_s[:-3].abs().max() <= 0.125 + 1e-6  # there is no frame at 10 s
    assert len(item.rms) == 1250
    assert len(item.onsets_s) > 5
    slots = (125 * item.onsets_s[:, None]).long() + torch.arange(-3, 10)
    heard = torch.zeros(1250, dtype=torch.bool)
    heard[slots.clamp(0, 1249)] = True
    assert item.rms[heard].mean() > 3 * item.rms[~heard].mean()
