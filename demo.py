"""The whole chain in a few minutes: a rendered clip of strikes, a small model trained on it, new sound for the clip.

``make demo`` runs this. Everything it makes lies in outputs/demo; a second call goes on where the first one stopped.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.overfit_real_clip import SAMPLE_RATE_HZ, Settings, run_chain
from data.errors import user_errors
from data.files import atomic_path
from data.mux import mux, write_video

DURATION_S = 10.0
FRAME_RATE_HZ = 25.0
HEIGHT_PX, WIDTH_PX = 180, 320
SWING_S = 0.25
# frequency and decay time of each mode; fractions of a strike's amplitude
MATERIALS = {
    "wood": ((310.0, 0.05, 1.0), (780.0, 0.03, 0.6), (1490.0, 0.02, 0.4)),
    "metal": ((520.0, 0.35, 0.7), (1430.0, 0.25, 0.6), (2810.0, 0.18, 0.5), (4630.0, 0.10, 0.3)),
}
COLOURS = {"wood": (150, 100, 50), "metal": (170, 180, 190)}


def strikes(rng: np.random.Generator) -> list[tuple[float, str, float]]:
    """Time in seconds, material and strength 0..1 of strikes about every 0.8 s; the material changes halfway."""
    times_s = np.arange(0.6, DURATION_S - 0.6, 0.8)
    times_s = times_s + rng.uniform(-0.15, 0.15, len(times_s))
    return [(t, "wood" if t < DURATION_S / 2 else "metal", rng.uniform(0.3, 1.0)) for t in times_s]


def render_sound(hits: list[tuple[float, str, float]], rng: np.random.Generator) -> Tensor:
    """Sound (2, N): decaying modes and a click for each strike, faint noise throughout."""
    sound = 1e-3 * rng.standard_normal(round(DURATION_S * SAMPLE_RATE_HZ))
    for time_s, material, strength in hits:
        start = round(time_s * SAMPLE_RATE_HZ)
        elapsed_s = np.arange(len(sound) - start) / SAMPLE_RATE_HZ
        click = 0.5 * rng.standard_normal(len(elapsed_s)) * np.exp(-elapsed_s / 0.004)
        modes = (
            a * np.exp(-elapsed_s / decay_s) * np.sin(2 * np.pi * f * elapsed_s)
            for f, decay_s, a in MATERIALS[material]
        )
        sound[start:] += 0.4 * strength * (click + sum(modes))
    return torch.from_numpy(sound / np.abs(sound).max()).float().expand(2, -1)


def render_frames(hits: list[tuple[float, str, float]]) -> Tensor:
    """Frames (T, 3, H, W), uint8: a stick that comes down on a block at each strike."""
    frames = torch.full((round(DURATION_S * FRAME_RATE_HZ), 3, HEIGHT_PX, WIDTH_PX), 40, dtype=torch.uint8)
    for i, frame in enumerate(frames):
        time_s = i / FRAME_RATE_HZ
        nearest_s, material, strength = min(hits, key=lambda hit: abs(hit[0] - time_s))
        frame[:, 130:160, 90:230] = torch.tensor(COLOURS[material], dtype=torch.uint8)[:, None, None]
        lift = min(1.0, abs(nearest_s - time_s) / SWING_S) * (40 + 60 * strength)
        tip = 122 - round(lift)
        frame[:, tip : tip + 8, 150:320] = torch.tensor((220, 190, 140), dtype=torch.uint8)[:, None, None]
    return frames


def render_clip(folder: Path) -> None:
    """Write strikes_mic.mp4 and strikes_times.txt, as Greatest Hits has them."""
    rng = np.random.default_rng(0)
    hits = strikes(rng)
    with tempfile.TemporaryDirectory() as temporary_folder:
        silent = Path(temporary_folder) / "silent.mp4"
        write_video(silent, render_frames(hits), FRAME_RATE_HZ)
        mux(silent, render_sound(hits, rng), SAMPLE_RATE_HZ, folder / "strikes_mic.mp4")
    with atomic_path(folder / "strikes_times.txt") as temporary:
        temporary.write_text("".join(f"{time_s:.6f} {material} hit static\n" for time_s, material, _ in hits))


@user_errors()
def main(arguments: list[str] | None = None) -> None:
    """Render, train, generate, and say where everything is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output-dir", type=Path, default=Path("outputs/demo"), help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=300, help="of each of the two trainings (default: %(default)s)")
    args = parser.parse_args(arguments)
    start = time.perf_counter()
    folder = args.output_dir.resolve()
    if not (folder / "clip" / "strikes_times.txt").exists():
        render_clip(folder / "clip")
    settings = Settings(folder / "clip", folder, args.steps, args.steps, batch_size=4, precision="32-true")
    result = run_chain(settings)
    with atomic_path(folder / "model.safetensors") as temporary:
        shutil.copyfile(result.checkpoint, temporary)
    sys.stdout.write(f"\nThe clip with its new sound: {args.output_dir}/sounds/own/strikes_1.mp4\n")
    sys.stdout.write(
        "Beside it: the sound (.wav), its picture (.png), the envelope (.csv), settings (.json), two other seeds.\n"
    )
    sys.stdout.write(f"The model: {args.output_dir}/model.safetensors\n")
    f1 = np.mean(result.measures["onset F1 against the annotation, generated"])
    sys.stdout.write(f"Onset F1 against the clip's truth: {f1:.2f}. It took {time.perf_counter() - start:.0f} s.\n")


if __name__ == "__main__":
    main()
