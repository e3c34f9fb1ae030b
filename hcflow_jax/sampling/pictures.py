"""Single pictures of any size through a model: what the command line does, as functions.

Pictures are numpy [H, W, 3] in [0, 1]; the model runs jitted on all local devices, compiled once
per window shape.
"""

import dataclasses
import functools
import itertools
import math
import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from hcflow_jax import checkpoints, devices
from hcflow_jax.model import HCFlow, NetworkDtype, StepHook
from hcflow_jax.sampling import checking, noise, tiling
from hcflow_jax.sampling.back_projection import back_projected
from hcflow_jax.sampling.checking import Sample
from hcflow_jax.sampling.noise import Noise, Temperature

SHIPPED = {
    ("sr", 2): "sr_x2.npz",
    ("sr", 4): "sr_x4.npz",
    ("sr", 8): "sr_x8.npz",
    ("rescaling", 2): "rescaling_x2.npz",
    ("rescaling", 4): "rescaling_x4.npz",
}
"""Files of the weights that ship with the package, by (task, scale)."""

SHIPPED_FOR_JPEG = {("rescaling", 4): "rescaling_x4_jpeg.npz"}
"""Those whose small pictures may be saved as JPEGs."""

DEFAULT_SCALE = 4
"""Of the weights that ship, where no scale is asked for."""


def shipped_scales(task: str, least: float = 0) -> list[int]:
    """The scales of the weights that ship for a task, of `least` and more, smallest first."""
    return sorted(scale for name, scale in SHIPPED if name == task and scale >= least)


def load(
    path: str | Path | None = None,
    task: str | None = None,
    scale: int | None = None,
    as_trained: bool = False,
    step: StepHook | None = None,
    dtype: NetworkDtype | None = None,
    jpeg: bool = False,
) -> tuple[HCFlow, dict]:
    """(model, prepared params) of a checkpoint, or of the shipped weights when `path` is None.

    Args:
      path, as_trained, step: as `checkpoints.load_model` takes them.
      task, scale: those needed; None accepts the checkpoint's, or stands for "sr" and 4.
      dtype: of the networks' convolutions, in place of the checkpoint's; the field of `HCFlow`.
      jpeg: the shipped weights are those of SHIPPED_FOR_JPEG.

    CheckpointError when it holds another task or scale, or when no such weights ship; UserError
    when there is no such dtype.
    """
    if path is None:
        task, scale = task or "sr", scale or DEFAULT_SCALE
        shipped = SHIPPED_FOR_JPEG if jpeg else SHIPPED
        if (task, scale) not in shipped:
            files = " for JPEGs" if jpeg else ""
            raise checkpoints.CheckpointError(
                f"no {task} ×{scale} weights{files} ship with hcflow; name others by --checkpoint"
            )
        with resources.as_file(resources.files("hcflow_jax") / "assets") as assets:
            model, params = checkpoints.load_model(assets / shipped[task, scale], step=step)
    else:
        model, params = checkpoints.load_model(path, as_trained, step=step)
    task, scale = task or model.task, scale or model.scale
    if (model.task, model.scale) != (task, scale):
        found = f"{model.task} ×{model.scale}"
        raise checkpoints.CheckpointError(f"{path} holds a {found} model, not {task} ×{scale}")
    if model.image_channels != 3:
        raise checkpoints.CheckpointError(f"{path} holds a model of grey images, not of RGB ones")
    if dtype is not None:
        model = dataclasses.replace(model, dtype=dtype)
    return model, model.prepare(params)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _draw_windows(model, size, origins, seeds, indices):
    """N(0, 1) latents of windows of `size`, finest level first."""

    def draw(origin, seed, index):
        key = jax.random.fold_in(jax.random.key(seed), index)
        return tiling.latents(model, key, origin, *size)

    return jax.vmap(draw)(origins, seeds, indices)


@jax.jit
def _mix_windows(amplitudes, fields):
    """Σ_k amplitudes_k·e_k at every level; `fields` are K times what `_draw_windows` gives."""
    levels = list(zip(*fields, strict=True))
    amplitudes = jnp.broadcast_to(amplitudes, (*amplitudes.shape[:4], len(levels)))

    def mixed(i, level):
        scaled = [_spread(amplitudes[..., k, i], e) * e for k, e in enumerate(level)]
        return functools.reduce(operator.add, scaled)

    return [mixed(i, level) for i, level in enumerate(levels)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _decode_windows(model, back_project, params, lr, latents):
    """(samples, back-projected and clamped; `departures` of those of the flow) of windows."""
    hr = model.decode(params, lr, latents)
    return clamped(back_projected(lr, hr, back_project)), checking.departures(lr, hr)


def _sample_windows(model, back_project, params, lr, amplitudes, origins, seeds, indices):
    """`_decode_windows` of the mixture of what is drawn for each of K `indices` [n].

    Programs round differently. As the same two draw and decode whatever the mixture, equal latents
    give equal pixels, to the bit.
    """
    fields = [_draw_windows(model, lr.shape[1:3], origins, seeds, index) for index in indices]
    return _decode_windows(model, back_project, params, lr, _mix_windows(amplitudes, fields))


def _spread(amplitudes, latent):
    """Amplitudes [n, h, w] of LR pixels for a latent [n, f·h, f·w, C]."""
    factor = latent.shape[1] // amplitudes.shape[1]
    return amplitudes.repeat(factor, axis=1).repeat(factor, axis=2)[..., None]


def clamped(image):
    """Clamped to [0, 1]; NaN where a value is not finite, which a clamp would hide."""
    return jnp.where(jnp.isfinite(image), jnp.clip(image, 0, 1), jnp.nan)


def _extent(size, factor):
    """(height, width) of `tiling.bucket` to which a picture is extended.

    `factor`: side of the large picture / side of this one, scale or 1.
    """
    return tuple(tiling.bucket(factor * side) // factor for side in size)


def in_windows(
    apply: Callable,
    arrays: Iterable[np.ndarray],
    model: HCFlow,
    inputs: int,
    outputs: tuple[int, ...],
    tile: int,
    halo: int,
    progress: Callable[[int], None],
    bucketed: bool = False,
    batch: int = 1,
) -> Iterator[list[np.ndarray]]:
    """The results of `tiling.run`, whose arguments these are, for arrays without noise.

    `tile` and `halo` in pixels of the large picture; UserError when `tile` cannot work. `bucketed`
    extends arrays, whose sides are of the large picture, to those of `tiling.bucket`.
    """
    tiling.check_tile(tile, model.scale)

    def pictures():
        for array in arrays:
            size = [-(-side // inputs) for side in array.shape[:2]]
            whole = _extent(array.shape[:2], 1)
            extent = tuple(side // inputs for side in whole) if bucketed else None
            cold = np.broadcast_to(np.float32(0), size)
            yield tiling.TiledPicture(array, cold, extent)

    grid = {"tile": tile // model.scale, "halo": -(-halo // model.scale), "batch": batch}
    done = tiling.run(apply, pictures(), inputs=inputs, outputs=outputs, progress=progress, **grid)
    return (picture.results for picture in done)


class Sampler:
    """Draws and checks samples on all local devices; its arguments are those of `sample_all`."""

    def __init__(
        self,
        model: HCFlow,
        params,
        seed: int = 0,
        tile: int = tiling.TILE,
        halo: int = tiling.HALO,
        check: bool = True,
        back_project: int = 0,
        progress=lambda count: None,
        batch: int = 1,
        empty: Callable[..., np.ndarray] = np.empty,
    ):
        tiling.check_tile(tile, model.scale)
        noise.check_uint32("the seed", seed)
        self.model, self.seed, self._back_project = model, seed, back_project
        self._params, self._shard = devices.replicated_locally(params)
        sides = {"tile": tile // model.scale, "halo": -(-halo // model.scale)}
        self._grid = {**sides, "batch": batch}
        self._progress, self._empty = progress, empty
        self._check = check
        self._limit = checking.LIMIT if check and model.task == "sr" else math.inf

    def picture(
        self,
        lr: np.ndarray,
        temperature: Temperature,
        of: Noise | int,
        code: Callable | None = None,
    ) -> tiling.TiledPicture:
        """What `draw` takes: `lr`, temperatures and mixture, extended to a size of `bucket`.

        ValueError when `lr` is no picture [h, w, 3] of floats, or the mixture is for another size
        or number of levels.
        """
        if lr.ndim != 3 or lr.shape[2] != 3 or not np.issubdtype(lr.dtype, np.floating):
            raise ValueError(
                f"a picture must be floats in [0, 1], [h, w, 3], got {lr.dtype} {lr.shape}"
            )
        of = of if isinstance(of, Noise) else Noise((of,))
        full = (*lr.shape[:2], len(of.indices), len(self.model.levels))
        if any(side not in (1, of_lr) for side, of_lr in zip(of.mix.shape, full, strict=True)):
            raise ValueError(f"a mix for this picture must be {full}, got {of.mix.shape}")
        return tiling.TiledPicture(
            lr,
            noise.stretched(temperature, *lr.shape[:2]),
            _extent(lr.shape[:2], self.model.scale),
            self.seed,
            of.indices,
            of.mix,
            (code, functools.partial(checking.strays, limit=self._limit)),
            self._empty,
        )

    def draw(self, pictures: Iterable[tiling.TiledPicture]) -> Iterator[tiling.TiledPicture]:
        """`tiling.run` of their stale windows; results are [pixels, `checking.strays`]."""
        return self._drawn(pictures, self._progress)

    def _drawn(self, pictures, progress):

        def apply(*batch):
            *arrays, indices = batch
            sharded = *map(self._shard, arrays), [*map(self._shard, indices.T)]
            return _sample_windows(self.model, self._back_project, self._params, *sharded)

        outputs = (self.model.scale, 1)
        return tiling.run(
            apply, pictures, inputs=1, outputs=outputs, progress=progress, **self._grid
        )

    def finish(self, done: tiling.TiledPicture, asked: np.ndarray, free=True) -> Sample:
        """The drawn picture after `checking.mend`, whose arguments these are."""
        if not self._check:
            return Sample(done.results[0], finite=not done.results[1].any())
        return checking.mend(done, asked, self._redraw, free)

    def _redraw(self, picture):
        next(self._drawn([picture], lambda count: None))


def sample_all(
    model: HCFlow,
    params,
    pictures: Iterable[tuple[np.ndarray, int | Noise]],
    temperature: Temperature,
    seed: int = 0,
    tile: int = tiling.TILE,
    halo: int = tiling.HALO,
    check: bool = True,
    back_project: int = 0,
    progress=lambda count: None,
    codes: Iterable[Callable | None] | None = None,
    batch: int = 1,
    empty: Callable[..., np.ndarray] = np.empty,
) -> Iterator[Sample]:
    """A sample, clamped, of each (LR picture, index): [h, w, 3] -> [scale·h, scale·w, 3].

    decode(lr, τ·e), e the noise of (seed, index), or a mixture of those of several indices. It is
    a function of seed, index and position in the picture, so that windows agree where they
    overlap. `tile`, `halo` and `batch` as in `downscale_all`, in pixels of the result.

    Args:
      temperature: τ, from 0 to MAX_TEMPERATURE; or a map of such values, one for each LR pixel,
        of any size [h', w'], which is stretched over each picture. UserError for others.
      check: draw again, colder, where a sample is not finite or, in super-resolution, strays from
        its input, as `checking.mend` does. Without it such pixels are as the network gives them,
        NaN where they are not finite.
      back_project: steps of `back_projection.back_projected` after the flow. They suit
        super-resolution, whose LR images are bicubic's.
      progress: called with the number of windows of a picture (positive), and of windows done
        (negative); those that are drawn again are not counted.
      codes: for each picture, a function of pixels [h', w', 3], clamped, NaN where they are not
        finite, that gives them as the sample keeps them, in fewer bytes than float32, value by
        value; None keeps floats.
      empty: as numpy.empty, makes the arrays of samples, such as `images.scratch.empty`.
    """
    noise.check_temperature(temperature)
    sampler = Sampler(model, params, seed, tile, halo, check, back_project, progress, batch, empty)
    asked = deque()

    def drawable():
        each = itertools.repeat(None) if codes is None else codes
        for (lr, index), code in zip(pictures, each, strict=False):
            picture = sampler.picture(lr, temperature, index, code)
            asked.append(picture.temperatures)
            yield picture

    for done in sampler.draw(drawable()):
        yield sampler.finish(done, asked.popleft())


def sample(
    model: HCFlow,
    params,
    lr: np.ndarray,
    temperature: Temperature,
    seed: int = 0,
    index: int | Noise = 0,
    tile: int = tiling.TILE,
    check: bool = True,
    back_project: int = 0,
) -> np.ndarray:
    """The pixels of `sample_all` of one picture: sample number `index` of `seed`.

    The same picture, seed, index and temperature always give the same result.
    """
    inputs = [(lr, index)]
    samples = sample_all(
        model,
        params,
        inputs,
        temperature,
        seed,
        tile,
        check=check,
        back_project=back_project,
    )
    return next(samples).pixels
