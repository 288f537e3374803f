"""Cached features: found by what they depend on, never by anything else, and as training without a cache has them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import soundfile
import torch

import train
from common.errors import InputError
from data.batch import collate
from data.cache import FeatureCache, level_factors, tensor_name
from data.chunks import cut_all
from data.datamodule import FoleyDataModule
from data.greatest_hits import list_clips
from media.clip import ClipSpec
from media.reading import READERS
from stable_foley.features import encoder_ids
from tests.conftest import REPOSITORY, tone_clip
from tests.test_train import logged
from training.cache import main
from training.config import compose, instantiate
from training.module import build_training

SPEC = ClipSpec(duration_s=1.0, frame_size_px=32)
ENCODERS = {"sound": "a codec", "frames": "a tower"}


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "clips"
    tone_clip(folder, "a", duration_s=3.0)
    tone_clip(folder, "b", duration_s=2.0)
    return folder


def options(root, cache, *more):
    return [
        "exp=train_gh_controlnet",
        "backbone=debug",
        "trainer=cpu",
        "logger=tensorboard",
        f"paths.greatest_hits={root}",
        f"dataset.cache={cache}",
        "dataset.train_split=null",
        "dataset.val_split=null",
        "dataset.batch_size=2",
        "dataset.samples_per_epoch=4",
        "dataset.num_workers=0",
        "dataset.spec.duration_s=1.0",
        "dataset.spec.frame_size_px=32",
        *more,
    ]


def tree(folder):
    """Files and their bytes, less the times that tell whether a source was touched, and the lock."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name not in ("sources.json", ".writing")]
    return {p.relative_to(folder): p.read_bytes() for p in files}


def first_chunk(root):
    return cut_all(list_clips(root), SPEC.duration_s)[0]


def test_levels_are_all_pairs_of_sign_and_gain():
    assert level_factors(False, [0.0]) == (1.0,)
    assert level_factors(True, [0.0, -20.0]) == pytest.approx((1.0, -1.0, 0.1, -0.1))


@pytest.mark.parametrize("gains_db", [[], [3.0], [float("nan")], [float("-inf")]])
def test_impossible_gains_are_refused(gains_db):
    with pytest.raises(InputError, match="gains_db"):
        level_factors(False, gains_db)


def test_only_the_latent_of_the_sound_hears_its_sign():
    assert tensor_name("sound", 0.5) != tensor_name("sound", -0.5)
    assert tensor_name("envelope", 0.5) == tensor_name("envelope", -0.5) != tensor_name("envelope", 1.0)
    assert tensor_name("frames", 0.5) == tensor_name("frames", 1.0)


def touch_sound(root):
    path = root / "a" / "audio" / "a.resampled.wav"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    stat = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the time of change still tells


def touch_frame(root):
    (path,) = list((root / "a" / "frames").glob("*000002.jpg"))
    path.write_bytes((root / "a" / "frames" / "a.frame_000001.jpg").read_bytes() + b"\0")


def test_the_key_follows_source_and_form(root, tmp_path):
    chunk = first_chunk(root)

    def path(spec=SPEC, encoders=None):
        return FeatureCache(tmp_path / "cache", spec, encoders or ENCODERS).path(chunk)

    same = path()
    assert path() == same
    assert path(encoders=ENCODERS | {"sound": "another codec"}) == same
    others = [path(ClipSpec(duration_s=1.0, frame_size_px=33))]
    touch_sound(root)
    others.append(path())
    touch_frame(root)
    others += [path(), path(encoders={"sound": "a codec"})]
    assert len({same, *others}) == len(others) + 1


def test_trainings_share_what_encoders_in_common_made_and_nothing_else(root, tmp_path):
    chunk = first_chunk(root)

    def cache(**encoders):
        return FeatureCache(tmp_path / "cache", SPEC, encoders)

    both, other = cache(sound="a codec", frames="a tower"), cache(sound="another codec", frames="a tower")
    values = {name: torch.rand(3, 4) for name in both.tensor_names([1.0])}
    both.write(chunk, values)
    assert cache(frames="a tower").holds(chunk, [1.0])
    assert not other.holds(chunk, [1.0])
    other.write(chunk, {"sound +1.000000": torch.zeros(2)})
    assert torch.equal(other.read(chunk, 1.0)["sound"], torch.zeros(2))
    assert torch.equal(other.read(chunk, 1.0)["frames"], values["frames"])
    assert torch.equal(both.read(chunk, 1.0)["sound"], values["sound +1.000000"])


def test_frames_do_not_matter_to_models_that_do_not_look(root, tmp_path):
    blind = {"sound": "a codec"}
    before = FeatureCache(tmp_path / "cache", SPEC, blind).path(first_chunk(root))
    touch_frame(root)
    assert FeatureCache(tmp_path / "cache", SPEC, blind).path(first_chunk(root)) == before


def test_frames_of_another_reader_have_a_key_of_their_own(root, tmp_path):
    pytest.importorskip("decord", reason="decord exists for x86-64 only")
    stored = {}
    for reader in READERS:
        cache = FoleyDataModule(root, SPEC, cache=tmp_path / "cache", reader=reader).feature_cache(ENCODERS)
        chunk = first_chunk(root)
        if not stored:
            cache.write(chunk, {name: torch.rand(2) for name in cache.tensor_names([1.0])})
        stored[reader] = cache.holds(chunk, [1.0])
    assert stored == {"auto": True, "pyav": True, "decord": False}


def test_a_moved_data_set_keeps_its_keys(root, tmp_path):
    before = FeatureCache(tmp_path / "cache", SPEC, ENCODERS).path(first_chunk(root))
    shutil.copytree(root, tmp_path / "moved")
    assert FeatureCache(tmp_path / "cache", SPEC, ENCODERS).path(first_chunk(tmp_path / "moved")) == before


def test_features_come_back_as_written_and_more_levels_can_follow(root, tmp_path):
    chunk, cache = first_chunk(root), FeatureCache(tmp_path / "cache", SPEC, ENCODERS)
    values = {name: torch.rand(3, 4) for name in cache.tensor_names([1.0])}
    cache.write(chunk, values)
    assert cache.holds(chunk, [1.0])
    assert not cache.holds(chunk, [1.0, -1.0])
    more = {name: torch.rand(3, 4) for name in cache.tensor_names([-1.0]) if name not in values}
    cache.write(chunk, more)
    assert cache.holds(chunk, [1.0, -1.0])
    assert torch.equal(cache.read(chunk, 1.0)["sound"], values["sound +1.000000"])
    assert torch.equal(cache.read(chunk, -1.0)["sound"], more["sound -1.000000"])
    assert torch.equal(cache.read(chunk, -1.0)["frames"], values["frames"])


def test_half_a_file_is_an_error_for_training_and_made_anew_by_encoding(root, tmp_path):
    chunk, cache = first_chunk(root), FeatureCache(tmp_path / "cache", SPEC, ENCODERS)
    cache.write(chunk, {name: torch.rand(30, 4) for name in cache.tensor_names([1.0])})
    path = cache.path(chunk)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert not cache.holds(chunk, [1.0])
    with pytest.raises(InputError, match=f"{path.name}.*training.cache"):
        cache.read(chunk, 1.0)
    with pytest.raises(InputError, match="lacks features of 1 of 1 chunks"):
        cache.check([chunk], [1.0])


def losses(config, n_epochs=2) -> Iterator[float]:
    """Losses of all training batches of some epochs and of all validation batches, without a trainer."""
    datamodule: FoleyDataModule = instantiate(config.dataset)
    datamodule.setup("fit")
    training = build_training(config)
    if config.dataset.cache is not None:
        datamodule.open_cache(encoder_ids(training.model))
    for epoch in range(n_epochs):
        loader = datamodule.train_dataloader()
        loader.sampler.set_epoch(epoch)
        for number, batch in enumerate(loader):
            assert (batch.wave is None) == (config.dataset.cache is not None)
            yield training.loss(batch, training.noise(len(batch), epoch, number), dropping=True).item()
    for number, batch in enumerate(datamodule.val_dataloader()):
        yield training.loss(batch, training.noise(len(batch), number)).item()


@pytest.mark.parametrize("backbone", ["debug", "mini"])
def test_losses_are_those_of_training_without_a_cache(root, tmp_path, backbone):
    """Every encoder, both signs, two gains; weights of the control branch that are not zero."""
    levels = [f"backbone={backbone}", "dataset.polarity=true", "dataset.gains_db=[0,-9]", "dataset.samples_per_epoch=6"]
    main([*options(root, tmp_path / "cache", *levels), "--workers", "0"])
    cached = list(losses(compose(*options(root, tmp_path / "cache", *levels))))
    direct = list(losses(compose(*options(root, "null", *levels))))
    assert len(cached) == 2 * 3 + 3
    assert cached == pytest.approx(direct, rel=1e-5)
    assert len(set(direct)) > len(direct) / 2


def test_no_encoder_runs_in_training_and_a_run_ends_as_without_a_cache(root, tmp_path, monkeypatch):
    """But for the envelope that stands for none, which is encoded once, where envelopes are dropped."""
    shutil.rmtree(root / "a")
    main([*options(root, tmp_path / "cache"), "--workers", "0"])
    run = ["trainer.max_epochs=1", "+trainer.enable_progress_bar=false", "trainer.log_every_n_steps=1"]
    run += [f"paths.runs={tmp_path / 'runs'}", "callbacks.samples.every_n_epochs=1", "sampler.n_steps=2"]
    run += ["+evaluate_every=1", "training.control_dropout=0.0"]
    train.train(compose(*options(root, "null", "tag=direct", *run)))

    def refuse(*_args, **_kwargs):
        raise AssertionError("a frozen encoder ran")

    monkeypatch.setattr("stable_foley.codec.VaeLatent.parameters_of", refuse)
    monkeypatch.setattr("cavp.Cavp.encode_video", refuse)
    monkeypatch.setattr("clap.encoder.ClapEncoder.embed_sound", refuse)
    train.train(compose(*options(root, tmp_path / "cache", "tag=cached", *run)))
    cached, direct = (logged(tmp_path / "runs", tag) for tag in ("cached", "direct"))
    assert [entry[:2] for entry in cached] == [entry[:2] for entry in direct]
    assert [entry[2] for entry in cached] == pytest.approx([entry[2] for entry in direct], rel=1e-5)
    samples = [sorted(p.name for p in (tmp_path / "runs" / tag).rglob("*.wav")) for tag in ("cached", "direct")]
    assert samples[0] == samples[1] != []


def command(root, cache, *more):
    words = [
        sys.executable,
        "-m",
        "training.cache",
        *options(root, cache, *more),
        "--workers",
        "0",
        "--batch-size",
        "2",
    ]
    return subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_shards_end_as_an_uninterrupted_run(root, tmp_path):
    no_clap = "~conditioners.audio"  # it takes longer than all the rest
    main([*options(root, tmp_path / "whole", no_clap), "--workers", "0", "--batch-size", "2"])
    whole = tree(tmp_path / "whole")
    assert len(whole) == 5
    process = command(root, tmp_path / "killed", no_clap)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "killed").rglob("*.safetensors"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = (
        next(path for path in (tmp_path / "killed").iterdir() if path.is_dir())
        / ".partial-0123456789abcdef.safetensors"
    )
    left.write_bytes(b"half")
    assert tree(tmp_path / "killed") != whole
    for shard in ("1/2", "0/2"):
        main([*options(root, tmp_path / "killed", no_clap), "--workers", "0", "--batch-size", "2", "--shard", shard])
    assert tree(tmp_path / "killed") == whole


def test_a_second_run_has_nothing_to_do(root, tmp_path, caplog, monkeypatch):
    mini = options(root, tmp_path / "cache", "backbone=mini", "dataset.val_split=null")
    main([*mini, "--workers", "0"])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")}
    monkeypatch.setattr("stable_foley.module.encode_levels", None)
    main([*mini, "--workers", "0"])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")} == before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["dataset.cache=null"], "dataset.cache is not set"),
        (["dataset=remix"], "dataset.augment"),
        (["dataset.spec.sample_rate_hz=48000"], "48000 Hz"),
        (["dataset.gains_db=[3]"], "gains_db"),
        (["dataset.nothing=1"], "dataset.nothing"),
        (["--batch-size", "0"], "--batch-size 0"),
        (["--shard", "3/2"], "3/2"),
    ],
)
def test_mistakes_end_with_status_2_and_one_sentence(root, tmp_path, capsys, more, words):
    with pytest.raises(SystemExit) as end:
        main([*options(root, tmp_path / "cache", "backbone=mini"), *more])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not (tmp_path / "cache").exists()


def test_training_without_a_full_cache_is_refused(root, tmp_path):
    config = compose(*options(root, tmp_path / "cache", "backbone=mini", f"paths.runs={tmp_path}", "tag=t"))
    with pytest.raises(InputError, match=r"lacks features of 5 of 5 chunks .* python -m training.cache"):
        train.train(config)


def spoil(root, clip_id):
    """One sample is no number, which is noticed only when the sound is read; so every chunk but the first is whole."""
    path = root / clip_id / "audio" / f"{clip_id}.resampled.wav"
    wave, sample_rate_hz = soundfile.read(path)
    wave[100] = float("nan")
    soundfile.write(path, wave, sample_rate_hz, subtype="FLOAT")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_damaged_recording_is_an_error_or_left_out_and_counted(root, tmp_path, caplog, num_workers):
    spoil(root, "a")
    mini = ["backbone=mini", f"dataset.num_workers={num_workers}", "dataset.cache=null", "trainer.max_epochs=1"]
    mini += [f"paths.runs={tmp_path}", "callbacks.samples.every_n_epochs=9", "+trainer.enable_progress_bar=false"]
    with pytest.raises(InputError, match=r"a\.resampled\.wav"):
        train.train(compose(*options(root, "null", "tag=error", *mini)))
    train.train(compose(*options(root, "null", "tag=skip", "dataset.on_damaged=skip", *mini)))
    assert "1 of 5 chunks were left out, of a" in caplog.text
    assert [name for _, name, _ in logged(tmp_path, "skip")].count("valid_loss") == 1


def test_skipped_chunks_make_batches_smaller_and_are_never_replaced(root):
    spoil(root, "b")
    skip = options(root, "null", "backbone=mini", "dataset.on_damaged=skip", "dataset.batch_size=1")
    datamodule = instantiate(compose(*skip).dataset)
    datamodule.setup("fit")
    batches = list(datamodule.val_dataloader())
    assert [batch and batch.clip_ids for batch in batches] == [("a",), ("a",), ("a",), None, ("b",)]
    assert [chunk.start_s for chunk in datamodule.val_set.damaged_chunks] == [0.0]
    assert len(collate([datamodule.val_set.item(0)])) == 1


def test_damaged_chunks_that_are_skipped_may_be_missing_in_a_cache_and_no_others(root, tmp_path):
    spoil(root, "b")
    skip = options(root, tmp_path / "cache", "backbone=mini", "dataset.on_damaged=skip", "dataset.batch_size=1")
    main(["--workers=0", *skip])
    encoders = encoder_ids(build_training(compose(*skip)).model)
    datamodule = instantiate(compose(*skip).dataset)
    datamodule.setup("fit")
    datamodule.open_cache(encoders)
    batches = list(datamodule.val_dataloader())
    assert [batch and batch.clip_ids for batch in batches] == [("a",), ("a",), ("a",), None, ("b",)]
    for path in (tmp_path / "cache" / "a").glob("0000000.*"):
        path.unlink()
    with pytest.raises(InputError, match="lacks features"):
        datamodule.open_cache(encoders)
