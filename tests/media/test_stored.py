"""Sounds and frames on disk: every part is what the same tensor in memory has there."""

import gc

import pytest
import torch

from media.stored import PART_SAMPLES, StoredRows, StoredSound, like, loaded, parts, parts_with_margins


def noise(n_channels, n_samples):
    return torch.randn(n_channels, n_samples, generator=torch.Generator().manual_seed(n_samples))


@pytest.mark.parametrize("n_channels", [1, 2])
def test_a_stored_sound_is_read_like_a_tensor(n_channels):
    sound = noise(n_channels, 1000)
    stored = StoredSound.of([sound[:, :300], sound[:, 300:300], sound[:, 300:]])
    assert stored.shape == sound.shape
    for place in (slice(None), slice(0, 0), slice(290, 310), slice(990, 2000), slice(2000, 3000), slice(-5, None)):
        assert torch.equal(stored[:, place], sound[:, place])
    assert torch.equal(loaded(stored), sound)


def test_frames_are_kept_in_their_type(tmp_path):
    frames = torch.randint(0, 256, (7, 3, 4, 5), dtype=torch.uint8)
    rows = StoredRows((3, 4, 5), torch.uint8, tmp_path / "frames")
    rows.append(frames[:3])
    rows.append(frames[3:])
    assert torch.equal(rows[2:6], frames[2:6])
    assert torch.equal(rows[-1:], frames[-1:])


def test_rows_that_do_not_count_are_cut_off(tmp_path):
    rows = StoredRows((2,), torch.float32, tmp_path / "sound")
    rows.append(torch.arange(10.0).reshape(5, 2))
    again = StoredRows((2,), torch.float32, tmp_path / "sound", 3)
    again.append(torch.tensor([[-1.0, -2.0]]))
    assert again[0:9].tolist() == [[0, 1], [2, 3], [4, 5], [-1, -2]]


def test_a_temporary_file_goes_with_its_rows():
    rows = StoredRows((2,), torch.float32)
    path = rows.path
    assert path.is_file()
    del rows
    gc.collect()
    assert not path.parent.exists()


@pytest.mark.parametrize("n_samples", [0, 1, PART_SAMPLES, PART_SAMPLES + 1, 2 * PART_SAMPLES + 7])
def test_parts_make_up_the_sound_wherever_it_is(n_samples):
    sound = noise(1, n_samples)
    for kept in (sound, StoredSound.of(parts(sound))):
        assert torch.equal(loaded(like(kept, parts(kept))), sound)
        inner = [part[:, place] for part, place in parts_with_margins(kept, 1000)]
        assert torch.equal(torch.cat(inner, dim=1), sound)


def test_margins_hold_the_samples_around_a_part():
    sound = noise(2, 1000)
    found = list(parts_with_margins(sound, 30, 400))
    assert [place for _, place in found] == [slice(0, 400), slice(30, 430), slice(30, 230)]
    assert [part.shape[1] for part, _ in found] == [430, 460, 230]
    assert torch.equal(found[1][0], sound[:, 370:830])
