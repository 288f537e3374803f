"""Deinterlacing of decoded pictures before networks see them; progressive pictures pass through unchanged."""

from collections.abc import Iterable, Iterator
from typing import Any

import av
from av.filter import Graph

_FIELD_ORDERS = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}  # AVFieldOrder of libavcodec/defs.h: the field shown first
_UNMARKED = {"v210", "v410", "r210", "huffyuv", "ffvhuff", "utvideo", "magicyuv", "mjpeg", "jpeg2000", "cfhd"}
"""Codecs whose frames do not say that they are interlaced; only the container does."""


def is_stated_interlaced(stream: Any) -> bool:
    """Return whether a file states an order of fields for its picture."""
    return stream.codec_context.field_order in _FIELD_ORDERS


def deinterlaced(frames: Iterable[Any], stream: Any) -> Iterator[Any]:
    """Yield decoded frames with every interlaced picture replaced by a progressive one of the same time.

    The missing lines come from the neighbouring lines and frames (FFmpeg's filter bwdif). A picture counts as
    interlaced if its codec marks it so, or, for codecs without such marks, if the container states an order of fields.
    Until the first of these, frames pass through as they are; later progressive ones keep their pixels.

    Args:
        frames: Decoded frames in order of time; those of a sound pass through.
        stream: The picture.
    """
    lines: _Deinterlacer | None = None
    order = _FIELD_ORDERS.get(stream.codec_context.field_order)
    stated = order if stream.codec_context.codec.canonical_name in _UNMARKED else None
    for frame in frames:
        if not isinstance(frame, av.VideoFrame):
            yield frame
            continue
        if lines is None and (frame.interlaced_frame or stated):
            lines = _Deinterlacer(stated)
        yield from lines.add(frame) if lines else (frame,)
    if lines:
        yield from lines.finish()


class _Deinterlacer:
    """A filter that is built anew when the size or the format of the pictures changes.

    Args:
        order: Which field of every picture is shown first, `tff` (top) or `bff`; None if the pictures say.
    """

    def __init__(self, order: str | None) -> None:
        self._order = order
        self._form: tuple[int, int, str] | None = None
        self._graph: Graph | None = None

    def add(self, frame: Any) -> Iterator[Any]:
        """Add the next frame and yield those that are ready; the filter waits for one frame."""
        form = frame.width, frame.height, frame.format.name
        if form != self._form:
            yield from self.finish()
            self._form, self._graph = form, self._new_graph(frame)
        assert self._graph is not None
        self._graph.vpush(frame)
        yield from self._pulled()

    def finish(self) -> Iterator[Any]:
        """Yield the remaining frames."""
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self._pulled()
            self._graph = None

    def _new_graph(self, frame: Any) -> Graph:
        graph = Graph()
        graph.threads = 1
        nodes = [
            graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
        ]
        if self._order:
            nodes.append(graph.add("setfield", self._order))
        nodes.append(graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"))
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes).configure()
        return graph

    def _pulled(self) -> Iterator[Any]:
        assert self._graph is not None
        while True:
            try:
                yield self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
