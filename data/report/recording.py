"""What the report knows of one recording, from one reading of its sound."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from common.errors import InputError
from data.greatest_hits import Hit, SourceClip, read_clip
from media.envelope import fine_envelope
from media.levels import count_clipped_runs, loudness_lufs
from media.probe import MediaInfo, probe
from media.reading import read_sound

ENVELOPE_EDGES_DB = tuple(float(edge) for edge in range(-100, 1, 2))

# Others are read at 48 kHz: a filter to 16 kHz has as many phases as the rates have no divisor in common.
_MEASURED_RATES_HZ = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000)
_OTHER_RATE_HZ = 48_000


@dataclass(frozen=True)
class Picture:
    """The stored picture of a recording, "video", or "jpg" for a folder of frames; those of a video are not counted."""

    form: str
    width: int
    height: int
    frame_rate_hz: float
    n_frames: int | None


@dataclass(frozen=True)
class Sound:
    """What was measured in the sound of a recording.

    Args:
        duration_s: Seconds of sound.
        sample_rate_hz: Its own sample rate.
        n_channels: Its own channels.
        peak: Largest magnitude, 1 is full scale; 0 means that every sample is zero.
        n_clipped_runs: Places where a channel stays at full scale (±0.9999) for three samples or more.
        loudness_lufs: Integrated loudness, mono counted as two equal channels; None where it is not defined.
        envelope_counts: Values of the fine envelope (125 Hz) between each two of `ENVELOPE_EDGES_DB`, in dB of full
            scale; those beyond are counted in the first or last.
    """

    duration_s: float
    sample_rate_hz: int
    n_channels: int
    peak: float
    n_clipped_runs: int
    loudness_lufs: float | None
    envelope_counts: tuple[int, ...]


@dataclass(frozen=True)
class Recording:
    """A row of the report: a recording, its video or folder in the processed layout, and what was found in it.

    Args:
        clip_id: Name of the recording.
        path: Its video or its folder.
        problem: Why it cannot be used; None for a sound one. All that follows is then empty.
        duration_s: Duration in seconds.
        hits: Annotated hits in order of time.
        picture: Its picture; None without one.
        sound: Its sound; None for a silent film.
    """

    clip_id: str
    path: Path
    problem: str | None = None
    duration_s: float = 0.0
    hits: tuple[Hit, ...] = ()
    picture: Picture | None = None
    sound: Sound | None = None


def examine(job: tuple[str, Path]) -> Recording:
    """Read a recording, a name and a path, and measure it; what cannot be read becomes a row with the reason."""
    clip_id, path = job
    try:
        clip = read_clip(path)
        if clip.duration_s <= 0:
            raise InputError(f"{path} lasts {clip.duration_s} s: record it again or take it away")
        sound_info = probe(clip.sound_path)
        return Recording(
            clip_id,
            path,
            duration_s=clip.duration_s,
            hits=clip.hits,
            picture=_picture(clip, sound_info),
            sound=measure_sound(sound_info) if sound_info.has_sound else None,
        )
    except InputError as error:
        return Recording(clip_id, path, problem=str(error))


def measure_sound(info: MediaInfo) -> Sound:
    """Read the sound of a file once and measure it.

    Raises:
        InputError: The sound cannot be read.
    """
    own_rate_hz = info.sample_rate_hz or 0
    rate_hz = own_rate_hz if own_rate_hz in _MEASURED_RATES_HZ else _OTHER_RATE_HZ
    wave = read_sound(info.path, sample_rate_hz=rate_hz)
    rms = fine_envelope(wave, rate_hz).rms.numpy()
    with np.errstate(divide="ignore"):
        levels_db = np.clip(20 * np.log10(rms), ENVELOPE_EDGES_DB[0], ENVELOPE_EDGES_DB[-1])
    counts, _ = np.histogram(levels_db, ENVELOPE_EDGES_DB)
    return Sound(
        duration_s=wave.shape[-1] / rate_hz,
        sample_rate_hz=own_rate_hz,
        n_channels=info.n_channels or 0,
        peak=float(wave.abs().amax()),
        n_clipped_runs=count_clipped_runs(wave),
        loudness_lufs=loudness_lufs(wave, rate_hz),
        envelope_counts=tuple(counts.tolist()),
    )


def _picture(clip: SourceClip, info: MediaInfo) -> Picture | None:
    if clip.frames_dir is not None:
        return _stored_frames(clip, clip.frames_dir)
    if clip.video_path is not None:
        return Picture("video", info.width, info.height, round(info.frame_rate_hz, 3), None)
    return None


def _stored_frames(clip: SourceClip, frames_dir: Path) -> Picture | None:
    """Look at the jpgs of a clip, each opened as far as its size.

    Raises:
        InputError: One of them is no picture, or has another size than the first.
    """
    sizes = {path: _size_of(path) for path in sorted(frames_dir.glob("*.frame_*.jpg"))}
    if not sizes:
        return None
    width, height = next(iter(sizes.values()))
    for path, size in sizes.items():
        if size != (width, height):
            raise InputError(f"{path} has {size[0]}x{size[1]} pixels, the first {width}x{height}: process it again")
    return Picture("jpg", width, height, clip.frames_rate_hz, len(sizes))


def _size_of(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image ({error}): process its clip again") from error
