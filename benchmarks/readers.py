"""Compares the readers of frames, PyAV and decord: ``python -m benchmarks.readers``.

Videos are made of seeded noise that moves, and read with each reader in turn, in one process with one thread a decoder,
as data sets read. Every ratio is of a pair of readings that follow each other. "all" reads every frame of those under a
minute at the stored size; "chunk" reads 10 s, or what there is, from the middle at 4 frames a second and 224x224
pixels, as training does. Prints a Markdown table.
"""

import argparse
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.tools import ratio, seconds_in_turn, table
from common.errors import InputError, check_range, user_errors
from media.probe import probe
from media.reading import read_frames

SEED = 0
CHUNK_S = 10.0
MOST_AT_ONCE_S = 60.0
X264 = {"preset": "veryfast", "x264-params": "keyint=60"}


@dataclass(frozen=True)
class Form:
    """A video to make: its size, length, codec and options; `steps` are the durations of frames that alternate."""

    width: int
    height: int
    duration_s: float
    suffix: str = ".mp4"
    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=lambda: X264)
    steps: tuple[int, ...] = (2,)  # in 1/60 s
    cut_s: float | None = None  # where it is cut by stream copy


FORMS = {
    "short": Form(320, 240, 4.0),
    "short, one key frame": Form(320, 240, 4.0, options=X264 | {"x264-params": "keyint=999:scenecut=0"}),
    "long": Form(320, 240, 300.0),
    "HD": Form(1920, 1080, 4.0),
    "variable rate": Form(320, 240, 10.0, steps=(1, 2, 5, 9)),
    "Matroska": Form(320, 240, 10.0, suffix=".mkv"),
    "HEVC": Form(320, 240, 10.0, codec="libx265", options={"preset": "ultrafast", "x265-params": "log-level=none"}),
    "stream-copied": Form(320, 240, 10.0, cut_s=3.0),
    "AV1": Form(320, 240, 4.0, codec="libsvtav1", options={"preset": "12"}),
}


def write_video(path: Path, form: Form) -> None:
    """Write a texture that moves, with some noise."""
    rng = np.random.default_rng(SEED)
    coarse = (form.height // 8, form.width // 8)
    blocks = rng.integers(0, 180, (*coarse, 1), np.uint8) + rng.integers(0, 32, (*coarse, 3), np.uint8)
    texture = blocks.repeat(8, axis=0).repeat(8, axis=1)
    noise = rng.integers(0, 24, (8, form.height, form.width, 3), np.uint8)
    with av.open(str(path), "w") as target:
        stream: Any = target.add_stream(form.codec, rate=30, options=form.options)
        stream.width, stream.height, stream.pix_fmt = form.width, form.height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 60)
        ticks = number = 0
        while ticks < 60 * form.duration_s:
            picture = np.roll(texture, 3 * number, axis=1) + noise[rng.integers(8)]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = ticks, Fraction(1, 60)
            target.mux(stream.encode(frame))
            ticks, number = ticks + form.steps[number % len(form.steps)], number + 1
        target.mux(stream.encode(None))


def cut(source: Path, path: Path, start_s: float) -> None:
    """Copy the packets from the key frame before a time on, as `ffmpeg -ss … -c copy` does."""
    with av.open(str(source)) as container, av.open(str(path), "w") as target:
        stream: Any = container.streams.video[0]
        copied: Any = target.add_stream_from_template(stream)
        offset = round(start_s / stream.time_base)
        container.seek(offset, stream=stream)
        packet: Any
        for packet in container.demux(stream):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts - offset, packet.dts - offset, copied
                target.mux(packet)


def make(folder: Path, name: str, form: Form) -> Path:
    """Return a video of a form."""
    path = folder / f"{name}{form.suffix}"
    write_video(path, form)
    if form.cut_s is None:
        return path
    cut(path, folder / f"cut{form.suffix}", form.cut_s)
    return folder / f"cut{form.suffix}"


def compare(read: Callable[..., Tensor], n_pairs: int) -> tuple[str, str]:
    """Return how decord's frames differ, and the ratio of PyAV's time to decord's with its range."""
    try:
        by_pyav, by_decord = read(reader="pyav"), read(reader="decord")
    except InputError as error:
        return str(error).partition("(")[2].partition(")")[0], ""
    if torch.equal(by_pyav, by_decord):
        same = "none"
    else:
        same = f"{(by_pyav.float() - by_decord.float()).abs().mean():.2f} of 255 on average"
    times_s = seconds_in_turn({each: partial(read, reader=each) for each in ("pyav", "decord")}, n_pairs)
    return same, ratio(times_s["pyav"], times_s["decord"])


def measure(path: Path, name: str, n_pairs: int) -> Iterator[tuple[str, ...]]:
    """Yield the lines of a video in the table."""
    duration_s, rate_hz = probe(path).duration_s, probe(path).frame_rate_hz
    start_s = max(0.0, (duration_s - CHUNK_S) / 2)
    ways: dict[str, Any] = {"all": {"frame_rate_hz": rate_hz}} if duration_s < MOST_AT_ONCE_S else {}
    ways["chunk"] = {"frame_rate_hz": 4.0, "size_px": 224, "start_s": start_s, "duration_s": CHUNK_S}
    for way, frames in ways.items():
        yield name, way, *compare(partial(read_frames, path, **frames), n_pairs)


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--pairs", type=int, default=5, help="readings with each reader (default: %(default)s)")
    args = parser.parse_args(arguments)
    check_range("--pairs", args.pairs, 1, 1000, whole=True)
    torch.set_num_threads(1)
    machine = f"{platform.processor() or platform.machine()}, PyAV {av.__version__}, Python {platform.python_version()}"
    sys.stdout.write(f"seed {SEED}, {args.pairs} pairs, {machine}\n\n")
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            row
            for name, form in tqdm(FORMS.items())
            for row in measure(make(Path(folder), name, form), name, args.pairs)
        ]
    sys.stdout.write(table(["video", "read", "difference of decord's frames", "PyAV's time / decord's"], rows))


if __name__ == "__main__":
    main()
