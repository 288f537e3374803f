"""Measure Stable Audio Open with its control branch at full size: ``python -m benchmarks.full_size --video FILE``.

Measures memory and the seconds of each stage on this machine. First infer.py runs on the video in a process of its own;
its peak memory is read when it has ended, and its own line of seconds a stage is shown. Then a sampling step with
guidance is timed in this process, with and without the control branch in turn, so that both see the same machine.
Weights are random unless --set names files: sizes and times are the real ones, sounds are not. Prints a Markdown table.
"""

import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.tools import ratio, seconds_in_turn, table
from common.choices import SAMPLING_DTYPES
from common.errors import InputError, user_errors
from common.options import add_dtype, add_set, add_steps, command_parser
from stable_foley.checkpoint import load_model
from stable_foley.model import Conditions, FoleyModel

REPOSITORY = Path(__file__).resolve().parent.parent
RANDOM = ["backbone=stable_audio_open", "paths.random_weights=true"]
DURATION_S = 10.0
CFG_SCALE = 7.0
N_TIMED = 5


def inference(video: Path, dtype: str, n_steps: int, overrides: list[str]) -> tuple[float, str]:
    """Run infer.py; returns its peak memory in GiB and its line of seconds a stage.

    Raises:
        InputError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "infer.py", "--video", video.resolve(), "--dtype", dtype, "--steps", n_steps]
        command += ["--output-dir", folder, "--device", "cpu", "--set", *overrides]
        words = [str(word) for word in command]
        result = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if result.returncode:
        raise InputError(f"infer.py failed ({result.stderr.strip().splitlines()[-1]}); correct the options.")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 2**30
    return peak, next(line for line in result.stderr.splitlines() if line.startswith("seconds: "))


def example_conditions(model: FoleyModel, generator: torch.Generator) -> tuple[torch.Tensor, Conditions]:
    """Return a noised latent and conditions of 10 s, as many tokens as 40 frames and a sound give."""
    dit = model.model.model.config
    n_steps = model.padded_length(round(DURATION_S * model.pretransform.sample_rate_hz))
    n_steps //= model.pretransform.samples_per_step
    x = torch.randn(1, dit["io_channels"], n_steps, generator=generator)
    tokens = torch.randn(1, 41, dit["cond_token_dim"], generator=generator)
    global_embed = torch.randn(1, dit["global_cond_dim"], generator=generator)
    return x, Conditions(tokens, global_embed, torch.randn(1, n_steps, dit["io_channels"], generator=generator))


@torch.no_grad()
def step_seconds(model: FoleyModel) -> tuple[list[float], list[float]]:
    """Return the seconds of sampling steps with guidance, without and with the control branch, measured in turn."""
    x, conditions = example_conditions(model, torch.Generator().manual_seed(0))
    level = torch.tensor([0.7])
    ways = {
        name: partial(model.guided_v, x, level, given, CFG_SCALE, given)
        for name, given in (("bare", replace(conditions, control=None)), ("controlled", conditions))
    }
    times_s = seconds_in_turn(ways, 1 + N_TIMED)  # the first warms up
    return times_s["bare"][1:], times_s["controlled"][1:]


@user_errors()
def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = command_parser("python -m benchmarks.full_size", __doc__)
    parser.add_argument("--video", type=Path, required=True, metavar="FILE", help="video file")
    add_dtype(parser, SAMPLING_DTYPES, default="bfloat16")
    add_steps(parser, default=3)
    add_set(parser, default=RANDOM)
    args = parser.parse_args(arguments)
    peak, stages = inference(args.video, args.dtype, args.steps, args.set)
    model, config = load_model(None, args.set, args.dtype)
    bare, controlled = step_seconds(model)
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{args.steps} steps, {stages}\n")
    rows = {
        f"peak memory of infer.py, {args.dtype} (GiB)": f"{peak:.2f}",
        f"step with guidance, transformer alone (s, median of {N_TIMED})": f"{statistics.median(bare):.2f}",
        f"the same with {config.model.control_layers} control layers (s)": f"{statistics.median(controlled):.2f}",
        "ratio (median of pairs, lowest to highest)": ratio(controlled, bare, decimals=3),
    }
    print(table(["measure", "value"], rows.items()), end="")


if __name__ == "__main__":
    main()
