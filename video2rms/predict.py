"""The envelope of a video without sound: ``python -m video2rms.predict --video clip.mp4 --out clip.envelope.csv``.

Reads frames at 30 a second in windows, so that hours of video need no more memory than seconds.
"""

import argparse
import logging
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from torch import Tensor
from tqdm import tqdm

from data.clip import count_at_rate
from data.envelope import FINE_RATE_HZ, Envelope, write_envelope_csv
from data.errors import InputError, user_errors
from data.files import atomic_path, check_writable_folder
from data.frames import FrameWindow
from data.media import iter_frames, probe
from data.stopwatch import Stopwatch
from data.weights import load_into
from training.checkpoint import read_content
from training.config import build_model, check_targets
from training.devices import pick_device
from video2rms.model import FRAME_RATE_HZ, Video2Rms
from video2rms.onsets import pick_onsets
from video2rms.streaming import WINDOW_FRAMES, join_levels, predict_levels

log = logging.getLogger("video2rms")

BUNDLED = Path(__file__).with_name("weights") / "motion.safetensors"
ONSET_THRESHOLD = 0.4


@dataclass(frozen=True, eq=False)
class PredictedEnvelope:
    """What a video lets expect of its sound.

    Args:
        envelope: Level in slots of 8 ms, rms (N,), of a sound whose peak is about 1.
        onsets_s: Times of hits (K,).
    """

    envelope: Envelope
    onsets_s: Tensor


def load_model(checkpoint: Path = BUNDLED, device: str | torch.device = "cpu") -> Video2Rms:
    """A trained network.

    Args:
        checkpoint: `best.safetensors` or `last.ckpt` of a training run.
        device: Where it runs.

    Returns:
        The network, in eval mode.

    Raises:
        InputError: The file is missing, damaged, or no checkpoint of Video2RMS.
    """
    content = read_content(checkpoint)
    if "config" not in content:
        raise InputError(f"{checkpoint} says nothing of its configuration: give a checkpoint of train.py")
    config = OmegaConf.create(content["config"])
    check_targets(config, checkpoint)
    OmegaConf.update(config, "paths.random_weights", True, force_add=True)  # the checkpoint holds all of them
    model = build_model(config)
    if not isinstance(model, Video2Rms):
        raise InputError(
            f"{checkpoint} holds a {type(model).__name__}, expected a Video2Rms: give a checkpoint of "
            "exp=mini_video2rms"
        )
    load_into(model, content["state_dict"], source=checkpoint)
    return model.eval().to(device)


def predict_envelope(
    model: Video2Rms,
    path: Path,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    progress: Callable[[int], object] = lambda n_frames: None,
    watch: Stopwatch | None = None,
) -> PredictedEnvelope:
    """Predicts the envelope of a video or a part of it.

    Args:
        model: The network, in eval mode.
        path: A video file of any rate and length.
        start_s: Where the part starts, in seconds, at least 0.
        duration_s: How long it is, above 0; None: to the end.
        progress: Told of every window how many frames it has.
        watch: Is told how long the stages `video` (reading frames) and `network` take.

    Returns:
        The prediction.

    Raises:
        InputError: The file is no readable video, or the part lies outside it.
    """
    watch = watch or Stopwatch()
    windows = iter_frames(
        path,
        frame_rate_hz=FRAME_RATE_HZ,
        size_px=model.features.size_px,
        start_s=start_s,
        duration_s=duration_s,
        window_frames=WINDOW_FRAMES,
    )
    levels = join_levels(watch.timed("network", predict_levels(model, _told(watch.timed("video", windows), progress))))
    return PredictedEnvelope(Envelope(levels.rms, FINE_RATE_HZ), pick_onsets(levels.onset, ONSET_THRESHOLD))


def _told(windows: Iterable[FrameWindow], progress: Callable[[int], object]) -> Iterator[FrameWindow]:
    for window in windows:
        progress(len(window.frames))
        yield window


def envelope_figure(prediction: PredictedEnvelope) -> Figure:
    """The envelope over time, with ticks at the hits."""
    envelope = prediction.envelope
    figure = Figure(figsize=(12, 3), layout="constrained")
    axes = figure.subplots()
    times_s = (np.arange(len(envelope.rms)) + 0.5) / envelope.rate_hz
    axes.fill_between(times_s, envelope.rms.numpy(), linewidth=0.5, alpha=0.8)
    axes.plot(prediction.onsets_s, np.zeros(len(prediction.onsets_s)), "|", color="black", markersize=12)
    axes.set(xlabel="s", ylabel="RMS", xlim=(0, envelope.duration_s), ylim=(0, None))
    return figure


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Predict, write, and say what was found and how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--video", type=Path, required=True, help="video file")
    parser.add_argument("--out", type=Path, required=True, help="CSV to write, `time_s,rms`")
    parser.add_argument("--plot", type=Path, help="PNG to write")
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED, help="of a training run (default: the bundled one)")
    parser.add_argument("--start", type=float, default=0.0, help="seconds into the video (default: %(default)s)")
    parser.add_argument("--duration", type=float, help="seconds (default: to the end)")
    parser.add_argument("--device", default="cpu", help="where the network runs (default: %(default)s)")
    args = parser.parse_args(arguments)
    if args.duration is not None and not (math.isfinite(args.duration) and args.duration > 0):
        raise InputError(f"--duration {args.duration} is not possible: give seconds above 0")
    for option, path in {"--out": args.out, "--plot": args.plot}.items():
        if path is None:
            continue
        check_writable_folder(path.parent, option)
        if any(path.exists() and given.exists() and path.samefile(given) for given in (args.video, args.checkpoint)):
            raise InputError(f"{option} {path} would be written over, but is an input: give another file")
    watch = Stopwatch()
    with watch.stage("model"):
        model = load_model(args.checkpoint, pick_device(args.device))
    rest_s = probe(args.video).duration_s - args.start
    n_frames = count_at_rate(max(min(rest_s, args.duration or rest_s), 0.01), FRAME_RATE_HZ)
    with tqdm(total=n_frames, unit="frame", desc=args.video.name, disable=n_frames < WINDOW_FRAMES) as bar:
        found = predict_envelope(
            model, args.video, start_s=args.start, duration_s=args.duration, progress=bar.update, watch=watch
        )
    write_envelope_csv(args.out, found.envelope)
    if args.plot:
        with atomic_path(args.plot) as temporary:
            envelope_figure(found).savefig(temporary, dpi=110, format="png")
    sys.stdout.write(
        f"{len(found.onsets_s)} hits in {found.envelope.duration_s:.2f} s; seconds: {watch}\n{args.out}\n"
        + (f"{args.plot}\n" if args.plot else "")
    )


if __name__ == "__main__":
    main()
