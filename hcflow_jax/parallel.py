"""Devices: the only module that knows there are several. The mapped axis is called "data"."""

import functools

import jax
import numpy as np
from flax import jax_utils

AXIS = "data"


def pmap_step(step):
    """step(state, batch, rng, axis_name) on every device, each with its share of the batch.

    Takes and returns a replicated state (its buffers are reused) and a batch made by `shard`.
    """
    mapped = functools.partial(step, axis_name=AXIS)
    return jax.pmap(mapped, axis_name=AXIS, in_axes=(0, 0, None), donate_argnums=(0,))


def pmap_data_init(model):
    """model.data_init(params, hr) over the batch of all devices."""
    init = functools.partial(model.data_init, axis_name=AXIS)
    return jax.pmap(init, axis_name=AXIS, in_axes=(None, 0), out_axes=0)


def check_batch(size):
    """ValueError where a batch of `size` does not divide over the devices."""
    devices = jax.local_device_count()
    if size % devices:
        raise ValueError(
            f"a batch of {size} does not divide over {devices} devices; "
            "set train.batch_size to a multiple"
        )


def shard(batch):
    """[B, …] -> [devices, B / devices, …]; ValueError where B does not divide."""
    devices = jax.local_device_count()

    def split(x):
        check_batch(x.shape[0])
        return x.reshape(devices, x.shape[0] // devices, *x.shape[1:])

    return jax.tree.map(split, batch)


def replicate(tree):
    """`tree` on every device, laid out as the steps return it, so that they compile once."""
    copy = jax.pmap(lambda tree, _: tree, axis_name=AXIS, in_axes=(None, 0))
    return copy(tree, np.zeros(jax.local_device_count()))


unreplicate = jax_utils.unreplicate
