"""Memory of the process."""

import ctypes
import sys


def return_free_memory() -> None:
    """Give memory that is not used any more back to the system, where the C library would keep it (glibc)."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not in musl
        if trim is not None:
            trim(0)
