"""The C library's memory, so that a command on pictures keeps no more than it uses."""

import ctypes
import os

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8  # of glibc's malloc.h


def settle() -> None:
    """Gives allocations of 1 MB and more back to the system as soon as they are freed.

    glibc raises that threshold as arrays are freed, and has a heap for every thread: what was read
    and computed stays, a hundred megabytes of it. Called before threads and JAX are started; does
    nothing where there is no glibc, or where the user has settled it.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ:
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_ARENA_MAX, 1 + (os.cpu_count() or 1) // 8)
    mallopt(_MMAP_THRESHOLD, 1 << 20)
    mallopt(_TRIM_THRESHOLD, 1 << 20)


def release() -> None:
    """Gives free memory back to the system, that of a compiler above all."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return
