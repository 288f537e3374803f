"""Writing media files: sound, and video without sound; media/muxing.py writes video with sound."""

import io
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
from torch import Tensor

from common.errors import InputError, check_range
from common.files import atomic_path
from media.muxing import mux
from media.output import check_playable, check_suffix, playable, told_while_writing
from media.stored import Sound, parts

__all__ = ["mp3_bytes", "mux", "write_sound", "write_video"]

_SOUND_SUBTYPES = {
    ".wav": {16: "PCM_16", 24: "PCM_24", 32: "FLOAT"},
    ".flac": {16: "PCM_16", 24: "PCM_24"},
}
DAY_S = 24 * 3600
_CODECS = {16: "pcm_s16le", 24: "pcm_s24le", 32: "pcm_f32le"}
_ORIGINATOR = "Stable-Video2Audio"
_BLOCK_SAMPLES = 2**16
_H264_OPTIONS = {"x264-params": "mbtree=0"}  # mbtree makes the bytes of pictures below about 100 pixels vary


def write_sound(
    path: Path, wave: Sound, sample_rate_hz: int, bit_depth: int = 24, *, start_of_day_s: float | None = None
) -> None:
    """Write a sound (C, N), C 1 or 2, full scale ±1, as WAV or FLAC; the same sound gives the same bytes.

    Args:
        path: File to write, with the suffix .wav or .flac.
        wave: The sound. Samples beyond full scale are clipped, except in 32 bits.
        sample_rate_hz: Samples per second.
        bit_depth: 16 (whole numbers, with triangular dither), 24 (whole numbers) or, in WAV only, 32 (floating point).
        start_of_day_s: Time of day of the first sample, in seconds, by which editors place the sound: a WAV becomes a
            broadcast wave (EBU Tech 3285) with this time reference. None, and in FLAC: a plain file.

    Raises:
        InputError: The sound is empty or not finite, or the path cannot be written or has another suffix, or the format
            has no such depth, or the time is not 0 to 24 h.
    """
    subtypes = _SOUND_SUBTYPES.get(path.suffix.lower())
    if subtypes is None:
        expected = " or ".join(_SOUND_SUBTYPES)
        raise InputError(f"{path} has the suffix `{path.suffix}`, expected {expected}: change the name of the output")
    if bit_depth not in subtypes:
        raise InputError(
            f"{path.suffix[1:].upper()} has no {bit_depth} bits a sample here: give {' or '.join(map(str, subtypes))}"
        )
    check_playable(wave)
    is_broadcast = start_of_day_s is not None and path.suffix.lower() == ".wav"
    if is_broadcast:
        check_range("the time of day of a sound,", start_of_day_s, 0, DAY_S)
    pieces = _samples(wave, bit_depth)
    with told_while_writing(f"{path} cannot be written"), atomic_path(path) as temporary:
        if is_broadcast:
            reference = round((start_of_day_s or 0) * sample_rate_hz)
            _write_broadcast_wave(temporary, pieces, wave.shape[0], sample_rate_hz, bit_depth, reference)
            return
        form = {"samplerate": sample_rate_hz, "channels": wave.shape[0], "subtype": subtypes[bit_depth]}
        with soundfile.SoundFile(temporary, "w", **form) as file:
            for samples in pieces:
                file.write(samples.T)


def _samples(wave: Sound, bit_depth: int) -> Iterator[np.ndarray]:
    """Yield the samples (C, n) of a sound part by part, as they are written in a number of bits."""
    rng = np.random.default_rng(0)
    for part in parts(wave):
        samples = playable(part, is_clipped=bit_depth != 32)
        if bit_depth == 16:  # the sum of two even distributions of one step makes the error independent of the sound
            noise = rng.random((2, *samples.shape), np.float32)
            samples = (samples + (noise[0] - noise[1]) / 2**15).clip(-1, 1)
        yield samples


def _write_broadcast_wave(
    path: Path,
    pieces: Iterable[np.ndarray],
    n_channels: int,
    sample_rate_hz: int,
    bit_depth: int,
    time_reference: int,
) -> None:
    """Write samples (C, n) with the chunk `bext`; the bytes of the samples are those that soundfile writes."""
    options = {"fflags": "+bitexact", "write_bext": "1", "rf64": "auto"}
    with av.open(str(path), "w", format="wav", options=options) as target:
        target.metadata.update({"originator": _ORIGINATOR, "time_reference": str(time_reference)})
        layout = "mono" if n_channels == 1 else "stereo"
        stream = target.add_stream(_CODECS[bit_depth], rate=sample_rate_hz, layout=layout)
        first = 0
        for samples in pieces:
            for part in np.split(samples, range(_BLOCK_SAMPLES, samples.shape[1], _BLOCK_SAMPLES), axis=1):
                block, subtype = io.BytesIO(), _SOUND_SUBTYPES[".wav"][bit_depth]
                soundfile.write(block, part.T, sample_rate_hz, format="RAW", subtype=subtype, endian="LITTLE")
                packet = av.Packet(block.getvalue())
                packet.stream, packet.time_base = stream, Fraction(1, sample_rate_hz)
                packet.pts = packet.dts = first
                target.mux(packet)
                first += part.shape[1]


def mp3_bytes(wave: Tensor, sample_rate_hz: int) -> bytes:
    """Return a small MP3 of a sound (C, N) for web pages, about 80 kB for 10 s of mono, clipped to full scale.

    The sample rate must be one that MP3 supports, such as 44,100 Hz.

    Raises:
        InputError: The sound is empty or not finite.
    """
    check_playable(wave)
    buffer = io.BytesIO()
    soundfile.write(buffer, playable(wave).T, sample_rate_hz, format="MP3", compression_level=0.3)
    return buffer.getvalue()


def write_video(path: Path, frames: Tensor | Sequence[Tensor], frame_rate_hz: float) -> None:
    """Write frames as a silent H.264 video; the same frames give the same bytes.

    Args:
        path: File to write, with the suffix .mp4, .mov or .mkv.
        frames: T frames (3, H, W), uint8, RGB, at least one; an odd last row or column is doubled, since H.264 needs
            even sizes.
        frame_rate_hz: Frames per second, above 0.

    Raises:
        InputError: The path cannot be written.
    """
    check_suffix(path)
    height, width = frames[0].shape[1:]
    writing = told_while_writing(f"{path} cannot be written")
    with writing, atomic_path(path) as temporary, av.open(str(temporary), "w") as target:
        stream = target.add_stream("libx264", Fraction(frame_rate_hz).limit_denominator(1001), _H264_OPTIONS)
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            image = np.pad(frame.permute(1, 2, 0).numpy(), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            target.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        target.mux(stream.encode(None))
