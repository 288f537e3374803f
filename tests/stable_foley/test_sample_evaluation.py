"""Measures logged during training: which clips, when, and that perfect and silent sounds get the figures they must."""

import csv

import pytest
import torch

import stable_foley.callbacks
import train
from evaluation.levels import e_l1_video_foley
from media.reading import read_sound
from tests.conftest import tone_clip
from tests.test_train import run_config


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    tone_clip(root, "a")
    tone_clip(root, "b", duration_s=2.0)
    return root


def figures(folder, tag):
    """Rows of the CSV logger by name, in order."""
    with next((folder / tag / "csv").glob("version_*/metrics.csv")).open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("valid_loss", "valid_e_l1", "valid_onset_f1")
    return {name: [float(row[name]) for row in rows if row.get(name)] for name in names}


def trained(data_root, folder, tag, *overrides):
    """Train a transformer alone for two epochs, without the slow encoders."""
    small = ["model=backbone", "dataset.frames=false", "callbacks.samples.every_n_epochs=9", "trainer.max_epochs=2"]
    train.train(run_config(data_root, folder, tag, *small, *overrides))
    return figures(folder, tag)


@pytest.mark.parametrize(("sound", "f1"), [("perfect", 1.0), ("silent", 0.0)])
def test_perfect_and_silent_sounds_get_their_figures(data_root, tmp_path, monkeypatch, sound, f1):
    measured = []

    def instead(model, batch, settings, generators):
        assert len(generators) == len(batch.wave)
        measured.append((batch.clip_ids, [g.initial_seed() for g in generators]))
        return batch.wave.cpu() * (sound == "perfect")

    monkeypatch.setattr(stable_foley.callbacks, "resynthesise", instead)
    logged = trained(data_root, tmp_path, sound, "+evaluate_every=1", "callbacks.evaluation.n_clips=3")
    chunks = [(("a", "b"), [0, 1]), (("b",), [2])]
    assert measured == chunks * 2, "the first three chunks, with the same noise in every epoch"
    assert logged["valid_onset_f1"] == [f1, f1]
    waves = []
    for name, start_s in (("a", 0), ("b", 0), ("b", 1)):
        wave = read_sound(data_root / name / "audio" / f"{name}.resampled.wav", sample_rate_hz=44_100)
        wave = wave[:, start_s * 44_100 : (start_s + 1) * 44_100]
        waves.append(wave / wave.abs().max())
    truth = torch.stack(waves)
    expected = e_l1_video_foley(truth * (sound == "perfect"), truth, 44_100).mean().item()
    assert logged["valid_e_l1"] == pytest.approx([expected] * 2, abs=1e-6)


def test_it_measures_what_the_model_generates_in_the_epochs_asked_for(data_root, tmp_path):
    logged = trained(data_root, tmp_path, "every-second", "+evaluate_every=2", "callbacks.evaluation.n_clips=1")
    assert len(logged["valid_loss"]) == 2
    assert len(logged["valid_e_l1"]) == 1
    assert logged["valid_e_l1"][0] > 0
    assert 0 <= logged["valid_onset_f1"][0] <= 1


def test_without_being_asked_it_measures_nothing(data_root, tmp_path):
    assert trained(data_root, tmp_path, "plain")["valid_e_l1"] == []
