"""Recordings here tell where they are from: the sound is a ramp of its own time, frame i is filled with 5 i."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import pytorch_lightning
import soundfile
import torch
from PIL import Image
from pytorch_lightning.utilities import move_data_to_device
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.io import decode_image
from torchvision.transforms.functional import resize

from common.errors import InputError
from data.augment import Remix
from data.batch import FoleyBatch, FoleyItem, collate
from data.datamodule import FoleyDataModule
from data.dataset import FoleyDataset
from data.segments import SegmentDataModule
from media.clip import ClipSpec
from media.reading import READERS

SPEC = ClipSpec(duration_s=2.0, sample_rate_hz=8000, n_channels=2, frame_rate_hz=4.0, frame_size_px=16)
REMIX = Remix(0.25, 1.0, gain_db=(-18.0, 6.0), mute_probability=0.1, crossfade_s=0.01)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Clip "a" of 5 s (three chunks, the last one half full) and clip "b" of 2.9 s (one chunk)."""
    write_clip(tmp_path, "a", 5.0, times=(0.5, 2.0, 3.5, 4.999))
    write_clip(tmp_path, "b", 2.9)
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "val.txt").write_text("b\na\n")
    return tmp_path


def ramp(duration_s: float) -> np.ndarray:
    """Two channels; sample n of the first is n / 64,000."""
    time = np.arange(round(duration_s * SPEC.sample_rate_hz)) / 64_000
    return np.stack([time, -time / 2], 1)


def write_clip(
    root: Path, clip_id: str, duration_s: float, times: tuple[float, ...] = (), wave: np.ndarray | None = None
) -> None:
    folder = root / clip_id
    for name in ("audio", "frames"):
        (folder / name).mkdir(parents=True)
    sound = ramp(duration_s) if wave is None else wave
    soundfile.write(folder / "audio" / f"{clip_id}.resampled.wav", sound, SPEC.sample_rate_hz, subtype="FLOAT")
    for i in range(round(duration_s * 4)):
        Image.new("RGB", (40, 30), (5 * i,) * 3).save(
            folder / "frames" / f"{clip_id}.frame_{i + 1:06d}.jpg", quality=100
        )
    (folder / f"{clip_id}.times.csv").write_text("".join(f"{time},wood hit static\n" for time in times))
    metadata = {"processed": {"video_duration": duration_s, "video_frame_rate": 4}}
    (folder / f"{clip_id}.metadata.json").write_text(json.dumps(metadata))


def frame_numbers(frames: Tensor | None) -> list[int]:
    """Number of every frame of one item, from 0."""
    assert frames is not None
    assert frames.dtype == torch.float32
    return (frames.mean((1, 2, 3)) * 255 / 5).round().int().tolist()


def equal(a: FoleyItem, b: FoleyItem) -> bool:
    assert a.frames is not None
    assert b.frames is not None
    tensors = [(a.wave, b.wave), (a.frames, b.frames), (a.onsets, b.onsets)]
    return all(torch.equal(x, y) for x, y in tensors) and (a.clip_id, a.start_s) == (b.clip_id, b.start_s)


def test_chunks_are_cut_out_of_sound_frames_and_hits_alike(root: Path) -> None:
    dataset = FoleyDataset(root, "train", SPEC)
    items = [dataset[i] for i in range(len(dataset))]
    assert [(item.clip_id, item.start_s, item.duration_s) for item in items] == [
        ("a", 0.0, 2.0), ("a", 2.0, 2.0), ("a", 4.0, 1.0), ("b", 0.0, 2.0)
    ]  # fmt: skip
    assert [item.label for item in items] == ["hitting wood with a drumstick"] * 3 + [""]
    assert [item.onsets.tolist() for item in items] == [[0.5], [0.0, 1.5], [pytest.approx(0.999)], []]
    assert frame_numbers(items[1].frames) == list(range(8, 16))
    assert frame_numbers(items[2].frames) == [16, 17, 18, 19, 19, 19, 19, 19]
    for item in items:
        n = round(item.duration_s * SPEC.sample_rate_hz)
        first = round(item.start_s * SPEC.sample_rate_hz)
        expected = torch.arange(first, first + n) / (first + n - 1)
        assert item.wave.shape == (2, SPEC.n_samples)
        torch.testing.assert_close(item.wave[0, :n], expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(item.wave[1, :n], -expected / 2, atol=1e-6, rtol=0)
        assert (item.wave[:, n:] == 0).all()


def test_silence_survives(tmp_path: Path) -> None:
    write_clip(tmp_path, "quiet", 2.0, wave=np.zeros((16_000, 2)))
    for augment in (None, REMIX):
        wave = FoleyDataset(tmp_path, None, SPEC, augment=augment)[0].wave
        assert (wave == 0).all()


def test_clip_that_is_too_short_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_clip(tmp_path, "short", 0.99)
    with pytest.raises(InputError, match="every clip lasts less than half of duration_s 2"):
        FoleyDataset(tmp_path, None, SPEC)
    write_clip(tmp_path, "long", 1.0)
    assert [chunk.clip.clip_id for chunk in FoleyDataset(tmp_path, None, SPEC).chunks] == ["long"]
    assert "short is left out" in caplog.text


def test_without_frames_none_are_needed(root: Path) -> None:
    for path in root.glob("*/frames/*.jpg"):
        path.write_bytes(b"not an image")
    assert FoleyDataset(root, "train", SPEC, frames=False)[0].frames is None
    assert FoleyDataset(root, "train", SPEC, augment=REMIX, frames=False)[0].frames is None
    with pytest.raises(InputError, match=r"frame_000001\.jpg cannot be read as an image"):
        FoleyDataset(root, "train", SPEC)[0]
    for path in root.glob("*/frames/*.jpg"):
        path.unlink()
    with pytest.raises(InputError, match="frames holds no frames"):
        FoleyDataset(root, "train", SPEC)[0]
    for path in root.glob("*/frames"):
        path.rmdir()
    with pytest.raises(InputError, match=r"2 clips of .* have neither frames nor a video"):
        FoleyDataset(root, "train", SPEC)


@pytest.mark.parametrize(("rate_hz", "numbers"), [(2.0, [8, 10, 12, 14]), (8.0, [8, 9, 9, 10, 10, 11, 11, 12])])
def test_frames_at_another_rate_are_the_nearest(root: Path, rate_hz: float, numbers: list[int]) -> None:
    spec = ClipSpec(2.0, 8000, frame_rate_hz=rate_hz, frame_size_px=16)
    assert frame_numbers(FoleyDataset(root, "train", spec)[1].frames)[: len(numbers)] == numbers


@pytest.mark.parametrize("reader", READERS)
def test_frames_of_a_video(tmp_path: Path, reader: str) -> None:
    if reader == "decord":
        pytest.importorskip("decord", reason="decord exists for x86-64 only")
    with av.open(str(tmp_path / "v_mic.mp4"), "w") as container:
        video = container.add_stream("mpeg4", rate=4)
        video.width, video.height = 64, 48
        audio = container.add_stream("aac", rate=16000, layout="mono")
        for i in range(12):
            pixels = np.full((48, 64, 3), 20 * i + 20, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(video.encode())
        sound = av.AudioFrame.from_ndarray(np.full((1, 48000), 0.1, np.float32), "fltp", "mono")
        sound.sample_rate = 16000
        container.mux(audio.encode(sound))
        container.mux(audio.encode())
    data = FoleyDataModule(tmp_path, SPEC, train_split=None, val_split=None, reader=reader)
    data.setup()
    dataset = data.val_set
    assert len(dataset) == 2
    assert [round(n / 4) - 1 for n in frame_numbers(dataset[0].frames)] == list(range(8))
    assert [round(n / 4) - 1 for n in frame_numbers(dataset[1].frames)] == [8, 9, 10, 11, 11, 11, 11, 11]


@pytest.mark.parametrize("module", [FoleyDataModule, SegmentDataModule])
def test_another_reader_is_refused(root: Path, module: type) -> None:
    with pytest.raises(InputError, match=r"dataset\.reader 'opencv'.*pyav"):
        module(root, SPEC, reader="opencv")


def test_remix_moves_sound_frames_and_onsets_alike(root: Path) -> None:
    quiet = 0
    for index, epoch in [(0, 0), (0, 1), (0, 2), (2, 0), (2, 1)]:
        dataset = FoleyDataset(root, "train", SPEC, augment=Remix(0.25, 1.0, (-12, 6), 0.0, crossfade_s=0.0))
        dataset.set_epoch(epoch)
        item, chunk = dataset[index], dataset.chunks[index]
        end_s = chunk.start_s + chunk.duration_s
        assert item.wave.shape == (2, SPEC.n_samples)
        assert item.duration_s == 2.0
        peak = float(item.wave.abs().max())
        assert peak <= 1 + 1e-6
        quiet += peak < 0.99
        numbers = torch.tensor(frame_numbers(item.frames))
        assert ((numbers >= chunk.start_s * 4) & (numbers < end_s * 4)).all()
        # within a piece the ramp rises by a constant, so that value / slope is the source's sample number
        samples = torch.arange(8) * 2000 + 1
        slope = item.wave[0, samples + 1] - item.wave[0, samples]
        source_s = item.wave[0, samples] / slope / SPEC.sample_rate_hz
        last = round(end_s * 4) - 1
        error = ((source_s * 4).clamp(max=last) - numbers).abs()
        assert (error < 0.55).sum() >= 7  # one frame may lie at a joint
    assert quiet


def test_item_depends_on_seed_epoch_and_index(root: Path) -> None:
    def draw(seed: int, epoch: int, index: int) -> FoleyItem:
        dataset = FoleyDataset(root, "train", SPEC, augment=REMIX, samples_per_epoch=4, seed=seed)
        dataset.set_epoch(epoch)
        return dataset[index]

    first = draw(0, 1, 2)
    torch.rand(3)
    assert equal(first, draw(0, 1, 2))
    assert not any(equal(first, draw(*other)) for other in [(1, 1, 2), (0, 2, 2), (0, 1, 1), (0, 2, 1)])


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_change_nothing(root: Path, persistent: bool) -> None:
    dataset = FoleyDataset(root, "train", SPEC, augment=REMIX)
    loader = DataLoader(
        dataset, batch_size=3, num_workers=2, collate_fn=collate, persistent_workers=persistent, timeout=60
    )
    for epoch in (0, 3):
        dataset.set_epoch(epoch)
        batches = list(loader)
        alone = [dataset[i] for i in range(4)]
        assert [len(batch.labels) for batch in batches] == [3, 1]
        assert torch.equal(torch.cat([batch.wave for batch in batches]), torch.stack([item.wave for item in alone]))
        assert sum((batch.clip_ids for batch in batches), ()) == ("a", "a", "a", "b")


def test_samples_per_epoch_goes_round_all_chunks(root: Path) -> None:
    dataset = FoleyDataset(root, "train", SPEC, samples_per_epoch=3)
    seen = []
    for epoch in range(4):
        dataset.set_epoch(epoch)
        seen += [(dataset[i].clip_id, dataset[i].start_s) for i in range(len(dataset))]
    assert seen == [("a", 0.0), ("a", 2.0), ("a", 4.0), ("b", 0.0)] * 3
    assert len(FoleyDataset(root, "train", SPEC, samples_per_epoch=100)) == 100
    with pytest.raises(InputError, match="samples_per_epoch 0"):
        FoleyDataset(root, "train", SPEC, samples_per_epoch=0)


@pytest.mark.parametrize("index", [-1, 4])
def test_index_beyond_the_end(root: Path, index: int) -> None:
    with pytest.raises(IndexError):
        FoleyDataset(root, "train", SPEC)[index]


def make_batch(root: Path, *, frames: bool = True) -> FoleyBatch:
    dataset = FoleyDataset(root, "train", SPEC, frames=frames)
    return collate([dataset[1], dataset[2], dataset[3]])


def test_batch(root: Path) -> None:
    batch = make_batch(root)
    assert batch.frames is not None
    assert batch.wave.shape == (3, 2, 16_000)
    assert batch.frames.shape == (3, 8, 3, 16, 16)
    assert 0 <= batch.frames.min() < batch.frames.max() <= 1
    assert [len(onsets) for onsets in batch.onsets] == [2, 1, 0]
    assert batch.start_s.tolist() == [2.0, 4.0, 0.0]
    assert batch.duration_s.tolist() == [2.0, 1.0, 2.0]
    assert all(tensor.dtype == torch.float32 for tensor in tensors_of(batch))
    assert make_batch(root, frames=False).frames is None


def tensors_of(batch: FoleyBatch) -> list[Tensor]:
    frames = [] if batch.frames is None else [batch.frames]
    return [batch.wave, batch.start_s, batch.duration_s, *batch.onsets, *frames]


@pytest.mark.parametrize("frames", [True, False])
def test_batch_moves_as_a_whole(root: Path, frames: bool) -> None:
    batch = make_batch(root, frames=frames)
    for moved in (batch.to("meta"), move_data_to_device(batch, torch.device("meta"))):
        assert {tensor.device.type for tensor in tensors_of(moved)} == {"meta"}
        assert moved.clip_ids == ("a", "a", "b")


def test_every_tensor_of_a_batch_is_pinned(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[int] = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: pinned.append(id(tensor)) or tensor)
    batch = make_batch(root)
    assert torch.utils.data._utils.pin_memory.pin_memory(batch).labels == batch.labels
    assert sorted(pinned) == sorted(map(id, tensors_of(batch)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_pinned_batches_reach_the_device(root: Path, num_workers: int) -> None:
    dataset = FoleyDataset(root, "train", SPEC)
    loader = DataLoader(dataset, batch_size=2, num_workers=num_workers, collate_fn=collate, pin_memory=True)
    for batch in loader:
        assert all(tensor.is_pinned() for tensor in tensors_of(batch) if tensor.numel())
        moved = batch.to("cuda", non_blocking=True)
        assert torch.equal(moved.wave.cpu(), batch.wave)


class Recorder(pytorch_lightning.LightningModule):
    """Trains nothing; notes the batches it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[tuple[int, Tensor]] = []
        self.validated: list[tuple[str, ...]] = []

    def training_step(self, batch: FoleyBatch, index: int) -> Tensor:
        self.trained += [(self.current_epoch, wave) for wave in batch.wave]
        return self.weight * batch.wave.sum()

    def validation_step(self, batch: FoleyBatch, index: int) -> None:
        self.validated.append(batch.clip_ids)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.fixture
def fit(root: Path, tmp_path: Path) -> Callable[..., Recorder]:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    def run(max_epochs: int, num_workers: int, **settings: Any) -> Recorder:
        module = Recorder()
        trainer = pytorch_lightning.Trainer(
            accelerator="cpu", max_epochs=max_epochs, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=tmp_path,
        )  # fmt: skip
        data = FoleyDataModule(root, SPEC, batch_size=2, num_workers=num_workers, augment=REMIX, seed=5)
        trainer.fit(module, data, **settings)
        trainer.save_checkpoint(tmp_path / f"{max_epochs}.ckpt")
        return module

    return run


@pytest.mark.filterwarnings("ignore")
def test_training_sees_every_epoch_anew_and_goes_on_where_it_stopped(
    fit: Callable[..., Recorder], root: Path, tmp_path: Path
) -> None:
    whole = fit(2, 0)
    dataset = FoleyDataset(root, "train", SPEC, augment=REMIX, seed=5)
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        expected = [dataset[i].wave for i in range(4)]
        given = [wave for at, wave in whole.trained if at == epoch]
        assert len(given) == 4
        assert all(sum(torch.equal(a, b) for b in given) == 1 for a in expected)
    assert whole.validated == [("b", "a"), ("a", "a")] * 2

    fit(1, 1)
    resumed = fit(2, 1, ckpt_path=tmp_path / "1.ckpt")
    assert len(resumed.trained) == 4
    for (epoch, wave), (_, reference) in zip(resumed.trained, whole.trained[4:], strict=True):
        assert epoch == 1
        assert torch.equal(wave, reference)


def test_validation_is_neither_augmented_nor_shuffled(root: Path) -> None:
    data = FoleyDataModule(root, SPEC, train_split="train", val_split=None, batch_size=4, augment=REMIX)
    data.setup("fit")
    plain = FoleyDataset(root, None, SPEC)
    (batch,) = data.val_dataloader()
    assert torch.equal(batch.wave, torch.stack([plain[i].wave for i in range(4)]))
    (batch,) = data.train_dataloader()
    assert not torch.equal(batch.wave, torch.stack([plain[i].wave for i in range(4)]))


@pytest.mark.real
def test_real_chunk(shared: Path) -> None:
    root = shared / "real" / "greatest_hits_processed"
    dataset = FoleyDataset(root, "test", ClipSpec())
    assert len(dataset) == 1
    item = dataset[0]
    folder = root / item.clip_id
    sound, _ = soundfile.read(folder / "audio" / f"{item.clip_id}.resampled.wav", dtype="float32")
    torch.testing.assert_close(item.wave, torch.from_numpy(sound.T / np.abs(sound).max()), atol=1e-6, rtol=0)
    assert item.frames is not None
    assert item.frames.shape == (40, 3, 224, 224)
    for number in (1, 17, 40):
        path = folder / "frames" / f"{item.clip_id}.frame_{number:06d}.jpg"
        image = decode_image(str(path)).float() / 255
        reference = resize(image, [224, 224], antialias=True)
        assert (item.frames[number - 1] - reference).abs().mean() < 1 / 255
        assert (item.frames[number - 1] - reference).abs().max() < 4 / 255
    times = [float(line.split(",")[0]) for line in (folder / f"{item.clip_id}.times.csv").read_text().splitlines()]
    assert item.onsets.tolist() == pytest.approx(times)
    assert item.label == "hitting ceramic with a drumstick"
