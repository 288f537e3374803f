"""Measure how a hit sounds when it is asked for: ``python -m benchmarks.prompts --sounds DIR``.

Four hits of a fixed envelope, a second apart, whose ring follows the prompt as in ``infer.py``, without frames. Each
recording of the folder is a prompt once; how bright and how long the generated hits are is compared with the recording
by Spearman's rank correlation. Each material is asked for by words once. A noise that decays smoothly, and a level that
does not change, say how even the sound is. Prints Markdown tables.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor
from tqdm import tqdm

from benchmarks.sounds import pulsation_db, ripple_db
from benchmarks.tools import table
from common.errors import InputError, user_errors
from common.options import add_checkpoint, add_num_samples, add_steps, command_parser
from data.greatest_hits import MATERIALS
from evaluation.folders import SOUND_SUFFIXES
from evaluation.hits import HitShape, hit_shapes, median_shape
from hits.level import Hits, level_of_hits
from media.envelope import FINE_RATE_HZ, Envelope
from media.reading import read_sound
from stable_foley.checkpoint import BUNDLED
from stable_foley.generator import Prompts, SoundGenerator
from synthetic import SAMPLE_RATE_HZ
from video2audio.ring import Ring, ring_of

HITS_S = torch.tensor([0.5, 1.5, 2.5, 3.5])
DURATION_S = 4.5
RMS = 0.1
USUAL_RING = Ring(decay_s=0.04, share=0.6)
"""About what recorded hits have."""
STEADY_RMS = 0.05
SMOOTH_DECAY_S = 0.25
FRAME_SAMPLES = 512


def read_single_hits(folder: Path) -> dict[str, Tensor]:
    """Return the sounds (C, N) of a folder by name.

    Raises:
        InputError: there are fewer than three, too few for a rank.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in SOUND_SUFFIXES)
    if len(paths) < 3:
        raise InputError(f"--sounds {folder} holds {len(paths)} sound files; expected at least 3: give another folder")
    return {path.stem: read_sound(path, sample_rate_hz=SAMPLE_RATE_HZ) for path in paths}


def hits_along(generator: SoundGenerator, prompts: Prompts, seed: int) -> Tensor:
    """Return the four hits (C, N) that a prompt asks for."""
    ring = ring_of(prompts, generator) or USUAL_RING
    ones = torch.ones_like(HITS_S)
    hits = Hits(HITS_S, RMS * ones, ring.decay_s * ones, ring.share * ones)
    envelope = Envelope(level_of_hits(hits, round(DURATION_S * FINE_RATE_HZ)), FINE_RATE_HZ)
    return generator.generate(envelope, DURATION_S, prompts=prompts, seed=seed)


def along_level(generator: SoundGenerator, rms: Tensor, words: str, seed: int) -> Tensor:
    """Return the sound (C, N) that words ask for along a level (T,) at 125 Hz."""
    duration_s = len(rms) / FINE_RATE_HZ
    return generator.generate(Envelope(rms, FINE_RATE_HZ), duration_s, prompts=Prompts(words), seed=seed)


def heard(sounds: Sequence[Tensor]) -> HitShape:
    """Return the medians over the four hits of several sounds (C, N)."""
    return median_shape([shape for sound in sounds for shape in hit_shapes(sound, SAMPLE_RATE_HZ, HITS_S.numpy())])


def cells(*shapes: HitShape) -> list[str]:
    """Return attack, decay and brightness as cells of a table, those of several shapes with arrows between them."""
    return [
        " → ".join(f"{getattr(shape, key):.3g}" for shape in shapes)
        for key in ("attack_ms", "decay_ms", "brightness_hz")
    ]


def rank_correlation(asked: Sequence[float], made: Sequence[float]) -> tuple[float, int]:
    """Return Spearman's rank correlation of the pairs that are numbers, and how many they are."""
    known = np.isfinite(asked) & np.isfinite(made)
    return float(spearmanr(np.array(asked)[known], np.array(made)[known]).statistic), int(known.sum())


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = command_parser("python -m benchmarks.prompts", __doc__)
    add_checkpoint(parser, "exp=mini_controlnet", default=BUNDLED)
    parser.add_argument("--sounds", type=Path, metavar="DIR", help="folder of recorded single hits")
    add_num_samples(parser, default=3)
    add_steps(parser)
    args = parser.parse_args(arguments)
    sounds = {} if args.sounds is None else read_single_hits(args.sounds)
    generator = SoundGenerator.from_checkpoint(args.checkpoint)
    generator.settings = generator.settings.changed(n_steps=args.steps)
    seeds = range(args.num_samples)

    rows, asked, made = [], list[HitShape](), list[HitShape]()
    for name, sound in tqdm(sounds.items(), desc="recorded prompts", unit="sound"):
        peak_s = np.array([int(sound.mean(dim=0).abs().argmax()) / SAMPLE_RATE_HZ])
        asked += hit_shapes(sound, SAMPLE_RATE_HZ, peak_s)
        made.append(heard([hits_along(generator, Prompts(sounds=[sound]), seed) for seed in seeds]))
        rows.append((name, *cells(asked[-1], made[-1])))
    names = ("attack (ms)", "decay by 20 dB (ms)", "brightness (Hz)")
    if rows:
        sys.stdout.write(table([f"recording → generated, {args.num_samples} seeds", *names], rows) + "\n")
        ranks = [
            (label, *rank_correlation([getattr(h, key) for h in asked], [getattr(h, key) for h in made]))
            for key, label in (("brightness_hz", "brightness"), ("decay_ms", "decay"))
        ]
        sys.stdout.write(
            table(["rank correlation with the recording", "Spearman", "n"], [(a, f"{b:.2f}", c) for a, b, c in ranks])
            + "\n"
        )

    rows = []
    for name in tqdm(sorted(MATERIALS), desc="words", unit="material"):
        shape = heard([hits_along(generator, Prompts(f"hitting {name}"), seed) for seed in seeds])
        rows.append((name, *cells(shape)))
    sys.stdout.write(table([f"hitting …, {args.num_samples} seeds", *names], rows) + "\n")

    time_s = torch.arange(round(4.0 * FINE_RATE_HZ)) / FINE_RATE_HZ
    smooth = 2 * STEADY_RMS * torch.exp(-time_s / SMOOTH_DECAY_S)
    even = {}
    for name in tqdm(("metal", "cloth", "glass", "water"), desc="even levels", unit="material"):
        decays = [along_level(generator, smooth, f"hitting {name}", seed) for seed in seeds]
        steady = [along_level(generator, torch.full_like(smooth, STEADY_RMS), f"scratching {name}", s) for s in seeds]
        even[name] = (
            np.mean([ripple_db(sound[:, : round(0.8 * SAMPLE_RATE_HZ)]) for sound in decays]),
            np.mean([pulsation_db(sound, SAMPLE_RATE_HZ / FRAME_SAMPLES) for sound in steady]),
        )
    header = ["", f"ripple along a decay of {SMOOTH_DECAY_S} s (dB)", "pulsation once a spectral frame (dB)"]
    sys.stdout.write(table(header, [(name, *(f"{value:.2f}" for value in row)) for name, row in even.items()]))


if __name__ == "__main__":
    main()
