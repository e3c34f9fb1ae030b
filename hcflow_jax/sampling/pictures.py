"""Single pictures of any size through a model: what the command line does, as functions.

Pictures are numpy [H, W, 3] in [0, 1]; the model runs jitted on all local devices, compiled once
per window shape.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from importlib import resources
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from hcflow_jax import checkpoints, images
from hcflow_jax.model import HCFlow
from hcflow_jax.sampling import tiling

SHIPPED = {("sr", 4): "sr_x4.npz", ("rescaling", 4): "rescaling_x4.npz"}
"""Files of the weights that ship with the package, by (task, scale)."""


def load(
    path: str | Path | None = None,
    task: str | None = None,
    scale: int | None = None,
    as_trained: bool = False,
) -> tuple[HCFlow, dict]:
    """(model, prepared params) of a checkpoint, or of the shipped weights when `path` is None.

    Args:
      path, as_trained: as `checkpoints.load_model` takes them.
      task, scale: those needed; None accepts the checkpoint's, or stands for "sr" and 4.

    CheckpointError when it holds another task or scale, or when no such weights ship.
    """
    if path is None:
        task, scale = task or "sr", scale or 4
        if (task, scale) not in SHIPPED:
            raise checkpoints.CheckpointError(
                f"no {task} ×{scale} weights ship with hcflow; name others by --checkpoint"
            )
        with resources.as_file(resources.files("hcflow_jax") / "assets") as assets:
            model, params = checkpoints.load_model(assets / SHIPPED[task, scale])
    else:
        model, params = checkpoints.load_model(path, as_trained)
    task, scale = task or model.task, scale or model.scale
    if (model.task, model.scale) != (task, scale):
        found = f"{model.task} ×{model.scale}"
        raise checkpoints.CheckpointError(f"{path} holds a {found} model, not {task} ×{scale}")
    if model.image_channels != 3:
        raise checkpoints.CheckpointError(f"{path} holds a model of grey images, not of RGB ones")
    return model, model.prepare(params)


@partial(jax.jit, static_argnums=0)
def _encode_lr(model, params, hr):
    return jnp.clip(model.encode(params, hr).lr, 0, 1)


@partial(jax.jit, static_argnums=0)
def _decode_windows(model, params, lr, origins, seeds, indices, temperature):
    def draw(origin, seed, index):
        key = jax.random.fold_in(jax.random.key(seed), index)
        return tiling.latents(model, key, origin, *lr.shape[1:3])

    latents = jax.vmap(draw)(origins, seeds, indices)
    return jnp.clip(model.decode(params, lr, [temperature * e for e in latents]), 0, 1)


def _replicated(params):
    """(params on every local device, a function that shards a batch over them)."""
    mesh = jax.make_mesh((jax.local_device_count(),), ("data",), (AxisType.Auto,))
    replicated, sharded = (NamedSharding(mesh, P(*axes)) for axes in ((), ("data",)))
    return jax.device_put(params, replicated), partial(jax.device_put, device=sharded)


def _padded(pixels, factor):
    """`pixels` padded by reflection to sides of `tiling.bucket`.

    `factor`: side of the large picture / side of this one, scale or 1.
    """
    height, width = (tiling.bucket(factor * side) // factor for side in pixels.shape[:2])
    return images.extend(pixels, height, width)


def downscale_all(
    model: HCFlow,
    params,
    pictures: Iterable[np.ndarray],
    tile: int = tiling.TILE,
    halo: int = tiling.HALO,
    progress=lambda count: None,
) -> Iterator[np.ndarray]:
    """The model's LR image, clamped, of each picture: [H, W, 3] -> [⌈H/scale⌉, ⌈W/scale⌉, 3].

    Sides that do not divide are first padded by reflection. Windows have `tile` pixels a side,
    which bounds the memory, and overlap by `halo` on each.
    """
    tiling.check_tile(tile, model.scale)
    params, shard = _replicated(params)
    sizes = deque()

    def padded():
        for hr in pictures:
            sizes.append([-(-side // model.scale) for side in hr.shape[:2]])
            yield tiling.TiledPicture(_padded(hr, 1))

    def apply(pixels, *_):
        return _encode_lr(model, params, shard(pixels))

    grid = {"tile": tile // model.scale, "halo": -(-halo // model.scale)}
    for done in tiling.run(
        apply, padded(), inputs=model.scale, outputs=1, progress=progress, **grid
    ):
        height, width = sizes.popleft()
        yield done.result[:height, :width]


def sample_all(
    model: HCFlow,
    params,
    pictures: Iterable[tuple[np.ndarray, int]],
    temperature: float,
    seed: int = 0,
    tile: int = tiling.TILE,
    halo: int = tiling.HALO,
    progress=lambda count: None,
) -> Iterator[np.ndarray]:
    """A sample, clamped, of each (LR picture, index): [h, w, 3] -> [scale·h, scale·w, 3].

    The noise is a function of seed, index and position in the picture, so that windows agree
    where they overlap. `tile` and `halo` as in `downscale_all`, in pixels of the result.
    """
    tiling.check_tile(tile, model.scale)
    params, shard = _replicated(params)
    sizes = deque()

    def padded():
        for lr, index in pictures:
            sizes.append([model.scale * side for side in lr.shape[:2]])
            yield tiling.TiledPicture(_padded(lr, model.scale), seed, index)

    def apply(*batch):
        return _decode_windows(model, params, *map(shard, batch), temperature)

    grid = {"tile": tile // model.scale, "halo": -(-halo // model.scale)}
    for done in tiling.run(
        apply, padded(), inputs=1, outputs=model.scale, progress=progress, **grid
    ):
        height, width = sizes.popleft()
        yield done.result[:height, :width]


def downscale(model: HCFlow, params, hr: np.ndarray, tile: int = tiling.TILE) -> np.ndarray:
    """`downscale_all` of one picture."""
    return next(downscale_all(model, params, [hr], tile))


def sample(
    model: HCFlow,
    params,
    lr: np.ndarray,
    temperature: float,
    seed: int = 0,
    index: int = 0,
    tile: int = tiling.TILE,
) -> np.ndarray:
    """`sample_all` of one picture: sample number `index` of `seed`.

    The same picture, seed, index and temperature always give the same result.
    """
    return next(sample_all(model, params, [(lr, index)], temperature, seed, tile))
