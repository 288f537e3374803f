"""Writing media files: sound, video, and video with sound.

With data/media.py, which reads them, the only file that touches PyAV and soundfile.
"""

import heapq
import io
import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import torch.nn.functional as F
from av.container import InputContainer, OutputContainer
from torch import Tensor

from data.errors import InputError
from data.files import atomic_path
from data.media import need_video, opened, origin_s

_OUTPUT_SUFFIXES = (".mp4", ".mov", ".mkv")
_AAC_BITS_PER_S = 256_000


def write_wav(path: Path, wave: Tensor, sample_rate_hz: int) -> None:
    """Writes a sound as 24-bit PCM; what exceeds full scale is clipped.

    Args:
        path: File to write, with the suffix .wav.
        wave: Sound (C, N), C 1 or 2, full scale ±1.
        sample_rate_hz: Samples a second.

    Raises:
        InputError: The sound is empty or not finite, or the path cannot be written.
    """
    if path.suffix.lower() != ".wav":
        raise InputError(f"{path} has the suffix `{path.suffix}`, expected .wav: change the name of the output")
    samples = _playable(wave)
    with atomic_path(path) as temporary:
        soundfile.write(temporary, samples.T, sample_rate_hz, subtype="PCM_24")


def mp3_bytes(wave: Tensor, sample_rate_hz: int) -> bytes:
    """A small MP3 for players of web pages, of about 80 kB for 10 s of mono; what exceeds full scale is clipped.

    Args:
        wave: Sound (C, N), C 1 or 2, full scale ±1.
        sample_rate_hz: Samples a second, one of MP3's (44,100 for instance).

    Raises:
        InputError: The sound is empty or not finite.
    """
    buffer = io.BytesIO()
    soundfile.write(buffer, _playable(wave).T, sample_rate_hz, format="MP3", compression_level=0.3)
    return buffer.getvalue()


def write_video(path: Path, frames: Tensor, frame_rate_hz: float) -> None:
    """Writes frames as a silent H.264 video.

    Args:
        path: File to write, with the suffix .mp4, .mov or .mkv.
        frames: Frames (T, 3, H, W), uint8, RGB; an odd last row or column is doubled, since H.264 needs even sizes.
        frame_rate_hz: Frames a second, above 0.

    Raises:
        InputError: The path cannot be written.
    """
    _check_suffix(path)
    height, width = frames.shape[2:]
    even = F.pad(frames.float(), (0, width % 2, 0, height % 2), mode="replicate").to(frames.dtype)
    with atomic_path(path) as temporary, av.open(str(temporary), "w") as target:
        stream = target.add_stream("libx264", rate=Fraction(frame_rate_hz).limit_denominator(1001))
        stream.height, stream.width = even.shape[2:]
        stream.pix_fmt = "yuv420p"
        for image in even.permute(0, 2, 3, 1).numpy():
            target.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        target.mux(stream.encode(None))


def mux(video_path: Path, wave: Tensor, sample_rate_hz: int, out_path: Path) -> None:
    """Writes a video with a new sound: the picture is copied as it is stored, the sound replaces any other.

    Args:
        video_path: A video file.
        wave: Sound (C, N) from the start of the video on, C 1 or 2, full scale ±1; stored as AAC.
        sample_rate_hz: Samples a second of the sound.
        out_path: File to write, with the suffix .mp4, .mov or .mkv, other than `video_path`.

    Raises:
        InputError: The video cannot be read, the sound is empty or not finite, the output cannot be written, or its
            format cannot hold the picture.
    """
    _check_suffix(out_path)
    if out_path.exists() and out_path.samefile(video_path):
        raise InputError(f"{out_path} is the video itself: give another output")
    rates_hz = sorted(av.Codec("aac", "w").audio_rates or [])
    if sample_rate_hz not in rates_hz:
        raise InputError(f"AAC cannot hold {sample_rate_hz} samples a second: resample the sound to one of {rates_hz}")
    samples = _playable(wave)
    with opened(video_path) as source, atomic_path(out_path) as temporary:
        stream = need_video(video_path, source)
        try:
            with av.open(str(temporary), "w") as target:
                picture = _picture_like(stream, target, out_path)
                target.metadata.update(source.metadata)
                packets = _video_packets(source, stream, picture), _aac_packets(target, samples, sample_rate_hz)
                for packet in heapq.merge(*packets, key=lambda packet: packet.dts * packet.time_base):
                    target.mux(packet)
        except av.FFmpegError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(f"{video_path} cannot be copied to {out_path} ({reason}): try another output") from error


def _picture_like(stream: Any, target: OutputContainer, out_path: Path) -> Any:
    """A new stream of the output for the packets of a picture."""
    try:
        picture = target.add_stream_from_template(stream, opaque=True)
    except ValueError as error:
        raise InputError(f"{out_path} cannot hold the picture ({error}): give an output with suffix .mkv") from error
    picture.metadata.update(stream.metadata)
    return picture


def _aac_packets(target: OutputContainer, samples: np.ndarray, sample_rate_hz: int) -> list[Any]:
    """The sound (C, N) as packets of a new stream of the output."""
    layout = "mono" if len(samples) == 1 else "stereo"
    stream = target.add_stream("aac", rate=sample_rate_hz, layout=layout, bit_rate=_AAC_BITS_PER_S)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = sample_rate_hz, 0, Fraction(1, sample_rate_hz)
    return [*stream.encode(frame), *stream.encode(None)]


def _video_packets(source: InputContainer, stream: Any, target_stream: Any) -> Iterator[Any]:
    """All packets of a stream as packets of another, counted from the start of the file.

    Matroska stores no decoding times and FFmpeg does not know the first of them: they are counted back from the first
    one known, a frame at a time.
    """
    packets = (packet for packet in source.demux(stream) if packet.size)
    head: list[Any] = []
    for packet in packets:
        head.append(packet)
        if packet.dts is not None:
            break
    if head and head[-1].dts is None:
        head[-1].dts = min(packet.pts for packet in head)
    for following, packet in itertools.pairwise(reversed(head)):
        packet.dts = following.dts - (packet.duration or 1)
    origin = round(origin_s(source) / stream.time_base)
    for packet in itertools.chain(head, packets):
        packet.stream = target_stream
        packet.pts -= origin
        packet.dts -= origin
        yield packet


def _playable(wave: Tensor) -> np.ndarray:
    """The sound (C, N) clipped to full scale, on the CPU."""
    if wave.ndim != 2 or wave.shape[0] not in (1, 2) or wave.shape[1] == 0:
        raise InputError(f"a sound of shape {tuple(wave.shape)} cannot be written: give (1 or 2 channels, samples)")
    if not wave.isfinite().all():
        raise InputError("the sound holds samples that are not finite numbers: there is nothing to write")
    return wave.detach().float().clamp(-1, 1).cpu().contiguous().numpy()


def _check_suffix(path: Path) -> None:
    """Refuses an output whose suffix names no container for video."""
    if path.suffix.lower() not in _OUTPUT_SUFFIXES:
        expected = ", ".join(_OUTPUT_SUFFIXES)
        raise InputError(f"{path} has the suffix `{path.suffix}`, expected {expected}: change the output")
