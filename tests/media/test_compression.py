"""Compression in memory does to pictures what a file would do."""

import numpy as np

from media.compression import Compression, compress
from synthetic import SyntheticSpec, render_clip

SPEC = SyntheticSpec(duration_s=2.0, width=112, height=64)


def test_compression_keeps_the_picture_and_its_mean():
    frames = render_clip(SPEC, 2, 2, sound=False).frames.permute(0, 2, 3, 1).contiguous().numpy()
    good, poor = (np.stack(compress(list(frames), Compression(quality, 25))) for quality in (20, 38))
    small = np.stack(compress(list(frames), Compression(20, 25, scale=0.5, preset="veryfast")))
    for decoded in (good, poor, small):
        assert decoded.shape == frames.shape
        assert decoded.dtype == np.uint8
        assert np.abs(decoded.mean(axis=(1, 2)) - frames.mean(axis=(1, 2))).max() < 10
    error, poor_error, small_error = (np.abs(x.astype(float) - frames).mean() for x in (good, poor, small))
    assert error < poor_error < 12
    assert error < small_error < 12
    assert (np.stack(compress(list(frames), Compression(38, 25))) == poor).all()


def test_a_compressed_still_pulses_at_its_key_frames():
    still = render_clip(SPEC, 2, 2, sound=False).frames[0].permute(1, 2, 0).contiguous().numpy()
    decoded = np.stack(compress([still] * 40, Compression(36, 12))).astype(float)
    change = np.abs(np.diff(decoded, axis=0)).mean(axis=(1, 2, 3))
    keys = np.arange(11, 39, 12)
    assert change[keys].min() > np.median(np.delete(change, keys))
