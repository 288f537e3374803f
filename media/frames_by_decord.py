"""Frames of the videos that decord reads rightly."""

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from media.container import MP4, Packets, decoded, need_video, opened, origin_s
from media.frames import TimedImage, orientation

try:
    import decord

    DECORD_ERRORS: tuple[type[Exception], ...] = (decord.DECORDError, RuntimeError)
except (ImportError, OSError):  # there is no decord for some platforms
    decord, DECORD_ERRORS = None, ()

_MOST_FRAMES = 1000


def images_by_decord(path: Path) -> Iterator[TimedImage]:
    """Every frame of a video as it is stored, none where decord would be wrong.

    It is right for short clips in MP4 that are shown as they are stored and have one key frame (it miscounts when it
    seeks to others), if it counts and times the frames as PyAV does (it invents frames of clips that were cut by stream
    copy). It does not tell damage, which PyAV does.

    Raises:
        DECORD_ERRORS: When an image is called that it cannot decode after all.
    """
    if decord is None:
        return
    with opened(path) as container:
        stream = need_video(path, container)
        entries = stream.index_entries
        if container.format.name != MP4 or not len(entries) <= _MOST_FRAMES:
            return
        if sum(entry.is_keyframe for entry in entries) != 1 or stream.sample_aspect_ratio not in (None, 0, 1):
            return
        times_s: list[Fraction] = []
        for picture in decoded(Packets(container, stream)):
            if not times_s and orientation(picture) != (False, 0):
                return
            times_s.append(picture.pts * picture.time_base)
        expected_s = [float(time_s - origin_s(container)) for time_s in times_s]
    reader = decord.VideoReader(str(path))
    read_s = reader.get_frame_timestamp(range(len(reader)))[:, 0]
    if len(read_s) == len(expected_s) and np.allclose(read_s, expected_s, rtol=0, atol=1e-3):
        for index, time_s in enumerate(times_s):
            yield time_s, partial(_image_by_decord, reader, index)


def _image_by_decord(reader: Any, index: int) -> Tensor:
    return torch.from_numpy(reader[index].asnumpy()).permute(2, 0, 1)
