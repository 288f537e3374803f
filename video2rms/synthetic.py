"""Synthetic strikes as training data: films of every frame rate and kind, on the grid of 30 frames per second."""

from dataclasses import replace

from evaluation.levels import rms_44khz
from media.envelope import fine_envelope
from synthetic import SAMPLE_RATE_HZ, Footage, SyntheticSpec, plain_footage, render_footage
from video2rms.batch import VideoItem
from video2rms.features.base import FRAME_RATE_HZ

LOUDEST_RMS = 0.32
"""Loudest level of a clip in windows of 32 ms. Recordings of strikes have their peak 10 dB above it (0.25 to 0.43);
rendered strikes, which are more impulsive, have it 20 dB above, so a peak of 1 would make them too soft."""


def render_video(spec: SyntheticSpec, seed: int, number: int, *, rate_hz: float | None = None) -> VideoItem:
    """Render a clip as training data.

    Args:
        spec: Form of the clip; its frame rate does not count.
        seed: Seed of the clips, at least 0.
        number: Number of the clip, at least 0.
        rate_hz: Frame rate of a plain clip (`synthetic.plain_footage`), for measurements; None: one of the films of
            `synthetic.render_footage`.

    Returns:
        The item.
    """
    spec = replace(spec, frame_rate_hz=FRAME_RATE_HZ)
    if rate_hz is not None:
        return video_item(plain_footage(spec, seed, number, rate_hz))
    return video_item(render_footage(spec, seed, number))


def video_item(footage: Footage) -> VideoItem:
    """Convert a film on the grid of 30 frames per second to a training item whose loudest level is `LOUDEST_RMS`."""
    rms = fine_envelope(footage.clean, SAMPLE_RATE_HZ).rms
    loudest = float(rms.max())
    gain = LOUDEST_RMS / loudest if loudest > 0 else 1.0
    return VideoItem(
        frames=footage.frames,
        lateness_s=footage.lateness_s,
        rms=gain * rms,
        rms_44khz=rms_44khz(gain * footage.clean, SAMPLE_RATE_HZ),
        onsets_s=footage.onsets_s,
        clip_id=footage.clip_id,
    )
