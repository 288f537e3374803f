"""Synthetic clips as training material."""

import pytest
import torch

from media.envelope import fine_envelope
from synthetic import SAMPLE_RATE_HZ, SyntheticSpec, render_clip, render_footage
from video2rms.augment import augment
from video2rms.synthetic import LOUDEST_RMS, render_video, video_item

SPEC = SyntheticSpec(duration_s=2.0, width=56, height=32, max_offset_s=0.0)


def test_truth_is_that_of_the_clip():
    clip, item = render_clip(SPEC, 3, 5), render_video(SPEC, 3, 5, rate_hz=30.0)
    expected = fine_envelope(clip.clean, SAMPLE_RATE_HZ).rms
    torch.testing.assert_close(item.rms, LOUDEST_RMS * expected / expected.max())
    assert item.onsets_s.tolist() == pytest.approx([strike.picture_time_s for strike in clip.plan.strikes])
    assert torch.equal(item.frames, clip.frames)
    assert len(item.rms) == 250


def test_films_become_items():
    film, item = render_footage(SPEC, 3, 5), render_video(SPEC, 3, 5)
    assert torch.equal(item.frames, film.frames)
    assert torch.equal(item.lateness_s, film.lateness_s)
    assert torch.equal(item.onsets_s, film.onsets_s)
    assert item.clip_id == film.clip_id


def test_silence_stays_silence():
    film = render_footage(SPEC, 3, 5)
    item = video_item(type(film)(film.frames, film.lateness_s, torch.zeros_like(film.clean), torch.empty(0), "silent"))
    assert not item.rms.any()
    assert not item.rms_44khz.any()


@pytest.mark.parametrize("duration_s", [1.0, 3.0, 5.0])
def test_clips_of_all_cameras_are_as_long(duration_s):
    spec = SyntheticSpec(duration_s=duration_s, width=32, height=32, max_offset_s=0.0)
    plain = [render_video(spec, 0, 0, rate_hz=rate_hz) for rate_hz in (6.0, 23.976, 60.0, 120.0)]
    for item in plain + [render_video(spec, 0, number) for number in range(12)]:
        assert len(item.frames) == len(item.lateness_s) == 30 * duration_s
        assert len(item.rms) == 125 * duration_s


def test_augmentation_changes_a_clip_as_a_whole():
    frames = torch.randint(0, 255, (1, 1, 3, 8, 8)).to(torch.uint8).expand(12, 5, 3, 8, 8).contiguous()
    changed = augment(frames, [torch.Generator().manual_seed(i) for i in range(len(frames))])
    assert changed.dtype == torch.uint8
    assert all(torch.equal(clip[0], clip[k]) for clip in changed for k in range(5))
    assert len({tuple(clip.flatten().tolist()) for clip in changed}) == 12
    torch.testing.assert_close(changed, augment(frames, [torch.Generator().manual_seed(i) for i in range(len(frames))]))
    for clip in changed:  # a tone curve: equal tones stay equal, mirrored or not
        straight, mirrored = frames[0, 0].flatten(), frames[0, 0].flip(-1).flatten()
        assert any(
            len({(a, b) for a, b in zip(source.tolist(), clip[0].flatten().tolist(), strict=True)})
            == len(set(source.tolist()))
            for source in (straight, mirrored)
        )
