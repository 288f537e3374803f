"""Owns weight files: reading tensors without running code, and putting them into modules with every mismatch named."""

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
"""How many differences an error names."""
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WHOLES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)


class _LazyWeights(Mapping[str, Tensor]):
    """Tensors by name of which none is read before it is asked for, nor to see which there are.

    Args:
        names: name here → name where it is read from.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = dict(names)

    def __contains__(self, key: object) -> bool:
        """Whether there is a tensor of that name."""
        return key in self.names

    def __iter__(self) -> Iterator[str]:
        """Names, in the order given."""
        return iter(self.names)

    def __len__(self) -> int:
        """Number of tensors."""
        return len(self.names)


class SafetensorsFile(_LazyWeights):
    """Tensors of a safetensors file by name, memory-mapped one at a time.

    Nothing stays in memory once a tensor is let go: reading a file of 5 GB tensor by tensor takes the memory of its
    largest.

    Args:
        path: the file.

    Attributes:
        metadata: texts by name that came with the tensors.

    Raises:
        InputError: the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        check_readable(path)
        self.path = path
        try:
            with safe_open(path, "pt") as file:
                super().__init__({key: key for key in file.keys()})  # noqa: SIM118 - it is no dictionary
                self.metadata: dict[str, str] = file.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise damaged(path, "safetensors", error) from error

    def __getitem__(self, key: str) -> Tensor:
        """The tensor of that name."""
        with safe_open(self.path, "pt") as file:
            return file.get_tensor(self.names[key])


class WeightSelection(_LazyWeights):
    """Some tensors of ``source`` under names of their own, still read one at a time.

    Args:
        source: tensors by name.
        names: name here → name there.
    """

    def __init__(self, source: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
        super().__init__(names)
        self.source = source

    def __getitem__(self, key: str) -> Tensor:
        """The tensor of that name."""
        return self.source[self.names[key]]

    def starting_with(self, *prefixes: str) -> "WeightSelection":
        """Those whose name begins with one of the prefixes."""
        return WeightSelection(self.source, {k: v for k, v in self.names.items() if k.startswith(prefixes)})


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Tensors of a weight file by name, memory-mapped.

    Args:
        path: ``.safetensors``, or what ``torch.save`` wrote; there the tensors may be under ``state_dict``.

    Raises:
        InputError: the file is missing, damaged, holds something else, or could run code.
    """
    return SafetensorsFile(path) if is_safetensors(path) else state_dict_of(read_pickle(path), path)


def is_safetensors(path: Path) -> bool:
    """Whether a file is in the format of safetensors, by its name or else by its beginning.

    Raises:
        InputError: the file is missing or cannot be opened.
    """
    check_readable(path)
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def state_dict_of(content: Mapping[str, Any], source: object) -> Mapping[str, Tensor]:
    """The tensors by name in what ``read_pickle`` gave, bare or under ``state_dict``.

    Raises:
        InputError: there are none, or other things among them.
    """
    state = content.get("state_dict", content)
    weights = isinstance(state, Mapping) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
    if not weights or not state:
        raise InputError(f"{source} holds no weights by name; expected a state dict, bare or under 'state_dict'.")
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

    Tensors are copied one by one, straight to the type that ``module`` has them in; a module on the meta device gets
    its memory here. Where anything does not fit, ``module`` stays as it was.

    Raises:
        InputError: names the first ten differences.
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
    """The tensors of ``state`` that belong to ``module``, one by one; none may be missing, left over or not finite.

    Args:
        module: gives names and shapes; may be on the meta device.
        state: tensors by full name; those without ``prefix`` are not looked at.
        source: named in the error.
        prefix: cut from the names.
        optional: names (without prefix) that may be missing in ``state``, or be there without being used.

    Yields:
        Name (without prefix) and tensor.

    Raises:
        InputError: after the last tensor, if anything does not fit; names the first ten differences.
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
    """Raise the error that names the first ten differences between weights and a model, if there are any.

    Raises:
        InputError: there are.
    """
    if problems:
        more = f" and {len(problems) - N_LISTED} more" if len(problems) > N_LISTED else ""
        raise InputError(
            f"The weights in {source} do not fit this model ({'; '.join(problems[:N_LISTED])}{more}); "
            "use the file that belongs to this configuration, or copy it again."
        )


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes and float32 values, in the order of the names: the same in whatever file they are."""
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().cpu().float().contiguous()
        digest.update(f"{key} {tuple(value.shape)}\n".encode())
        digest.update(value.numpy().data)
    return digest.hexdigest()


def check_sha256(found: str, expected: str | None, *, source: object, option: str, part: str) -> None:
    """Compare a checksum of ``weights_sha256`` with the one that a checkpoint names.

    Args:
        found: of the weights at hand.
        expected: of those the checkpoint was trained over; None accepts any.
        source: their file.
        option: the key of the configuration that names this file.
        part: the key of the part, whose ``sha256`` is expected.

    Raises:
        InputError: they differ.
    """
    if expected not in (None, found):
        raise InputError(
            f"{source} has weights with the SHA-256 {found[:12]}…, but the checkpoint was trained over weights with "
            f"{str(expected)[:12]}…; give those with --set {option}=FILE, or accept any with --set {part}.sha256=null."
        )


def encoder_weights(option: str, name: str, path: str | None, random_weights: bool) -> Path | None:
    """Where the published weights of a frozen encoder are; None for random ones.

    Args:
        option: the configuration's key, named in the error.
        name: the file where it is published, named in the error.
        path: the key's value.
        random_weights: whether random weights will do.

    Raises:
        InputError: there is no path and random weights will not do.
    """
    if path is None and not random_weights:
        raise InputError(
            f"{option} is not set; give the path of {name} as {option}=FILE (infer.py: --set {option}=FILE), see "
            "docs/weights.md."
        )
    return None if path is None else Path(path)
