"""Predict the envelope of a silent video: ``python -m video2rms.predict --video FILE --output FILE.envelope.csv``.

Reads frames at 30 per second in windows, so that hours of video need no more memory than seconds.
"""

if __name__ == "__main__":  # before the slow imports
    from common.errors import end_on_interrupt

    end_on_interrupt()

import logging
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor
from tqdm import tqdm

from common.devices import pick_device
from common.errors import InputError, printable, user_errors
from common.files import atomic_path, check_writable_folder, same_file
from common.options import add_checkpoint, add_device, add_output, add_part, command_parser
from common.stopwatch import Stopwatch
from common.weights import load_into
from hits.level import LONGEST_DECAY_S, SHORTEST_DECAY_S, Hits
from media.clip import count_at_rate, part_duration_s
from media.envelope import FINE_RATE_HZ, Envelope, write_envelope_csv
from media.frames import FrameWindow
from media.probe import probe
from media.reading import FrameRequest, iter_requests
from training.checkpoint import read_content, weights_to_use
from training.config import REPOSITORY, build_model, describing
from training.stored_config import MOVED, kept_sections, resolved
from video2rms.features.base import FRAME_RATE_HZ
from video2rms.levels import Levels, join_levels
from video2rms.model import Video2Rms
from video2rms.recordings import LEAST_RATE_HZ
from video2rms.streaming import MARGIN_FRAMES, WINDOW_FRAMES, predict_levels

BUNDLED_VIDEO2RMS = REPOSITORY / "bundled" / "video2rms.safetensors"
OWN_TARGETS = {"video2rms.event_network.EventNetwork", "video2rms.level_network.LevelNetwork"}
_logger = logging.getLogger(__name__)
LEAD_S = 0.2  # period after which frames of 1 / 30 s and slots of 8 ms coincide


@dataclass(frozen=True, eq=False)
class PredictedEnvelope:
    """The predicted level and hits of a part of a video.

    Args:
        levels: Levels in slots of 8 ms of a sound whose peak is about 1, from some time before the part on.
        first_slot: Slot at which the part starts.
    """

    levels: Levels
    first_slot: int

    @property
    def envelope(self) -> Envelope:
        """Level of the part, rms (N,), in which hits before it ring on."""
        return Envelope(self.levels.envelope.rms[self.first_slot :], FINE_RATE_HZ)

    @property
    def hits(self) -> Hits:
        """Hits of the part, with times from its start on; their levels belong to the envelope."""
        return self.levels.part(self.first_slot, len(self.levels.rms)).hits

    @property
    def onsets_s(self) -> Tensor:
        """Times of the hits (K,), in seconds."""
        return self.hits.times_s

    def ringing(self, decay_s: float, share: float) -> "PredictedEnvelope":
        """Return the same hits with other decays, whose median is `decay_s`, and with the same share of the ring."""
        hits = self.levels.hits
        if len(hits) == 0:
            return self
        decays_s = (hits.decay_s * (decay_s / hits.decay_s.median())).clamp(SHORTEST_DECAY_S, LONGEST_DECAY_S)
        ringing = replace(hits, decay_s=decays_s, ring=torch.full_like(hits.ring, share))
        return replace(self, levels=replace(self.levels, hits=ringing))


def load_video2rms(checkpoint: Path = BUNDLED_VIDEO2RMS, device: str | torch.device = "cpu") -> Video2Rms[Any]:
    """Load a trained network.

    Args:
        checkpoint: `best.safetensors` or `last.ckpt` of a training run.
        device: Device of the network.

    Returns:
        The network, in eval mode.

    Raises:
        InputError: The file is missing, damaged, or not a checkpoint of Video2RMS.
    """
    content = read_content(checkpoint)
    weights, described = weights_to_use(content, checkpoint), content.get("config")
    part = described.get("model") if isinstance(described, dict) else None
    kind = str(part.get("_target_")) if isinstance(part, dict) else "nothing"
    if MOVED.get(kind, kind) not in OWN_TARGETS:
        raise InputError(
            f"{checkpoint} is no checkpoint of Video2RMS (it describes {kind}): give one from "
            "exp=mini_video2rms or exp=train_gh_video2rms"
        )
    config = kept_sections(described, checkpoint, ("model", "seed"))
    with describing(checkpoint):  # the file holds all weights; loading them allocates the memory
        OmegaConf.update(config, "paths.random_weights", True, force_add=True)
        if "random_weights" in config.model.features:
            config.model.features.random_weights = True
    with torch.device("meta"):
        model: Video2Rms[Any] = build_model(resolved(config, checkpoint))
    load_into(model, weights, source=checkpoint)
    return model.eval().to(device)


def predict_envelope(
    model: Video2Rms[Any],
    path: Path,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    seed: int | None = None,
    progress: bool = False,
    watch: Stopwatch | None = None,
) -> PredictedEnvelope:
    """Predict the envelope of a video or a part of it.

    Up to 15 s before the part are read too, so that the start of the part is predicted as in the whole video.

    Args:
        model: The network, in eval mode.
        path: A video file of any rate and length.
        start_s: Start of the part in seconds, at least 0.
        duration_s: Duration of the part in seconds, above 0; None: to the end.
        seed: Draws the level of each hit from its distribution; None: the median.
        progress: Whether to show a progress bar, if there is more than one window.
        watch: Records the durations of the stages `video` (reading frames) and `network`.

    Returns:
        The prediction.

    Raises:
        InputError: The file is not a readable video, or the part is outside it.
    """
    asked_s = part_duration_s(path, probe(path).duration_s, start_s, duration_s)
    request = frames_to_predict(model, start_s, asked_s)
    windows = (window for _, window in iter_requests(path, [request]))
    return predict_from_frames(model, windows, request, start_s, seed=seed, progress=progress, watch=watch)


def frames_to_predict(model: Video2Rms[Any], start_s: float, duration_s: float) -> FrameRequest:
    """Return the frames that `predict_from_frames` needs for a part of a video, including up to 15 s before it.

    Args:
        model: The network.
        start_s: Start of the part in seconds, at least 0.
        duration_s: Duration of the part in seconds, above 0.
    """
    lead_s = math.floor(min(start_s, MARGIN_FRAMES / FRAME_RATE_HZ) / LEAD_S + 1e-6) * LEAD_S
    least_s = (round(lead_s * FRAME_RATE_HZ) + 1) / FRAME_RATE_HZ  # one frame of the part itself
    read_s = max(lead_s + duration_s, least_s)
    return FrameRequest(FRAME_RATE_HZ, model.features.size_px, start_s - lead_s, read_s, WINDOW_FRAMES)


@dataclass(frozen=True, eq=False)
class Begun:
    """A prediction of which the first windows of 20 s are known.

    Args:
        n_windows: Number of these windows, at least 1.
        levels: What was predicted in them.
    """

    n_windows: int
    levels: Levels

    @property
    def n_skipped(self) -> int:
        """Number of frames that are not read again; the last window is, as the context of the next."""
        return (self.n_windows - 1) * WINDOW_FRAMES

    def rest_of(self, request: FrameRequest) -> FrameRequest:
        """Return the part of a request from `frames_to_predict` that is still to be read."""
        assert request.duration_s is not None
        skipped_s = self.n_skipped / FRAME_RATE_HZ
        return replace(request, start_s=request.start_s + skipped_s, duration_s=request.duration_s - skipped_s)


def predict_from_frames(
    model: Video2Rms[Any],
    windows: Iterable[FrameWindow],
    request: FrameRequest,
    start_s: float,
    *,
    seed: int | None = None,
    begun: Begun | None = None,
    on_window: Callable[[Begun], None] | None = None,
    progress: bool = False,
    on_progress: Callable[[float], None] | None = None,
    watch: Stopwatch | None = None,
) -> PredictedEnvelope:
    """Predict the envelope of a part of a video from its frames.

    Args:
        model: The network, in eval mode.
        windows: The requested frames; of a prediction that is begun, those of its `rest_of` the request.
        request: The request from `frames_to_predict`.
        start_s: Start of the part in seconds.
        seed: Draws the level of each hit from its distribution; None: the median.
        begun: What is predicted already, with the same request and seed; None: nothing.
        on_window: Called with all that is predicted so far, after each window.
        progress: Whether to show a progress bar, if there is more than one window.
        on_progress: Called with the share of the frames that have been read, from 0 to 1; it may end the prediction by
            an exception.
        watch: Records the durations of the stages `video` (reading frames) and `network`.
    """
    watch = watch or Stopwatch()
    assert request.duration_s is not None
    n_frames = count_at_rate(request.duration_s, FRAME_RATE_HZ)
    n_skipped = 0 if begun is None else begun.n_skipped
    stamps: set[int] = set()
    is_short = n_frames <= WINDOW_FRAMES
    with tqdm(
        total=n_frames, initial=n_skipped, unit="frame", desc="envelope", disable=not progress or is_short
    ) as bar:
        shifted = (replace(window, first=window.first + n_skipped) for window in windows)
        read = _watched(watch.timed("video", shifted), bar, stamps, on_progress)
        for part in watch.timed("network", predict_levels(model, read, seed=seed, is_begun=begun is not None)):
            begun = Begun(1, part) if begun is None else Begun(begun.n_windows + 1, join_levels([begun.levels, part]))
            if on_window is not None:
                on_window(begun)
    assert begun is not None
    rate_hz = len(stamps) / (request.duration_s - n_skipped / FRAME_RATE_HZ)
    if len(stamps) > 1 and rate_hz < LEAST_RATE_HZ - 0.5:
        _logger.warning(
            "the video has about %.2g frames per second; below %g many hits are missed or come late: give an envelope "
            "with --envelope FILE where they matter",
            rate_hz,
            LEAST_RATE_HZ,
        )
    lead_s = start_s - request.start_s
    return PredictedEnvelope(begun.levels.louder(-model.headroom_db), round(lead_s * FINE_RATE_HZ))


def _watched(
    windows: Iterable[FrameWindow],
    bar: "tqdm[Any]",
    stamps: set[int],
    on_progress: Callable[[float], None] | None,
) -> Iterator[FrameWindow]:
    """Yield windows, and add the times at which their frames are shown, in milliseconds, to `stamps`."""
    for window in windows:
        bar.update(len(window.frames))
        if on_progress is not None:
            on_progress(min(1.0, (window.first + len(window.frames)) / bar.total))
        grid_s = (window.first + torch.arange(len(window.frames))) / FRAME_RATE_HZ
        stamps.update((1000 * (grid_s - window.lateness_s)).round().int().tolist())
        yield window


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Predict and write the envelope, and print the number of onsets and the durations."""
    parser = command_parser("python -m video2rms.predict", __doc__)
    parser.add_argument("--video", type=Path, required=True, metavar="FILE", help="video file")
    add_output(parser, "CSV (time_s,rms) with the times of the video")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="PNG to write: the envelope and its onsets")
    add_checkpoint(parser, "exp=mini_video2rms or exp=train_gh_video2rms", default=BUNDLED_VIDEO2RMS)
    add_part(parser)
    add_device(parser)
    args = parser.parse_args(arguments)
    outputs = {"--output": args.output} | ({} if args.figure is None else {"--figure": args.figure})
    for option, path in outputs.items():
        check_writable_folder(path.parent, option)
        if path.is_dir() or path.absolute() in (other.absolute() for name, other in outputs.items() if name != option):
            raise InputError(f"{option} {path} is a folder, or the other output: give another file")
        if any(same_file(path, given) for given in (args.video, args.checkpoint)):
            raise InputError(f"{option} {path} is an input and would be overwritten: give another file")
    watch = Stopwatch()
    with watch.stage("model"):
        model = load_video2rms(args.checkpoint, pick_device(args.device))
    found = predict_envelope(
        model, args.video, start_s=args.start, duration_s=args.duration, progress=True, watch=watch
    )
    write_envelope_csv(args.output, found.envelope, args.start)
    if args.figure:
        from video2rms.figure import envelope_figure  # not above: Matplotlib takes long

        with atomic_path(args.figure) as temporary:
            envelope_figure(found.envelope, found.onsets_s).savefig(temporary, dpi=110, format="png")
    sys.stdout.write(
        f"{len(found.hits)} hits in {found.envelope.duration_s:.2f} s (the envelope may also rise elsewhere); "
        f"seconds: {watch}\n" + "".join(f"{printable(path)}\n" for path in outputs.values())
    )


if __name__ == "__main__":
    main()
