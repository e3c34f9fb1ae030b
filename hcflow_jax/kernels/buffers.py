"""Buffers that loops read and fill entry by entry, allocated when the loop begins.

Plain formulas: `at` is stacks[i], `put` stacks.at[i].set(trees), `unwritten` jnp.zeros;
tests/kernels/test_buffers.py holds them to that. Where it pays: the gradients of an iteration of
full-size rescaling plan 92 instead of 125 MB. When: always, in loops with gradients of their own.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax


def at(stacks, i):
    """Entry i of the leading axis of every array of a tree."""
    take = functools.partial(
        lax.dynamic_index_in_dim, index=i, keepdims=False, allow_negative_indices=False
    )
    return jax.tree.map(take, stacks)


def put(stacks, i, trees):
    """`stacks` with entry i of every array replaced by that of `trees`."""
    replace = functools.partial(
        lax.dynamic_update_index_in_dim, index=i, axis=0, allow_negative_indices=False
    )
    return jax.tree.map(replace, stacks, trees)


def unwritten(like, after):
    """Buffers of the shapes and types of `like`, to be overwritten, allocated once `after` exists.

    Zeros depend on nothing, so that XLA would allocate them when the program starts and hold them
    until the last loop of a gradient fills them. These are filled with an entry of `after`, whose
    value does not matter.
    """
    entry = after.reshape(-1)[:1].sum()
    return jax.tree.map(lambda a: jnp.full(a.shape, entry.astype(a.dtype)), like)
