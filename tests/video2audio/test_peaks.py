"""Peaks above full scale: limited, softened or clipped."""

import pytest
import torch

from common.errors import InputError
from media.stored import PART_SAMPLES, StoredSound, loaded, parts
from video2audio.peaks import FADE_S, PEAK_DB, limited, within_full_scale

RATE_HZ = 44100
CEILING = 10 ** (PEAK_DB / 20)


def noise(peak: float, n_channels: int = 1, n_samples: int = RATE_HZ) -> torch.Tensor:
    wave = torch.randn(n_channels, n_samples, generator=torch.Generator().manual_seed(0))
    return peak * wave / wave.abs().max()


@pytest.mark.parametrize("peak", [1.01, 2.0, 50.0])
def test_nothing_exceeds_the_ceiling_after_limiting(peak):
    highest = limited(noise(peak, 2), RATE_HZ).abs().max().item()
    assert highest <= CEILING * (1 + 1e-6)
    assert highest > 0.9 * CEILING


def test_limiting_one_peak_leaves_what_lies_further_than_the_fade_as_it_is():
    sound = noise(0.5)
    place = RATE_HZ // 2
    sound[0, place] = 3.0
    result = limited(sound, RATE_HZ)
    gain = (result / sound)[0]
    reach = round(FADE_S * RATE_HZ) + 3
    torch.testing.assert_close(result[0, : place - reach], sound[0, : place - reach], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(result[0, place + reach :], sound[0, place + reach :], atol=1e-6, rtol=1e-6)
    assert gain[place].item() == pytest.approx(CEILING / 3, rel=1e-5)
    before, after = gain[place - reach : place + 1].double(), gain[place : place + reach].double()
    assert (before.diff() <= 1e-6).all()
    assert (after.diff() >= -1e-6).all()
    assert before.diff().abs().max() < 0.02  # the gain fades, it does not jump


def test_both_channels_get_the_gain_of_the_louder_one():
    sound = noise(0.5, 2)
    sound[0, 20000] = 2.0
    gain = limited(sound, RATE_HZ)[:, 20000] / sound[:, 20000]
    assert gain[0].item() == pytest.approx(gain[1].item(), rel=1e-5)


@pytest.mark.parametrize("peaks", ["limit", "soften", "clip"])
@pytest.mark.parametrize("sound", [noise(1.0), torch.zeros(1, 100), torch.zeros(2, 0)])
def test_a_sound_within_full_scale_stays_the_same(peaks, sound):
    result = within_full_scale(sound, RATE_HZ, peaks)
    assert result.sound is sound
    assert (result.gain_db, result.n_clipped) == (0.0, 0)


def test_softening_keeps_proportions_and_clipping_counts_samples():
    sound = noise(4.0)
    softened = within_full_scale(sound, RATE_HZ, "soften")
    torch.testing.assert_close(softened.sound / sound, torch.full_like(sound, CEILING / 4))
    clipped = within_full_scale(sound, RATE_HZ, "clip")
    assert clipped.sound is sound
    assert clipped.n_clipped == int((sound.abs() > 1).sum()) > 0


def test_a_sound_shorter_than_the_fade_is_limited():
    assert limited(torch.full((1, 10), 2.0), RATE_HZ).abs().max().item() == pytest.approx(CEILING, rel=1e-5)


def test_another_word_is_refused():
    with pytest.raises(InputError, match="'squash'"):
        within_full_scale(noise(2.0), RATE_HZ, "squash")


def test_the_gain_of_a_limiter_does_not_depend_on_where_parts_begin():
    sound = noise(2.0, 2, PART_SAMPLES + 50_000)
    stored = limited(StoredSound.of(parts(sound)), RATE_HZ)
    torch.testing.assert_close(loaded(stored), limited(sound, RATE_HZ))
    place = slice(PART_SAMPLES - 3000, PART_SAMPLES + 3000)
    around = limited(sound[:, PART_SAMPLES - 9000 : PART_SAMPLES + 9000], RATE_HZ)
    torch.testing.assert_close(stored[:, place], around[:, 6000:12_000], rtol=1e-5, atol=1e-6)
