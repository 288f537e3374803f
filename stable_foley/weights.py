"""Owns reading tensors from files and putting them into modules, with every mismatch named."""

from collections.abc import Collection, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from data.errors import InputError


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file by name, memory-mapped.

    Raises:
        InputError: the file is missing or damaged.
    """
    if not path.is_file():
        raise InputError(
            f"{path} does not exist; expected a .safetensors file with weights: give its path "
            "(with infer.py: --set backbone.weights=FILE)."
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read as safetensors ({error}); it may be cut: copy it again.") from error


def published_weights(option: str, path: str | None, random_weights: bool) -> Path | None:
    """Where the published weights of a frozen encoder are; None for random ones.

    Args:
        option: the configuration's key, named in the error.
        path: its value.
        random_weights: whether random weights will do.

    Raises:
        InputError: there is no path and random weights will not do.
    """
    if path is None and not random_weights:
        raise InputError(f"{option} is not set; give {option}=FILE, or random weights by paths.random_weights=true.")
    return None if path is None else Path(path)


def load_into(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: object,
    prefix: str = "",
    optional: Collection[str] = (),
) -> None:
    """Load the tensors under ``prefix`` into ``module``; nothing may be missing, left over or of another shape.

    Args:
        module: where to.
        state: tensors by full name; those without ``prefix`` are not looked at.
        source: named in the error.
        prefix: cut from the names.
        optional: names (without prefix) that may be missing in ``state``, or be there without being used.

    Raises:
        InputError: names the first ten differences.
    """
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    expected = module.state_dict()
    problems = [f"missing {prefix}{key}" for key in expected if key not in own and key not in optional]
    problems += [f"not expected {prefix}{key}" for key in own if key not in expected and key not in optional]
    problems += [
        f"{prefix}{key} has shape {tuple(own[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in own and own[key].shape != expected[key].shape
    ]
    if problems:
        more = f" and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise InputError(
            f"The weights in {source} do not fit this model ({'; '.join(problems[:10])}{more}); "
            "use the file that belongs to this configuration."
        )
    module.load_state_dict({key: own[key] for key in expected if key in own}, strict=not optional)
