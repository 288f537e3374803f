"""Compression of a picture where no container holds it as it is: H.264, or ProRes 4444 with its alpha channel."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from media.frames import orientation
from media.interlacing import is_stated_interlaced
from media.picture_copy import has_hidden_alpha, lasting

EncodedCodec = Literal["h264", "prores"]
_H264 = {"x264-params": "mbtree=0", "preset": "medium"}  # mbtree makes the bytes of pictures below 100 pixels vary
_PRORES = {"profile": "4444", "vendor": "apl0"}
_HOW = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT  # the same on every processor
_BT709, _UNSPECIFIED = 1, 2  # numbers of matrices, primaries and transfer curves in ITU-T H.273


@dataclass(frozen=True)
class PictureForm:
    """Properties of a picture besides its pixels.

    Args:
        time_base: Seconds in a unit of its time stamps.
        rate_hz: Average frames per second.
        pixel_aspect: Width of a pixel divided by its height.
    """

    time_base: Fraction
    rate_hz: Fraction
    pixel_aspect: Fraction = Fraction(1)


def form_of(stream: Any) -> PictureForm:
    """Return the form of a stored picture."""
    rate_hz = stream.average_rate or stream.guessed_rate or Fraction(25)
    return PictureForm(stream.time_base, rate_hz, stream.sample_aspect_ratio or Fraction(1))


def has_alpha(pixel_format: Any) -> bool:
    """Return whether a pixel format has an alpha channel; for palettes this is possible, and counts."""
    return any(part.is_alpha for part in pixel_format.components) or pixel_format.name == "pal8"


def what_encoding_loses(stream: Any, codec: EncodedCodec) -> list[str]:
    """Return short phrases that say what a picture loses when it is encoded."""
    pixels = stream.codec_context.format
    lost = ["interlacing (the picture is deinterlaced)"] if is_stated_interlaced(stream) else []
    if codec == "prores" or pixels is None:
        return lost
    if has_alpha(pixels) or has_hidden_alpha(stream):
        lost.append("alpha channel")
    if (bits := max(part.bits for part in pixels.components)) > 8:
        lost.append(f"{bits} bits per colour (8 remain)")
    return lost


@dataclass(frozen=True)
class _Colours:
    """Colours of an encoded picture: numbers of ITU-T H.273, and the conversion that leads to them."""

    space: int
    value_range: int
    primaries: int
    curve: int
    converted_to: int | None

    @classmethod
    def of(cls, frame: Any, *, may_be_full: bool) -> "_Colours":
        """Return the colours for a frame: those it states, or BT.709 for RGB, in the range of the frame if possible."""
        is_rgb = frame.format.is_rgb or frame.format.name == "pal8"
        is_full = not is_rgb and (frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj"))
        value_range = int(ColorRange.JPEG if is_full and may_be_full else ColorRange.MPEG)
        if not is_rgb:
            return cls(frame.colorspace, value_range, frame.color_primaries, frame.color_trc, None)
        primaries, curve = (_BT709 if tag == _UNSPECIFIED else tag for tag in (frame.color_primaries, frame.color_trc))
        return cls(_BT709, value_range, primaries, curve, int(Colorspace.ITU709))

    def tag(self, context: Any) -> None:
        """Write them on an encoder."""
        context.colorspace, context.color_range = self.space, self.value_range
        context.color_primaries, context.color_trc = self.primaries, self.curve


class PictureEncoder:
    """A stream of an output that compresses frames; each keeps its time.

    Args:
        target: The output.
        codec: `h264` (8-bit 4:2:0, which every player shows; alpha is left out) or `prores` (4444, with alpha).
        quality: Constant rate factor of x264, 0 (lossless) to 51 (worst).
        form: Form of the picture.
        first: The first frame, which gives size, colours and rotation.
    """

    def __init__(
        self, target: OutputContainer, codec: EncodedCodec, quality: int, form: PictureForm, first: Any
    ) -> None:
        self._format_name = target.format.name
        self._given_px = self._size_px = first.width, first.height
        if codec == "h264":
            self._pixels = "yuv420p"
            self._size_px = first.width + first.width % 2, first.height + first.height % 2
            stream = target.add_stream("libx264", rate=form.rate_hz, options=_H264 | {"crf": str(quality)})
        else:
            self._pixels = "yuva444p10le" if has_alpha(first.format) else "yuv444p10le"
            stream = target.add_stream("prores_ks", rate=form.rate_hz, options=_PRORES)
        stream.width, stream.height = self._size_px
        stream.pix_fmt = self._pixels
        self._time_base = form.time_base
        stream.codec_context.time_base = stream.time_base = form.time_base
        stream.codec_context.sample_aspect_ratio = form.pixel_aspect
        self._colours = _Colours.of(first, may_be_full=codec == "h264")
        self._colours.tag(stream.codec_context)
        matrix = first.side_data.get("DISPLAYMATRIX")
        if matrix is not None and orientation(first) != (False, 0):
            stream.set_display_matrix([int(value) for value in np.frombuffer(bytes(matrix), np.int32)])
        self._reformatter = VideoReformatter()
        self.stream = stream

    def packets(self, timed_frames: Iterable[tuple[int, Any]], end: int) -> Iterator[Any]:
        """Yield the packets of frames.

        Args:
            timed_frames: Time in units of the time base, ascending, and frame.
            end: Time at which the last frame ends.
        """
        ticks: dict[int, int] = {}
        return lasting(self._encoded(timed_frames, end, ticks), ticks, self._format_name)

    def _encoded(self, timed_frames: Iterable[tuple[int, Any]], end: int, ticks: dict[int, int]) -> Iterator[Any]:
        for (pts, frame), (following, _) in itertools.pairwise(itertools.chain(timed_frames, [(end, None)])):
            ticks[pts] = max(1, following - pts)
            yield from self.stream.encode(self._converted(frame, pts))
        yield from self.stream.encode(None)

    def _converted(self, frame: Any, pts: int) -> Any:
        """Return a frame in the form that the encoder takes; an odd last row or column is doubled."""
        size_px = self._given_px  # a picture may change its size on the way
        colours = {"dst_color_range": self._colours.value_range, "dst_colorspace": self._colours.converted_to}
        frame = self._reformatter.reformat(frame, *size_px, self._pixels, interpolation=_HOW, threads=1, **colours)
        if self._size_px != size_px:
            frame = _padded(frame, *self._size_px)
        frame.colorspace = self._colours.space  # the scaler knows one name of two for the matrix of BT.601
        frame.pts, frame.time_base = pts, self._time_base
        frame.pict_type = PictureType.NONE  # the encoder chooses key frames
        return frame


def _padded(frame: Any, width: int, height: int) -> Any:
    """Return an 8-bit picture with its last row and column repeated up to a size."""
    result = av.VideoFrame(width, height, frame.format.name)
    for given, plane in zip(frame.planes, result.planes, strict=True):
        lines = np.frombuffer(memoryview(given), np.uint8)[: given.line_size * given.height].reshape(given.height, -1)
        content = np.frombuffer(memoryview(plane), np.uint8)[: plane.line_size * plane.height].reshape(plane.height, -1)
        missing = (0, plane.height - given.height), (0, plane.width - given.width)
        content[:, : plane.width] = np.pad(lines[:, : given.width], missing, mode="edge")
    for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
        setattr(result, name, getattr(frame, name))
    return result
