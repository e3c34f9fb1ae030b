"""Single pictures of any size through a model: what the command line does, as functions.

Pictures are numpy [H, W, 3] in [0, 1]; the model runs jitted on all local devices, compiled once
per window shape.
"""

import math
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
from hcflow_jax.errors import UserError
from hcflow_jax.model import HCFlow
from hcflow_jax.sampling import checking, tiling
from hcflow_jax.sampling.checking import Sample

SHIPPED = {("sr", 4): "sr_x4.npz", ("rescaling", 4): "rescaling_x4.npz"}
"""Files of the weights that ship with the package, by (task, scale)."""

MAX_TEMPERATURE = 2.0
"""The highest temperature of a sample; networks are trained for 1."""


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
    return _clamped(model.encode(params, hr).lr)


@partial(jax.jit, static_argnums=0)
def _decode_windows(model, params, lr, temperatures, origins, seeds, indices):
    """(samples, clamped; their `departures`) of windows."""

    def draw(origin, seed, index):
        key = jax.random.fold_in(jax.random.key(seed), index)
        return tiling.latents(model, key, origin, *lr.shape[1:3])

    latents = jax.vmap(draw)(origins, seeds, indices)
    hr = model.decode(params, lr, [_spread(temperatures, e) * e for e in latents])
    return _clamped(hr), checking.departures(lr, hr)


def _spread(temperatures, latent):
    """Temperatures [n, h, w] of LR pixels for a latent [n, f·h, f·w, C]."""
    factor = latent.shape[1] // temperatures.shape[1]
    return temperatures.repeat(factor, axis=1).repeat(factor, axis=2)[..., None]


def _clamped(image):
    """Clamped to [0, 1]; NaN where a value is not finite, which a clamp would hide."""
    return jnp.where(jnp.isfinite(image), jnp.clip(image, 0, 1), jnp.nan)


def replicated(params):
    """(params on every local device, a function that shards a batch over them)."""
    mesh = jax.make_mesh((jax.local_device_count(),), ("data",), (AxisType.Auto,))
    whole, sharded = (NamedSharding(mesh, P(*axes)) for axes in ((), ("data",)))
    return jax.device_put(params, whole), partial(jax.device_put, device=sharded)


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

    NaN where a value is not finite. Sides that do not divide are first padded by reflection.
    Windows have `tile` pixels a side, which bounds the memory, and overlap by `halo` on each.
    """
    tiling.check_tile(tile, model.scale)
    params, shard = replicated(params)
    sizes = deque()

    def padded():
        for hr in pictures:
            sizes.append([-(-side // model.scale) for side in hr.shape[:2]])
            pixels = _padded(hr, 1)
            shape = [side // model.scale for side in pixels.shape[:2]]
            yield tiling.TiledPicture(pixels, np.zeros(shape, np.float32))

    def apply(pixels, *_):
        return [_encode_lr(model, params, shard(pixels))]

    grid = {"tile": tile // model.scale, "halo": -(-halo // model.scale)}
    for done in tiling.run(
        apply, padded(), inputs=model.scale, outputs=(1,), progress=progress, **grid
    ):
        height, width = sizes.popleft()
        yield done.results[0][:height, :width]


def sample_all(
    model: HCFlow,
    params,
    pictures: Iterable[tuple[np.ndarray, int]],
    temperature: float,
    seed: int = 0,
    tile: int = tiling.TILE,
    halo: int = tiling.HALO,
    check: bool = True,
    progress=lambda count: None,
) -> Iterator[Sample]:
    """A sample, clamped, of each (LR picture, index): [h, w, 3] -> [scale·h, scale·w, 3].

    The noise is a function of seed, index and position in the picture, so that windows agree
    where they overlap. `tile` and `halo` as in `downscale_all`, in pixels of the result.

    Args:
      temperature: 0 to MAX_TEMPERATURE; UserError for others.
      check: draw again, colder, where a sample is not finite or, in super-resolution, strays from
        its input, as `checking.mend` does. Without it such pixels are as the network gives them,
        NaN where they are not finite.
    """
    tiling.check_tile(tile, model.scale)
    check_temperature(temperature)
    params, shard = replicated(params)
    limit = checking.LIMIT if model.task == "sr" else math.inf
    sizes = deque()

    def padded():
        for lr, index in pictures:
            sizes.append(lr.shape[:2])
            pixels = _padded(lr, model.scale)
            temperatures = np.full(pixels.shape[:2], temperature, np.float32)
            yield tiling.TiledPicture(pixels, temperatures, seed, index)

    def apply(*batch):
        return _decode_windows(model, params, *map(shard, batch))

    def draw(pictures):
        sides = {"tile": tile // model.scale, "halo": -(-halo // model.scale)}
        outputs = (model.scale, 1)
        return tiling.run(apply, pictures, inputs=1, outputs=outputs, progress=progress, **sides)

    def redraw(picture):
        return next(draw([picture]))

    for done in draw(padded()):
        size = sizes.popleft()
        if check:
            yield checking.mend(done, size, limit, redraw)
        else:
            height, width = (model.scale * side for side in size)
            yield Sample(done.results[0][:height, :width])


def check_temperature(temperature: float) -> None:
    """UserError unless it is a number from 0 to MAX_TEMPERATURE."""
    if not 0 <= temperature <= MAX_TEMPERATURE:
        raise UserError(
            f"temperature {temperature} is not from 0 to {MAX_TEMPERATURE:g}; full-size networks "
            "look best at 0.8 to 0.9"
        )


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
    check: bool = True,
) -> np.ndarray:
    """The pixels of `sample_all` of one picture: sample number `index` of `seed`.

    The same picture, seed, index and temperature always give the same result.
    """
    inputs = [(lr, index)]
    return next(sample_all(model, params, inputs, temperature, seed, tile, check=check)).pixels
