"""Keys of a training's random numbers, each folded from one root by its name.

key(seed, name) = fold_in(jax.random.key(seed), CRC-32 of name): streams of different names are
independent for every seed, and another one changes none of the others. The generator is JAX's
default, Threefry, whose bits are the same on every platform.
"""

import zlib

import jax
import numpy as np


def key(seed: int, name: str) -> jax.Array:
    """The key of the stream `name`; one of ASCII letters, as "validation samples"."""
    return jax.random.fold_in(jax.random.key(seed), np.uint32(zlib.crc32(name.encode())))


def number(seed: int, name: str) -> int:
    """32 bits of the stream `name`, for a generator that is not JAX's."""
    return int(jax.random.bits(key(seed, name), dtype=np.uint32))
