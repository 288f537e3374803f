"""Pictures that are no video yet, image files and animated WebP, as a film with exact times."""

import itertools
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageOps

from common.errors import InputError, check_range
from common.files import atomic_path
from media.clip import count_at_rate
from media.frames import as_fraction
from media.output import check_suffix, told_while_writing
from media.picture_encode import EncodedCodec, PictureEncoder, PictureForm

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
"""Suffixes of the images that a folder may hold."""
_PATTERN = re.compile(r"%(?:0(\d+))?d")
_FORMATS = {"RGB": "rgb24", "RGBA": "rgba"}
_DIGITS = r"\d{{{0}}}|[1-9]\d{{{1},}}"  # more digits than stated have no leading zero
_BROWSER_LEAST_MS, _BROWSER_MS = 11, 100  # browsers show a frame that asks for less than the first for the second
_DAMAGE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Images:
    """Images that form a film.

    Args:
        path: Pattern, folder or animated WebP, for messages.
        files: The files of the frames in order; the file itself for an animated WebP.
        durations_ms: Durations of the frames of an animated WebP; None for files, whose frame rate the user gives.
    """

    path: Path
    files: tuple[Path, ...]
    durations_ms: tuple[int, ...] | None

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.files if self.durations_ms is None else self.durations_ms)


def find_images(path: Path) -> Images | None:
    """Return the images that a path stands for; None if it is no pattern, folder of images or animated WebP.

    Args:
        path: A pattern such as `frames/f_%04d.png`, whose numbers may start anywhere; a folder, whose images are taken
            in natural order (2 before 10); or an animated WebP.

    Raises:
        InputError: The pattern matches no file, a number is missing, or a folder mixes kinds of images.
    """
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        durations_ms = _webp_durations_ms(path)
        return Images(path, (path,), durations_ms) if durations_ms else None
    return _matching(path) if _PATTERN.search(path.name) else None


def _matching(pattern: Path) -> Images:
    """Return the files of a pattern."""
    if len(_PATTERN.findall(pattern.name)) > 1:
        raise InputError(f"{pattern} holds more than one number: give a pattern with one, such as f_%04d.png")
    match = _PATTERN.search(pattern.name)
    assert match
    n_digits = int(match[1] or 1)
    before, after = pattern.name[: match.start()], pattern.name[match.end() :]
    names = re.compile(f"{re.escape(before)}({_DIGITS.format(n_digits, n_digits)}){re.escape(after)}")
    folder = pattern.parent
    found = [names.fullmatch(each.name) for each in folder.iterdir()] if folder.is_dir() else []
    numbers = {int(each[1]): folder / each[0] for each in found if each}
    if not numbers:
        raise InputError(f"{pattern} matches no file: check the folder and the number of digits")
    for number in range(min(numbers), max(numbers)):
        if number not in numbers:
            raise _gap(folder / f"{before}{number:0{n_digits}}{after}")
    return Images(pattern, tuple(numbers[number] for number in sorted(numbers)), None)


def _gap(missing: Path) -> InputError:
    return InputError(f"{missing} is missing between other frames: add it, or rename the frames after it")


def _folder(folder: Path) -> Images | None:
    """Return the images of a folder in natural order; None if it holds none."""
    files = [each for each in folder.iterdir() if each.suffix.lower() in SUFFIXES and not each.name.startswith(".")]
    if not files:
        return None
    kinds = sorted({each.suffix.lower().replace("jpeg", "jpg").replace("tiff", "tif") for each in files})
    if len(kinds) > 1:
        raise InputError(
            f"{folder} holds {' and '.join(kinds)} files: keep one kind, or give a pattern such as %04d.png"
        )
    files.sort(key=lambda each: ([int(part) if i % 2 else part for i, part in enumerate(_parts(each))], each.name))
    if (missing := _missing(files)) is not None:
        raise _gap(missing)
    return Images(folder, tuple(files), None)


def _parts(path: Path) -> list[str]:
    """Return a file name split into texts and numbers in turn, beginning with a text."""
    return re.split(r"(\d+)", path.name)


def _missing(files: list[Path]) -> Path | None:
    """Return the first missing file if the names differ in one number that counts up by ones; None if none is missing.

    Times in file names count in other steps, and are no reason to miss a file.
    """
    split = [_parts(each) for each in files]
    places = [set(parts) for parts in zip(*split, strict=False)]
    varying = [place for place, texts in enumerate(places) if len(texts) > 1]
    if len({len(parts) for parts in split}) > 1 or len(varying) != 1 or varying[0] % 2 == 0:
        return None
    place = varying[0]
    numbers = [int(parts[place]) for parts in split]
    gaps = [(soon, late - soon) for soon, late in itertools.pairwise(numbers)]
    if min(step for _, step in gaps) != 1:
        return None
    for parts, (number, step) in zip(split, gaps, strict=False):
        if step > 1:
            name = [*parts[:place], f"{number + 1:0{len(parts[place])}}", *parts[place + 1 :]]
            return files[0].with_name("".join(name))
    return None


def _webp_durations_ms(path: Path) -> tuple[int, ...] | None:
    """Return the durations of the frames of an animated WebP; None for any other file.

    Source: RFC 9649: after 12 bytes, chunks of a name, a size and content, padded to even sizes; the content of ANMF
    holds the duration in milliseconds as 24 bits from byte 12 on.
    """
    durations_ms = []
    with path.open("rb") as file:
        if not re.fullmatch(rb"RIFF....WEBP", file.read(12), re.DOTALL):
            return None
        while len(head := file.read(8)) == 8:
            size = int.from_bytes(head[4:], "little")
            content = file.read(min(size, 16)) if head[:4] == b"ANMF" else b""
            if len(content) == 16:
                stated_ms = int.from_bytes(content[12:15], "little")
                durations_ms.append(stated_ms if stated_ms >= _BROWSER_LEAST_MS else _BROWSER_MS)
            file.seek(size + size % 2 - len(content), 1)
    return tuple(durations_ms) or None


def write_film(
    images: Images,
    out_path: Path,
    *,
    frame_rate_hz: float | None = None,
    codec: EncodedCodec = "h264",
    quality: int = 18,
    on_progress: Callable[[float], None] | None = None,
) -> bool:
    """Write images as a silent film in which each frame has its exact time.

    Args:
        images: The images.
        out_path: File to write: .mp4, .mov or .mkv for H.264, .mov or .mkv for ProRes.
        frame_rate_hz: Frames per second, above 0; not used for an animated WebP, which states its own times.
        codec: `h264`, or `prores` (4444), which keeps an alpha channel.
        quality: Constant rate factor of x264, 0 (lossless) to 51 (worst).
        on_progress: Called with the share of the frames that are written, 0 to 1.

    Returns:
        Whether the images have an alpha channel, which H.264 leaves out.

    Raises:
        InputError: There is no frame rate, an image is damaged or has another size than the first, or the film cannot
            be written.
    """
    check_range("the quality of H.264", quality, 0, 51, whole=True)
    if check_suffix(out_path) == ".mp4" and codec == "prores":
        raise InputError(f"{out_path} cannot hold ProRes: give an output with suffix .mov or .mkv")
    starts, time_base = _times(images, frame_rate_hz)
    rate_hz = images.n_frames / (starts[-1] * time_base)
    frames = _frames(images)
    first = next(frames)
    with (
        told_while_writing(f"{out_path} cannot be written"),
        atomic_path(out_path) as temporary,
        av.open(str(temporary), "w") as target,
    ):
        encoder = PictureEncoder(target, codec, quality, PictureForm(time_base, rate_hz), first)
        timed = zip(starts, itertools.chain([first], frames), strict=False)
        for packet in encoder.packets(timed, starts[-1]):
            if on_progress:
                on_progress(min(1.0, max(0.0, packet.dts / starts[-1])))
            target.mux(packet)
    return first.format.name == "rgba"


def _times(images: Images, frame_rate_hz: float | None) -> tuple[list[int], Fraction]:
    """Return the times at which frames start, with the end of the last, and the seconds in a unit of them."""
    if images.durations_ms is not None:
        return [0, *itertools.accumulate(images.durations_ms)], Fraction(1, 1000)
    if frame_rate_hz is None:
        raise InputError(f"{images.path} is a sequence of images without times: give its frame rate with --fps")
    count_at_rate(1.0, frame_rate_hz)
    return list(range(images.n_frames + 1)), 1 / as_fraction(frame_rate_hz)


def _frames(images: Images) -> Iterator[Any]:
    """Yield the images as frames; all have the size of the first, and an alpha channel if it has one."""
    size_px: tuple[int, int] | None = None
    mode = ""
    for number in range(images.n_frames):
        path = images.files[number if images.durations_ms is None else 0]
        image = _image(path, 0 if images.durations_ms is None else number)
        size_px = size_px or image.size
        mode = mode or ("RGBA" if image.has_transparency_data else "RGB")
        if image.size != size_px:
            raise InputError(
                f"{path} has {image.width}x{image.height} pixels, expected {size_px[0]}x{size_px[1]} as in the frame "
                "before: scale it, or take it out"
            )
        yield av.VideoFrame.from_ndarray(np.asarray(image.convert(mode)), format=_FORMATS[mode])


def _image(path: Path, number: int) -> Image.Image:
    """Return an image, upright, with 8 bits per colour."""
    try:
        with Image.open(path) as opened:
            opened.seek(number)
            opened.load()
            image = ImageOps.exif_transpose(opened)
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{path} cannot be read as an image ({reason}): export this frame again") from error
    if image.mode.startswith("I;16") or image.mode == "I":
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode == "F":
        raise InputError(f"{path} holds floating-point colours: export this frame with 8 or 16 bits per colour")
    return image
