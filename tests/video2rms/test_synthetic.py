"""Synthetic clips as training material."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from media.envelope import fine_envelope
from synthetic import SAMPLE_RATE_HZ, SyntheticSpec, render_clip
from video2rms.augment import augment
from video2rms.synthetic import CAMERA_RATES_HZ, nearest_frames, render_video, video_item

SPEC = SyntheticSpec(duration_s=2.0, width=56, height=32, max_offset_s=0.0)


@pytest.mark.parametrize("rate_hz", [12.0, 15.0, 21.5, 23.976, 29.97, 30.0, 60.0])
def test_every_grid_time_shows_the_nearest_frame(rate_hz):
    n_frames = round(4 * rate_hz)
    shown, lateness_s = nearest_frames(n_frames, rate_hz, 120)
    times_s, stamps_s = np.arange(len(shown)) / 30, np.arange(n_frames) / rate_hz
    assert len(shown) == 120
    distance_s = np.abs(times_s[:, None] - stamps_s)
    np.testing.assert_allclose(distance_s[np.arange(len(shown)), shown], distance_s.min(axis=1), atol=1e-6)
    np.testing.assert_allclose(lateness_s, times_s - stamps_s[shown], atol=1e-6)


def test_truth_is_that_of_the_clip():
    clip = render_clip(SPEC, 3, 5)
    item = video_item(clip, 30.0)
    peak = clip.wave.abs().max()
    torch.testing.assert_close(item.rms, fine_envelope(clip.clean / peak, SAMPLE_RATE_HZ).rms)
    assert item.onsets_s.tolist() == pytest.approx([strike.picture_time_s for strike in clip.plan.strikes])
    assert torch.equal(item.frames, clip.frames)
    assert len(item.rms) == 250


def test_cameras_have_the_rates_of_their_list():
    items = [render_video(SyntheticSpec(duration_s=1.0, width=32, height=32), 5, i) for i in range(40)]
    shown_at_s = [torch.arange(30) / 30 - item.lateness_s for item in items]
    gaps_s = [float(torch.diff(times).max()) for times in shown_at_s]
    slowest, fastest = min(CAMERA_RATES_HZ), max(CAMERA_RATES_HZ)
    assert all(1 / fastest - 1e-3 <= gap_s <= 1 / slowest + 1e-3 for gap_s in gaps_s)
    assert len({round(gap_s, 4) for gap_s in gaps_s}) >= 4


@pytest.mark.parametrize("duration_s", [1.0, 3.0, 5.0])
def test_clips_of_all_cameras_are_as_long(duration_s):
    spec = SyntheticSpec(duration_s=duration_s, width=32, height=32, max_offset_s=0.0)
    for rate_hz in CAMERA_RATES_HZ:
        item = video_item(render_clip(replace(spec, frame_rate_hz=rate_hz), 0, 0), rate_hz)
        assert len(item.frames) == len(item.lateness_s) == 30 * duration_s
        assert len(item.rms) == 125 * duration_s


def test_augmentation_changes_a_clip_as_a_whole():
    frames = torch.randint(0, 255, (1, 1, 3, 8, 8)).to(torch.uint8).expand(12, 5, 3, 8, 8).contiguous()
    changed = augment(frames, torch.Generator().manual_seed(0))
    assert changed.dtype == torch.uint8
    assert all(torch.equal(clip[0], clip[k]) for clip in changed for k in range(5))
    assert len({tuple(clip.flatten().tolist()) for clip in changed}) == 12
    torch.testing.assert_close(changed, augment(frames, torch.Generator().manual_seed(0)))
    for clip in changed:  # a tone curve: equal tones stay equal, mirrored or not
        straight, mirrored = frames[0, 0].flatten(), frames[0, 0].flip(-1).flatten()
        assert any(
            len({(a, b) for a, b in zip(source.tolist(), clip[0].flatten().tolist(), strict=True)})
            == len(set(source.tolist()))
            for source in (straight, mirrored)
        )
