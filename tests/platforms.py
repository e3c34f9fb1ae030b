"""What the tests compute on, JAX_PLATFORMS from outside or the CPU, and how exact that is.

`JAX_PLATFORMS=cuda pytest -n 0 -m accelerator` runs what must hold on a GPU, "tpu" on a TPU.
"""

import os

import pytest

CHOSEN = (os.environ.get("JAX_PLATFORMS") or "cpu").split(",")[0]
"""Where arrays are: "cpu", "cuda", "tpu"."""

accelerator = pytest.mark.accelerator

_TOLERANCES = {
    "recorded": 1e-4,  # figures of the published program, of an array's largest value
    "recorded training": 1e-3,  # the same after some iterations
    "round trip": 1e-4,  # of pixels in [0, 1]
    "windows": 1e-4,  # of pixels in [0, 1]
    "kernels": 1e-5,  # of an array's largest value
    "noise": 1e-6,  # of normal numbers
}

_FACTORS = {"cpu": 1, "cuda": 1, "tpu": 10}
"""Those of CPUs were measured. GPUs have the same float32; TPUs have fewer digits of exponentials
and logarithms, and products of six passes of bfloat16. Neither has been measured."""


def tolerance(name: str) -> float:
    """In float32, every product of full precision, on the platform that is chosen."""
    return _TOLERANCES[name] * _FACTORS.get(CHOSEN, 1)


def optimised() -> dict[str, str]:
    """The environment, but XLA's own flags: of programs that compute more than they compile."""
    return {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}


def simulated(devices: int) -> dict[str, str]:
    """Environment variables of a process that has so many devices on the CPU."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    others = [flag for flag in flags if "device_count" not in flag]
    count = f"--xla_force_host_platform_device_count={devices}"
    return {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": " ".join([*others, count])}
