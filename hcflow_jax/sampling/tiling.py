"""Pictures of any size through a model, in windows that take little memory and agree."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from hcflow_jax.errors import UserError
from hcflow_jax.model import HCFlow

TILE, HALO = 1024, 64
"""Side of a window and overlap on each of its sides, in pixels of the large picture."""

SIDES, STEP = tuple(128 * n for n in (1, 2, 3, 4, 6, 8)), 512
"""Sides, in pixels of the large picture, that pictures are extended to; beyond the last, multiples
of STEP."""

_BLOCK = 16


@dataclasses.dataclass
class Picture:
    """One picture on its way through a model.

    Attributes:
      pixels: [H, W, C], what the model reads.
      seed, index: of its noise; sample number `index` of `seed`.
      result: [H', W', C], filled in window by window.
      left: windows still to come.
    """

    pixels: np.ndarray
    seed: int = 0
    index: int = 0
    result: np.ndarray | None = None
    left: int = 0


def check_tile(tile: int, scale: int) -> None:
    """UserError when windows of `tile` pixels would be mostly overlap, or do not divide."""
    if tile < 4 * HALO or tile % scale:
        raise UserError(
            f"a tile of {tile} pixels does not work; give {4 * HALO} or more, a multiple of {scale}"
        )


def bucket(side: int) -> int:
    """The side a picture is extended to: few, for few programs, and the same for every tile."""
    return next((s for s in SIDES if side <= s), side + -side % STEP)


def starts(side: int, window: int, halo: int) -> list[int]:
    """Where windows begin: each overlaps the next by 2·halo or more, the last ends at `side`."""
    if side <= window:
        return [0]
    return [*range(0, side - window, window - 2 * halo), side - window]


def latents(model: HCFlow, key: jax.Array, origin: jax.Array, height: int, width: int):
    """N(0, 1) of the window at `origin` (row, column) of an endless LR plane, finest level first.

    Values belong to places of the plane: windows that overlap see the same noise there.
    """
    shapes = model.latent_shapes((1, height, width, model.image_channels))
    return [
        _window_of_noise(jax.random.fold_in(key, i), origin, shape[1] // height, shape[1:])
        for i, shape in enumerate(shapes)
    ]


def _window_of_noise(key, origin, factor, shape):
    """Noise is drawn in blocks of _BLOCK LR pixels, each from its own key."""
    height, width, channels = shape
    block = _BLOCK * factor
    first = origin // _BLOCK

    def draw(row, column):
        own = jax.random.fold_in(jax.random.fold_in(key, row), column)
        return jax.random.normal(own, (block, block, channels), jnp.float32)

    rows, columns = (jnp.arange(-(-side // block) + 1) for side in (height, width))
    blocks = jax.vmap(jax.vmap(draw, (None, 0)), (0, None))(first[0] + rows, first[1] + columns)
    plane = blocks.swapaxes(1, 2).reshape(rows.size * block, columns.size * block, channels)
    row, column = (origin - first * _BLOCK) * factor
    return jax.lax.dynamic_slice(plane, (row, column, jnp.zeros_like(row)), shape)


@dataclasses.dataclass(frozen=True)
class _Window:
    picture: Picture
    origin: tuple[int, int]
    shape: tuple[int, int]
    core: tuple[slice, slice]


def _span(start, begin, end, window, halo):
    """The part of a window that is kept: all but the halo, which only borders keep."""
    return slice(0 if start == begin else halo, window if start == end else window - halo)


def _windows(picture, inputs, tile, halo):
    """Windows of a picture in units of the LR grid; `inputs` pixels are read per unit."""
    height, width = (side // inputs for side in picture.pixels.shape[:2])
    shape = min(height, tile), min(width, tile)
    rows, columns = starts(height, shape[0], halo), starts(width, shape[1], halo)
    return [
        _Window(
            picture,
            (row, column),
            shape,
            (
                _span(row, rows[0], rows[-1], shape[0], halo),
                _span(column, columns[0], columns[-1], shape[1], halo),
            ),
        )
        for row in rows
        for column in columns
    ]


def _begin(picture, inputs, outputs, tile, halo):
    """The windows of a picture, whose result is made ready for them."""
    windows = _windows(picture, inputs, tile, halo)
    height, width, channels = picture.pixels.shape
    size = (height // inputs * outputs, width // inputs * outputs, channels)
    picture.result, picture.left = np.empty(size, np.float32), len(windows)
    return windows


def _crop(window, factor):
    return tuple(
        slice(factor * o, factor * (o + side))
        for o, side in zip(window.origin, window.shape, strict=True)
    )


def _paste(window, values, factor):
    picture = window.picture
    kept = tuple(slice(factor * s.start, factor * s.stop) for s in window.core)
    place = tuple(
        slice(factor * (o + s.start), factor * (o + s.stop))
        for o, s in zip(window.origin, window.core, strict=True)
    )
    picture.result[place] = values[kept]
    picture.left -= 1


def _batch(group, rows, inputs):
    """(pixels, origins, seeds, indices) of windows, the last repeated until there are `rows`."""
    padded = group + group[-1:] * (rows - len(group))
    return (
        np.stack([w.picture.pixels[_crop(w, inputs)] for w in padded]),
        np.array([w.origin for w in padded], np.int32),
        np.array([w.picture.seed for w in padded], np.uint32),
        np.array([w.picture.index for w in padded], np.uint32),
    )


def run(
    apply: Callable,
    pictures: Iterable[Picture],
    *,
    inputs: int,
    outputs: int,
    tile: int,
    halo: int,
    progress: Callable[[int], None] = lambda count: None,
) -> Iterator[Picture]:
    """Pictures with their results, in order; windows of one shape share batches, one a device.

    The next batch is prepared and under way while results of the last are fetched, and pictures
    are asked for while others are worked on.

    Args:
      apply: (pixels [n, h, w, C], origins [n, 2], seeds [n], indices [n]) -> [n, h', w', C],
        split over n local devices.
      inputs, outputs: pixels read and written per unit of the LR grid.
      tile, halo: in units of the LR grid.
      progress: called with the number of windows that became known (positive) or done (negative).
    """
    devices = jax.local_device_count()
    waiting: dict[tuple, list[_Window]] = {}
    order: deque[Picture] = deque()
    flying: deque = deque()

    def launch(shape):
        group = waiting.pop(shape)
        flying.append((group, apply(*_batch(group, devices, inputs))))

    def land():
        group, values = flying.popleft()
        for window, one in zip(group, np.asarray(values), strict=False):
            _paste(window, one, outputs)
        progress(-len(group))

    def finished():
        while order and order[0].left == 0:
            yield order.popleft()

    for picture in pictures:
        windows = _begin(picture, inputs, outputs, tile, halo)
        order.append(picture)
        progress(len(windows))
        for window in windows:
            waiting.setdefault(window.shape, []).append(window)
            if len(waiting[window.shape]) == devices:
                launch(window.shape)
            if len(flying) > 1:
                land()
        if len(order) > 2 * devices:
            for shape in list(waiting):
                launch(shape)
        yield from finished()
    for shape in list(waiting):
        launch(shape)
    while flying:
        land()
        yield from finished()
