"""Compare this project with recorded outputs of the published model code: ``python -m tests.parity FOLDER``.

The folder holds ``model_config.json``, ``state_dict.safetensors``, ``tensors.safetensors`` and, for CAVP,
``cavp_video_state_dict.safetensors`` and ``cavp_tensors.safetensors``. Every size is read from these files. Prints one
line a tensor, ``name max_relative_error``, then ``parity: passed`` or ``parity: failed`` (exit status 0 or 1).

With ``--dtype bfloat16`` the transformer and its control branch run as infer.py runs them in that type; everything else
stays in float32 and is held to the same tolerance.
"""

import itertools
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cavp.weights import cavp_from_state_dict
from common.errors import InputError, user_errors
from common.options import add_dtype, command_parser
from common.weights import read_weights
from media.envelope import PUBLISHED_SMOOTHING_SAMPLES as SMOOTHING_SAMPLES
from media.envelope import PUBLISHED_WINDOW_SAMPLES as WINDOW_SAMPLES
from media.envelope import control_envelope, instant_envelope
from stable_foley.conditions import SECONDS_IDS
from stable_foley.hub import read_model_config
from stable_foley.model import FoleyModel
from stable_foley.published import build_published_model
from training.config import describing

TOLERANCE = 1e-4
BFLOAT16_TOLERANCE = 0.04
"""Of control residuals and v, times the guidance scale; a rounding of 0.4 % comes out of 24 layers as 2 %."""
Recorded = Mapping[str, Tensor]
INPUTS = {"x", "t", "frames_tokens", "audio_token", "envelope_latent", "seconds_start", "seconds_total", "wave"}
ALWAYS = {"seconds_start_embed", "seconds_total_embed", "v", "v_control_off", "vae_encoder_out", "decoded"}
NUMBERED = ("v_cfg", "latent_seed", "control_residual_")
ENVELOPE_LENGTHS = (1, 999, 10_000, 44_101, 441_000)
ENVELOPE_TOLERANCE = 1e-5


def relative_error(ours: Tensor, reference: Tensor) -> float:
    """Largest absolute difference over the largest reference value; infinite where shapes or values do not fit."""
    if ours.shape != reference.shape or not ours.isfinite().all():
        return float("inf")
    return ((ours - reference).abs().max() / reference.abs().max()).item()


def seconds_outputs(model: FoleyModel, recorded: Recorded) -> Iterator[tuple[str, Tensor]]:
    """Seconds embeddings."""
    embeddings = model.conditioner.encode({key: recorded[key] for key in SECONDS_IDS}, n_samples=0)
    for key in SECONDS_IDS:
        yield f"{key}_embed", model.conditioners[key](embeddings[key])


def transformer_outputs(model: FoleyModel, recorded: Recorded) -> Iterator[tuple[str, Tensor, float]]:
    """Control residuals and v in its three forms, each with the factor by which guidance amplifies errors."""
    embeddings = model.conditioner.encode({key: recorded[key] for key in SECONDS_IDS}, n_samples=0)
    x, t = recorded["x"], recorded["t"]
    tokens = torch.cat([recorded["frames_tokens"], recorded["audio_token"]], dim=1)
    control = recorded["envelope_latent"]
    conditions = replace(model.conditioner(embeddings | {"envelope": control.mT}), tokens=tokens)
    negative = replace(conditions, tokens=torch.zeros_like(tokens))
    controlnet = model.model.controlnet
    for i, residual in enumerate(controlnet.residuals(x, t, control, tokens, conditions.global_embed)):
        yield f"control_residual_{i}", residual.float(), 1.0
    yield "v", model(x, t, conditions).float(), 1.0
    for name, scale in numbered(recorded, "v_cfg"):
        yield name, model.guided_v(x, t, conditions, scale, negative), max(1.0, scale)
    yield "v_control_off", model(x, t, conditions, control_strength=0.0).float(), 1.0


def latent_outputs(model: FoleyModel, recorded: Recorded) -> Iterator[tuple[str, Tensor]]:
    """The VAE: encoder output, seeded draws, and the sound decoded from the recorded draw."""
    codec = model.pretransform
    yield "vae_encoder_out", codec.parameters_of(recorded["wave"])
    for name, seed in numbered(recorded, "latent_seed"):
        yield name, codec.encode(recorded["wave"], torch.Generator().manual_seed(int(seed)))
        yield "decoded", codec.decode(recorded[name])


def numbered(recorded: Recorded, beginning: str) -> Iterator[tuple[str, float]]:
    """Names of recorded tensors that end in a number, with the number."""
    for name in recorded:
        if match := re.fullmatch(rf"{beginning}([\d.]+)", name):
            yield name, float(match[1])


def reference_envelope(wave: np.ndarray) -> np.ndarray:
    """The published control envelope in float64, term by term: causal RMS, then a centred moving average."""
    n = wave.shape[-1]
    padded = np.concatenate([np.zeros(WINDOW_SAMPLES - 1), wave.astype(np.float64) ** 2])
    rms = np.sqrt(np.convolve(padded, np.ones(WINDOW_SAMPLES) / WINDOW_SAMPLES, mode="valid"))
    half = SMOOTHING_SAMPLES // 2
    padded = np.concatenate([np.zeros(half), rms, np.zeros(half)])
    return np.convolve(padded, np.ones(SMOOTHING_SAMPLES) / SMOOTHING_SAMPLES, mode="valid")[:n]


def envelope_outputs() -> Iterator[tuple[str, Tensor, Tensor]]:
    """The causal envelope of noise bursts against the float64 reference, at several lengths."""
    generator = np.random.default_rng(0)
    for n in ENVELOPE_LENGTHS:
        bursts = generator.standard_normal(n) * (np.sin(np.arange(n) / 5_000) >= 0)
        wave = torch.from_numpy(bursts[None, None].astype(np.float32))
        ours = control_envelope(instant_envelope(wave, 44_100), n_samples=n, sample_rate_hz=44_100)
        yield f"envelope_{n}", ours[0, 0], torch.from_numpy(reference_envelope(wave[0, 0].numpy())).float()


def check_inputs(model: FoleyModel, recorded: Recorded, folder: Path) -> None:
    """Refuse recorded inputs of another shape than the model takes.

    Raises:
        InputError: naming the tensor.
    """
    codec, width = model.pretransform, model.backbone.dit.config["cond_token_dim"]
    n_clips, _, n_steps = (*recorded["x"].shape, 0, 0)[:3]
    latent = (n_clips, codec.n_latent_channels, n_steps)
    expected = {
        "x": latent,
        "envelope_latent": latent,
        "t": (n_clips,),
        "frames_tokens": (n_clips, recorded["frames_tokens"].shape[1], width),
        "audio_token": (n_clips, recorded["audio_token"].shape[1], width),
    }
    for name, shape in expected.items():
        if tuple(recorded[name].shape) != shape:
            raise InputError(
                f"{folder / 'tensors.safetensors'} holds {name} of shape {tuple(recorded[name].shape)}; expected "
                f"{shape} for the model that model_config.json states: record it again."
            )


@torch.no_grad()
def compare(folder: Path, dtype: str = "float32") -> Iterator[tuple[str, float, float]]:
    """Name, relative error and tolerance of every comparison the folder allows."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; expected one with recorded outputs: check the path.")
    recorded = read_weights(folder / "tensors.safetensors")
    missing = sorted((INPUTS | ALWAYS) - set(recorded))
    missing += [f"{beginning}N" for beginning in NUMBERED if not any(numbered(recorded, beginning))]
    if missing:
        raise InputError(f"{folder / 'tensors.safetensors'} lacks {', '.join(missing)}; expected recorded outputs.")
    with describing(folder):
        weights = read_weights(folder / "state_dict.safetensors")
        model = build_published_model(read_model_config(folder), weights, dtype)
        check_inputs(model, recorded, folder)
        compared = set()
        for name, ours in itertools.chain(seconds_outputs(model, recorded), latent_outputs(model, recorded)):
            compared.add(name)
            yield name, relative_error(ours, recorded[name]), TOLERANCE
        for name, ours, amplification in transformer_outputs(model, recorded):
            compared.add(name)
            tolerance = TOLERANCE if dtype == "float32" else BFLOAT16_TOLERANCE * amplification
            yield name, relative_error(ours, recorded[name]), tolerance
        for name in sorted(set(recorded) - INPUTS - compared):
            yield name, float("inf"), TOLERANCE  # recorded, but not computed here
        if (folder / "cavp_tensors.safetensors").is_file():
            recorded = read_weights(folder / "cavp_tensors.safetensors")
            cavp = cavp_from_state_dict(read_weights(folder / "cavp_video_state_dict.safetensors"))
            features = cavp.encode_video(recorded["video"])
            yield "video_features", relative_error(features, recorded["video_features"]), TOLERANCE
    for name, ours, reference in envelope_outputs():
        yield name, relative_error(ours, reference), ENVELOPE_TOLERANCE


@user_errors()
def main(arguments: list[str] | None = None) -> int:
    """Print the comparison; return the exit status."""
    parser = command_parser("python -m tests.parity", __doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the recorded outputs")
    add_dtype(parser, ["float32", "bfloat16"])
    args = parser.parse_args(arguments)
    failed = False
    for name, error, tolerance in compare(args.folder, args.dtype):
        sys.stdout.write(f"{name} {error:.3g}\n")
        failed |= not error <= tolerance
    sys.stdout.write(f"parity: {'failed' if failed else 'passed'}\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
