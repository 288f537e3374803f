"""Videos in a web page: whether a browser plays a file as it is, and small pictures of it."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from media.container import need_video, no_frame, opened, origin_s, told_while_reading
from media.frames import View
from media.probe import probe
from media.reading import read_frames

_TYPES = {"mov,mp4,m4a,3gp,3g2,mj2": "video/mp4", "matroska,webm": "video/webm"}
_CODECS = ("h264", "vp8", "vp9", "av1")
_PIXELS = ("yuv420p", "yuvj420p")
_WIDEST = 4
ALL_DECODED_S = 60.0
"""Duration up to which thumbnails are exact; those of longer videos are key frames."""


def browser_type(path: Path) -> str | None:
    """Return the MIME type of a video that every browser plays from time 0 on; None: it must be converted first.

    Raises:
        InputError: It is no readable video.
    """
    with opened(path) as container:
        stream = need_video(path, container)
        codec = stream.codec_context
        if codec.name.removeprefix("lib").split("_")[0] not in (*_CODECS, "dav1d") or codec.pix_fmt not in _PIXELS:
            return None
        return _TYPES.get(container.format.name) if origin_s(container) == 0 else None


def thumbnails(path: Path, most: int, height_px: int) -> tuple[list[float], Tensor]:
    """Return small pictures of a video at equal distances in time.

    Args:
        path: A video.
        most: Largest number of pictures; there are at most four a second.
        height_px: Their height; the width follows from the picture, but is at most 4 times the height.

    Returns:
        Their times in seconds, and the pictures (T, 3, H, W), uint8, RGB.

    Raises:
        InputError: It is no readable video.
    """
    info = probe(path)
    n_pictures = max(1, min(most, int(4 * info.duration_s)))
    rate_hz = n_pictures / info.duration_s
    width_px = min(_WIDEST * height_px, max(1, round(height_px * info.width / info.height)))
    size_px = (width_px, height_px)
    times_s = [number / rate_hz for number in range(n_pictures)]
    if info.duration_s > ALL_DECODED_S:
        return times_s, torch.stack(list(_key_frames(path, times_s, size_px)))
    frames = read_frames(path, frame_rate_hz=rate_hz, size_px=size_px)
    return times_s[: len(frames)], frames[:n_pictures]


def _key_frames(path: Path, times_s: Sequence[float], size_px: tuple[int, int]) -> Iterator[Tensor]:
    """Yield the last key frame (3, H, W) at or before each time."""
    with opened(path) as container:
        stream = need_video(path, container)
        stream.codec_context.skip_frame = "NONKEY"
        view, origin, shown = View(stream, size_px), origin_s(container), None
        for time_s in times_s:
            container.seek(int((Fraction(time_s) + origin) / stream.time_base), stream=stream)
            picture = next(told_while_reading(path, container.decode(stream)), None)
            shown = shown if picture is None else view.show(picture)
            if shown is None:
                raise no_frame(path)
            yield shown
