"""Measure how well the envelope is predicted from the picture: ``python -m benchmarks.video2rms``.

Synthetic clips that no training sees are compared with their exact truth: onsets within 0.1 s of the picture's times,
and the levels of the clean sound. A constant level and a classical detector of motion stand beside the network. A
second table has the network at other frame rates, and hits that it makes up where a film is cut.

Real videos with sound (``--videos DIR``) are compared sound with sound: noise that follows the predicted envelope, and
the recording, both through the usual onset detector, the mean over five noises. Prints Markdown tables.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.tools import find_videos, table
from common.errors import user_errors
from common.options import add_checkpoint, add_clips, command_parser
from evaluation.onsets import ONSET_RATE_HZ, detect_onsets, match_onsets, onset_f1
from hits.level import measure_hits
from media.frames import FrameWindow
from media.probe import probe
from media.reading import iter_frames, read_sound
from synthetic import SyntheticSpec
from synthetic.clip import plan_clip
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
RATES_HZ = {
    "24 to 60 fps": (24.0, 25.0, 30.0, 60.0),
    "15 fps": (15.0,),
    "12 fps": (12.0,),
    "8 fps": (8.0,),
    "films of every kind": (None,),
}
"""Frame rates of the synthetic clips, in turn; None: films as in training."""
CLOSE_S = 0.15  # between strikes in close succession
N_CUTS = 40
CALM_S = 0.3  # without strikes before and after a cut
NEAR_CUT_S = 0.15
N_NOISES = 5
Method = Callable[[Iterable[FrameWindow]], Levels]


@dataclass
class Tally:
    """What was found in some clips."""

    f1: list[float] = field(default_factory=list)
    f1_far: list[float] = field(default_factory=list)
    errors_s: list[float] = field(default_factory=list)
    peaks_db: list[float] = field(default_factory=list)
    close: list[bool] = field(default_factory=list)
    levels: dict[str, list[float]] = field(default_factory=dict)

    def add(self, item: VideoItem, levels: Levels, *, is_far: bool) -> None:
        """Add a clip with its prediction; far: its player is seen whole."""
        found_s, true_s = levels.hits.times_s.numpy(), np.sort(item.onsets_s.numpy())
        score = onset_f1(true_s, found_s)
        self.f1.append(score.f1 if score else 1.0)
        if is_far:
            self.f1_far.append(self.f1[-1])
        pairs = match_onsets(true_s, found_s)
        gaps_s = np.minimum(np.diff(true_s, prepend=-np.inf), np.diff(true_s, append=np.inf))
        met = {i for i, _ in pairs}
        self.close += [i in met for i in np.flatnonzero(gaps_s < CLOSE_S)]
        true_rms = measure_hits(item.rms, torch.from_numpy(true_s)).rms
        for i, j in pairs:
            self.errors_s.append(abs(float(found_s[j] - true_s[i])))
            if true_rms[i] > 0 and levels.hits.rms[j] > 0:
                self.peaks_db.append(20 * float(torch.log10(levels.hits.rms[j] / true_rms[i])))
        rms = levels.envelope.rms[None, : len(item.rms)]
        for name, value in level_metrics(rms, item.rms[None], item.rms_44khz[None]).items():
            self.levels.setdefault(name, []).append(float(value))

    def summary(self) -> dict[str, float]:
        """Return means over clips and medians over hits."""
        return {
            "onset F1": _mean(self.f1),
            "median error (ms)": 1e3 * _median(self.errors_s),
            "peak, predicted to true (dB)": _median(self.peaks_db),
            "found within 150 ms of another": _mean(self.close),
            "onset F1, far players": _mean(self.f1_far),
            "RMS correlation": _mean(self.levels["rms_correlation"]),
            "E-L1 [VF]": _mean(self.levels["e_l1"]),
            "E-L1 44.1 kHz": _mean(self.levels["e_l1_44khz"]),
        }


def with_network(model: Video2Rms[Any]) -> Method:
    """Return the trained network as a method."""
    return lambda windows: join_levels(predict_levels(model, windows))


def render(
    spec: SyntheticSpec, n_clips: int, rates_hz: Sequence[float | None], seed: int = SEED
) -> Iterator[tuple[VideoItem, bool]]:
    """Yield held-out clips at frame rates in turn, and whether the player is seen whole from afar."""
    for number in tqdm(range(n_clips), desc="clips", unit="clip"):
        rate_hz = rates_hz[number % len(rates_hz)]
        item = render_video(spec, seed, number, rate_hz=rate_hz)
        is_plain = rate_hz is not None
        yield item, is_plain and plan_clip(replace(spec, frame_rate_hz=rate_hz), seed, number).scene.view == "player"


def measure_synthetic(method: Method, items: Iterable[tuple[VideoItem, bool]]) -> dict[str, float]:
    """Return what a method finds in synthetic clips."""
    tally = Tally()
    for item, is_far in items:
        assert item.frames is not None
        tally.add(item, method([FrameWindow(0, item.frames, item.lateness_s.double())]), is_far=is_far)
    return tally.summary()


def count_hits_at_cuts(method: Method, spec: SyntheticSpec) -> int:
    """Return the number of hits found at hard cuts between scenes, in `N_CUTS` cuts without a strike nearby."""
    n_hits = n_cuts = number = 0
    while n_cuts < N_CUTS:
        before, after = (render_video(spec, SEED + 1, number + i, rate_hz=FRAME_RATE_HZ) for i in (0, 1))
        number += 2
        onsets_s = torch.cat([before.onsets_s, after.onsets_s])
        for frame in range(30, round(spec.duration_s * FRAME_RATE_HZ) - 30):
            cut_s = frame / FRAME_RATE_HZ
            if (onsets_s - cut_s).abs().min() < CALM_S:
                continue
            assert before.frames is not None
            assert after.frames is not None
            frames = torch.cat([before.frames[:frame], after.frames[frame:]])
            times_s = method([FrameWindow(0, frames, torch.zeros(len(frames), dtype=torch.float64))]).hits.times_s
            n_hits += int(((times_s - cut_s).abs() < NEAR_CUT_S).sum())
            n_cuts += 1
            break
    return n_hits


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
    network, (usual, *others) = with_network(model), RATES_HZ
    items = list(render(spec, args.clips, RATES_HZ[usual]))
    methods: dict[str, Method] = {
        "constant level": functools.partial(constant_levels, float(torch.cat([item.rms for item, _ in items]).mean())),
        "end of motion": motion_levels,
        "network": network,
    }
    rows = {name: measure_synthetic(method, items) for name, method in methods.items()}
    _print(f"{args.clips} clips, {usual}", rows)
    del items
    rows = {usual: rows["network"]}
    rows |= {name: measure_synthetic(network, render(spec, args.clips, RATES_HZ[name])) for name in others}
    _print(f"network, {args.clips} clips", rows)
    sys.stdout.write(f"\n{count_hits_at_cuts(network, spec)} hits found at {N_CUTS} hard cuts.\n\n")
    if real:
        found = {path.name: [measure_real(method, path, size_px) for method in methods.values()] for path in real}
        found["mean"] = np.mean(list(found.values()), axis=0).tolist()
        lines = [(name, *(f"{value:.3f}" for value in values)) for name, values in found.items()]
        sys.stdout.write(table(["onset F1, sound with sound", *methods], lines))


def _print(title: str, rows: dict[str, dict[str, float]]) -> None:
    columns = list(next(iter(rows.values())))
    sys.stdout.write(table([title, *columns], [(n, *(f"{row[c]:.4g}" for c in columns)) for n, row in rows.items()]))
    sys.stdout.write("\n")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")


if __name__ == "__main__":
    main()
