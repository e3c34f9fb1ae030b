"""What the C library does with memory that a program frees. (glibc; elsewhere nothing happens.)"""

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # mallopt's numbers for them


def give_back() -> None:
    """Returns to the system what was freed, such as what XLA's compiler leaves: up to 1 GB."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def keep() -> None:
    """From now on keeps what is freed for what is allocated next.

    An iteration frees gigabytes that the next allocates again. By default each round trip goes
    through the system, which hands memory out zeroed page by page: a tenth of an iteration.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
