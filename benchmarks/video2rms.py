"""Measure how well the envelope is predicted from the picture: ``python -m benchmarks.video2rms``.

Synthetic clips that no training sees are compared with their exact truth: onsets within 0.1 s of the picture's times,
and the levels of the clean sound. Real videos with sound (``--videos DIR``) are compared sound with sound: noise that
follows the predicted envelope, and the recording, both through the usual onset detector, the mean over five noises. A
constant level and a classical detector of motion stand beside the network. Prints a Markdown table.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.tools import find_videos, table
from common.errors import user_errors
from common.options import add_checkpoint, add_clips, command_parser
from evaluation.onsets import ONSET_RATE_HZ, detect_onsets, match_onsets, onset_f1
from media.frames import FrameWindow
from media.reading import iter_frames, probe, read_sound
from synthetic import SyntheticSpec
from video2rms.baselines import constant_levels, motion_levels
from video2rms.batch import VideoItem
from video2rms.features.base import FRAME_RATE_HZ
from video2rms.levels import Levels, join_levels
from video2rms.metrics import level_metrics
from video2rms.model import Video2Rms
from video2rms.predict import BUNDLED_VIDEO2RMS, load_video2rms
from video2rms.sounding import noise_along
from video2rms.streaming import WINDOW_FRAMES, predict_levels
from video2rms.synthetic import render_video

SEED = 1_000_003  # of clips that no training configuration uses
DURATION_S = 4.0
RATES_HZ = (24.0, 25.0, 30.0, 60.0)  # of the synthetic clips, in turn
N_NOISES = 5
Method = Callable[[Iterable[FrameWindow]], Levels]


def with_network(model: Video2Rms[Any]) -> Method:
    """Return the trained network as a method."""
    return lambda windows: join_levels(predict_levels(model, windows))


def measure_synthetic(method: Method, items: Sequence[VideoItem]) -> dict[str, float]:
    """Return means over synthetic clips."""
    f1, errors_s = [], []
    of_levels: dict[str, list[float]] = {}
    for item in items:
        assert item.frames is not None
        levels = method([FrameWindow(0, item.frames, item.lateness_s.double())])
        found_s, true_s = levels.hits.times_s.numpy(), np.sort(item.onsets_s.numpy())
        score = onset_f1(true_s, found_s)
        f1.append(score.f1 if score else 1.0)
        errors_s += [abs(float(found_s[j] - true_s[i])) for i, j in match_onsets(true_s, found_s)]
        rms = levels.envelope.rms[None, : len(item.rms)]
        for name, value in level_metrics(rms, item.rms[None], item.rms_44khz[None]).items():
            of_levels.setdefault(name, []).append(float(value))
    return {
        "onset F1": float(np.mean(f1)),
        "median error (ms)": 1e3 * float(np.median(errors_s)) if errors_s else float("nan"),
        "RMS correlation": float(np.mean(of_levels["rms_correlation"])),
        "E-L1 [VF]": float(np.mean(of_levels["e_l1"])),
        "E-L1 44.1 kHz": float(np.mean(of_levels["e_l1_44khz"])),
    }


def measure_real(method: Method, path: Path, size_px: tuple[int, int]) -> float:
    """Onset F1 of a video, sound with sound, the mean over several noises."""
    windows = iter_frames(path, frame_rate_hz=FRAME_RATE_HZ, size_px=size_px, window_frames=WINDOW_FRAMES)
    envelope = method(windows).envelope
    truth_s = detect_onsets(read_sound(path, sample_rate_hz=ONSET_RATE_HZ), ONSET_RATE_HZ).times_s
    found = []
    for seed in range(N_NOISES):
        sound = noise_along(envelope, ONSET_RATE_HZ, probe(path).duration_s, seed=seed)
        score = onset_f1(truth_s, detect_onsets(sound, ONSET_RATE_HZ).times_s)
        found.append(score.f1 if score else 1.0)
    return float(np.mean(found))


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = command_parser("python -m benchmarks.video2rms", __doc__)
    add_checkpoint(parser, "exp=mini_video2rms or exp=train_gh_video2rms", default=BUNDLED_VIDEO2RMS)
    add_clips(parser, default=200)
    parser.add_argument("--videos", type=Path, metavar="DIR", help="folder of videos with sound")
    args = parser.parse_args(arguments)
    real = find_videos(args.videos) if args.videos else []
    model = load_video2rms(args.checkpoint)
    size_px = model.features.size_px
    spec = SyntheticSpec(duration_s=DURATION_S, width=size_px[0], height=size_px[1], max_offset_s=0.0)
    numbers = tqdm(range(args.clips), desc="rendering", unit="clip")
    items = [render_video(spec, SEED, i, rate_hz=RATES_HZ[i % len(RATES_HZ)]) for i in numbers]
    mean_rms = float(torch.cat([item.rms for item in items]).mean())
    methods: dict[str, Method] = {
        "constant level": functools.partial(constant_levels, mean_rms),
        "end of motion": motion_levels,
        "network": with_network(model),
    }
    rows = {}
    for name, method in methods.items():
        rows[name] = measure_synthetic(method, items) | {
            f"{path.name} F1": measure_real(method, path, size_px) for path in real
        }
    columns = list(rows["network"])
    lines = [(name, *(f"{row[column]:.4g}" for column in columns)) for name, row in rows.items()]
    sys.stdout.write(table([f"{args.clips} synthetic clips", *columns], lines))


if __name__ == "__main__":
    main()
