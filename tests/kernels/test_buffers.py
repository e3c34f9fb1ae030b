"""Buffers of loops against plain indexing."""

import jax
import jax.numpy as jnp
import numpy as np

from hcflow_jax.kernels import buffers

STACKS = {"a": jnp.arange(12.0).reshape(3, 4), "b": jnp.arange(3)}


def test_entries_are_those_of_plain_indexing():
    for i in range(3):
        found = jax.jit(buffers.at)(STACKS, i)
        for name, stack in STACKS.items():
            np.testing.assert_array_equal(found[name], stack[i])


def test_entries_are_replaced_as_plain_indexing_does():
    entry = {"a": jnp.full(4, -1.0), "b": jnp.asarray(-1)}
    found = jax.jit(buffers.put)(STACKS, 1, entry)
    expected = jax.tree.map(lambda x, e: x.at[1].set(e), STACKS, entry)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_unwritten_buffers_have_the_shapes_and_types_asked_for():
    found = jax.jit(buffers.unwritten)(STACKS, jnp.full((2, 2), 7.5))
    for name, like in STACKS.items():
        assert (found[name].shape, found[name].dtype) == (like.shape, like.dtype)
