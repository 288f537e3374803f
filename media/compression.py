"""Compression of pictures as a video file has it: H.264 in memory, with its blur, its blocks and its pulse."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

_LEAST_PX = 32
_SCALING = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT  # the same on every processor


@dataclass(frozen=True)
class Compression:
    """Settings of an encoder.

    Args:
        quality: Constant rate factor of x264, 0 (lossless) to 51 (worst).
        key_interval: Frames from one key frame to the next, at least 1.
        scale: Width and height of the compressed pictures as a share of the given ones, above 0.
        preset: Preset of x264, such as "ultrafast".
    """

    quality: int
    key_interval: int
    scale: float = 1.0
    preset: str = "ultrafast"


def compress(pictures: Sequence[np.ndarray], how: Compression) -> list[np.ndarray]:
    """Encode pictures as one film and decode it; the same pictures give the same result.

    Args:
        pictures: Pictures (H, W, 3), uint8, RGB, one or more.
        how: Settings of the encoder.

    Returns:
        As many pictures of the same size.
    """
    height, width = pictures[0].shape[:2]
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height = (max(_LEAST_PX, 2 * round(0.5 * how.scale * size)) for size in (width, height))
    encoder.pix_fmt, encoder.time_base, encoder.thread_count = "yuv420p", Fraction(1, 30), 1
    # mbtree makes the bytes of small pictures vary; without looking ahead, key frames come at even intervals
    steady = f"mbtree=0:rc-lookahead=0:scenecut=0:keyint={how.key_interval}:min-keyint={how.key_interval}"
    encoder.options = {"preset": how.preset, "crf": str(how.quality), "x264-params": steady}
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    scaler = VideoReformatter()
    return [
        scaler.reformat(picture, width, height, "rgb24", interpolation=_SCALING, threads=1).to_ndarray()
        for picture in _decoded(encoder, decoder, pictures)
    ]


def _decoded(encoder: Any, decoder: Any, pictures: Sequence[np.ndarray]) -> Iterator[Any]:
    """Yield the frames that the decoder makes of what the encoder makes of pictures."""
    scaler, size = VideoReformatter(), (encoder.width, encoder.height)
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame = scaler.reformat(frame, *size, "yuv420p", interpolation=_SCALING, threads=1)
        frame.pts = number
        for packet in encoder.encode(frame):
            yield from decoder.decode(packet)
    for packet in encoder.encode(None):
        yield from decoder.decode(packet)
    yield from decoder.decode(None)
