"""Owns the choice of the device that a network runs on."""

import torch

from common.errors import InputError


def pick_device(name: str | None) -> torch.device:
    """Return the named device, or the first available of cuda, mps and cpu.

    Raises:
        InputError: the device is not available.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name is None:
        return torch.device(next(key for key, there in available.items() if there))
    if not available.get(name.split(":")[0], False):
        there = ", ".join(key for key, is_there in available.items() if is_there)
        raise InputError(f"device {name!r} is not available; expected one of {there}.")
    try:
        return torch.empty(0, device=name).device
    except RuntimeError as error:
        raise InputError(f"device {name!r} cannot be used ({str(error).splitlines()[0]}); give another.") from error
