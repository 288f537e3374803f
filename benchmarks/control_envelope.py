"""Measures the causal control envelope against its definition term by term: ``python -m benchmarks.control_envelope``.

10 s of sound at 44.1 kHz, one channel, RMS over the past 10,000 samples, then a moving average of 2,000. The naive form
convolves the squared sound with 10,000 ones, which takes 10,000 multiplications a sample; the project's own form takes
running sums. Both run in one process, in turn. Prints a Markdown table.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from media.envelope import PUBLISHED_SMOOTHING_SAMPLES as SMOOTHING_SAMPLES
from media.envelope import PUBLISHED_WINDOW_SAMPLES as WINDOW_SAMPLES
from media.envelope import control_envelope, instant_envelope

SAMPLE_RATE_HZ = 44_100
N_SAMPLES = 441_000
N_TIMED = 3


def naive(wave: np.ndarray) -> np.ndarray:
    """The envelope (N,) of a sound (N,), by direct convolutions in float32."""
    power = np.convolve(wave**2, np.full(WINDOW_SAMPLES, 1 / WINDOW_SAMPLES, np.float32))[: len(wave)]
    rms = np.sqrt(power)
    half = SMOOTHING_SAMPLES // 2
    smoothed = np.convolve(rms, np.full(SMOOTHING_SAMPLES, 1 / SMOOTHING_SAMPLES, np.float32))
    return smoothed[half - 1 : half - 1 + len(wave)]


def running_sums(wave: np.ndarray) -> np.ndarray:
    """The same by the project's own function."""
    envelope = instant_envelope(torch.from_numpy(wave)[None, None], SAMPLE_RATE_HZ)
    signal = control_envelope(
        envelope,
        n_samples=len(wave),
        sample_rate_hz=SAMPLE_RATE_HZ,
    )
    return signal[0, 0].numpy()


def main() -> None:
    """Measure and print."""
    wave = np.random.default_rng(0).standard_normal(N_SAMPLES).astype(np.float32)
    forms: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [("naive", naive), ("running sums", running_sums)]
    times: dict[str, list[float]] = {name: [] for name, _ in forms}
    results = {}
    for _ in range(N_TIMED):
        for name, form in forms:
            start = time.perf_counter()
            results[name] = form(wave)
            times[name].append(time.perf_counter() - start)
    difference = np.abs(results["naive"] - results["running sums"]).max() / results["naive"].max()
    ratio = statistics.median(times["naive"]) / statistics.median(times["running sums"])
    print("| form | seconds (median of 3) |\n|---|---|")
    for name, _ in forms:
        print(f"| {name} | {statistics.median(times[name]):.3f} |")
    print(f"\nratio {ratio:.0f}, largest relative difference {difference:.1e}")


if __name__ == "__main__":
    main()
