"""Synthetic clips on their way into training: the same for the same numbers, others in every epoch."""

import pytest
import torch

from common.errors import InputError
from media.clip import ClipSpec
from synthetic import SAMPLE_RATE_HZ, SyntheticDataset, SyntheticFoleyModule, SyntheticSpec, render_clip

SPEC = ClipSpec(duration_s=1.0, frame_size_px=(48, 32))
BATCHES = {"batch_size": 2, "samples_per_epoch": 4, "n_val_clips": 3, "num_workers": 0}


def test_an_epoch_begins_where_the_one_before_ended():
    dataset = SyntheticDataset(lambda number: 10 * number, 3)
    assert [dataset[i] for i in range(len(dataset))] == [0, 10, 20]
    dataset.set_epoch(2)
    assert [dataset[i] for i in range(len(dataset))] == [60, 70, 80]


def test_distinct_clips_come_again_in_turn():
    dataset = SyntheticDataset(lambda number: number, 3, n_distinct=4)
    assert [dataset[i] for i in range(3)] == [0, 1, 2]
    dataset.set_epoch(1)
    assert [dataset[i] for i in range(3)] == [3, 0, 1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_hold_the_clips_of_the_epoch_at_their_level(num_workers):
    module = SyntheticFoleyModule(SPEC, **BATCHES | {"num_workers": num_workers}, clean_share=0.0, gain_db=(-6, -6))
    batches = list(module.train_dataloader())
    assert sorted(name for batch in batches for name in batch.clip_ids) == [f"synthetic-0-00000{i}" for i in range(4)]
    for batch in batches:
        assert batch.wave.shape == (2, 2, SAMPLE_RATE_HZ)
        assert batch.frames.shape == (2, 4, 3, 32, 48)
        torch.testing.assert_close(batch.wave.abs().amax(dim=(1, 2)), torch.full((2,), 10 ** (-6 / 20)))
        for i, name in enumerate(batch.clip_ids):
            form = SyntheticSpec(1.0, 12.0, 48, 32, max_offset_s=0.0)
            clip = render_clip(form, 0, int(name.split("-")[-1]))
            assert torch.equal(batch.frames[i], clip.frames[::3].float() / 255)
            similarity = torch.cosine_similarity(batch.wave[i].double().flatten(), clip.wave.double().flatten(), dim=0)
            assert similarity == pytest.approx(1, abs=1e-9)


def test_clean_clips_have_no_noise_before_the_first_strike():
    clean, noisy = (
        next(iter(SyntheticFoleyModule(SPEC, **BATCHES, clean_share=share).val_dataloader())) for share in (1.0, 0.0)
    )
    assert clean.clip_ids == noisy.clip_ids
    first_s = float(min(times[0] for times in clean.onsets))
    before = slice(0, int((first_s - 0.01) * SAMPLE_RATE_HZ))
    assert clean.wave[..., before].abs().max() < 1e-3 < noisy.wave[..., before].abs().max() * 20


def test_validation_clips_are_rendered_once_and_shown_first():
    module = SyntheticFoleyModule(SPEC, **BATCHES, frames=False)
    (shown,) = module.preview(2)
    batches = list(module.val_dataloader())
    assert [len(batch) for batch in batches] == [2, 1]
    assert shown.clip_ids == batches[0].clip_ids == ("synthetic-1-000000", "synthetic-1-000001")
    assert torch.equal(shown.wave, batches[0].wave)
    assert shown.frames is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_size": 5}, "batch_size 5"),
        ({"n_val_clips": 0}, "n_val_clips 0"),
        ({"num_workers": -1}, "num_workers -1"),
        ({"clean_share": 1.5}, "clean_share is 1.5"),
        ({"gain_db": (0.0, -3.0)}, "gain_db"),
        ({"n_train_clips": 0}, "n_train_clips 0"),
        ({"n_val_clips": 10**9}, "n_val_clips 1000000000"),
        ({"samples_per_epoch": 10**12}, "samples_per_epoch 1000000000000"),
        ({"num_workers": 10**9}, "num_workers 1000000000"),
        ({"batch_size": 10**6, "samples_per_epoch": 10**6}, "batch_size 1000000"),
        ({"seed": -1}, "seed -1"),
        ({"cache": "somewhere"}, "dataset.n_train_clips"),
        ({"spec": ClipSpec(sample_rate_hz=16_000)}, "16000 Hz"),
    ],
)
def test_impossible_values_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        SyntheticFoleyModule(**{"spec": SPEC} | BATCHES | values)
