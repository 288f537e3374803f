"""The envelope of a video without sound: ``python -m video2rms.predict --video clip.mp4 --out clip.envelope.csv``.

Reads frames at 30 a second in windows, so that hours of video need no more memory than seconds.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from common.errors import end_on_interrupt

    end_on_interrupt()

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor
from tqdm import tqdm

from common.devices import pick_device
from common.errors import InputError, printable, user_errors
from common.files import atomic_path, check_writable_folder, same_file
from common.stopwatch import Stopwatch
from common.weights import load_into, state_dict_of
from media.clip import count_at_rate, part_duration_s
from media.envelope import FINE_RATE_HZ, Envelope, write_envelope_csv
from media.frames import FrameWindow
from media.reading import iter_frames, probe
from training.checkpoint import read_content
from training.config import REPOSITORY, build_model, describing
from training.stored_config import kept_sections, resolved
from video2rms.figure import envelope_figure
from video2rms.model import FRAME_RATE_HZ, Video2Rms
from video2rms.onsets import ONSET_THRESHOLD, pick_onsets
from video2rms.streaming import MARGIN_FRAMES, WINDOW_FRAMES, join_levels, predict_levels

BUNDLED = REPOSITORY / "bundled" / "video2rms.safetensors"
OWN_TARGET = "video2rms.model.Video2Rms"
LEAD_S = 0.2  # frames of 1 / 30 s and slots of 8 ms meet that often


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
    weights, described = state_dict_of(content, checkpoint), content.get("config")
    part = described.get("model") if isinstance(described, dict) else None
    kind = part.get("_target_") if isinstance(part, dict) else None
    if kind != OWN_TARGET:
        raise InputError(
            f"{checkpoint} is no checkpoint of Video2RMS ({kind or 'nothing'} instead of {OWN_TARGET}): give one that "
            "exp=mini_video2rms or exp=train_gh_video2rms made"
        )
    config = kept_sections(described, checkpoint, ("model", "seed"))
    with describing(checkpoint):  # the file holds all weights, which bring their memory
        OmegaConf.update(config, "paths.random_weights", True, force_add=True)
        if "random_weights" in config.model.features:
            config.model.features.random_weights = True
    with torch.device("meta"):
        model: Video2Rms = build_model(resolved(config, checkpoint))
    load_into(model, weights, source=checkpoint)
    return model.eval().to(device)


def predict_envelope(
    model: Video2Rms,
    path: Path,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    progress: bool = False,
    watch: Stopwatch | None = None,
) -> PredictedEnvelope:
    """Predicts the envelope of a video or a part of it.

    What comes within 15 s before the part is looked at too, so that the part's start is understood as in the whole.

    Args:
        model: The network, in eval mode.
        path: A video file of any rate and length.
        start_s: Where the part starts, in seconds, at least 0.
        duration_s: How long it is, above 0; None: to the end.
        progress: Whether a bar shows how far it is, where there is more than a window.
        watch: Is told how long the stages `video` (reading frames) and `network` take.

    Returns:
        The prediction.

    Raises:
        InputError: The file is no readable video, or the part lies outside it.
    """
    watch = watch or Stopwatch()
    whole_s = probe(path).duration_s
    asked_s = part_duration_s(path, whole_s, start_s, duration_s)
    n_leads = math.floor(min(start_s, MARGIN_FRAMES / FRAME_RATE_HZ) / LEAD_S + 1e-6)
    lead_s = n_leads * LEAD_S
    windows = iter_frames(
        path,
        frame_rate_hz=FRAME_RATE_HZ,
        size_px=model.features.size_px,
        start_s=start_s - lead_s,
        duration_s=None if duration_s is None else lead_s + duration_s,
        window_frames=WINDOW_FRAMES,
    )
    n_frames = count_at_rate(lead_s + asked_s, FRAME_RATE_HZ)
    with tqdm(
        total=n_frames, unit="frame", desc=printable(path.name), disable=not progress or n_frames <= WINDOW_FRAMES
    ) as bar:
        read = _counted(watch.timed("video", windows), bar)
        levels = join_levels(watch.timed("network", predict_levels(model, read)))
    first = round(lead_s * FINE_RATE_HZ)
    onsets_s = pick_onsets(levels.onset, ONSET_THRESHOLD) - lead_s
    return PredictedEnvelope(Envelope(levels.rms[first:], FINE_RATE_HZ), onsets_s[onsets_s >= 0])


def _counted(windows: Iterable[FrameWindow], bar: "tqdm[Any]") -> Iterator[FrameWindow]:
    for window in windows:
        bar.update(len(window.frames))
        yield window


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Predict, write, and say what was found and how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--video", type=Path, required=True, help="video file")
    parser.add_argument("--out", type=Path, required=True, help="CSV to write, `time_s,rms`, times of the video")
    parser.add_argument("--plot", type=Path, help="PNG to write")
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED, help="of a training run (default: the bundled one)")
    parser.add_argument("--start", type=float, default=0.0, help="seconds into the video (default: %(default)s)")
    parser.add_argument("--duration", type=float, help="seconds (default: to the end)")
    parser.add_argument("--device", default="cpu", help="where the network runs (default: %(default)s)")
    args = parser.parse_args(arguments)
    outputs = {"--out": args.out} | ({} if args.plot is None else {"--plot": args.plot})
    for option, path in outputs.items():
        check_writable_folder(path.parent, option)
        if path.is_dir() or path.absolute() in (other.absolute() for name, other in outputs.items() if name != option):
            raise InputError(f"{option} {path} is a folder, or the other output: give another file")
        if any(same_file(path, given) for given in (args.video, args.checkpoint)):
            raise InputError(f"{option} {path} would be written over, but is an input: give another file")
    watch = Stopwatch()
    with watch.stage("model"):
        model = load_model(args.checkpoint, pick_device(args.device))
    found = predict_envelope(
        model, args.video, start_s=args.start, duration_s=args.duration, progress=True, watch=watch
    )
    write_envelope_csv(args.out, found.envelope, args.start)
    if args.plot:
        with atomic_path(args.plot) as temporary:
            envelope_figure(found.envelope, found.onsets_s).savefig(temporary, dpi=110, format="png")
    sys.stdout.write(
        f"{len(found.onsets_s)} onsets with a probability of {ONSET_THRESHOLD} or more in "
        f"{found.envelope.duration_s:.2f} s (the envelope may rise at others); seconds: {watch}\n"
        + "".join(f"{printable(path)}\n" for path in outputs.values())
    )


if __name__ == "__main__":
    main()
