"""Memory of the process: settings of allocators and of XLA's compiler.

Those of the C library are for Linux with glibc; elsewhere they have no effect.
"""

import contextlib
import ctypes
import gc
import importlib.util
import os
import sys
import sysconfig

HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""Pages of 2 MB, where the kernel leaves the choice to programs. An iteration on CPUs allocates
gigabytes anew; zeroing them in pages of 4 KB takes a tenth of its time."""

_ARENAS = f"glibc.malloc.arena_max={1 + (os.cpu_count() or 1) // 8}"

THRESHOLD_BYTES = 32 << 20
"""Allocations from this size on are mapped by themselves, and as much free memory stays at the top
of a heap. Thresholds that glibc adapts keep 80 MB more after twenty iterations."""

_THRESHOLDS = ":".join(
    f"glibc.malloc.{which}_threshold={THRESHOLD_BYTES}" for which in ("mmap", "trim")
)

ENVIRONMENT = {
    "GLIBC_TUNABLES": f"{HUGE_PAGES}:{_ARENAS}:{_THRESHOLDS}",
    "PYTHONMALLOC": "malloc",
}
"""Environment variables of a training. Tracing and compiling fragment the heaps: few of them, used
by Python too, waste less. (Measured on two cores.)"""

if sysconfig.get_config_var("Py_GIL_DISABLED"):
    del ENVIRONMENT["PYTHONMALLOC"]  # free-threaded Python accepts its own allocator only


SWITCH = "HCFLOW_ALLOCATOR"
"""Environment variable; "system" leaves the allocators as they are."""


_set = False  # whether this process was started by `restart_with_settings`


def described() -> str:
    """ ", …" where this process has allocators with `ENVIRONMENT`, else nothing."""
    return f", its allocators set for that ({SWITCH}=system leaves them out)" if _set else ""


def restart_with_settings(argv: list[str]) -> None:
    """Replaces this process by the same command, of arguments `argv`, with `ENVIRONMENT` set.

    Only on Linux, where JAX would compute on the CPU, and not where the user has set `SWITCH` or a
    variable of `ENVIRONMENT`, under a debugger, or among several launched processes. The restarted
    command removes the variables, so that its children do not inherit them, and `described` tells.
    """
    global _set
    _set = all(os.environ.get(name) == value for name, value in ENVIRONMENT.items())
    if _set:
        for name in ENVIRONMENT:
            del os.environ[name]
        return
    chosen = os.environ.get(SWITCH) == "system" or any(name in os.environ for name in ENVIRONMENT)
    if chosen or sys.platform != "linux" or _is_supervised(argv) or not _on_cpu():
        return
    with contextlib.suppress(OSError):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | ENVIRONMENT)


_LAUNCHERS = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "TPU_WORKER_ID")
"""Environment variables that launchers of several processes set."""


def _is_supervised(argv):
    """Whether a debugger is attached, or this is one of several processes."""
    debuggers = "pydevd", "debugpy"
    several = any(flag in word for word in argv for flag in ("--distributed", "--coordinator"))
    traced = sys.gettrace() is not None or any(name in sys.modules for name in debuggers)
    return traced or several or any(name in os.environ for name in _LAUNCHERS)


def _on_cpu():
    """Whether JAX, not imported yet, would compute on the CPU: no other platform is installed."""
    if chosen := os.environ.get("JAX_PLATFORMS"):
        return chosen.split(",")[0] == "cpu"
    return not any(importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu"))


def compiler_options(backend: str) -> dict[str, str | bool]:
    """XLA's options for large programs on `backend`, as far as this XLA knows them.

    On CPUs its older code generator compiles a full-size iteration in 0.3 GB instead of 1.5; the
    program is as fast, compiling takes about a fifth longer.
    """
    return _known({"xla_cpu_use_fusion_emitters": False}) if backend == "cpu" else {}


def _known(options):
    """`options`, or none where this XLA does not know them."""
    import jax

    try:
        jax.jit(lambda: 0).lower().compile(compiler_options=options)
    except jax.errors.JaxRuntimeError:
        return {}
    return options


def quickly_compiled(lowered):
    """`lowered` compiled in a tenth of the time on CPUs, to run slowly: for what runs once."""
    import jax

    options: dict[str, str | bool | int] = {}
    if jax.default_backend() == "cpu":
        options = _known(
            {
                "xla_backend_optimization_level": 0,
                "xla_llvm_disable_expensive_passes": True,
                "xla_cpu_use_fusion_emitters": False,
            }
        )
    return lowered.compile(compiler_options=options)


def compiled(lowered, alone: bool = True):
    """`lowered` compiled with `compiler_options`.

    `alone`: no other jitted function of this process is called again. Memory is then released, by
    `release`, before compiling and after it.
    """
    import jax

    if alone:
        release()
    program = lowered.compile(compiler_options=compiler_options(jax.default_backend()))
    del lowered
    if alone:
        release()
    return program


def release() -> None:
    """Clears JAX's caches and returns free memory to the system.

    Compiled programs that are referenced stay; every jitted function of the process is traced and
    compiled again at its next call.
    """
    import jax

    jax.clear_caches()
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
