"""Devices and hosts, which no other module counts; the mapped axis is "data"."""

import abc
import functools
import zlib
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from hcflow_jax.errors import UserError

AXIS = "data"

WAYS = ("pmap", "jit")
"""How a program is spread over devices: by `jax.pmap`, or as one global program by `jax.jit` over
arrays with a NamedSharding. The numbers are the same."""


def connect(coordinator: str = "", processes: int = 0, process: int = 0) -> None:
    """Initialises JAX's distributed runtime; to be called before any device is used.

    Args:
      coordinator: "host:port" of process 0, which all of them reach; "" where JAX can detect the
        cluster (TPU pods, SLURM, Open MPI).
      processes: how many there are.
      process: the number of this one, from 0.
    """
    initialize = functools.partial(
        jax.distributed.initialize, heartbeat_timeout_seconds=45, shutdown_timeout_seconds=60
    )
    if coordinator:
        initialize(coordinator, processes, process)
    else:
        initialize()


def check_agreement(facts: dict[str, str]) -> None:
    """UserError naming the first of {name: value} whose value differs between processes."""
    if jax.process_count() == 1:
        return
    digests = np.array([zlib.crc32(value.encode()) for value in facts.values()], np.int64)
    gathered = multihost_utils.process_allgather(digests)
    for name, values in zip(facts, gathered.T, strict=True):
        if len(set(values.tolist())) > 1:
            raise UserError(f"the processes differ in {name}; start them all alike")


def check_batch(size: int, micro_batches: int = 1) -> None:
    """UserError unless a global batch of `size` divides over all devices' micro-batches."""
    devices = jax.device_count()
    if size % (devices * micro_batches):
        parts = f"{devices} devices" + (f" × {micro_batches} parts" if micro_batches > 1 else "")
        raise UserError(
            f"a batch of {size} does not divide over {parts}; set train.batch_size to a multiple"
        )


def described() -> str:
    """Number, platform and kind of all devices, and how many processes have them."""
    device, processes = jax.devices()[0], jax.process_count()
    hosts = f" of {processes} processes" if processes > 1 else ""
    return f"{jax.device_count()} × {device.platform} ({device.device_kind}){hosts}"


def local_count() -> int:
    """The number of this process's devices."""
    return jax.local_device_count()


def local_memory() -> int | None:
    """Bytes that JAX may take on the smallest of this process's devices.

    None where it has no memory of its own, as a CPU, or does not say.
    """
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    return min((each.get("bytes_limit", 0) for each in stats), default=0) or None


def shares(items: list) -> list[list]:
    """`items`, in groups of one for each device: this process's part of every group.

    Elements are (item, whether it counts): the first of a group fills it up, without counting, so
    that all processes have equally many.
    """
    count, local = jax.device_count(), jax.local_device_count()
    first, parts = jax.process_index() * local, []
    for start in range(0, len(items), count):
        group = [(item, True) for item in items[start : start + count]]
        group += [(items[start], False)] * (count - len(group))
        parts.append(group[first : first + local])
    return parts


class Spread(abc.ABC):
    """Programs and arrays spread over devices, in one of WAYS.

    Args:
      chosen: the devices, of all processes; None for all.
    """

    def __init__(self, chosen=None):
        self._chosen = jax.devices() if chosen is None else list(chosen)
        here = jax.process_index()
        self._local = [device for device in self._chosen if device.process_index == here]

    @abc.abstractmethod
    def step(self, step: Callable) -> Callable:
        """(state, batch, rng, vgg) -> (state, metrics): step(…, axis_name) on every device.

        The state, whose buffers are donated, `vgg` and the results are replicated; the batch is
        that of `shard`. The function returned can be lowered.
        """

    @abc.abstractmethod
    def mapped(self, function: Callable) -> Callable:
        """(replicated, *stacked) -> stacked: function(replicated, *parts) on every device.

        Stacked trees of arrays have a leading axis of this process's devices. `function` may
        reduce over AXIS.
        """

    @abc.abstractmethod
    def replicate(self, tree):
        """`tree` on every device, with the sharding that `step` returns: it is compiled once."""

    @abc.abstractmethod
    def shard(self, batch):
        """This process's part of a batch, [b, …], spread over its devices."""

    @abc.abstractmethod
    def fetch(self, tree):
        """A replicated tree as numpy arrays, copied: the next step donates its buffers."""

    def stacked(self, batch):
        """[b, …] as [local devices, b / devices, …]."""
        return jax.tree.map(lambda x: x.reshape(len(self._local), -1, *x.shape[1:]), batch)


class _Pmap(Spread):
    def _mapped(self, function, **options):
        return jax.pmap(function, axis_name=AXIS, devices=self._chosen, **options)

    def step(self, step):
        mapped = functools.partial(step, axis_name=AXIS)
        return self._mapped(mapped, in_axes=(0, 0, None, 0), donate_argnums=(0,))

    def mapped(self, function):
        return self._mapped(function)

    def replicate(self, tree):
        if not jax.tree.leaves(tree):
            return tree
        copy = self._mapped(lambda tree, _: tree, in_axes=(None, 0))
        return copy(tree, np.zeros(len(self._local)))

    def shard(self, batch):
        return self.stacked(batch)

    def fetch(self, tree):
        return jax.tree.map(lambda x: np.array(x.addressable_data(0)).reshape(x.shape[1:]), tree)


class _Jit(Spread):
    def __init__(self, chosen=None):
        super().__init__(chosen)
        # The axis is Auto, so that the compiler shards the arguments.
        self._mesh = Mesh(np.array(self._chosen), (AXIS,), axis_types=(AxisType.Auto,))
        self._whole, self._split = PartitionSpec(), PartitionSpec(AXIS)

    def _shard_map(self, function, in_specs, out_specs):
        """`check_vma`: gradients stay a device's own until the step averages them."""
        return jax.shard_map(
            function, mesh=self._mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
        )

    def step(self, step):
        specs = (self._whole, self._split, self._whole, self._whole)
        mapped = self._shard_map(functools.partial(step, axis_name=AXIS), specs, self._whole)
        return jax.jit(mapped, donate_argnums=(0,))

    def mapped(self, function):
        def one(whole, *parts):
            found = function(whole, *jax.tree.map(lambda x: x[0], parts))
            return jax.tree.map(lambda x: x[None], found)

        @jax.jit
        def every(whole, *parts):
            specs = (self._whole, *(self._split for _ in parts))
            return self._shard_map(one, specs, self._split)(whole, *parts)

        return lambda whole, *parts: every(whole, *self._placed(parts))

    def replicate(self, tree):
        return jax.device_put(tree, NamedSharding(self._mesh, self._whole))

    def _placed(self, tree):
        """Global arrays of this process's parts; keys and arrays that are global stay."""
        sharding = NamedSharding(self._mesh, self._split)

        def place(x):
            if isinstance(x, jax.Array) and x.sharding == sharding:
                return x
            if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key):
                return jax.random.wrap_key_data(place(np.asarray(jax.random.key_data(x))))
            return jax.make_array_from_process_local_data(sharding, np.asarray(x))

        return jax.tree.map(place, tree)

    def shard(self, batch):
        return self._placed(batch)

    def fetch(self, tree):
        return jax.tree.map(lambda x: np.array(x.addressable_data(0)), tree)


def spread(way: str = "pmap", chosen=None) -> Spread:
    """The `Spread` of one of WAYS."""
    return {"pmap": _Pmap, "jit": _Jit}[way](chosen)


def local_shards(x) -> np.ndarray:
    """The shards of a stacked array on this process's devices: [local devices, …]."""
    if not isinstance(x, jax.Array):
        return x
    parts = sorted(x.addressable_shards, key=lambda part: part.index[0].start or 0)
    return np.concatenate([np.asarray(part.data) for part in parts])


def replicated_locally(params):
    """(params on every device of this process, a function that shards a batch over them)."""
    mesh = jax.make_mesh((local_count(),), (AXIS,), (AxisType.Auto,), devices=jax.local_devices())
    whole, sharded = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), (AXIS,)))
    return jax.device_put(params, whole), functools.partial(jax.device_put, device=sharded)
