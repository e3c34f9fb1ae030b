"""What the device can do: products of large square matrices, as each dtype computes them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.device import timing

PRECISION = {"float32": "highest", "tensorfloat32": "tensorfloat32", "bfloat16": "default"}


def measurements(size):
    return [(name, functools.partial(_rate, name, size)) for name in timing.DTYPES]


def _rate(dtype, size):
    n = size.matmul
    a = jnp.asarray(np.random.default_rng(0).standard_normal((n, n)), jnp.float32)
    a = a.astype(jnp.bfloat16) if dtype == "bfloat16" else a
    program = jax.jit(lambda a: jnp.dot(a, a, precision=PRECISION[dtype])).lower(a).compile()

    def measure(kept):
        seconds = timing.seconds_of(lambda: program(a), size.seconds)
        return {"dtype": dtype, "side": n, "tflop_per_s": 2 * n**3 / seconds / 1e12}

    return measure


def share(kept, dtype, tflop, seconds):
    """{"of_matmul_rate"}: FLOPs a second, of those of the matrix product in the same dtype."""
    rate = kept.get("rates", {}).get(dtype)
    return {} if rate is None else {"of_matmul_rate": tflop / seconds / rate["tflop_per_s"]}
