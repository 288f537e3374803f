"""One video → one folder of the processed layout, in one pass and constant memory."""

import hashlib
import json
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from common.errors import InputError
from common.files import atomic_folder, file_sha256
from data.denoise import Denoiser
from data.greatest_hits import read_hits, write_hits
from media.probe import MediaInfo, probe
from media.reading import FrameWindow, Reader, check_reader, iter_media

JPEG_QUALITY = 95
SOUND_BITS = 16
N_CHANNELS = 2
_WAV_BYTES = 2**32 - 2**10  # a RIFF file counts its bytes in 32 bits
_FULL_SCALE = 2 ** (SOUND_BITS - 1)
_ENDS_BYTES = 2**16
_MOST_APART_S = 300  # more than a file holds of one stream before the other


@dataclass(frozen=True)
class ProcessSettings:
    """What all clips of a processed folder have in common.

    Args:
        frame_rate_hz: Frames a second, 0.01 to 240.
        frame_width_px: 16 to 8192; the aspect of the video is not kept.
        frame_height_px: 16 to 8192.
        sample_rate_hz: Samples a second, 8,000 to 192,000.
        denoise: Whether stationary noise is taken out of the sound, see `data.denoise`.
        reader: What reads the frames; frames are the same for all but decord, see `media.reading.read_frames`.

    Raises:
        InputError: A value lies outside what is stated above.
    """

    frame_rate_hz: float = 4.0
    frame_width_px: int = 320
    frame_height_px: int = 240
    sample_rate_hz: int = 44_100
    denoise: bool = False
    reader: Reader = "auto"

    def __post_init__(self) -> None:
        size = f"--frame-size {self.frame_width_px}x{self.frame_height_px}"
        for option, value, least, most in (
            (f"--fps {self.frame_rate_hz:g}", self.frame_rate_hz, 0.01, 240),
            (size, self.frame_width_px, 16, 8192),
            (size, self.frame_height_px, 16, 8192),
            (f"--sample-rate {self.sample_rate_hz}", self.sample_rate_hz, 8_000, 192_000),
        ):
            if not least <= value <= most:  # not a number is in no range
                raise InputError(f"{option} is not possible: give {least:,} to {most:,}")
        check_reader(self.reader, "--reader")


@dataclass(frozen=True)
class RawClip:
    """A video to be processed, under the name of its recording, with its annotation or None."""

    clip_id: str
    video_path: Path
    times_path: Path | None

    def source(self) -> dict[str, Any]:
        """Return what tells whether the files have changed since they were processed.

        Of a video, the size and the SHA-256 of its first and last 64 KiB; one of them holds the table of an MP4.

        Raises:
            InputError: A file cannot be read.
        """
        record: dict[str, Any] = {"file": self.video_path.name, "annotation": None}
        path = self.video_path
        try:
            record["bytes"] = path.stat().st_size
            with path.open("rb") as file:
                ends = file.read(_ENDS_BYTES)
                file.seek(max(len(ends), record["bytes"] - _ENDS_BYTES))
                record["ends_sha256"] = hashlib.sha256(ends + file.read()).hexdigest()
            if self.times_path is not None:
                path = self.times_path
                record["annotation"] = path.name
                record["annotation_sha256"] = file_sha256(path)
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): give a file that you may read") from error
        return record


def process_clip(raw: RawClip, out_dir: Path, settings: ProcessSettings) -> None:
    """Write the folder of a clip, which appears only once it is whole; one that is there already is replaced.

    Frames are jpgs of quality 95, the sound is 16-bit PCM, stereo, as in the processed data sets that are in use.

    Raises:
        InputError: The video or its annotation cannot be used, or the sound is silent throughout.
        OSError: The folder cannot be written.
    """
    source = raw.source()
    hits = None if raw.times_path is None else read_hits(raw.times_path)
    info = probe(raw.video_path)
    if not (info.has_video and info.has_sound):
        missing = "sound" if info.has_video else "moving picture"
        raise InputError(f"{raw.video_path} holds no {missing}: give a video with its sound")
    with atomic_folder(out_dir / raw.clip_id) as folder:
        for name in ("audio", "frames"):
            (folder / name).mkdir()
        written = _write_media(raw, folder, settings)
        if hits is not None:
            write_hits(folder / f"{raw.clip_id}.times.csv", hits)
        metadata = {**_metadata(info, settings, written), "source": source}
        path = folder / f"{raw.clip_id}.metadata.json"
        path.write_text(json.dumps(metadata, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class _Written:
    n_frames: int
    n_samples: int


def _write_media(raw: RawClip, folder: Path, settings: ProcessSettings) -> _Written:
    """Write frames and sound as they are decoded."""
    denoiser = Denoiser(settings.sample_rate_hz) if settings.denoise else None
    n_frames, n_samples, peak = 0, 0, 0
    with wave.open(str(folder / "audio" / f"{raw.clip_id}.resampled.wav"), "wb") as file:
        file.setparams((N_CHANNELS, SOUND_BITS // 8, settings.sample_rate_hz, 0, "NONE", "not compressed"))
        for window in iter_media(
            raw.video_path,
            frame_rate_hz=settings.frame_rate_hz,
            size_px=(settings.frame_width_px, settings.frame_height_px),
            sample_rate_hz=settings.sample_rate_hz,
            n_channels=N_CHANNELS,
            reader=settings.reader,
        ):
            if isinstance(window, FrameWindow):
                for frame in window.frames:
                    n_frames += 1
                    _write_jpg(folder / "frames" / f"{raw.clip_id}.frame_{n_frames:06d}.jpg", frame)
            else:
                samples = window.wave.numpy()
                n_samples += samples.shape[1]
                peak = max(peak, _write_pcm(file, denoiser.push(samples) if denoiser else samples))
            _check_together(raw.video_path, n_frames / settings.frame_rate_hz, n_samples / settings.sample_rate_hz)
        if denoiser:
            peak = max(peak, _write_pcm(file, denoiser.finish()))
    if peak == 0:
        when = " once it is denoised" if denoiser else ""
        raise InputError(f"{raw.video_path} is silent throughout{when}: give a recording with sound")
    return _Written(n_frames, n_samples)


def _check_together(path: Path, frames_s: float, sound_s: float) -> None:
    """Refuse a file of which the one goes on without the other: damaged times would fill the disk."""
    if abs(frames_s - sound_s) > _MOST_APART_S:
        raise InputError(
            f"{path} has picture until {frames_s:.0f} s and sound until {sound_s:.0f} s: cut it, or convert it to MP4"
        )


def _write_jpg(path: Path, frame: Tensor) -> None:
    Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()).save(path, quality=JPEG_QUALITY)


def _write_pcm(file: wave.Wave_write, samples: np.ndarray) -> int:
    """Append a sound (C, n), clipped to full scale, and return its peak as a whole number."""
    if (file.tell() + samples.shape[1]) * N_CHANNELS * SOUND_BITS // 8 > _WAV_BYTES:
        hours = _WAV_BYTES / (N_CHANNELS * SOUND_BITS / 8) / file.getframerate() / 3600
        raise InputError(f"its sound lasts longer than the {hours:.1f} h that a wav file can hold: cut the video")
    whole = np.clip(np.rint(samples.T * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype("<i2")
    file.writeframesraw(whole.tobytes())
    return int(np.abs(whole.astype(np.int32)).max(initial=0))


def _metadata(info: MediaInfo, settings: ProcessSettings, written: _Written) -> dict[str, dict[str, Any]]:
    audio_duration_s = written.n_samples / settings.sample_rate_hz
    return {
        "original": {
            "width": info.width,
            "height": info.height,
            "video_frame_rate": info.frame_rate_hz,
            "video_duration": info.duration_s,
            "video_num_frames": round(info.duration_s * info.frame_rate_hz),
            "audio_sample_rate": info.sample_rate_hz,
            "audio_channels": info.n_channels,
            "audio_duration": audio_duration_s,
            "audio_num_samples": round(audio_duration_s * (info.sample_rate_hz or 0)),
        },
        "processed": {
            "width": settings.frame_width_px,
            "height": settings.frame_height_px,
            "video_frame_rate": settings.frame_rate_hz,
            "video_duration": info.duration_s,
            "video_num_frames": written.n_frames,
            "audio_sample_rate": settings.sample_rate_hz,
            "audio_channels": N_CHANNELS,
            "audio_bitdepth": SOUND_BITS,
        },
    }
