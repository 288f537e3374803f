"""Optical flow as input: closed forms, and that a frame rate changes nothing."""

import cv2
import numpy as np
import pytest
import torch

from video2rms.features.flow import FlowFeatures, motion_maps

SIZE = (128, 224)


def texture(seed=0):
    noise = np.random.default_rng(seed).uniform(0, 255, (SIZE[0] + 64, SIZE[1] + 128)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.clip(128 + 5 * (smooth - smooth.mean()), 0, 255)


def moving(times_s, speed_px_s):
    """Frames (1, T, 3, H, W) of a texture that moves to the right and half as fast down."""
    picture, frames = texture(), []
    for time_s in times_s:
        x, y = 100 - speed_px_s * time_s, 50 - 0.5 * speed_px_s * time_s
        matrix = np.float32([[1, 0, -x], [0, 1, -y]])
        frames.append(cv2.warpAffine(picture, matrix, SIZE[::-1]).astype(np.uint8))
    return torch.from_numpy(np.stack(frames))[None, :, None].expand(-1, -1, 3, -1, -1).contiguous()


def inner(maps):
    return maps[..., 3:-3, 3:-3]


def test_flow_is_the_speed_in_picture_widths():
    speed_px_s = 40.0
    maps = inner(motion_maps(moving(np.arange(12) / 30, speed_px_s), torch.zeros(1, 12))[0, 2:])
    expected = 4 * speed_px_s / SIZE[1]
    assert maps[:, 0].sinh().mean() == pytest.approx(expected, rel=0.25)
    assert maps[:, 1].sinh().mean() == pytest.approx(expected / 2, rel=0.25)
    assert maps[:, 2].sinh().median() == pytest.approx(expected * np.hypot(1, 0.5), rel=0.25)


@pytest.mark.parametrize("hold", [2, 3])
def test_a_movement_looks_the_same_at_other_frame_rates(hold):
    numbers = np.arange(24)
    smooth = motion_maps(moving(numbers / 30, 30.0), torch.zeros(1, 24))
    shown = numbers // hold * hold
    held = motion_maps(moving(shown / 30, 30.0), torch.from_numpy((numbers - shown) / 30)[None])
    last = int(shown[-1]) + 1  # after the last picture nothing is known to move
    difference = (inner(held[0, 3:last, :2]) - inner(smooth[0, 3:last, :2])).abs()
    assert difference.mean() < 0.15 * inner(smooth[0, 3:, :2]).abs().mean()


def test_pictures_that_a_file_repeats_count_once():
    shown = np.arange(24) // 2 * 2
    frames = moving(shown / 30, 30.0)
    late = motion_maps(frames, torch.from_numpy((np.arange(24) - shown) / 30)[None])
    repeated = motion_maps(frames, torch.zeros(1, 24))
    torch.testing.assert_close(repeated, late)


def test_a_still_picture_has_no_motion():
    maps = motion_maps(moving(np.zeros(10), 0.0), torch.zeros(1, 10))
    assert not maps.any()


def test_clips_do_not_depend_on_each_other():
    frames = torch.cat([moving(np.arange(8) / 30, 30.0), moving(np.arange(8) / 30, -20.0)])
    together = motion_maps(frames, torch.zeros(2, 8))
    apart = torch.cat([motion_maps(clip[None], torch.zeros(1, 8)) for clip in frames])
    assert torch.equal(together, apart)


def test_features_depend_on_their_surroundings_only():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = FlowFeatures(16, (8, 16), (SIZE[1], SIZE[0])).eval()
    frames = moving(np.arange(120) / 30, 10.0)
    changed = frames.clone()
    changed[0, 100] = 255 - changed[0, 100]
    near = 100 - features.context_frames
    before, after = (features(each, torch.zeros(1, 120))[0] for each in (frames, changed))
    torch.testing.assert_close(before[:near], after[:near])
    assert not torch.allclose(before[near:], after[near:])
