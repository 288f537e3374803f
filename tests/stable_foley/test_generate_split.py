"""Generation of whole splits: what is written, that it is resumed, shared between shards, and never mixed."""

import json
from dataclasses import replace

import pytest
import soundfile
import torch

from common.errors import InputError
from data.batch import collate
from data.dataset import FoleyDataset
from data.greatest_hits import read_hits
from media.clip import ClipSpec
from media.envelope import Envelope, write_envelope_csv
from media.reading import read_sound
from stable_foley import generate_split
from stable_foley.checkpoint import BUNDLED, load_model
from stable_foley.config import build_model, composed_config
from stable_foley.generator import SoundGenerator
from stable_foley.noise import noise_source
from stable_foley.resynthesis import resynthesise
from tests.conftest import no_file_larger_than, tone_clip
from training.checkpoint import Checkpoint, save_checkpoint
from training.config import compose, instantiate

RATE_HZ = 44_100


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three recordings in chunks of 2 s, the second with an annotation and a rest of 1.5 s, and a split of two."""
    folder = tmp_path_factory.mktemp("recordings")
    for name, duration_s in (("a", 2.0), ("b", 3.5), ("c", 2.0)):
        tone_clip(folder, name, duration_s=duration_s)
    (folder / "b" / "b.times.csv").write_text("0.5,wood hit static\n2.25,metal scratch None\n")
    (folder / "test.txt").write_text("b\na\n")
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A mini model with random weights whose control branch has an effect."""
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    config = compose("exp=train_gh_controlnet", "backbone=mini", "dataset.spec.duration_s=2.0")
    model = build_model(config)
    with torch.no_grad():
        for conv in model.model.controlnet.conv_outs:
            torch.nn.init.eye_(conv.weight[..., 0])
        torch.nn.init.eye_(model.model.controlnet.conv_in.weight[..., 0])
    save_checkpoint(path, Checkpoint(model.trained_state(), composed_config(config, model)))
    return path


@pytest.fixture
def run(root, checkpoint):
    def start(out, *options, split=None):
        required = ["--split", split or root / "test.txt", "--checkpoint", checkpoint]
        generate_split.main([*map(str, required), "--output-dir", str(out), "--steps", "2", *options])

    return start


def sounds(out):
    return {path.name: read_sound(path, sample_rate_hz=RATE_HZ) for path in sorted((out / "generated").iterdir())}


def test_every_chunk_of_the_split_gets_sound_beside_its_reference(run, root, tmp_path):
    run(tmp_path)
    generated = sounds(tmp_path)
    assert {name: wave.shape[-1] / RATE_HZ for name, wave in generated.items()} == {
        "a.wav": 2.0,
        "b_000s.wav": 2.0,
        "b_002s.wav": 1.5,
    }
    original = read_sound(root / "b" / "audio" / "b.resampled.wav", sample_rate_hz=RATE_HZ)[:, 2 * RATE_HZ :]
    reference = read_sound(tmp_path / "reference" / "b_002s.wav", sample_rate_hz=RATE_HZ)
    torch.testing.assert_close(reference, original / original.abs().max(), atol=1e-4, rtol=0)
    hit = read_hits(tmp_path / "reference" / "b_002s.times.csv")[0]
    assert (hit.time_s, hit.material, hit.action, hit.reaction) == (pytest.approx(0.25), "metal", "scratch", None)
    assert read_hits(tmp_path / "reference" / "a.times.csv") == ()


def test_a_chunk_does_not_depend_on_batch_or_shard(run, tmp_path):
    run(tmp_path / "one", "--batch-size", "1")
    run(tmp_path / "three", "--batch-size", "3")
    for shard in "01":
        run(tmp_path / "shards", "--shard", f"{shard}/2")
        assert len(sounds(tmp_path / "shards")) == {"0": 2, "1": 3}[shard]
    one, three, shards = (sounds(tmp_path / name) for name in ("one", "three", "shards"))
    for name, wave in one.items():
        torch.testing.assert_close(three[name], wave, atol=2e-3, rtol=0)
        torch.testing.assert_close(shards[name], wave, atol=2e-3, rtol=0)
    other = one["b_000s.wav"]
    assert (one["a.wav"] - other).abs().max() > 0.5 * other.abs().max(), "every chunk has noise of its own"


def test_it_makes_what_the_pipeline_makes(run, root, checkpoint, tmp_path):
    """The same conditions and noise through the pipeline's own path; the model's VAE-free envelope is not random."""
    run(tmp_path)
    model, config = load_model(checkpoint)
    pipeline = SoundGenerator(model, instantiate(config.dataset.spec), instantiate(config.sampler), "cpu")
    item = FoleyDataset(root, root / "test.txt", pipeline.spec, frames=False)[2]
    envelope = pipeline.measure(item.wave)
    generator = noise_source(0, *b"a")
    settings = pipeline.settings.changed(n_steps=2)
    raw = {"envelope": replace(envelope, rms=envelope.rms[None]), "seconds_start": torch.zeros(1)}
    raw |= {"seconds_total": torch.tensor([pipeline.spec.duration_s])}
    features = model.conditioner.encode(raw, model.padded_length(pipeline.spec.n_samples))
    conditions = model.conditioner(model.conditioner.draw(features))
    latent = model.sample(conditions, pipeline.spec.n_samples, settings, [generator])
    expected = model.pretransform.decode(latent)[0, :, : 2 * RATE_HZ]
    torch.testing.assert_close(sounds(tmp_path)["a.wav"], expected.clamp(-1, 1), atol=1e-3, rtol=0)


def test_only_what_is_missing_is_generated(run, tmp_path):
    run(tmp_path)
    before = sounds(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "generated").iterdir()}
    (tmp_path / "generated" / "b_000s.wav").unlink()
    run(tmp_path)
    again = {path.name for path in times if path.stat().st_mtime_ns != times[path]}
    assert again == {"b_000s.wav"}
    torch.testing.assert_close(sounds(tmp_path)["b_000s.wav"], before["b_000s.wav"], atol=2e-3, rtol=0)


def test_a_kill_leaves_whole_files_and_the_rest_follows(run, tmp_path, monkeypatch):
    written = []

    def write_then_stop(path, wave, rate_hz):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        soundfile.write(path, wave.T.numpy(), rate_hz)

    (tmp_path / "generated").mkdir()
    (tmp_path / "reference").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(generate_split, "write_sound", write_then_stop)
        with pytest.raises(SystemExit) as stopped:
            run(tmp_path, "--batch-size", "1")
    assert stopped.value.code == 130
    assert len(sounds(tmp_path)) == 1
    run(tmp_path)
    assert len(sounds(tmp_path)) == 3


def test_other_settings_do_not_mix(run, tmp_path, capsys):
    run(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, "--seed", "1")
    assert stopped.value.code == 2
    assert "seed 0 instead of 1" in capsys.readouterr().err
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings["n_steps"] == 2


def test_given_envelopes_control(run, tmp_path):
    for name in ("a", "b_000s", "b_002s"):
        rms = torch.full((250,), 0.2)
        rms[125:] = 1e-5
        write_envelope_csv(tmp_path / "envelopes" / f"{name}.csv", Envelope(rms, 125.0))
    run(tmp_path / "out", "--envelopes", str(tmp_path / "envelopes"))
    run(tmp_path / "own")
    given, own = (sounds(tmp_path / name)["a.wav"] for name in ("out", "own"))
    assert (given - own).abs().max() > 1e-3


def test_a_broken_recording_does_not_stop_the_others(run, tmp_path, capsys):
    folder = tmp_path / "data"
    for name in "xyz":
        tone_clip(folder, name, duration_s=2.0)
        (folder / name / f"{name}.metadata.json").write_text(json.dumps({"processed": {"video_duration": 2.0}}))
    (folder / "y" / "audio" / "y.resampled.wav").write_bytes(b"broken")
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "out", "--root", str(folder), split="all")
    assert stopped.value.code == 2
    assert sounds(tmp_path / "out").keys() == {"x.wav", "z.wav"}
    message = capsys.readouterr().err
    assert "1 of 3 chunks have no sound" in message
    assert "y.resampled.wav" in message


def test_a_full_disk_ends_it_at_once_and_the_rest_follows(run, tmp_path, capsys):
    for name, duration_s in (("x", 1.0), ("y", 2.0), ("z", 1.0)):
        tone_clip(tmp_path / "data", name, duration_s=duration_s)
    options = ("--root", str(tmp_path / "data"), "--batch-size", "1")
    with no_file_larger_than(400_000), pytest.raises(SystemExit) as stopped:
        run(tmp_path / "out", *options, split="all")
    assert stopped.value.code == 2
    assert "cannot be written" in capsys.readouterr().err
    assert sounds(tmp_path / "out").keys() == {"x.wav"}
    run(tmp_path / "out", *options, split="all")
    assert sounds(tmp_path / "out").keys() == {"x.wav", "y.wav", "z.wav"}


def test_in_words_a_chunk_without_label_gets_no_prompt(tmp_path):
    root = tmp_path / "data"
    tone_clip(root, "a", duration_s=10.0)
    options = [
        "--split",
        "all",
        "--root",
        root,
        "--checkpoint",
        BUNDLED,
        "--output-dir",
        tmp_path / "out",
        "--prompt-from",
        "text",
    ]
    generate_split.main([*map(str, options), "--steps", "1"])
    assert sounds(tmp_path / "out").keys() == {"a.wav"}
    pipeline = SoundGenerator.from_checkpoint(device="cpu")
    settings = pipeline.settings.changed(n_steps=1, level_match_db=0.0)
    item = FoleyDataset(root, None, pipeline.spec).item(0)
    generator = torch.Generator().manual_seed(0)
    (plain,) = resynthesise(pipeline.model, collate([item]), settings, [generator], texts=[None])
    expected = pipeline.generate(
        pipeline.measure(item.wave), pipeline.spec.duration_s, frames=item.frames, settings=settings
    )
    torch.testing.assert_close(plain, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("options", "split", "words"),
    [
        (["--shard", "2/2"], None, "2/2"),
        (["--batch-size", "0"], None, "--batch-size 0"),
        (["--batch-size", "1000000"], None, "--batch-size 1000000"),
        (["--seed", "4294967296"], None, "--seed 4294967296"),
        (["--steps", "1000000000"], None, "--steps) 1000000000"),
        (["--set", "dataset.batch_size=3"], None, "dataset.batch_size"),
        ([], "test", "--root FOLDER"),
        ([], "nowhere/test.txt", "nowhere"),
        (["--envelopes", "nowhere"], None, "nowhere"),
    ],
)
def test_wrong_options_are_refused(run, tmp_path, capsys, options, split, words):
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "out", *options, split=split)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out" / "generated").exists()


def test_names_tell_chunks_apart(root):
    dataset = FoleyDataset(root, None, ClipSpec(duration_s=0.25), frames=False)
    names = [generate_split.chunk_name(chunk) for chunk in dataset.chunks]
    assert len(set(names)) == len(names)
    assert names[:3] == ["a_000s", "a_000.250s", "a_000.500s"]


def test_a_missing_split_file_is_named(root):
    with pytest.raises(InputError, match="nowhere"):
        FoleyDataset(root, root / "nowhere.txt", ClipSpec(duration_s=2.0), frames=False)


def test_parts_are_joined_when_all_are_there(run, tmp_path, capsys):
    run(tmp_path, "--shard", "0/2")
    with pytest.raises(SystemExit):
        run(tmp_path, "--join")
    assert "--shard 1/2" in capsys.readouterr().err
    run(tmp_path, "--shard", "1/2")
    kept = tmp_path / "generated" / "a.wav"
    sound = kept.read_bytes()
    kept.unlink()
    with pytest.raises(SystemExit):
        run(tmp_path, "--join")
    assert "2 sounds" in capsys.readouterr().err
    run(tmp_path, "--shard", "0/2")
    run(tmp_path, "--shard", "1/2")
    run(tmp_path, "--join")
    assert kept.read_bytes() == sound
    assert not list(tmp_path.glob(".*.json"))
