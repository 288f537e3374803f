"""Owns weight files: reading tensors without running code, and loading them into modules with all mismatches named."""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from common.errors import InputError
from common.files import check_readable, damaged
from common.pickles import read_pickle

N_LISTED = 10
"""Largest number of differences that an error lists."""
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WHOLES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)


class _LazyWeights(Mapping[str, Tensor]):
    """Tensors by name; a tensor is read only when it is accessed, and listing the names reads none.

    Args:
        names: name in this mapping → name in the source.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = dict(names)

    def __contains__(self, key: object) -> bool:
        """Return whether there is a tensor of that name."""
        return key in self.names

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in the given order."""
        return iter(self.names)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self.names)


class SafetensorsFile(_LazyWeights):
    """Tensors of a safetensors file by name, memory-mapped one at a time.

    A released tensor leaves nothing in memory: reading a file of 5 GB tensor by tensor needs the memory of its largest
    tensor.

    Args:
        path: the file.

    Attributes:
        metadata: texts by name that the file stores with the tensors.

    Raises:
        InputError: the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        check_readable(path)
        self.path = path
        try:
            with safe_open(path, "pt") as file:
                super().__init__({key: key for key in file.keys()})  # noqa: SIM118 - it is not a dictionary
                self.metadata: dict[str, str] = file.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise damaged(path, "safetensors", error) from error

    def __getitem__(self, key: str) -> Tensor:
        """Read the tensor of that name."""
        with safe_open(self.path, "pt") as file:
            return file.get_tensor(self.names[key])


class WeightSelection(_LazyWeights):
    """Some tensors of ``source`` under other names, still read one at a time.

    Args:
        source: tensors by name.
        names: name here → name in ``source``.
    """

    def __init__(self, source: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
        super().__init__(names)
        self.source = source

    def __getitem__(self, key: str) -> Tensor:
        """Read the tensor of that name."""
        return self.source[self.names[key]]

    def starting_with(self, *prefixes: str) -> "WeightSelection":
        """Return the tensors whose name begins with one of the prefixes."""
        return WeightSelection(self.source, {k: v for k, v in self.names.items() if k.startswith(prefixes)})


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Read the tensors of a weight file by name, memory-mapped.

    Args:
        path: ``.safetensors``, or a file that ``torch.save`` wrote, in which the tensors may be under ``state_dict``.

    Raises:
        InputError: the file is missing, damaged, holds something else, or could run code.
    """
    return SafetensorsFile(path) if is_safetensors(path) else state_dict_of(read_pickle(path), path)


def is_safetensors(path: Path) -> bool:
    """Return whether a file is in the safetensors format, by its suffix or its first bytes.

    Raises:
        InputError: the file is missing or cannot be opened.
    """
    check_readable(path)
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def state_dict_of(content: Mapping[str, Any], source: object) -> Mapping[str, Tensor]:
    """Return the tensors by name in a result of ``read_pickle``, bare or under ``state_dict``.

    Raises:
        InputError: there are no tensors, or other things among them.
    """
    state = content.get("state_dict", content)
    weights = isinstance(state, Mapping) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
    if not weights or not state:
        raise InputError(f"{source} holds no weights by name; give a file with a state dict, bare or as 'state_dict'.")
    return state


def load_into(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: object,
    prefix: str = "",
    optional: Collection[str] = (),
) -> None:
    """Load the tensors under ``prefix`` into ``module``; arguments and errors as in ``fitting_weights``.

    Tensors are copied one by one and converted to the type that they have in ``module``; a module on the meta device
    gets its memory here. If anything does not fit, ``module`` stays unchanged.

    Raises:
        InputError: anything does not fit; the error lists the first ten differences.
    """
    expected = module.state_dict()
    fitting = fitting_weights(module, state, source=source, prefix=prefix, optional=optional)
    values = {key: value.to(expected[key].dtype, copy=True) for key, value in fitting}
    on_meta = any(value.is_meta for value in expected.values())
    module.load_state_dict(values, strict=not optional, assign=on_meta)


def fitting_weights(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: object,
    prefix: str = "",
    optional: Collection[str] = (),
) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of ``state`` that belong to ``module``; none may be missing, unexpected or not finite.

    Args:
        module: provides names and shapes; may be on the meta device.
        state: tensors by full name; those without ``prefix`` are ignored.
        source: name of the weights in errors.
        prefix: removed from the names.
        optional: names (without prefix) that may be missing in ``state``, or be present without being used.

    Yields:
        Name (without prefix) and tensor.

    Raises:
        InputError: after the last tensor, if anything does not fit; lists the first ten differences.
    """
    own = {key.removeprefix(prefix) for key in state if key.startswith(prefix)}
    expected, allowed = module.state_dict(), set(optional)
    problems = [f"missing {prefix}{key}" for key in expected if key not in own | allowed]
    problems += [f"not expected {prefix}{key}" for key in sorted(own - allowed - expected.keys())]
    for key in expected:
        if key not in own:
            continue
        value, shape = state[prefix + key], expected[key].shape
        kind = FLOATS if expected[key].is_floating_point() else FLOATS + WHOLES
        if value.dtype not in kind or value.layout != torch.strided or value.is_meta:
            problems.append(f"{prefix}{key} has the type {value.dtype}, {value.layout}")
        elif value.shape != shape:
            problems.append(f"{prefix}{key} has shape {tuple(value.shape)} instead of {tuple(shape)}")
        elif not value.isfinite().all():
            problems.append(f"{prefix}{key} has NaN or infinite values")
        else:
            yield key, value
    refuse_differences(problems, source)


def refuse_differences(problems: list[str], source: object) -> None:
    """Raise an error that lists the first ten differences between weights and a model, if there are any.

    Raises:
        InputError: there are differences.
    """
    if problems:
        more = f" and {len(problems) - N_LISTED} more" if len(problems) > N_LISTED else ""
        raise InputError(
            f"The weights in {source} do not fit this model ({'; '.join(problems[:N_LISTED])}{more}); "
            "use the file that belongs to this configuration, or copy it again."
        )


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, shapes and float32 values in the order of the names, whatever the file format."""
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().cpu().float().contiguous()
        digest.update(f"{key} {tuple(value.shape)}\n".encode())
        digest.update(value.numpy().data)
    return digest.hexdigest()


def check_sha256(found: str, expected: str | None, *, source: object, option: str, part: str) -> None:
    """Compare a checksum from ``weights_sha256`` with the one that a checkpoint names.

    Args:
        found: checksum of the given weights.
        expected: checksum of the weights that the checkpoint was trained with; None accepts any.
        source: file of the given weights.
        option: configuration key that names this file.
        part: configuration key of the part, whose ``sha256`` is expected.

    Raises:
        InputError: they differ.
    """
    if expected not in (None, found):
        raise InputError(
            f"{source} has weights with the SHA-256 {found[:12]}…, but the checkpoint was trained with weights of "
            f"{str(expected)[:12]}…; give those with --set {option}=FILE, or accept any with --set {part}.sha256=null."
        )


def encoder_weights(option: str, name: str, path: str | None, random_weights: bool) -> Path | None:
    """Return the path of the published weights of a frozen encoder; None for random weights.

    Args:
        option: the configuration's key, for the error.
        name: name of the file where it is published, for the error.
        path: the key's value.
        random_weights: whether random weights are allowed.

    Raises:
        InputError: there is no path, and random weights are not allowed.
    """
    if path is None and not random_weights:
        raise InputError(
            f"{option} is not set; give the path of {name} as {option}=FILE (infer.py: --set {option}=FILE), see "
            "docs/weights.md."
        )
    return None if path is None else Path(path)
