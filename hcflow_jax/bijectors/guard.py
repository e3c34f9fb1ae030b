"""Ranges that keep a network from extrapolating: what it reads is clamped to what it knows.

Clamping what a coupling's network reads, or anything that is a function of the conditioning, leaves
the flow a bijection with the same log-determinant: both directions read the same clamped values.
"""

import jax
import jax.numpy as jnp
import numpy as np

Ranges = dict[str, jax.Array]
"""{"low": [C], "high": [C]}, per channel; not trained."""

LARGEST = float(np.finfo(np.float32).max)


def unbounded(channels: int) -> Ranges:
    """Ranges that change nothing."""
    high = jnp.full(channels, LARGEST, jnp.float32)
    return {"low": -high, "high": high}


def clamp(x: jax.Array, ranges: Ranges | None) -> jax.Array:
    """min(max(x, low), high) per channel, x [..., C]; x itself without ranges."""
    if ranges is None:
        return x
    low, high = (jax.lax.stop_gradient(ranges[k]).astype(x.dtype) for k in ("low", "high"))
    return jnp.clip(x, low, high)


def widen(ranges: Ranges, x: jax.Array) -> Ranges:
    """Ranges that also hold every x [..., C]."""
    values = x.reshape(-1, x.shape[-1])
    low, high = (v.astype(ranges["low"].dtype) for v in (values.min(0), values.max(0)))
    return {"low": jnp.minimum(ranges["low"], low), "high": jnp.maximum(ranges["high"], high)}
