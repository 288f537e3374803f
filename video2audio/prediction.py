"""The prediction of an envelope for a request, kept window by window, so that an interrupted run goes on."""

from collections.abc import Iterator
from typing import Any

import torch

from common.errors import InputError
from hits.level import Hits
from media.clip import ClipSpec, count_at_rate
from media.envelope import FINE_RATE_HZ, Envelope
from media.frames import FrameWindow
from media.reading import FrameRequest, iter_requests
from stable_foley.generator import SoundGenerator
from video2audio.request import FoleyRequest
from video2audio.ring import Ring
from video2audio.unfinished import Unfinished
from video2rms.levels import Levels
from video2rms.model import Video2Rms
from video2rms.predict import Begun, frames_to_predict, predict_from_frames

_INPUTS, _N_WINDOWS = "inputs", "n_windows"
_HITS = ("times_s", "rms", "decay_s", "ring")
_HIT_VALUES = tuple(f"hits.{name}" for name in _HITS)


class Kept:
    """What an interrupted run knew of the picture, and where that is kept: the prediction, and the generator's frames.

    Args:
        unfinished: Keeps both on disk; None: in memory, from which nothing goes on.
        spec: Form of the generator's frames; None: it reads none.

    Attributes:
        frames: The generator's frames so far (T, 3, H, W), uint8; None: it reads none.
    """

    def __init__(self, unfinished: Unfinished | None, spec: ClipSpec | None) -> None:
        self._unfinished = unfinished
        store = unfinished or Unfinished()
        state = store.load(_INPUTS)
        is_known = {"rms", *_HIT_VALUES} <= state.keys()  # else of another version
        self._state = state if is_known else {}
        self.frames = None
        if spec is not None:
            width, height = spec.frame_width_height
            self.frames = store.rows(_INPUTS, (3, height, width), torch.uint8, self._state)

    @property
    def _hits(self) -> Hits:
        return Hits(*(self._state[name] for name in _HIT_VALUES))

    @property
    def found(self) -> tuple[Envelope, Hits] | None:
        """Envelope and hits, if the prediction was done."""
        is_done = bool(self._state) and _N_WINDOWS not in self._state
        return (Envelope(self._state["rms"], FINE_RATE_HZ), self._hits) if is_done else None

    @property
    def begun(self) -> Begun | None:
        """The first windows of the prediction, if it was not done."""
        if _N_WINDOWS not in self._state:
            return None
        levels = Levels(self._state["rms"], self._state["onset"], self._hits)
        return Begun(int(self._state[_N_WINDOWS]), levels)

    def keep(self, begun: Begun) -> None:
        """Keep what is predicted so far, with the frames up to there."""
        n_windows = torch.tensor(begun.n_windows)
        self._save(begun.levels.hits, rms=begun.levels.rms, onset=begun.levels.onset, n_windows=n_windows)

    def finish(self, envelope: Envelope, hits: Hits) -> None:
        """Keep the whole prediction."""
        self._save(hits, rms=envelope.rms)

    def _save(self, hits: Hits, **values: torch.Tensor) -> None:
        if self._unfinished is None:
            return  # a short sound, after which no memory has to be returned
        state = values | {key: getattr(hits, name) for key, name in zip(_HIT_VALUES, _HITS, strict=True)}
        self._unfinished.save(_INPUTS, state, self.frames)


def predict(
    request: FoleyRequest,
    generator: SoundGenerator | None,
    video2rms: Video2Rms[Any] | None,
    kept: Kept,
    ring: Ring | None,
    **shown: Any,
) -> tuple[Envelope, Hits]:
    """Return the predicted envelope and hits; the generator's frames are kept from the same decoding.

    Args:
        request: The request, of a video.
        generator: The model whose frames are kept; None: none are.
        video2rms: The network.
        kept: What is known already, and keeps the rest.
        ring: How the hits ring; None: as predicted.
        **shown: How progress is shown, see `predict_from_frames`.

    Raises:
        InputError: There is no video or no network, or the video cannot be read.
    """
    section, path = request.section, request.section.clip.video_path
    if video2rms is None or path is None:
        raise InputError("An envelope is predicted only from a video and with Video2RMS; give an envelope.")
    if kept.found is not None:
        return kept.found
    to_predict = frames_to_predict(video2rms, section.start_s, section.duration_s)
    begun, frames = kept.begun, kept.frames
    requests = [to_predict if begun is None else begun.rest_of(to_predict)]
    if generator is not None and frames is not None:
        rate_hz, size_px = generator.spec.frame_rate_hz, generator.spec.frame_size_px
        n_left = count_at_rate(section.duration_s, rate_hz) - len(frames)
        if n_left > 0:
            requests.append(FrameRequest(rate_hz, size_px, section.start_s + len(frames) / rate_hz, n_left / rate_hz))

    def windows() -> Iterator[FrameWindow]:
        for number, window in iter_requests(path, requests):
            if number and frames is not None:
                frames.append(window.frames)
            else:
                yield window

    shown |= {"seed": request.envelope_seed, "begun": begun, "on_window": kept.keep}
    found = predict_from_frames(video2rms, windows(), to_predict, section.start_s, **shown)
    if ring is not None:
        found = found.ringing(ring.decay_s, ring.share)
    kept.finish(found.envelope, found.hits)
    return found.envelope, found.hits
