"""Parts that every written media file shares: errors in one sentence, playable samples, and AAC."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from av.container import OutputContainer
from torch import Tensor

from common.errors import InputError
from common.files import NO_ROOM
from media.stored import Sound

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""FFmpeg's names of the formats that a video with sound is written in, by suffix; the first that fits is chosen."""
_AAC_BITS_PER_S = 256_000


def check_suffix(path: Path) -> str:
    """Return the suffix of an output, in lower case, if it is that of a video container.

    Raises:
        InputError: It is not.
    """
    suffix = path.suffix.lower()
    if suffix not in CONTAINERS:
        raise InputError(f"{path} has the suffix `{path.suffix}`, expected {', '.join(CONTAINERS)}: change the output")
    return suffix


def options_of(suffix: str, sample_rate_hz: int) -> dict[str, str]:
    """Return the options of FFmpeg for a container with a sound of a sample rate."""
    options = {"strict": "unofficial"}  # the standard has no place for Dolby Vision
    if suffix != ".mkv":
        options["movie_timescale"] = str(sample_rate_hz)  # otherwise MP4 rounds durations to milliseconds
    return options


@contextmanager
def told_while_writing(failure: str, remedy: str | None = None) -> Iterator[None]:
    """Turn errors while an output is written into one sentence; `remedy` is for all causes but a full disk."""
    try:
        yield
    except InputError:
        raise
    except (av.FFmpegError, soundfile.LibsndfileError, OSError, ValueError) as error:  # the last is PyAV's
        reason = getattr(error, "strerror", None) or str(error).rstrip(".") or type(error).__name__
        if remedy is None or getattr(error, "errno", None) in NO_ROOM:
            remedy = "make room, or give another folder"
        raise InputError(f"{failure} ({reason}): {remedy}") from error


def check_playable(sound: Sound) -> None:
    """Refuse a sound that no file can hold.

    Raises:
        InputError: It has another shape than (C, N), C 1 or 2, or is empty.
    """
    if len(sound.shape) != 2 or sound.shape[0] not in (1, 2) or sound.shape[1] == 0:
        raise InputError(f"a sound of shape {tuple(sound.shape)} cannot be written: give (1 or 2 channels, samples)")


def playable(part: Tensor, *, is_clipped: bool = True) -> np.ndarray:
    """Return a part (C, n) of a sound on the CPU, clipped to full scale or as it is.

    Raises:
        InputError: It is not finite.
    """
    if not part.isfinite().all():
        raise InputError("the sound holds samples that are not finite numbers: generate it again, or give another")
    samples: np.ndarray = part.detach().float().cpu().contiguous().numpy()
    return samples.clip(-1, 1) if is_clipped else samples


def aac_rates_hz() -> list[int]:
    """Return the sample rates that AAC can hold, in ascending order."""
    return sorted(av.Codec("aac", "w").audio_rates or [])


def aac_stream(target: OutputContainer, sample_rate_hz: int, layout: str) -> Any:
    """Add a stream of AAC to an output, and return it."""
    return target.add_stream("aac", rate=sample_rate_hz, layout=layout, bit_rate=_AAC_BITS_PER_S)


def aac_packets(
    target: OutputContainer, n_channels: int, parts: Iterable[np.ndarray], sample_rate_hz: int
) -> Iterator[Any]:
    """Add a stream of AAC to an output; return its packets, encoded from parts (C, n) of a sound when asked for."""
    layout = "mono" if n_channels == 1 else "stereo"
    return _encoded(aac_stream(target, sample_rate_hz, layout), layout, parts, sample_rate_hz)


def _encoded(stream: Any, layout: str, parts: Iterable[np.ndarray], sample_rate_hz: int) -> Iterator[Any]:
    pts = 0
    for samples in parts:
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = sample_rate_hz, pts, Fraction(1, sample_rate_hz)
        pts += samples.shape[1]
        yield from stream.encode(frame)
    yield from stream.encode(None)
