"""The same bits at every run, on GPUs too.

XLA chooses kernels for GPUs by timing them, and some add in the order in which threads arrive.
`--xla_gpu_deterministic_ops` takes neither those nor the timing. XLA reads the environment once,
when JAX first uses a device. On CPUs and TPUs programs are deterministic as they are.
"""

import os

from hcflow_jax.errors import UserError

FLAG = "--xla_gpu_deterministic_ops=true"


def ask() -> None:
    """Adds FLAG to XLA_FLAGS; to be called before any device is used."""
    flags = os.environ.get("XLA_FLAGS", "")
    if FLAG not in flags.split():
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}".strip()


def check() -> None:
    """UserError where JAX computes on GPUs and FLAG is not set."""
    import jax

    if jax.default_backend() == "gpu" and FLAG not in os.environ.get("XLA_FLAGS", "").split():
        raise UserError(
            f"train.deterministic needs XLA_FLAGS={FLAG} in the environment before JAX starts, as "
            "`hcflow train` sets it; set it there, or leave --config.train.deterministic out"
        )
