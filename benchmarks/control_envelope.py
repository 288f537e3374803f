"""Measure the causal control envelope against its definition, term by term: ``python -m benchmarks.control_envelope``.

10 s of sound at 44.1 kHz, one channel, RMS over the past 10,000 samples, then a moving average of 2,000. The naive form
convolves the squared sound with 10,000 ones, which takes 10,000 multiplications a sample; the project's own form takes
running sums. Both run in one process, in turn. Prints a Markdown table.
"""

import statistics
from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.tools import seconds_in_turn, table
from common.options import command_parser
from media.envelope import PUBLISHED_SMOOTHING_SAMPLES as SMOOTHING_SAMPLES
from media.envelope import PUBLISHED_WINDOW_SAMPLES as WINDOW_SAMPLES
from media.envelope import control_envelope, instant_envelope

SAMPLE_RATE_HZ = 44_100
N_SAMPLES = 441_000
N_TIMED = 3


def naive(wave: np.ndarray) -> np.ndarray:
    """Return the envelope (N,) of a sound (N,), by direct convolutions in float32."""
    power = np.convolve(wave**2, np.full(WINDOW_SAMPLES, 1 / WINDOW_SAMPLES, np.float32))[: len(wave)]
    rms = np.sqrt(power)
    half = SMOOTHING_SAMPLES // 2
    smoothed = np.convolve(rms, np.full(SMOOTHING_SAMPLES, 1 / SMOOTHING_SAMPLES, np.float32))
    return smoothed[half - 1 : half - 1 + len(wave)]


def running_sums(wave: np.ndarray) -> np.ndarray:
    """Return the envelope (N,) of a sound (N,), by the project's own function."""
    envelope = instant_envelope(torch.from_numpy(wave)[None, None], SAMPLE_RATE_HZ)
    signal = control_envelope(
        envelope,
        n_samples=len(wave),
        sample_rate_hz=SAMPLE_RATE_HZ,
    )
    return signal[0, 0].numpy()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    command_parser("python -m benchmarks.control_envelope", __doc__).parse_args(arguments)
    wave = np.random.default_rng(0).standard_normal(N_SAMPLES).astype(np.float32)
    results: dict[str, np.ndarray] = {}
    forms = {"naive": naive, "running sums": running_sums}
    times_s = seconds_in_turn(
        {name: lambda name=name: results.update({name: forms[name](wave)}) for name in forms},  # type: ignore[misc]
        N_TIMED,
    )
    medians_s = {name: statistics.median(values) for name, values in times_s.items()}
    difference = np.abs(results["naive"] - results["running sums"]).max() / results["naive"].max()
    print(table(["form", "seconds (median of 3)"], [(name, f"{value:.3f}") for name, value in medians_s.items()]))
    print(f"ratio {medians_s['naive'] / medians_s['running sums']:.0f}, largest relative difference {difference:.1e}")


if __name__ == "__main__":
    main()
