"""The time of day at which a file starts: the timecode of a video, or the time reference of a broadcast wave."""

import re
from pathlib import Path

from media.container import opened, sound_stream, video_stream
from media.track_plan import timecode

_TIMECODE = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.,])(\d\d)")


def start_of_day_s(path: Path) -> float:
    """Return the time of day at which a file starts, in seconds; 0 if it states none.

    Raises:
        InputError: The file cannot be read.
    """
    with opened(path) as container:
        video, sound = video_stream(container), sound_stream(container)
        if video is not None:
            rate_hz = float(video.average_rate or video.guessed_rate or 0)
            return timecode_s(timecode(container) or "", rate_hz)
        reference = container.metadata.get("time_reference", "")
        return int(reference) / sound.rate if sound is not None and reference.isdecimal() else 0.0


def has_drop_frames(path: Path) -> bool:
    """Return whether the timecode of a video leaves out numbers, so that it keeps up with the time of day.

    Raises:
        InputError: The file cannot be read.
    """
    with opened(path) as container:
        match = _TIMECODE.fullmatch((timecode(container) or "").strip())
        return match is not None and match[4] != ":"


def timecode_s(text: str, frame_rate_hz: float) -> float:
    """Return the seconds from midnight to a timecode; 0 if it is none.

    Args:
        text: Hours, minutes, seconds and frames; a semicolon (or point or comma) before the frames means drop frame.
        frame_rate_hz: Frames per second.

    Source:
        SMPTE ST 12-1: at 30 / 1.001 frames a second, drop-frame timecode leaves out two numbers a minute, but not every
        tenth minute.
    """
    match = _TIMECODE.fullmatch(text.strip())
    if match is None or frame_rate_hz <= 0:
        return 0.0
    hours, minutes, seconds, frames = (int(match[i]) for i in (1, 2, 3, 5))
    minutes += 60 * hours
    number = (60 * minutes + seconds) * round(frame_rate_hz) + frames
    if match[4] != ":":
        number -= round(frame_rate_hz / 15) * (minutes - minutes // 10)
    return number / frame_rate_hz
