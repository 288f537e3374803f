"""Recordings here tell where they are from: the sound rises by 1/60 a second, frame i is filled with 5 i."""

import itertools
import json
import logging
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning
import soundfile
import torch
from PIL import Image
from pytorch_lightning.utilities import move_data_to_device

from common.errors import InputError
from data.segments import SegmentDataModule, SegmentDataset, Segments
from media.clip import ClipSpec

SPEC = ClipSpec(duration_s=1.0, sample_rate_hz=8000, n_channels=1, frame_rate_hz=4.0, frame_size_px=16)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Clips of 5.0, 4.1, 3.0 and 2.9 s; three segments of 1 s that start 1 s apart need 3 s."""
    for clip_id, duration_s in (("a", 5.0), ("b", 4.1), ("c", 3.0), ("short", 2.9)):
        write_clip(tmp_path, clip_id, duration_s)
    (tmp_path / "train.txt").write_text("a\nb\nc\nshort\n")
    (tmp_path / "val.txt").write_text("b\nc\n")
    return tmp_path


def write_clip(root: Path, clip_id: str, duration_s: float) -> None:
    folder = root / clip_id
    for name in ("audio", "frames"):
        (folder / name).mkdir(parents=True)
    ramp = np.arange(round(duration_s * SPEC.sample_rate_hz)) / SPEC.sample_rate_hz / 60
    soundfile.write(folder / "audio" / f"{clip_id}.resampled.wav", ramp, SPEC.sample_rate_hz, subtype="FLOAT")
    for i in range(round(duration_s * 4)):
        image = Image.new("RGB", (40, 30), (5 * i,) * 3)
        image.save(folder / "frames" / f"{clip_id}.frame_{i + 1:06d}.jpg", quality=100)
    metadata = {"processed": {"video_duration": duration_s, "video_frame_rate": 4}}
    (folder / f"{clip_id}.metadata.json").write_text(json.dumps(metadata))


def dataset(root: Path, split: str | None = "train", **settings) -> SegmentDataset:
    return SegmentDataset(root, split, SPEC, **{"min_shift_s": 1.0} | settings)


def starts(item: Segments) -> list[float]:
    return item.start_s.tolist()


def test_sound_and_frames_are_of_the_same_time(root: Path) -> None:
    data = dataset(root)
    for epoch, index in itertools.product(range(3), range(len(data))):
        data.set_epoch(epoch)
        item = data[index]
        assert item.wave.shape == (3, 8000)
        assert item.frames.shape == (3, 4, 3, 16, 16)
        assert item.frames.dtype == torch.uint8
        assert data.clips[item.recording].clip_id == "abc"[index]
        for start_s, wave, frames in zip(starts(item), item.wave, item.frames, strict=True):
            torch.testing.assert_close(wave, (start_s + torch.arange(8000) / 8000) / 60, atol=1e-6, rtol=0)
            shown = (frames.float().mean((1, 2, 3)) / 5).round().int().tolist()
            assert shown == [round(4 * start_s) + i for i in range(4)]


def test_starts_keep_their_distance_and_take_every_place(root: Path) -> None:
    """Three starts on the frames of clip "a", 4 frames apart and 16 at most, are those of 3 out of 11 places."""
    data = dataset(root)
    found = Counter(tuple(data._starts(data.clips[0], (0, 0, index))) for index in range(1000))
    possible = {t for t in itertools.combinations(range(17), 3) if t[1] - t[0] >= 4 and t[2] - t[1] >= 4}
    assert len(possible) == math.comb(11, 3)
    assert found.keys() <= possible
    assert len(possible - found.keys()) < 5  # 0.4 are expected
    assert max(found.values()) < 20  # 6 are expected of each


def test_an_exact_fit_leaves_no_choice(root: Path) -> None:
    data = dataset(root)
    assert {tuple(starts(data[2])) for _ in range(3)} == {(0.0, 1.0, 2.0)}


def test_validation_spreads_segments_evenly(root: Path) -> None:
    data = dataset(root, random_starts=False)
    assert [starts(data[i]) for i in range(3)] == [[0.0, 2.0, 4.0], [0.0, 1.5, 3.0], [0.0, 1.0, 2.0]]
    data.set_epoch(5)
    assert starts(data[1]) == [0.0, 1.5, 3.0]
    assert starts(dataset(root, random_starts=False, segments_per_recording=1)[3]) == [0.0]


def test_short_recordings_are_left_out(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert [clip.clip_id for clip in dataset(root).clips] == ["a", "b", "c"]
    assert "1 of 4 clips" in caplog.text
    assert "under 3 s" in caplog.text
    assert len(dataset(root, segments_per_recording=2).clips) == 4
    assert len(dataset(root, min_shift_s=0.9).clips) == 3  # rounded up to whole frames
    with pytest.raises(InputError, match=r"no clip .* lasts the 6 s that 3 segments need"):
        dataset(root, min_shift_s=2.5)


def test_an_item_depends_on_seed_epoch_and_index(root: Path) -> None:
    def drawn(seed: int, epoch: int) -> list[list[float]]:
        data = dataset(root, seed=seed, samples_per_epoch=6)
        data.set_epoch(epoch)
        return [starts(data[i]) for i in range(6)]

    assert drawn(0, 0) == drawn(0, 0)
    assert drawn(0, 0) != drawn(1, 0)
    assert drawn(0, 0) != drawn(0, 1)
    assert drawn(0, 0)[0] != drawn(0, 0)[3]  # the same recording again


def test_recordings_come_in_turn(root: Path) -> None:
    data = dataset(root, samples_per_epoch=2)
    found = []
    for epoch in range(3):
        data.set_epoch(epoch)
        found += [int(data[i].recording) for i in range(2)]
    assert found == [0, 1, 2, 0, 1, 2]
    with pytest.raises(IndexError):
        data[2]


def module(root: Path, **settings) -> SegmentDataModule:
    data = SegmentDataModule(root, SPEC, **{"batch_size": 2, "min_shift_s": 1.0, "samples_per_epoch": 6} | settings)
    data.setup("fit")
    return data


def batches(data: SegmentDataModule, n_epochs: int) -> list[Segments]:
    """As Lightning reads them: one loader, whose sampler is told the epoch."""
    loader, found = data.train_dataloader(), []
    for epoch in range(n_epochs):
        loader.sampler.set_epoch(epoch)
        found += list(loader)
    return found


def equal(a: list[Segments], b: list[Segments]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
        for p, q in zip(a, b, strict=True)
        for x, y in zip(p, q, strict=True)
    )


def test_workers_change_nothing(root: Path) -> None:
    alone = batches(module(root), 2)
    assert equal(alone, batches(module(root, num_workers=2), 2))
    assert not equal(alone[:3], alone[3:])
    assert not equal(alone, batches(module(root, seed=1), 2))


def test_batches_are_segments_that_move_as_a_whole(root: Path) -> None:
    batch = batches(module(root), 1)[0]
    assert isinstance(batch, Segments)
    assert batch.wave.shape == (2, 3, 8000)
    assert batch.recording.shape == (2,)
    moved = move_data_to_device(batch, torch.device("meta"))
    assert isinstance(moved, Segments)
    assert all(value.is_meta for value in moved if isinstance(value, torch.Tensor))
    assert list(moved.label) == list(batch.label)


def test_an_incomplete_batch_is_dropped_in_training_only(root: Path) -> None:
    data = module(root, samples_per_epoch=5)
    assert [len(batch.wave) for batch in batches(data, 1)] == [2, 2]
    data = module(root, batch_size=16)
    assert [len(batch.wave) for batch in batches(data, 1)] == [6]
    assert [len(batch.wave) for batch in data.val_dataloader()] == [2]


class Recorder(pytorch_lightning.LightningModule):
    """Notes which recordings and starts it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[object] = []

    def training_step(self, batch: Segments, batch_idx: int) -> torch.Tensor:
        self.seen.append((batch.recording.tolist(), batch.start_s.tolist()))
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0)


def test_training_goes_on_where_it_stopped(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("run")

    def fit(n_epochs: int, checkpoint: Path | None = None) -> list[object]:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = pytorch_lightning.Trainer(
            accelerator="cpu", max_epochs=n_epochs, enable_checkpointing=False, default_root_dir=folder, **quiet
        )
        recorder = Recorder()
        trainer.fit(recorder, datamodule=module(root), ckpt_path=checkpoint)
        trainer.save_checkpoint(folder / "last.ckpt")
        return recorder.seen

    whole = fit(2)
    assert fit(1) == whole[:3]
    assert fit(2, folder / "last.ckpt") == whole[3:]
    assert whole[:3] != whole[3:]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_size": 1}, "batch_size 1"),
        ({"num_workers": -1}, "num_workers -1"),
        ({"num_workers": 10**9}, "num_workers 1000000000"),
        ({"batch_size": 10**9}, "batch_size 1000000000"),
        ({"segments_per_recording": 0}, "segments_per_recording 0"),
        ({"min_shift_s": 0.0}, "min_shift_s 0"),
        ({"samples_per_epoch": 0}, "samples_per_epoch 0"),
        ({"train_split": "nowhere"}, "nowhere"),
    ],
)
def test_wrong_settings_are_refused(root: Path, settings: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        module(root, **settings)


def test_stereo_and_blind_clips_are_refused(root: Path) -> None:
    with pytest.raises(InputError, match="n_channels is 2"):
        SegmentDataset(root, None, ClipSpec(n_channels=2))
    for path in (root / "c" / "frames").iterdir():
        path.unlink()
    (root / "c" / "frames").rmdir()
    with pytest.raises(InputError, match=r"1 clips .* neither frames nor a video, c is the first"):
        dataset(root)


def test_a_video_gives_what_its_segments_show(shared: Path) -> None:
    spec = ClipSpec(duration_s=4.0, sample_rate_hz=16_000, n_channels=1, frame_size_px=64)
    data = SegmentDataset(shared / "real" / "videos", None, spec, min_shift_s=2.0, random_starts=False)
    assert [clip.clip_id for clip in data.clips] == ["drum"]  # 10 s; the others are too short or silent
    item = data[0]
    assert starts(item) == [0.0, 3.0, 6.0]
    assert item.wave.shape == (3, 64_000)
    assert item.frames.shape == (3, 16, 3, 64, 64)
    torch.testing.assert_close(item.frames[0, 12:], item.frames[1, :4])
    overlap = torch.stack([item.wave[0, 48_000:], item.wave[1, :16_000]])
    assert torch.corrcoef(overlap)[0, 1] > 0.99  # resampled from another first sample
