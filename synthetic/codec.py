"""Compression of a film as files have it: H.264 in memory, with the blur, blocks and pulse of its key frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from synthetic.scene import log_uniform


@dataclass(frozen=True)
class Compression:
    """Settings of the encoder.

    Args:
        quality: Constant rate factor, 18 (good) to 40 (poor).
        key_interval: Frames from one key frame to the next.
        scale: Size of the compressed picture as a share of the given one, above 0 and up to 1.
        preset: Speed of libx264.
    """

    quality: int
    key_interval: int
    scale: float = 1.0
    preset: str = "ultrafast"


def draw_compression(rng: np.random.Generator, *, poor: bool = False) -> Compression:
    """Draw settings; poor ones have a quality factor of at least 30."""
    quality = int(rng.integers(30 if poor else 18, 41))
    scale = float(rng.choice([1.0, 0.75, 0.5], p=[0.75, 0.15, 0.1]))
    preset = "veryfast" if rng.random() < 0.15 else "ultrafast"
    return Compression(quality, round(log_uniform(rng, (12, 60 if poor else 250))), scale, preset)


def compress(pictures: list[np.ndarray], how: Compression) -> list[np.ndarray]:
    """Return what is left of pictures (H, W, 3), uint8, RGB, after encoding and decoding them as one film."""
    height, width = pictures[0].shape[:2]
    even = tuple(max(32, 2 * round(0.5 * how.scale * size)) for size in (width, height))
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height = even
    encoder.pix_fmt, encoder.time_base, encoder.thread_count = "yuv420p", Fraction(1, 30), 1
    # without mbtree, the same pictures give the same bytes
    steady = f"mbtree=0:rc-lookahead=0:keyint={how.key_interval}:min-keyint={how.key_interval}:scenecut=0"
    encoder.options = {"preset": how.preset, "crf": str(how.quality), "x264-params": steady}
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    reformatter = VideoReformatter()
    decoded = []
    for picture in _decoded(encoder, decoder, reformatter, pictures, even):
        rgb = reformatter.reformat(picture, format="rgb24", threads=1).to_ndarray()
        decoded.append(rgb if even == (width, height) else cv2.resize(rgb, (width, height)))
    return decoded


def _decoded(
    encoder: Any, decoder: Any, reformatter: VideoReformatter, pictures: list[np.ndarray], size_px: tuple[int, ...]
) -> Iterator[Any]:
    for number, picture in enumerate(pictures):
        if picture.shape[1::-1] != size_px:
            picture = cv2.resize(picture, size_px, interpolation=cv2.INTER_AREA)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame = reformatter.reformat(frame, format="yuv420p", threads=1)
        frame.pts = number
        for packet in encoder.encode(frame):
            yield from decoder.decode(packet)
    for packet in encoder.encode(None):
        yield from decoder.decode(packet)
    yield from decoder.decode(None)
