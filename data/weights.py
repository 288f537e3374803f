"""Owns weight files: reading tensors without running code, and putting them into modules with every mismatch named."""

import hashlib
import pickle
import re
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from data.errors import InputError

N_LISTED = 10
"""How many differences an error names."""


class SafetensorsFile(Mapping[str, Tensor]):
    """Tensors of a safetensors file by name, memory-mapped one at a time.

    Nothing is read before a tensor is asked for, and nothing stays in memory once that tensor is let go: reading a
    file of 5 GB tensor by tensor takes the memory of its largest.

    Args:
        path: the file.

    Attributes:
        metadata: texts by name that came with the tensors.

    Raises:
        InputError: the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        _check_there(path)
        self.path = path
        try:
            with safe_open(path, "pt") as file:
                self._keys = list(file.keys())
                self.metadata: dict[str, str] = file.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise _damaged(path, "safetensors", error) from error

    def __getitem__(self, key: str) -> Tensor:
        """The tensor of that name."""
        with safe_open(self.path, "pt") as file:
            return file.get_tensor(key)

    def __iter__(self) -> Iterator[str]:
        """Names, in the order of the file."""
        return iter(self._keys)

    def __len__(self) -> int:
        """Number of tensors."""
        return len(self._keys)


class WeightSelection(Mapping[str, Tensor]):
    """Some tensors of ``source`` under names of their own, still read one at a time.

    Args:
        source: tensors by name.
        names: name here → name there.
    """

    def __init__(self, source: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
        self.source = source
        self.names = dict(names)

    def __getitem__(self, key: str) -> Tensor:
        """The tensor of that name."""
        return self.source[self.names[key]]

    def __iter__(self) -> Iterator[str]:
        """Names, in the order given."""
        return iter(self.names)

    def __len__(self) -> int:
        """Number of tensors."""
        return len(self.names)

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
    if path.suffix == ".safetensors":
        return SafetensorsFile(path)
    return state_dict_of(read_pickle(path), path)


def state_dict_of(content: Mapping[str, Any], source: object) -> Mapping[str, Tensor]:
    """The tensors by name in what ``read_pickle`` gave, bare or under ``state_dict``.

    Raises:
        InputError: there are none, or other things among them.
    """
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{source} holds no weights by name; expected a state dict, bare or under 'state_dict'.")
    return state


def read_pickle(path: Path) -> dict[str, Any]:
    """Content of a file that ``torch.save`` wrote (``.ckpt``, ``.pt``), memory-mapped; code in it is never run.

    Raises:
        InputError: the file is missing, damaged, holds no dictionary, or could run code.
    """
    _check_there(path)
    try:
        is_zip = zipfile.is_zipfile(path)
        if is_zip and (part := _damaged_part(path)):
            raise ValueError(f"the checksum of {part} is wrong")
        with torch.serialization.safe_globals(_numpy_scalars()):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError) as error:
        if objects := _objects_in(path, error):
            raise InputError(_refusal(path, objects)) from error
        raise _damaged(path, "a torch checkpoint", error) from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; expected a dictionary of weights: check the path.")
    return content


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
        if value.shape != shape:
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


def check_sha256(found: str, expected: str | None, *, source: object, option: str) -> None:
    """Compare a checksum of ``weights_sha256`` with the one that a checkpoint names.

    Args:
        found: of the weights at hand.
        expected: of those the checkpoint was trained over; None accepts any.
        source: their file.
        option: the key of the configuration that names this file.

    Raises:
        InputError: they differ.
    """
    if expected not in (None, found):
        raise InputError(
            f"{source} has weights with the SHA-256 {found[:12]}…, but the checkpoint was trained over weights with "
            f"{str(expected)[:12]}…; give the file it was trained over with --set {option}=FILE."
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
            f"{option} is not set; give the path of {name} as {option}=FILE (infer.py: --set {option}=FILE), see the "
            "README's table of weights."
        )
    return None if path is None else Path(path)


def _damaged_part(path: Path) -> str | None:
    """Name of the first part of a zip file whose checksum is wrong; torch itself does not look at them."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"damaged zip: {error}") from error


def _numpy_scalars() -> list[Any]:
    """What unpickling numpy's numbers takes, which some training scripts leave beside the weights; it runs no code."""
    rebuild: Any = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [*((rebuild, name) for name in names), np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i8"))]


def _objects_in(path: Path, error: Exception) -> list[str]:
    """Names of what a pickle would import beyond tensors and plain values; empty where none can be found."""
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError):
        return re.findall(r"GLOBAL ([\w.]+)", str(error))  # all that a file of an old release tells


def _refusal(path: Path, objects: list[str]) -> str:
    """The sentence for a pickle that is more than weights."""
    target = path.with_suffix(".safetensors")
    return (
        f"{path} is refused, since loading it would run code: it holds Python objects ({', '.join(objects[:N_LISTED])})"
        " beside tensors. If you trust where it comes from, convert it once and give the result: python -c "
        '"import torch, safetensors.torch as s; '
        f"c = torch.load('{path}', map_location='cpu', weights_only=False); "
        f"s.save_file({{k: v.clone() for k, v in c.get('state_dict', c).items()}}, '{target}')\""
    )


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a file with weights (.safetensors, .ckpt, .pt): check it.")


def _damaged(path: Path, kind: str, error: Exception) -> InputError:
    text = str(error).rsplit("WeightsUnpickler error:", 1)[-1].strip()  # torch puts advice before the cause
    reason = text.splitlines()[0] if text else type(error).__name__
    return InputError(f"{path} cannot be read as {kind} ({reason}); it may be cut short or damaged: copy it again.")
