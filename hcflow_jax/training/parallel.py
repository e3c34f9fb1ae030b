"""Devices and hosts: the only module that knows there are several. The mapped axis is "data"."""

import functools
import zlib

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, PartitionSpec

from hcflow_jax.errors import UserError

AXIS = "data"


def connect(coordinator: str = "", processes: int = 0, process: int = 0) -> None:
    """Joins the processes of a training; before anything else touches a device.

    Args:
      coordinator: "host:port" of process 0, which all of them reach; "" where the cluster says
        (TPU pods, SLURM, Open MPI).
      processes: how many there are; process: this one's number, from 0.
    """
    if coordinator:
        jax.distributed.initialize(coordinator, processes, process)
    else:
        jax.distributed.initialize()


def check_agreement(facts: dict[str, str]) -> None:
    """UserError naming the first fact that is not the same on every process."""
    if jax.process_count() == 1:
        return
    digests = np.array([zlib.crc32(value.encode()) for value in facts.values()], np.int64)
    gathered = multihost_utils.process_allgather(digests)
    for name, values in zip(facts, gathered.T, strict=True):
        if len(set(values.tolist())) > 1:
            raise UserError(f"the processes differ in {name}; start them all alike")


def pmap_step(step, devices=None):
    """step(state, batch, rng, vgg, axis_name) on every device, each with its share of the batch.

    Takes and returns a replicated state (its buffers are reused), a batch made by `shard` and
    replicated weights of VGG19.
    """
    mapped = functools.partial(step, axis_name=AXIS)
    axes = (0, 0, None, 0)
    return jax.pmap(mapped, AXIS, in_axes=axes, donate_argnums=(0,), devices=devices)


def shard_map_step(step, devices=None):
    """The same as one global program: a plain state, the whole batch [B, …], plain weights.

    The compiler puts them where the step expects them: hence an `Auto` axis.
    """
    devices = np.array(jax.devices() if devices is None else devices)
    mesh = Mesh(devices, (AXIS,), axis_types=(AxisType.Auto,))
    whole, split = PartitionSpec(), PartitionSpec(AXIS)
    mapped = jax.shard_map(
        functools.partial(step, axis_name=AXIS),
        mesh=mesh,
        in_specs=(whole, split, whole, whole),
        out_specs=whole,
        check_vma=False,  # gradients stay a device's own until the step averages them
    )
    return jax.jit(mapped, donate_argnums=(0,))


def pmap_data_init(model):
    """model.data_init(params, hr) over the batch of all devices; `params` and result replicated."""
    init = functools.partial(model.data_init, axis_name=AXIS)
    return jax.pmap(init, axis_name=AXIS)


def check_batch(size: int, parts: int = 1) -> None:
    """UserError where a global batch of `size` does not divide over the devices and `parts`."""
    devices = jax.device_count()
    if size % (devices * parts):
        shares = f"{devices} devices" + (f" × {parts} parts" if parts > 1 else "")
        raise UserError(
            f"a batch of {size} does not divide over {shares}; set train.batch_size to a multiple"
        )


def shard(batch):
    """This process's part of a batch, [b, …] -> [local devices, b / devices, …]."""
    devices = jax.local_device_count()
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def replicate(tree):
    """`tree` on every device, laid out as the steps return it, so that they compile once."""
    if not jax.tree.leaves(tree):
        return tree
    copy = jax.pmap(lambda tree, _: tree, axis_name=AXIS, in_axes=(None, 0))
    return copy(tree, np.zeros(jax.local_device_count()))


def fetch(tree):
    """A replicated tree as numpy arrays of their own, safe from the next step."""
    return jax.tree.map(lambda x: np.array(x.addressable_data(0)).reshape(x.shape[1:]), tree)


def shares(x) -> np.ndarray:
    """What this process's devices hold of a mapped array: [local devices, …]."""
    if not isinstance(x, jax.Array):
        return x
    parts = sorted(x.addressable_shards, key=lambda part: part.index[0].start or 0)
    return np.concatenate([np.asarray(part.data) for part in parts])
