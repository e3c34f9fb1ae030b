"""Devices and hosts, which no other module knows of; the mapped axis is "data"."""

import functools
import zlib

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, PartitionSpec

from hcflow_jax.errors import UserError

AXIS = "data"


def connect(coordinator: str = "", processes: int = 0, process: int = 0) -> None:
    """Initialises JAX's distributed runtime; to be called before any device is used.

    Args:
      coordinator: "host:port" of process 0, which all of them reach; "" where JAX can detect the
        cluster (TPU pods, SLURM, Open MPI).
      processes: how many there are.
      process: the number of this one, from 0.
    """
    if coordinator:
        jax.distributed.initialize(coordinator, processes, process)
    else:
        jax.distributed.initialize()


def check_agreement(facts: dict[str, str]) -> None:
    """UserError naming the first of {name: value} whose value differs between processes."""
    if jax.process_count() == 1:
        return
    digests = np.array([zlib.crc32(value.encode()) for value in facts.values()], np.int64)
    gathered = multihost_utils.process_allgather(digests)
    for name, values in zip(facts, gathered.T, strict=True):
        if len(set(values.tolist())) > 1:
            raise UserError(f"the processes differ in {name}; start them all alike")


def pmap_step(step, devices=None):
    """(state, batch, rng, vgg) -> (state, metrics): step(…, axis_name) on every device.

    State (whose buffers are donated), weights of VGG19 and results are replicated; the batch is
    that of `shard`.
    """
    mapped = functools.partial(step, axis_name=AXIS)
    axes = (0, 0, None, 0)
    return jax.pmap(mapped, AXIS, in_axes=axes, donate_argnums=(0,), devices=devices)


def shard_map_step(step, devices=None):
    """`pmap_step` as one global program, of a plain state, the whole batch [B, …], plain weights.

    The mesh axis is `Auto`, so that the compiler shards the arguments.
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
    """(params, hr) -> params: `model.data_init` on the batch of all devices; params replicated."""
    init = functools.partial(model.data_init, axis_name=AXIS)
    return jax.pmap(init, axis_name=AXIS)


def check_batch(size: int, micro_batches: int = 1) -> None:
    """UserError unless a global batch of `size` divides over all devices' micro-batches."""
    devices = jax.device_count()
    if size % (devices * micro_batches):
        parts = f"{devices} devices" + (f" × {micro_batches} parts" if micro_batches > 1 else "")
        raise UserError(
            f"a batch of {size} does not divide over {parts}; set train.batch_size to a multiple"
        )


def shard(batch):
    """This process's part of a batch, sharded: [b, …] -> [local devices, b / devices, …]."""
    devices = jax.local_device_count()
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def replicate(tree):
    """`tree` on every device, with the sharding that steps return, so that they compile once."""
    if not jax.tree.leaves(tree):
        return tree
    copy = jax.pmap(lambda tree, _: tree, axis_name=AXIS, in_axes=(None, 0))
    return copy(tree, np.zeros(jax.local_device_count()))


def fetch(tree):
    """A replicated tree as numpy arrays, copied: the next step donates its buffers."""
    return jax.tree.map(lambda x: np.array(x.addressable_data(0)).reshape(x.shape[1:]), tree)


def local_shards(x) -> np.ndarray:
    """The shards of a mapped array on this process's devices: [local devices, …]."""
    if not isinstance(x, jax.Array):
        return x
    parts = sorted(x.addressable_shards, key=lambda part: part.index[0].start or 0)
    return np.concatenate([np.asarray(part.data) for part in parts])
