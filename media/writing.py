"""Writing media files: sound, video, and video with sound. media/reading.py reads them."""

import heapq
import io
import itertools
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from av.container import InputContainer, OutputContainer
from torch import Tensor

from common.errors import InputError
from common.files import NO_ROOM, atomic_path, same_file
from media.clip import count_at_rate
from media.container import Packets, end_of, need_video, no_frame, opened, origin_s, video_stream

_OUTPUT_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_TRIED_PACKETS = 100
_AAC_BITS_PER_S = 256_000
_H264_OPTIONS = {"x264-params": "mbtree=0"}  # mbtree makes the bytes of pictures below about 100 pixels vary


def write_wav(path: Path, wave: Tensor, sample_rate_hz: int) -> None:
    """Write a sound (C, N), C 1 or 2, full scale ±1, as 24-bit PCM; samples beyond full scale are clipped.

    Raises:
        InputError: The sound is empty or not finite, or the path cannot be written or does not end in .wav.
    """
    if path.suffix.lower() != ".wav":
        raise InputError(f"{path} has the suffix `{path.suffix}`, expected .wav: change the name of the output")
    samples = _playable(wave)
    with _writing(f"{path} cannot be written"), atomic_path(path) as temporary:
        soundfile.write(temporary, samples.T, sample_rate_hz, subtype="PCM_24")


def mp3_bytes(wave: Tensor, sample_rate_hz: int) -> bytes:
    """Return a small MP3 of a sound (C, N) for web pages, about 80 kB for 10 s of mono, clipped to full scale.

    The sample rate must be one that MP3 supports, such as 44,100 Hz.

    Raises:
        InputError: The sound is empty or not finite.
    """
    buffer = io.BytesIO()
    soundfile.write(buffer, _playable(wave).T, sample_rate_hz, format="MP3", compression_level=0.3)
    return buffer.getvalue()


def write_video(path: Path, frames: Tensor, frame_rate_hz: float) -> None:
    """Write frames as a silent H.264 video; the same frames give the same bytes.

    Args:
        path: File to write, with the suffix .mp4, .mov or .mkv.
        frames: Frames (T, 3, H, W), uint8, RGB; an odd last row or column is doubled, since H.264 needs even sizes.
        frame_rate_hz: Frames per second, above 0.

    Raises:
        InputError: The path cannot be written.
    """
    _check_suffix(path)
    height, width = frames.shape[2:]
    writing = _writing(f"{path} cannot be written")
    with writing, atomic_path(path) as temporary, av.open(str(temporary), "w") as target:
        stream = target.add_stream("libx264", Fraction(frame_rate_hz).limit_denominator(1001), _H264_OPTIONS)
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            image = np.pad(frame.permute(1, 2, 0).numpy(), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            target.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        target.mux(stream.encode(None))


def mux(video_path: Path, wave: Tensor, sample_rate_hz: int, out_path: Path) -> None:
    """Write a video with a new sound: the stored picture is copied, and the sound replaces any other.

    The packets of the picture are copied bit for bit, with their times, rotation, pixel shape, chapters and texts. Only
    start codes (MPEG-TS) become lengths where the format needs them. Matroska cannot hide cut-off frames without new
    compression: they are shown before the sound starts.

    Args:
        video_path: A video file.
        wave: Sound (C, N) from the start of the video on, C 1 or 2, full scale ±1; stored as AAC. It is cut at the end
            of the picture, or extended to it by silence; Matroska may add silence of up to 1024 samples.
        sample_rate_hz: Samples per second of the sound.
        out_path: File to write, with the suffix .mp4, .mov or .mkv, different from `video_path`.

    Raises:
        InputError: The video cannot be read, the sound is empty or not finite, the output cannot be written, or its
            format cannot hold the picture.
    """
    _check_suffix(out_path)
    if same_file(out_path, video_path):
        raise InputError(f"{out_path} is the video itself: give another output")
    rates_hz = sorted(av.Codec("aac", "w").audio_rates or [])
    if sample_rate_hz not in rates_hz:
        raise InputError(f"AAC cannot hold {sample_rate_hz} Hz: resample the sound to one of {rates_hz}")
    samples = _playable(wave)
    durations, duration_s = _durations(video_path)
    n_missing = count_at_rate(duration_s, sample_rate_hz) - samples.shape[1]
    samples = np.pad(samples, ((0, 0), (0, max(0, n_missing))))[:, : samples.shape[1] + n_missing]
    with atomic_path(out_path) as temporary, opened(video_path) as source:
        _copy_with_sound(source, video_path, str(temporary), out_path, samples, sample_rate_hz, durations)


def check_mux(video_path: Path, out_path: Path) -> None:
    """Refuse a video whose picture `mux` cannot copy to this output, by copying its start in memory.

    Raises:
        InputError: The video cannot be read, or the format of the output cannot hold its picture.
    """
    _check_suffix(out_path)
    samples, rate_hz = np.zeros((2, 1024), np.float32), 44_100
    durations, _ = _durations(video_path)
    with opened(video_path) as source:
        memory = io.BytesIO()
        _copy_with_sound(source, video_path, memory, out_path, samples, rate_hz, durations, _TRIED_PACKETS)


def _copy_with_sound(
    source: InputContainer,
    video_path: Path,
    target_file: str | io.BytesIO,
    out_path: Path,
    samples: np.ndarray,
    sample_rate_hz: int,
    durations: dict[int, int],
    n_packets: int | None = None,
) -> None:
    """Copy the picture of a video, or its first packets, to a file or to memory, together with sound (C, N)."""
    stream, suffix = need_video(video_path, source), out_path.suffix.lower()
    # otherwise MP4 rounds durations to milliseconds
    options = {} if suffix == ".mkv" else {"movie_timescale": str(sample_rate_hz)}
    copying = _writing(f"the picture of {video_path} cannot be copied to {out_path}", _conversion(video_path))
    with copying, av.open(target_file, "w", format=_OUTPUT_FORMATS[suffix], options=options) as target:
        picture = _picture_like(stream, target, video_path, out_path)
        target.metadata.update(source.metadata)
        target.set_chapters(_chapters(source))
        packets = itertools.islice(_video_packets(source, picture, durations), n_packets)
        with_sound = packets, _aac_packets(target, samples, sample_rate_hz)
        for packet in heapq.merge(*with_sound, key=lambda packet: packet.dts * packet.time_base):
            target.mux(packet)
    written = io.BytesIO(target_file.getvalue()) if isinstance(target_file, io.BytesIO) else target_file
    _check_pixels(written, stream, out_path)


def _conversion(video_path: Path) -> str:
    """Return the remedy for a picture that cannot be copied."""
    converted = shlex.quote(f"{video_path.stem}-h264.mp4")
    return f"convert the video first: ffmpeg -i {shlex.quote(str(video_path))} -c:v libx264 {converted}"


@contextmanager
def _writing(failure: str, remedy: str | None = None) -> Iterator[None]:
    """Turn errors while an output is written into one sentence; `remedy` is for all causes but a full disk."""
    try:
        yield
    except (av.FFmpegError, soundfile.LibsndfileError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".") or type(error).__name__
        if remedy is None or getattr(error, "errno", None) in NO_ROOM:
            remedy = "make room, or give another folder"
        raise InputError(f"{failure} ({reason}): {remedy}") from error


def _picture_like(stream: Any, target: OutputContainer, video_path: Path, out_path: Path) -> Any:
    """Add a stream to the output for the packets of a picture, and return it."""
    try:
        picture = target.add_stream_from_template(stream, opaque=True)
    except ValueError as error:
        raise InputError(
            f"{out_path} cannot hold the picture of {video_path} ({error}): {_conversion(video_path)}"
        ) from error
    picture.metadata.update(stream.metadata)
    if stream.sample_aspect_ratio:
        picture.codec_context.sample_aspect_ratio = stream.sample_aspect_ratio
    if stream.codec_context.codec.canonical_name == "hevc" and out_path.suffix.lower() != ".mkv":
        picture.codec_context.codec_tag = "hvc1"  # Apple's players need this tag
    return picture


def _check_pixels(written: str | io.BytesIO, stream: Any, out_path: Path) -> None:
    """Refuse an output whose stated pixel shape differs from the video's."""
    with av.open(written) as container:
        if (container.streams.video[0].sample_aspect_ratio or 1) != (stream.sample_aspect_ratio or 1):
            raise InputError(f"{out_path} cannot hold pixels that are not square: give an output with suffix .mp4")


def _chapters(source: InputContainer) -> list[Any]:
    """Return the chapters of a video, counted from the start of the file."""
    chapters = source.chapters()
    for chapter in chapters:
        origin = round(origin_s(source) / (chapter["time_base"] or 1))
        chapter["start"], chapter["end"] = max(0, chapter["start"] - origin), max(0, chapter["end"] - origin)
    return chapters


def _aac_packets(target: OutputContainer, samples: np.ndarray, sample_rate_hz: int) -> list[Any]:
    """Encode sound (C, N) as packets of a new stream of the output."""
    layout = "mono" if len(samples) == 1 else "stereo"
    stream = target.add_stream("aac", rate=sample_rate_hz, layout=layout, bit_rate=_AAC_BITS_PER_S)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = sample_rate_hz, 0, Fraction(1, sample_rate_hz)
    return [*stream.encode(frame), *stream.encode(None)]


def _durations(path: Path) -> tuple[dict[int, int], float]:
    """Return the duration of each frame by its time stamp, in units of the file, and that of the video in seconds.

    Packets state their durations in order of decoding, which is the wrong order if frames have different durations.
    """
    with opened(path) as container:
        stream = need_video(path, container)
        packets = Packets(container, stream)
        stamps = sorted({packet.pts for packet in packets if packet.size and packet.pts is not None})
        if not stamps:
            raise no_frame(path)
        end_s, first_s = end_of(packets), origin_s(container)
        end = round(end_s / stream.time_base)
    durations = {pts: max(1, following - pts) for pts, following in itertools.pairwise([*stamps, end])}
    return durations, float(end_s - first_s)


def _video_packets(source: InputContainer, picture: Any, durations: dict[int, int]) -> Iterator[Any]:
    """Yield all packets of a video as packets of the output, with times from the start of the file.

    Matroska stores no decoding times, and FFmpeg does not know the first ones: they are counted back from the first
    known one, one frame duration at a time. MP4 defines the duration of the picture as the time from the first decoding
    time to the end of the last packet.
    """
    stream = video_stream(source)
    packets = (packet for packet in Packets(source, stream) if packet.size)
    head: list[Any] = []
    for packet in packets:
        if packet.pts is None:
            raise InputError(f"{source.name} holds frames without times: convert it to MP4")
        head.append(packet)
        if packet.dts is not None:
            break
    if head and head[-1].dts is None:
        head[-1].dts = min(packet.pts for packet in head)
    for following, packet in itertools.pairwise(reversed(head)):
        packet.dts = following.dts - (packet.duration or 1)
    origin = round(origin_s(source) / stream.time_base)
    first_dts = head[0].dts if head else 0
    whole = sum(durations.values())
    for packet, following in itertools.pairwise(itertools.chain(head, packets, [None])):
        packet.duration = durations[packet.pts]
        if following is None and picture.container.format.name != "matroska":
            packet.duration = max(1, first_dts + whole - packet.dts)
        packet.stream = picture
        packet.pts -= origin
        packet.dts -= origin
        yield packet


def _playable(wave: Tensor) -> np.ndarray:
    """Return the sound (C, N) clipped to full scale, on the CPU."""
    if wave.ndim != 2 or wave.shape[0] not in (1, 2) or wave.shape[1] == 0:
        raise InputError(f"a sound of shape {tuple(wave.shape)} cannot be written: give (1 or 2 channels, samples)")
    if not wave.isfinite().all():
        raise InputError("the sound holds samples that are not finite numbers: generate it again, or give another")
    return wave.detach().float().clamp(-1, 1).cpu().contiguous().numpy()


def _check_suffix(path: Path) -> None:
    """Refuse an output whose suffix is not that of a video container."""
    if path.suffix.lower() not in _OUTPUT_FORMATS:
        expected = ", ".join(_OUTPUT_FORMATS)
        raise InputError(f"{path} has the suffix `{path.suffix}`, expected {expected}: change the output")
