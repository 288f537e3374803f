"""Owns reading pickled files: their contents are read without ever running code in them."""

import contextlib
import functools
import pickle
import pickletools
import shlex
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from common.errors import InputError
from common.files import check_readable, damaged

N_LISTED = 10
"""Largest number of names in a refusal."""
UNREADABLE = (
    SafetensorError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AssertionError,
    AttributeError,
    ArithmeticError,
    MemoryError,
)
"""Exceptions that torch and the zip reader raise on damaged files."""


def read_pickle(path: Path) -> dict[str, Any]:
    """Read a file that ``torch.save`` wrote (``.ckpt``, ``.pt``), memory-mapped; code in it is never run.

    Raises:
        InputError: the file is missing, damaged, does not hold a dictionary, or could run code.
    """
    check_readable(path)
    try:
        is_zip = zipfile.is_zipfile(path)
        if is_zip and (part := _damaged_part(path, path.stat().st_size, path.stat().st_mtime_ns)):
            raise ValueError(f"the checksum of {part} is wrong")
        with torch.serialization.safe_globals(_numpy_scalars()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; unreadable files raise
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except UNREADABLE as error:
        if objects := _objects_in(path):
            raise InputError(_refusal(path, objects)) from error
        raise damaged(path, "a torch checkpoint", error) from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; expected a dictionary of weights: check the path.")
    if odd := _odd_part(content):
        raise InputError(f"{path} is refused, since it holds {odd}, which no training writes: use one that you trust.")
    return content


def _odd_part(content: Any) -> str | None:
    """Name content that only a manipulated file holds; None if there is none.

    torch lets a file set attributes of dictionaries and tensors, which then hide their methods. It accepts functions as
    values. A tensor may have a shape without the numbers for it, or repeat a few numbers, to exceed any memory.
    """
    waiting, seen = [content], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if callable(part) or getattr(part, "__dict__", {}).keys() - {"_metadata"}:
            return f"code or attributes ({type(part).__name__})"
        if isinstance(part, dict):
            waiting += [*dict.keys(part), *dict.values(part)]
        elif isinstance(part, list | tuple | set):
            waiting += part
        elif isinstance(part, torch.Tensor) and not _is_whole(part):
            return "a tensor whose numbers are not in the file"
    return None


def _is_whole(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is a plain array with memory for each of its numbers."""
    is_plain = tensor.layout == torch.strided and not (tensor.is_meta or tensor.is_quantized or tensor.is_nested)
    return is_plain and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


@functools.lru_cache(maxsize=8)
def _damaged_part(path: Path, _size: int, _changed_ns: int) -> str | None:
    """Return the name of the first part of a zip file with a wrong checksum, or None; torch does not check them."""
    with zipfile.ZipFile(path) as file:
        return file.testzip()


def _numpy_scalars() -> list[Any]:
    """List what unpickling numpy's numbers needs; some scripts store them beside the weights. It runs no code."""
    rebuild: Any = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
    return [*((rebuild, name) for name in names), np.dtype, *(type(np.dtype(kind)) for kind in kinds)]


def _objects_in(path: Path) -> list[str]:
    """List the names that a pickle would import beyond tensors and plain values; empty if none can be found."""
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except UNREADABLE:
        return _imports(path)


def _imports(path: Path) -> list[str]:
    """List the names that a bare pickle imports, as far as it can be parsed; nothing is run."""
    names: set[str] = set()
    texts: list[str] = []
    with contextlib.suppress(*UNREADABLE), path.open("rb") as file:  # until something that is not a pickle
        while file.peek(1):  # old releases of torch write several pickles in a row
            for operation, argument, _ in pickletools.genops(file):
                if operation.name == "GLOBAL":
                    names.add(str(argument).replace(" ", "."))
                elif operation.name == "STACK_GLOBAL":
                    names.add(".".join(texts[-2:]))
                elif isinstance(argument, str):
                    texts.append(argument)
    own = ("torch.", "collections.OrderedDict", "numpy.")
    return sorted(name for name in names if not name.startswith(own))


def _refusal(path: Path, objects: list[str]) -> str:
    """Return the error sentence for a pickle that holds more than weights."""
    target = path.with_suffix(".safetensors")
    program = (
        "import torch, safetensors.torch as s; "
        f"c = torch.load({str(path)!r}, map_location='cpu', weights_only=False); w = c.get('state_dict', c).items(); "
        f"s.save_file({{k: v.contiguous().clone() for k, v in w if isinstance(v, torch.Tensor)}}, {str(target)!r})"
    )
    return (
        f"{path} is refused, since loading it would run code: it holds Python objects ({', '.join(objects[:N_LISTED])})"
        " besides tensors. If you trust its source, convert it once and give the result: "
        f"python -c {shlex.quote(program)}"
    )
