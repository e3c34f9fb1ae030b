"""Arrays that loops read and fill entry by entry, not held before the loop begins."""

import functools

import jax
import jax.numpy as jnp
from jax import lax


def at(stacks, i):
    """Entry i of every array."""
    take = functools.partial(
        lax.dynamic_index_in_dim, index=i, keepdims=False, allow_negative_indices=False
    )
    return jax.tree.map(take, stacks)


def put(stacks, i, trees):
    """`stacks` with `trees` as their entries i."""
    replace = functools.partial(
        lax.dynamic_update_index_in_dim, index=i, axis=0, allow_negative_indices=False
    )
    return jax.tree.map(replace, stacks, trees)


def unwritten(like, after):
    """Arrays like those of `like`, to be written whole, which take no memory before `after` exists.

    XLA does what depends on nothing when a program starts: had they zeros, those that the last
    loop of a gradient fills would be held from there on. They hold an entry of `after`, which is
    of no account.
    """
    entry = after.reshape(-1)[:1].sum()
    return jax.tree.map(lambda a: jnp.full(a.shape, entry.astype(a.dtype)), like)
