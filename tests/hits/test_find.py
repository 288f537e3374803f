"""Hits found in envelopes: of known hits, of rendered strikes, of real recordings."""

import numpy as np
import pytest
import torch

from evaluation.onsets import detect_onsets, onset_f1
from hits.find import find_hits, fine_level
from hits.level import level_of_hits
from media.envelope import FINE_RATE_HZ, Envelope, fine_envelope
from media.reading import read_sound
from synthetic import SAMPLE_RATE_HZ, SyntheticSpec, render_clip
from tests.hits.test_level import hits

RATE_HZ = 44_100
TRUE = hits((0.1037, 0.5, 0.03), (0.8, 0.1, 0.15), (1.6012, 0.3, 0.06), (2.404, 0.02, 0.01), (2.7, 0.05, 0.2, 0.4))


@pytest.mark.parametrize("rate_hz", [125.0, 344.53125])
def test_hits_are_found_in_their_own_level(rate_hz):
    found = find_hits(Envelope(level_of_hits(TRUE, round(3.2 * rate_hz), rate_hz), rate_hz))
    assert len(found) == len(TRUE)
    torch.testing.assert_close(found.times_s, TRUE.times_s, atol=0.002, rtol=0)
    torch.testing.assert_close(found.rms, TRUE.rms, rtol=0.08, atol=0)
    torch.testing.assert_close(found.decay_s, TRUE.decay_s, rtol=0.2, atol=0.002)


def test_magnitudes_of_samples_have_the_same_hits():
    rate_hz = 16_000
    time_s = torch.arange(2 * rate_hz) / rate_hz
    wave = sum(torch.exp(-(time_s - t).clamp(min=0) / 0.05) * (time_s >= t) for t in (0.5, 1.25))
    wave = wave * torch.randn(len(time_s), generator=torch.Generator().manual_seed(0)) * 0.1
    found = find_hits(Envelope(wave.abs(), rate_hz))
    torch.testing.assert_close(found.times_s, torch.tensor([0.5, 1.25]), atol=0.005, rtol=0)
    level = torch.from_numpy(fine_level(Envelope(wave.abs(), rate_hz))).float()
    torch.testing.assert_close(level[2:-2], fine_envelope(wave[None], rate_hz).rms[2:-2], rtol=1e-4, atol=1e-6)


def test_a_hit_on_the_first_frame_is_found_and_silence_has_none():
    first = find_hits(Envelope(level_of_hits(hits((0.0, 0.3, 0.05)), 250), FINE_RATE_HZ))
    assert first.times_s.tolist() == pytest.approx([0.0], abs=0.01)
    for level in (torch.zeros(250), torch.full((250,), 0.2), torch.zeros(1)):
        assert len(find_hits(Envelope(level, FINE_RATE_HZ))) == 0


def test_every_value_is_a_number_even_where_it_cannot_be_measured():
    close = hits((0.2, 0.5, 0.3), (0.27, 0.4, 0.03), (0.9, 0.2, 0.05))
    found = find_hits(Envelope(level_of_hits(close, 125), FINE_RATE_HZ))
    assert torch.stack([found.times_s, found.rms, found.decay_s, found.ring]).isfinite().all()


def test_rendered_strikes_are_found():
    spec = SyntheticSpec(duration_s=5.0, frame_rate_hz=15.0, max_offset_s=0.0)
    errors_s = []
    for number in range(4):
        clip = render_clip(spec, 123, number)
        true_s = np.array([strike.time_s for strike in clip.plan.strikes])
        found_s = find_hits(fine_envelope(clip.wave, SAMPLE_RATE_HZ)).times_s.double().numpy()
        assert onset_f1(true_s, found_s, 0.05).recall >= 0.85
        errors_s += [np.abs(found_s - time_s).min() for time_s in true_s]
    assert np.median(errors_s) < 0.008


@pytest.mark.real
def test_every_onset_of_real_recordings_is_a_hit(shared):
    for path in sorted((shared / "real" / "greatest_hits_clips").glob("*.mp4")):
        sound = read_sound(path, sample_rate_hz=RATE_HZ)
        onsets_s = detect_onsets(sound, RATE_HZ).times_s
        found_s = find_hits(fine_envelope(sound, RATE_HZ)).times_s.double().numpy()
        assert onset_f1(onsets_s, found_s, 0.05).recall == 1, path.name
