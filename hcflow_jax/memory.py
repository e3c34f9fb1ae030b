"""Memory of the process itself: the C library's, Python's and the compiler's.

What concerns the C library is for Linux with glibc; elsewhere nothing happens.
"""

import contextlib
import ctypes
import gc
import os
import sys

ENVIRONMENT = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"
    ":glibc.malloc.mmap_threshold=1048576",
    "PYTHONMALLOC": "malloc",
}
"""Of a process that trains on CPUs.

An iteration allocates gigabytes anew. In pages of 4 KB, each of which the kernel zeroes when it is
first touched, that takes a tenth of the iteration: hence pages of 2 MB, where the kernel leaves
that to programs. Compiling and tracing leave holes among what stays: one heap for all threads and
for Python, and mappings of their own for large blocks, leave a tenth of the memory fewer.
"""


def start_again() -> None:
    """Starts this very command again in `ENVIRONMENT`, unless the user has set some of it."""
    if sys.platform != "linux" or any(name in os.environ for name in ENVIRONMENT):
        return
    with contextlib.suppress(OSError):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | ENVIRONMENT)


def compiler_options(backend: str) -> dict[str, bool]:
    """XLA's options for large programs on `backend`.

    On CPUs its older code generator needs 0.3 GB instead of 1.5 for a full-size iteration; the
    result is as fast, compiling takes about a fifth longer.
    """
    return {"xla_cpu_use_fusion_emitters": False} if backend == "cpu" else {}


def give_back() -> None:
    """Lets go of what JAX keeps of programs it has traced, and returns freed memory to the system.

    Compiled programs that are held stay; others are traced again when they are called again.
    """
    import jax

    jax.clear_caches()
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
