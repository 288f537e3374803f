"""Makes a checkpoint small enough to ship: ``python -m training.bundle --checkpoint FILE --output FILE.safetensors``.

Matrices are kept as float16 numbers, half as large; vectors, biases and statistics stay as they are. Whatever loads
checkpoints gives the model its own type again. Of the configuration, what inference needs is kept. ``--average FILE …``
takes the mean with other checkpoints of the same model first, such as those of later stages of its training.

Source: Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models", ICML 2022, arXiv 2203.05482.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from common.errors import end_on_interrupt

    end_on_interrupt()

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from common.errors import InputError, user_errors
from common.files import file_sha256
from common.options import add_checkpoint, add_output, command_parser
from training.checkpoint import Checkpoint, check_new, read_content, save_checkpoint, weights_to_use
from training.stored_config import kept_sections

log = logging.getLogger(__name__)

MAX_BYTES = 25_000_000
SECTIONS = ("backbone", "conditioners", "sampler", "dataset.spec", "seed", "paths.random_weights")
"""What inference with any model of this project reads of a configuration, beside the model."""


def bundle(checkpoint: Path, out: Path, others: Sequence[Path] = ()) -> int:
    """Write the small form of a checkpoint, or of the mean of several.

    Args:
        checkpoint: ``best.safetensors`` or ``last.ckpt`` of a training run; not changed.
        out: where to, ``.safetensors``.
        others: checkpoints of the same model to average with it.

    Returns:
        Size of the new file in bytes.

    Raises:
        InputError: a file is no checkpoint of a training run or one of another model, holds numbers beyond float16,
            or ``out`` is taken.
    """
    check_new("--output", out)
    content = read_content(checkpoint)
    if "config" not in content:
        raise InputError(f"{checkpoint} says nothing of its configuration: give a checkpoint of train.py")
    states = [weights_to_use(content, checkpoint), *(weights_to_use(read_content(path), path) for path in others)]
    shapes = [{name: value.shape for name, value in state.items()} for state in states] if others else []
    for path, other in zip(others, shapes[1:], strict=True):
        if other != shapes[0]:
            raise InputError(f"{path} has other weights than {checkpoint}: average checkpoints of one model")
    weights = {name: halved(mean([state[name] for state in states]), name) for name in states[0]}
    config: Any = OmegaConf.to_container(kept_sections(content["config"], checkpoint, ("model",), SECTIONS))
    save_checkpoint(out, Checkpoint(weights, config))
    return out.stat().st_size


def mean(values: Sequence[Tensor]) -> Tensor:
    """Return the mean of tensors of one shape; of whole numbers, such as counters, the first."""
    if len(values) == 1 or not values[0].is_floating_point():
        return values[0]
    return torch.stack([value.float() for value in values]).mean(dim=0).to(values[0].dtype)


def halved(value: Tensor, name: str) -> Tensor:
    """Return a tensor as float16, if it is a matrix of floating-point numbers (two axes or more).

    Raises:
        InputError: float16 does not reach as far as its numbers.
    """
    if value.ndim < 2 or not value.is_floating_point():
        return value
    half = value.to(torch.float16)
    if not half.isfinite().all():
        raise InputError(f"{name} holds numbers beyond 65504, the end of float16: it cannot be made smaller")
    return half


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write, and say how large the file is and what its SHA-256."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = command_parser("python -m training.bundle", __doc__)
    add_checkpoint(parser, "a training run, best.safetensors or last.ckpt")
    average = "checkpoints of the same model to average with it"
    parser.add_argument("--average", type=Path, nargs="+", default=[], metavar="FILE", help=average)
    add_output(parser, "a checkpoint, .safetensors")
    args = parser.parse_args(arguments)
    n_bytes = bundle(args.checkpoint, args.output, args.average)
    if n_bytes > MAX_BYTES:
        log.warning("%s is larger than the %d MB that a repository takes well", args.output, MAX_BYTES // 10**6)
    sys.stdout.write(f"{args.output}: {n_bytes / 1e6:.1f} MB, SHA-256 {file_sha256(args.output)}\n")


if __name__ == "__main__":
    main()
