"""Memory of the process itself: the C library's, Python's and the compiler's.

What concerns the C library is for Linux with glibc; elsewhere nothing happens.
"""

import contextlib
import ctypes
import gc
import importlib.util
import os
import sys
import sysconfig

HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""An iteration on CPUs allocates gigabytes anew. In pages of 4 KB, each of which the kernel zeroes
when it is first touched, that takes a tenth of the iteration: hence pages of 2 MB, where the kernel
leaves that to programs."""

_HEAPS = f"glibc.malloc.arena_max={1 + (os.cpu_count() or 1) // 8}"

_BLOCKS = ":".join(f"glibc.malloc.{which}_threshold={32 << 20}" for which in ("mmap", "trim"))

ENVIRONMENT = {"GLIBC_TUNABLES": f"{HUGE_PAGES}:{_HEAPS}:{_BLOCKS}", "PYTHONMALLOC": "malloc"}
"""Of a training. Tracing and compiling leave holes among what stays: few heaps, which Python
shares, waste less memory. Blocks of 32 MiB and more lie apart from them, and as much as that is
kept for later at the end of a heap; glibc would set either as it goes, and after twenty iterations
keep 80 MB more. (Measured on two cores.)"""

if sysconfig.get_config_var("Py_GIL_DISABLED"):
    del ENVIRONMENT["PYTHONMALLOC"]  # such a Python has an allocator of its own, and insists


SWITCH = "HCFLOW_ALLOCATOR"
"""Environment variable; "system" leaves the allocators as they are."""


def start_again(argv: list[str]) -> None:
    """Starts this very command, whose arguments are `argv`, again in `ENVIRONMENT`.

    Only on Linux, where JAX would compute on the CPU, and where nobody else has a say: neither the
    user by `SWITCH` or by a variable of `ENVIRONMENT`, nor a debugger, nor what launches several
    processes. The command that was started leaves it to itself: its own children get nothing of it.
    """
    if all(os.environ.get(name) == value for name, value in ENVIRONMENT.items()):
        for name in ENVIRONMENT:
            del os.environ[name]
        return
    asked = os.environ.get(SWITCH) == "system" or any(name in os.environ for name in ENVIRONMENT)
    if asked or sys.platform != "linux" or _is_watched(argv) or not _on_cpu():
        return
    print(f"starting again with settings of memory allocators ({SWITCH}=system leaves them out)")
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | ENVIRONMENT)


_LAUNCHERS = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "TPU_WORKER_ID")


def _is_watched(argv):
    """Whether a debugger looks on, or this is one of several processes."""
    debuggers = "pydevd", "debugpy"
    several = any(flag in word for word in argv for flag in ("--distributed", "--coordinator"))
    traced = sys.gettrace() is not None or any(name in sys.modules for name in debuggers)
    return traced or several or any(name in os.environ for name in _LAUNCHERS)


def _on_cpu():
    """Whether JAX, not imported yet, would compute on the CPU: no other platform is installed."""
    if chosen := os.environ.get("JAX_PLATFORMS"):
        return chosen.split(",")[0] == "cpu"
    return not any(importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu"))


def compiler_options(backend: str) -> dict[str, bool]:
    """XLA's options for large programs on `backend`; none where it does not know them.

    On CPUs its older code generator needs 0.3 GB instead of 1.5 for a full-size iteration; the
    result is as fast, compiling takes about a fifth longer.
    """
    import jax

    if backend != "cpu":
        return {}
    options = {"xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options=options)
    except jax.errors.JaxRuntimeError:
        return {}
    return options


def compiled(lowered, alone: bool = True):
    """`lowered` compiled with `compiler_options`.

    `alone`: JAX keeps no other program of this process that is called again. Then what it keeps of
    tracing goes before XLA begins, as `give_back` does, and what compiling leaves goes as well.
    """
    import jax

    if alone:
        give_back()
    program = lowered.compile(compiler_options=compiler_options(jax.default_backend()))
    del lowered
    if alone:
        give_back()
    return program


def give_back() -> None:
    """Lets go of what JAX keeps of programs it has traced, and returns freed memory to the system.

    Compiled programs that are held stay; others, the caller's too, are traced and compiled again
    when they are called again.
    """
    import jax

    jax.clear_caches()
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
