"""The source tells where it is from: channel 0 is its sample number, channel 1 is 1, frame i is filled with i."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from common.errors import InputError
from data.augment import Remix
from media.clip import ClipSpec

SPEC = ClipSpec(duration_s=6.0, sample_rate_hz=2000, n_channels=2, frame_rate_hz=5.0, frame_size_px=8)
REMIX = Remix(min_piece_s=0.5, max_piece_s=2.0, gain_db=(-18.0, 6.0), mute_probability=0.3, crossfade_s=0.02)
FADE = 40
HITS = torch.arange(60) * 0.1 + 0.033


def source(n_samples: int = SPEC.n_samples) -> tuple[Tensor, Tensor]:
    sound = torch.stack([torch.arange(n_samples, dtype=torch.float64), torch.ones(n_samples, dtype=torch.float64)])
    n_frames = max(1, round(n_samples / SPEC.sample_rate_hz * SPEC.frame_rate_hz))
    return sound, torch.arange(n_frames, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)


def remix(seed: int, n_samples: int = SPEC.n_samples, augment: Remix = REMIX) -> tuple[Tensor, Tensor, Tensor]:
    sound, frames = source(n_samples)
    mixed, moved_frames, hits = augment(sound, frames, HITS, SPEC, torch.Generator().manual_seed(seed))
    assert moved_frames is not None
    return mixed, moved_frames, hits


def source_samples(mixed: Tensor) -> Tensor:
    """Source sample of every output sample, NaN where muted (0 / 0); in a cross-fade, a mean of two."""
    return mixed[0] / mixed[1]


def near(values: Tensor, positions: Tensor, reach: int) -> Tensor:
    return ((values[:, None] - positions[None]).abs() <= reach).any(-1)


def joints(mixed: Tensor) -> Tensor:
    """Output samples whose step is not the plain one of an unchanged gain."""
    plain = (mixed.diff()[1].abs() < 1e-12) & ((mixed.diff()[0] - mixed[1, 1:]).abs() < 1e-9)
    return torch.where(~plain)[0]


@pytest.mark.parametrize("n_samples", [SPEC.n_samples, 7000, 1500])
@pytest.mark.parametrize("seed", range(5))
def test_pieces_are_contiguous_in_the_source(seed: int, n_samples: int) -> None:
    mixed, frames, _ = remix(seed, n_samples)
    assert mixed.shape == (2, SPEC.n_samples)
    assert frames.shape == (SPEC.n_frames, 3, 2, 2)
    at = joints(mixed)
    # outside the joints every sample follows the one before it in the source; joints are short and far apart
    starts = at[torch.cat([torch.tensor([True]), at.diff() > 1])] if len(at) else at
    longest_joint = FADE + 1
    assert near(at, starts + longest_joint // 2, longest_joint // 2 + 1).all()
    shortest_piece = min(round(REMIX.min_piece_s * SPEC.sample_rate_hz), n_samples - FADE)
    assert (starts.diff() >= shortest_piece - FADE).all()
    assert len(starts) >= SPEC.duration_s / REMIX.max_piece_s - 1


@pytest.mark.parametrize("seed", range(20))
def test_frames_and_hits_follow_the_sound(seed: int) -> None:
    mixed, frames, hits = remix(seed)
    where = source_samples(mixed)
    at = joints(mixed)
    samples = torch.arange(SPEC.n_frames) * 400
    clear = ~near(samples, at, FADE) & ~where[samples].isnan()
    assert clear.sum() > 5
    expected = (where[samples] / 400).round().clamp(max=SPEC.n_frames - 1)
    assert torch.equal(frames[clear][:, 0, 0, 0].double(), expected[clear])

    assert (hits.diff() > 0).all()
    hit_samples = (hits * SPEC.sample_rate_hz).round().long().clamp(max=SPEC.n_samples - 1)
    clear = ~near(hit_samples, at, FADE)
    assert clear.sum() > 10
    # 1.5 samples: the source times are 66 samples after a multiple of 200, rounding may add one
    distance = (where[hit_samples[clear]] - 66) % 200
    assert (torch.minimum(distance, 200 - distance) < 1.5).all()


@pytest.mark.parametrize("seed", range(20))
def test_no_hit_of_a_sounding_piece_is_lost(seed: int) -> None:
    mixed, _, hits = remix(seed)
    where = source_samples(mixed)
    is_hit = (where.round() % 200 == 66) & ~near(torch.arange(SPEC.n_samples), joints(mixed), FADE)
    expected = torch.where(is_hit)[0]
    assert near(expected, hits * SPEC.sample_rate_hz, 2).all()


def test_muted_pieces_are_silent_and_lose_their_hits() -> None:
    n_muted = 0
    for seed in range(20):
        mixed, _, hits = remix(seed)
        silent = mixed[1] == 0
        assert (mixed[0][silent] == 0).all()
        hit_samples = (hits * SPEC.sample_rate_hz).round().long().clamp(max=SPEC.n_samples - 1)
        assert not silent[hit_samples].any()
        n_muted += int(silent.sum())
    assert n_muted / (20 * SPEC.n_samples) == pytest.approx(REMIX.mute_probability, abs=0.1)


@pytest.mark.parametrize(("probability", "n_hits"), [(1.0, 0), (0.0, 1)])
def test_mute_probability_at_its_ends(probability: float, n_hits: int) -> None:
    mixed, _, hits = remix(0, augment=replace(REMIX, mute_probability=probability))
    assert bool((mixed == 0).all()) == (probability == 1.0)
    assert min(len(hits), 1) == n_hits


@pytest.mark.parametrize("seed", range(10))
def test_gains_lie_in_their_range_and_joints_do_not_click(seed: int) -> None:
    mixed, _, _ = remix(seed)
    gain = mixed[1]
    highest = 10 ** (6 / 20)
    assert gain.max() <= highest + 1e-6
    plain = ~near(torch.arange(SPEC.n_samples), joints(mixed), FADE) & (gain > 0)
    assert gain[plain].min() >= 10 ** (-18 / 20) - 1e-6
    # a raised cosine over F samples moves at most pi / (2 F) of the whole way in a sample
    assert gain.diff().abs().max() <= highest * torch.pi / (2 * FADE) + 1e-6


def test_weights_of_a_joint_add_up_to_one() -> None:
    mixed, _, _ = remix(3, augment=Remix(0.5, 2.0, gain_db=(0.0, 0.0), mute_probability=0.0, crossfade_s=0.02))
    torch.testing.assert_close(mixed[1], torch.ones(SPEC.n_samples, dtype=torch.float64), atol=1e-6, rtol=0)
    assert len(torch.where((mixed[0].diff() - 1).abs() > 1e-3)[0]) > FADE


def test_result_never_exceeds_the_peak_times_the_highest_gain() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(2, SPEC.n_samples, generator=generator) * 2 - 1
    for _ in range(20):
        mixed, frames, _ = REMIX(noise, None, HITS, SPEC, generator)
        assert frames is None
        assert mixed.abs().max() <= noise.abs().max() * 10 ** (6 / 20) * (1 + 1e-6)


def test_chance_comes_from_the_generator_alone() -> None:
    torch.manual_seed(1)
    first = remix(7)
    torch.manual_seed(2)
    second = remix(7)
    other = remix(8)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], other[0])


def test_shortest_source_there_can_be() -> None:
    mixed, frames, _ = remix(0, 2 * FADE)
    assert mixed.shape == (2, SPEC.n_samples)
    assert source_samples(mixed).nan_to_num(0).max() < 2 * FADE
    assert (frames == 0).all()


def test_source_that_is_too_short_is_refused() -> None:
    with pytest.raises(InputError, match="79 samples is too short"):
        remix(0, 2 * FADE - 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"min_piece_s": 0.0},
        {"min_piece_s": 3.0, "max_piece_s": 2.0},
        {"max_piece_s": float("inf")},
        {"gain_db": (6.0, -18.0)},
        {"gain_db": (1.0,)},
        {"mute_probability": 1.1},
        {"crossfade_s": -0.1},
        {"crossfade_s": 1.1},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"remix .*{list(settings)[-1].split('_')[0]}|remix pieces"):
        replace(REMIX, **settings)
