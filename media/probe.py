"""The properties of media files."""

from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from media.container import Packets, decoded, end_of, no_frame, opened, origin_s, sound_stream, video_stream
from media.frames import orientation, shown_px


@dataclass(frozen=True)
class MediaInfo:
    """Properties of a media file; sizes are 0 without a picture, sample rate and channels None without a sound.

    Args:
        path: The file.
        duration_s: Seconds until the end of the picture, or of the sound if there is no picture.
        width: Width of the picture as shown, in square pixels.
        height: Height of the picture as shown, in square pixels.
        frame_rate_hz: Average number of frames per second that the header states.
        rotation_deg: Rotation to the left by which the stored (or mirrored) picture is shown: 0, 90, 180 or 270.
        has_video: Whether it holds a moving picture; cover art does not count.
        has_sound: Whether it holds a sound.
        sample_rate_hz: Samples per second of the sound.
        n_channels: Channels of the sound.
    """

    path: Path
    duration_s: float
    width: int
    height: int
    frame_rate_hz: float
    rotation_deg: int
    has_video: bool
    has_sound: bool
    sample_rate_hz: int | None
    n_channels: int | None


def probe(path: Path) -> MediaInfo:
    """Read the properties of a video or sound file.

    Raises:
        InputError: The file is missing, damaged or cut off, or holds neither picture nor sound.
    """
    with opened(path) as container:
        video, sound = video_stream(container), sound_stream(container)
        if video is None and sound is None:
            raise InputError(f"{path} holds neither picture nor sound that can be decoded: give a video or a sound")
        packets = Packets(container, video or sound)
        quarter_turns = _first_quarter_turns(path, packets) if video else 0
        width, height = shown_px(video, quarter_turns) if video else (0, 0)
        return MediaInfo(
            path=path,
            duration_s=_duration_s(packets),
            width=width,
            height=height,
            frame_rate_hz=float(video.average_rate or video.guessed_rate or 0) if video else 0.0,
            rotation_deg=90 * quarter_turns,
            has_video=video is not None,
            has_sound=sound is not None,
            sample_rate_hz=sound.rate if sound else None,
            n_channels=sound.layout.nb_channels if sound else None,
        )


def _first_quarter_turns(path: Path, packets: Packets) -> int:
    """Return the number of quarter turns to the left by which the picture is shown, according to its first frame."""
    first = next(decoded(packets, thread_count=1), None)
    if first is None:
        raise no_frame(path)
    return orientation(first)[1]


def _duration_s(packets: Packets) -> float:
    """Return the seconds from the start of the file to the end of its stream, by the header or else by the packets."""
    return float(end_of(packets) - origin_s(packets.container))
