"""Measure how close the mel latent brings a sound back: ``python -m benchmarks.mel_latent``.

Prints a Markdown table over real recordings and synthetic strikes.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchaudio.transforms import MelSpectrogram

from benchmarks.tools import table
from common.errors import user_errors
from common.options import add_clips, add_number, command_parser
from evaluation.hits import hit_shapes, median_shape, shape_differences
from evaluation.onsets import NARROW_WINDOW_S, detect_onsets, onset_f1
from media.reading import read_sound
from stable_foley.mel_latent import MelLatent

SAMPLE_RATE_HZ = MelLatent.sample_rate_hz
OCTAVE_CENTRES_HZ = [63 * 2**i for i in range(9)]
AUDIBLE_RANGE_DB = 50.0  # octaves further below the loudest one are left out


@dataclass(frozen=True)
class Fidelity:
    """Differences between a sound and its reconstruction, by name of the table's columns."""

    log_mel_l1: float
    spectral_convergence: float
    low_octave_db: float
    other_octaves_db: float
    onset_f1: float
    before_onset_db: float
    before_onset_change_db: float
    attack_ms: float
    attack_change_ms: float


def strikes(seed: int, duration_s: float = 6.0) -> Tensor:
    """Decaying partials and noise bursts at random times after 0.3 s, between them silence; (1, N), peak 1."""
    rng = np.random.default_rng(seed)
    wave = np.zeros(round(duration_s * SAMPLE_RATE_HZ))
    start_s = 0.3
    while start_s < duration_s - 0.5:
        start = round(start_s * SAMPLE_RATE_HZ)
        t = np.arange(min(SAMPLE_RATE_HZ, len(wave) - start)) / SAMPLE_RATE_HZ
        hit = rng.uniform(0.1, 1.0) * rng.standard_normal(len(t)) * np.exp(-t / rng.uniform(0.005, 0.08))
        for partial_hz in rng.uniform(90, 3000, size=6):
            hit += rng.uniform(0, 0.5) * np.sin(2 * math.pi * partial_hz * t) * np.exp(-t / rng.uniform(0.02, 0.25))
        hit *= np.minimum(t / 0.0005, 1)
        wave[start : start + len(t)] += rng.uniform(0.15, 1) * hit / np.abs(hit).max()
        start_s += rng.uniform(0.15, 0.9)
    return torch.from_numpy(wave / np.abs(wave).max()).float()[None]


def recording(path: Path) -> Tensor:
    """Return the sound of a file as (1, N), averaged over channels, peak 1."""
    mono = read_sound(path, sample_rate_hz=SAMPLE_RATE_HZ).mean(dim=0, keepdim=True)
    return mono / mono.abs().max()


def measure(original: Tensor, copy: Tensor) -> Fidelity:
    """Compare two mono sounds (N,)."""
    octave_db = octave_levels_db(copy) - octave_levels_db(original)
    level = octave_levels_db(original)
    octave_db = torch.where(level > level.max() - AUDIBLE_RANGE_DB, octave_db, 0.0).abs()
    onsets_s, onsets_of_copy_s = (detect_onsets(mono[None], SAMPLE_RATE_HZ).times_s for mono in (original, copy))
    onset_score = onset_f1(onsets_s, onsets_of_copy_s, NARROW_WINDOW_S)
    before_db = level_before_onsets_db(original, original, onsets_s)
    shapes, shapes_of_copy = (hit_shapes(mono[None], SAMPLE_RATE_HZ, onsets_s) for mono in (original, copy))
    same = [(i, i) for i in range(len(shapes))]
    return Fidelity(
        log_mel_l1=(log_mel(original) - log_mel(copy)).abs().mean().item(),
        spectral_convergence=spectral_convergence(original, copy),
        low_octave_db=octave_db[0].item(),
        other_octaves_db=octave_db[1:].max().item(),
        onset_f1=onset_score.f1 if onset_score else math.nan,
        before_onset_db=before_db,
        before_onset_change_db=level_before_onsets_db(copy, original, onsets_s) - before_db,
        attack_ms=median_shape(shapes).attack_ms,
        attack_change_ms=shape_differences(shapes, shapes_of_copy, same).attack_ms,
    )


def log_mel(mono: Tensor) -> Tensor:
    """Natural logarithm of 80 mel magnitudes, floor 1e-5."""
    transform = MelSpectrogram(
        SAMPLE_RATE_HZ, 2048, hop_length=512, n_mels=80, power=1.0, norm="slaney", mel_scale="slaney"
    )
    return transform(mono).clamp(min=1e-5).log()


def spectral_convergence(original: Tensor, copy: Tensor) -> float:
    """Relative Frobenius distance of magnitudes, mean over three resolutions."""
    distances = []
    for n_fft in (512, 1024, 2048):
        window = torch.hann_window(n_fft)
        a, b = (torch.stft(x, n_fft, n_fft // 4, window=window, return_complex=True).abs() for x in (original, copy))
        distances.append(((a - b).norm() / a.norm()).item())
    return sum(distances) / len(distances)


def octave_levels_db(mono: Tensor) -> Tensor:
    """Power of the nine octaves from 63 Hz to 16 kHz over the whole sound."""
    power = torch.fft.rfft(mono.double()).abs().square()
    frequency_hz = torch.fft.rfftfreq(len(mono), 1 / SAMPLE_RATE_HZ)
    octave = torch.log2(frequency_hz / OCTAVE_CENTRES_HZ[0]).round()
    return 10 * torch.stack([power[octave == i].sum() for i in range(len(OCTAVE_CENTRES_HZ))]).clamp(min=1e-30).log10()


def level_before_onsets_db(mono: Tensor, original: Tensor, onsets_s: np.ndarray) -> float:
    """Median over onsets of the level 20 to 5 ms before the original's rise (a tenth of its peak), against the peak."""
    levels_db = []
    for onset_s in onsets_s:
        begin = max(0, round((onset_s - 0.07) * SAMPLE_RATE_HZ))  # the detector reports an onset after its rise
        near = original[begin : begin + round(0.1 * SAMPLE_RATE_HZ)].abs()
        rise = begin + int((near > 0.1 * near.max()).int().argmax())
        before = mono[max(0, rise - round(0.02 * SAMPLE_RATE_HZ)) : max(1, rise - round(0.005 * SAMPLE_RATE_HZ))]
        peak = mono[rise : rise + round(0.05 * SAMPLE_RATE_HZ)].abs().max()
        levels_db.append(20 * math.log10(max(1e-5, (before.square().mean().sqrt() / peak).item())))
    return float(np.median(levels_db)) if levels_db else math.nan


def between_hits_db(codec: MelLatent, noise_std: float) -> float:
    """Level of the silence after hits, against their peak, decoded from a latent with errors of this size."""
    wave = strikes(seed=9, duration_s=2.0)
    silent = torch.cat((wave, torch.zeros(1, 2 * SAMPLE_RATE_HZ)), dim=1)
    latent = codec.encode(silent[None])
    copy = codec.decode(latent + noise_std * torch.randn(latent.shape, generator=torch.Generator().manual_seed(1)))[
        0, 0
    ]
    rms = copy[3 * SAMPLE_RATE_HZ :].square().mean().sqrt()
    return 20 * math.log10(max(1e-10, (rms / copy.abs().max()).item()))


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = command_parser("python -m benchmarks.mel_latent", __doc__)
    recordings = "sound or video files to measure with"
    parser.add_argument("--recordings", type=Path, nargs="+", metavar="FILE", default=[], help=recordings)
    add_clips(parser, default=2, least=0)
    rounds = "rounds of reconstruction"
    add_number(parser, "--iterations", 1, 1000, default=MelLatent().n_iterations, help=rounds)
    noise = "standard deviation of errors in the latent"
    add_number(parser, "--latent-noise", 0, 10, default=0.0, help=noise)
    args = parser.parse_args(arguments)
    codec = MelLatent(args.iterations)
    clips = {path.stem: recording(path) for path in args.recordings}
    clips |= {f"strikes {seed}": strikes(seed) for seed in range(args.clips)}
    names = [field.name for field in fields(Fidelity)]
    rows = []
    for name, wave in clips.items():
        latent = codec.encode(wave[None])
        latent += args.latent_noise * torch.randn(latent.shape, generator=torch.Generator().manual_seed(1))
        started_s = time.perf_counter()
        copy = codec.decode(latent)[0, 0, : wave.shape[1]]
        seconds = (time.perf_counter() - started_s) * 10 * SAMPLE_RATE_HZ / wave.shape[1]
        rows.append((name, *(f"{x:.3f}" for x in astuple(measure(wave[0], copy))), f"{seconds:.2f}"))
    print(table(["clip", *names, "decode_s_per_10_s"], rows), end="")
    print("\nSilence after hits, against their peak, by size of errors in the latent:")
    print(", ".join(f"{std}: {between_hits_db(codec, std):.0f} dB" for std in (0.0, 0.1, 0.15, 0.2)))


if __name__ == "__main__":
    main()
