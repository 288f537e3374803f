"""Measure what is heard at the ends of a region that was made anew: ``python -m benchmarks.region_ends``.

Along a steady envelope, where nothing else changes, the spectra of the 0.2 s before and after an end are compared, and
beside them those at 40 other places of the same sound. Prints a Markdown table.
"""

import itertools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchaudio.transforms import MelSpectrogram
from tqdm import tqdm

from benchmarks.tools import table
from common.errors import user_errors
from common.options import add_checkpoint, add_num_samples, command_parser
from media.envelope import FINE_RATE_HZ, Envelope
from stable_foley.checkpoint import BUNDLED
from stable_foley.generator import SoundGenerator
from stable_foley.regions import Generated, regenerate
from stable_foley.windows import Prompts

WORDS = ("scratching wood", "hitting water", "scratching gravel")
DURATION_S = 10.0
LEVEL = 0.05
REGION_S = (3.0, 5.0)
AROUND_S = 0.2
N_PLACES = 40
_FLOOR_DB = -80.0


def spectrum_db(sound: Tensor, sample_rate_hz: int) -> Tensor:
    """Return the mean mel spectrum (64,) of a sound (C, N), in dB."""
    mel = MelSpectrogram(sample_rate_hz, 2048, hop_length=512, n_mels=64, center=False)
    return 10 * mel(sound.mean(0)).mean(dim=-1).clamp(min=10 ** (_FLOOR_DB / 10)).log10()


def change_db(sound: Tensor, sample_rate_hz: int, place_s: float) -> float:
    """Return the mean change, over 64 mel bands and without sign, of the spectrum at a place of a sound (C, N)."""
    place, n_samples = round(place_s * sample_rate_hz), round(AROUND_S * sample_rate_hz)
    before, after = sound[:, place - n_samples : place], sound[:, place : place + n_samples]
    return float((spectrum_db(before, sample_rate_hz) - spectrum_db(after, sample_rate_hz)).abs().mean())


def measure(generator: SoundGenerator, words: str, seed: int) -> list[object]:
    """Return a row: the prompt and the seed, the change at both ends, and that elsewhere."""
    n_slots = round(DURATION_S * FINE_RATE_HZ)
    envelope = Envelope(torch.full((n_slots,), LEVEL), FINE_RATE_HZ)
    frames = None
    if generator.reads_frames:
        width, height = generator.spec.frame_width_height
        n_frames = round(DURATION_S * generator.spec.frame_rate_hz)
        frames = torch.full((n_frames, 3, height, width), 127, dtype=torch.uint8)
    wanted: dict[str, Any] = {"frames": frames, "prompts": Prompts(words), "seed": seed}
    before = Generated.of(generator.stream(envelope, DURATION_S, **wanted))
    after = regenerate(generator, before, envelope, *REGION_S, **{**wanted, "seed": seed + 100}).sound[:, :]
    rate_hz = generator.sample_rate_hz
    places_s = np.linspace(AROUND_S + 0.3, DURATION_S - AROUND_S - 0.3, N_PLACES)
    elsewhere = [
        change_db(after, rate_hz, place_s)
        for place_s in places_s
        if all(abs(place_s - end_s) > 2 * AROUND_S for end_s in REGION_S)
    ]
    ends = [change_db(after, rate_hz, end_s) for end_s in REGION_S]
    return [words, seed, *(f"{end:.1f}" for end in ends), f"{np.median(elsewhere):.1f}", f"{max(elsewhere):.1f}"]


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = command_parser("python -m benchmarks.region_ends", __doc__)
    add_checkpoint(parser, "the Foley model", default=BUNDLED)
    add_num_samples(parser, default=2)
    args = parser.parse_args(arguments)
    generator = SoundGenerator.from_checkpoint(args.checkpoint)
    jobs = list(itertools.product(WORDS, range(args.num_samples)))
    rows = [measure(generator, words, seed) for words, seed in tqdm(jobs, unit="sound")]
    header = ["prompt", "seed", "start (dB)", "end (dB)", "elsewhere, median (dB)", "largest (dB)"]
    print(table(header, rows), end="")


if __name__ == "__main__":
    sys.exit(main())
