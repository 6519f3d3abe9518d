"""Freed memory kept for the next step, instead of being given back to the system after each tensor."""

from __future__ import annotations

import ctypes
import sys

# Numbers of glibc's <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, until it ends; for one that trains on a CPU and does nothing else.

    By default glibc takes each large tensor from the system and gives it back. A step of 16 pictures then
    touches 100 000 pages of 4 kB anew, a tenth of its time on 2 cores. The same numbers come out.

    Returns:
        whether the C library can do it: glibc can.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    mallopt = getattr(library, "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, LARGEST))
