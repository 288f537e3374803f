"""Shards of features: what WebDataset reads of them, which chunks an epoch has, and that training is the same."""

import itertools

import fsspec
import pytest
import torch
import webdataset
from safetensors.torch import load
from torch.utils.data import DataLoader

import train
from common.errors import InputError
from data.shard_module import ShardDataset
from data.shards import ShardFile, ShardFolder, ShardIndex, pack, passes, shuffled
from stable_foley.features import encoder_ids
from tests.conftest import tone_clip
from tests.test_train import logged
from training.cache import main as fill_cache
from training.config import compose, instantiate
from training.module import build_training
from training.shards import main as write_shards


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for name, duration_s in (("a", 3.0), ("b", 4.0), ("c", 2.0)):
        tone_clip(folder, name, duration_s=duration_s)
    (folder / "train.txt").write_text("a\nb\n")
    (folder / "val.txt").write_text("c\n")
    return folder


def options(root, *more):
    return [
        "exp=train_gh_controlnet",
        "backbone=debug",
        "trainer=cpu",
        "logger=tensorboard",
        f"paths.greatest_hits={root}",
        "dataset.batch_size=2",
        "dataset.num_workers=0",
        "dataset.samples_per_epoch=4",
        "dataset.spec.duration_s=1.0",
        "dataset.spec.frame_size_px=32",
        "~conditioners.audio",  # CLAP has one size, and takes longer than all the rest
        *more,
    ]


LEVELS = ["dataset.polarity=true", "dataset.gains_db=[0,-20]"]


@pytest.fixture(scope="module")
def cache(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    fill_cache([*options(root, f"dataset.cache={folder}", *LEVELS), "--workers", "0"])
    return folder


def write(root, cache, url, *more):
    write_shards(
        [*options(root, f"dataset.cache={cache}", *LEVELS), "--output-url", url, "--clips-per-file", "2", *more]
    )


@pytest.fixture(scope="module")
def shards(root, cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write(root, cache, str(folder))
    return folder


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_webdataset_reads_them(shards):
    """Seven chunks to train on in files of two, two to validate on; of each what the cache has."""
    found = [f"file:{path}" for path in sorted(shards.glob("train-*.tar"))]
    samples = list(webdataset.WebDataset(found, shardshuffle=False, empty_check=False))
    assert len(found) == 4
    assert len(samples) == 7
    tensors = load(samples[0]["safetensors"])
    assert {name.split()[0] for name in tensors} == {"sound", "envelope", "frames", "item.onsets"}
    assert sum(name.startswith("sound") for name in tensors) == 4  # two signs, two gains
    assert sum(name.startswith("envelope") for name in tensors) == 2


@pytest.mark.slow
def test_features_and_losses_are_those_of_the_cache(root, cache, shards):
    """A batch of the same chunks, validation and training."""
    config = compose(*options(root, f"dataset.cache={cache}", *LEVELS))
    training = build_training(config)
    plain, other = (
        instantiate(each.dataset)
        for each in (config, compose(*options(root, "dataset=shards", f"dataset.shards={shards}")))
    )
    for module in (plain, other):
        module.setup("fit")
        module.open_cache(encoder_ids(training.model))
    for expected, batch in zip(plain.val_dataloader(), other.val_dataloader(), strict=True):
        assert batch.wave is None
        assert (batch.clip_ids, batch.labels) == (expected.clip_ids, expected.labels)
        loss, other_loss = (training.loss(each, training.noise(len(each), 5)).item() for each in (expected, batch))
        assert loss == other_loss
    stored = {(chunk.clip.clip_id, chunk.start_s): chunk for chunk in plain.train_set.chunks}
    reader = plain.feature_cache(encoder_ids(training.model))
    n_factors = set()
    for epoch in range(6):
        dataset = other.train_dataloader().dataset
        dataset.set_epoch(epoch)
        for item in dataset:
            chunk = stored[item.clip_id, item.start_s]
            alike = [
                factor
                for factor in plain.factors
                if all(torch.equal(item.features[n], v) for n, v in reader.read(chunk, factor).items())
            ]
            assert len(alike) == 1
            n_factors.add(alike[0])
    assert n_factors == set(plain.factors)
    (preview,) = other.preview(2)
    (real,) = plain.preview(2)
    assert torch.equal(preview.wave, real.wave)


@pytest.mark.slow
def test_a_resumed_run_from_memory_repeats_an_uninterrupted_one(root, shards, tmp_path):
    for path in shards.iterdir():
        fsspec.filesystem("memory").pipe_file(f"/clips/{path.name}", path.read_bytes())
    own = ["dataset=shards", "dataset.shards=memory://clips", "dataset.n_held=3", "+trainer.enable_progress_bar=false"]

    def run(tag, *more):
        train.train(compose(*options(root, *own, f"paths.runs={tmp_path}", f"tag={tag}", *more)))

    run("whole", "trainer.max_epochs=3")
    run("resumed", "trainer.max_epochs=1")
    run("resumed", "trainer.max_epochs=3", "ckpt=last")
    whole = logged(tmp_path, "whole")
    assert len(whole) == 3 * (2 + 1)
    assert logged(tmp_path, "resumed") == whole
    assert len({value for _, name, value in whole if name == "train_loss"}) == 6


@pytest.mark.slow
def test_jobs_write_what_one_writes_and_go_on(root, cache, shards, tmp_path, capsys):
    url = str(tmp_path / "shards")
    write(root, cache, url, "--shard", "0/2")
    with pytest.raises(SystemExit):
        write(root, cache, url, "--join")
    assert "lacks 2 of 5 files" in capsys.readouterr().err
    write(root, cache, url, "--shard", "1/2")
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()}
    write(root, cache, url, "--shard", "0/2")
    assert times == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()}
    write(root, cache, url, "--join")
    assert bytes_of(tmp_path / "shards") == bytes_of(shards)
    write(root, cache, "memory://joined")
    assert fsspec.filesystem("memory").cat_file("/joined/index.json") == (shards / "index.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("dataset.shards=null", "dataset.shards"),
        ("dataset.shards=nowhere", "nowhere"),
        ("dataset.shards=other://nowhere", "other://nowhere"),
        ("dataset.spec.duration_s=2.0", "dataset.spec.duration_s"),
        ("conditioners.frames.cavp.video_encoder.base_channels=8", "frames"),
    ],
)
def test_shards_that_do_not_fit_are_refused(root, shards, tmp_path, override, named):
    own = ["dataset=shards", f"dataset.shards={shards}", f"paths.runs={tmp_path}", override]
    with pytest.raises(InputError, match=named):
        train.train(compose(*options(root, *own)))


def make(known, features, generator):
    del features, generator
    return known["number"]


@pytest.fixture(scope="module")
def numbered():
    """Shards of 2 to 5 chunks, 23 in all, that say their numbers; in memory."""
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Numbered:
        number: int

    folder, files, first = ShardFolder("memory://numbered"), [], 0
    for n_items in (3, 5, 2, 4, 5, 4):
        files.append(ShardFile(f"{first}.tar", n_items))
        folder.write_tar(
            files[-1].name, [pack(Numbered(number), {"x": torch.zeros(1)}) for number in range(first, first + n_items)]
        )
        first += n_items
    return folder, ShardIndex({"train": files, "val": []}, {}, {}, [1.0])


def epoch_of(numbered, epoch, *, n_items=None, n_ranks=1, n_workers=0, seed=0):
    found = []
    for rank in range(n_ranks):
        dataset = ShardDataset(
            *numbered, make, batch_size=2, n_items=n_items, n_held=4, seed=seed, rank=rank, n_ranks=n_ranks
        )
        dataset.set_epoch(epoch)
        loader = DataLoader(dataset, batch_size=2, num_workers=n_workers)
        batches = [batch.tolist() for batch in loader]
        assert len(batches) == len(loader)
        assert [len(batch) for batch in batches[:-1]] == [2] * (len(batches) - 1)
        found.append([number for batch in batches for number in batch])
    return found


@pytest.mark.parametrize(("n_ranks", "n_workers"), [(1, 0), (1, 2), (1, 3), (2, 0), (2, 2), (5, 1)])
def test_every_chunk_comes_once_a_pass_wherever_it_is_read(numbered, n_ranks, n_workers):
    """Epochs of 20 chunks divide passes of 23; the sequence is that of one process, up to the order in an epoch."""
    whole = passes(numbered[1].files["train"], 0, 60, 0)
    sequence = [int(span.file.name[:-4]) + i for span in whole for i in range(span.start, span.stop)]
    for number in range(2):
        assert sorted(sequence[23 * number : 23 * number + 23]) == list(range(23))
    for epoch in range(3):
        parts = epoch_of(numbered, epoch, n_items=20, n_ranks=n_ranks, n_workers=n_workers)
        assert [len(part) for part in parts] == [20 // n_ranks] * n_ranks
        assert sorted(itertools.chain(*parts)) == sorted(sequence[20 * epoch : 20 * epoch + 20])


def test_the_order_follows_the_seed_and_the_epoch(numbered):
    first = epoch_of(numbered, 0)
    assert sorted(first[0]) == list(range(23))
    assert epoch_of(numbered, 0) == first
    assert epoch_of(numbered, 1) != first
    assert epoch_of(numbered, 0, seed=1) != first


def test_a_shuffle_keeps_every_item_and_moves_most():
    import numpy as np

    found = list(shuffled(range(1000), 100, np.random.default_rng(0)))
    assert sorted(found) == list(range(1000))
    moved = np.abs(np.array(found) - np.arange(1000))
    assert 30 < np.median(moved) < 200


def test_a_file_that_is_cut_short_is_named(numbered):
    memory = fsspec.filesystem("memory")
    content = memory.cat_file("/numbered/0.tar")
    memory.pipe_file("/cut/0.tar", content[: len(content) // 20])
    index = ShardIndex({"train": numbered[1].files["train"][:1], "val": []}, {}, {}, [1.0])
    dataset = ShardDataset(ShardFolder("memory://cut"), index, make, batch_size=1, n_items=None, n_held=0, seed=0)
    with pytest.raises(InputError, match=r"0\.tar"):
        list(dataset)
