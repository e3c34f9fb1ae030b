"""Pictures of any size through a model, in overlapping windows: bounded memory, no seams."""

import dataclasses
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from hcflow_jax import devices
from hcflow_jax.errors import UserError
from hcflow_jax.images import scratch
from hcflow_jax.images.cropping import starts
from hcflow_jax.model import HCFlow

TILE, HALO = 1024, 96
"""Side of a window and its overlap on every side, in pixels of the large picture."""

LEAST_TILE = 256
"""The least side of a window; of 256 the middle 64 are kept."""

BUCKETS, BUCKET_STEP = tuple(128 * n for n in (1, 2, 3, 4, 6, 8)), 64
"""Sides, in pixels of the large picture, that pictures are padded to, so that few programs are
compiled; beyond the last, multiples of BUCKET_STEP, which add no window to those of a side."""

NOISE_BLOCK = 16
"""Side of the squares, in LR pixels, whose noise comes from one key."""


def _one_field():
    return np.ones((1, 1, 1, 1), np.float32)


@dataclasses.dataclass
class TiledPicture:
    """A picture that `run` takes through a model window by window.

    Attributes:
      pixels: [H, W, C], what the model reads; an array, or what gives its parts as one does.
      temperatures: of the noise, [h, w], one for each LR pixel.
      extent: (height, width), in LR pixels, to which it is extended: `pixels` by reflection, their
        edge included, and of temperatures and mix the last row and column. None stands for [h, w].
      seed, indices: of its noise, a mixture of those of the samples number `indices` of `seed`.
      mix: the factors of the mixture, [h or 1, w or 1, K, L or 1].
      keep: for each of the results, a function of a window's floats [h', w', C'] that gives them as
        they are kept, or None; results without one are kept as they are.
      empty: as numpy.empty, makes the arrays that `results` are.
      results: arrays [H', W', C'], filled in window by window, without what extends the picture.
      stale: [h, w], where something changed: only windows that hold such LR pixels are computed.
        None stands for everywhere.
      windows_left: windows whose results are missing.
    """

    pixels: np.ndarray
    temperatures: np.ndarray
    extent: tuple[int, int] | None = None
    seed: int = 0
    indices: tuple[int, ...] = (0,)
    mix: np.ndarray = dataclasses.field(default_factory=_one_field)
    keep: tuple[Callable | None, ...] = ()
    empty: Callable[..., np.ndarray] = np.empty
    results: list[np.ndarray] = dataclasses.field(default_factory=list)
    stale: np.ndarray | None = None
    windows_left: int = 0


def check_tile(tile: int, scale: int) -> None:
    """UserError when `tile` is less than LEAST_TILE pixels, or no multiple of `scale`."""
    if tile < LEAST_TILE or tile % scale:
        raise UserError(
            f"a tile of {tile} pixels does not work; give {LEAST_TILE} or more, a multiple of "
            f"{scale}"
        )


def bucket(side: int) -> int:
    """The side that a picture's side is padded to, of BUCKETS or a multiple of BUCKET_STEP."""
    return next((s for s in BUCKETS if side <= s), side + -side % BUCKET_STEP)


def latents(model: HCFlow, key: jax.Array, origin: jax.Array, height: int, width: int):
    """N(0, 1) latents of the window at `origin` (row, column) of LR pixels, finest level first.

    Each value is a function of `key` and its position in the picture, so that overlapping windows
    have the same noise where they overlap.
    """
    shapes = model.latent_shapes((1, height, width, model.image_channels))
    return [
        _window_of_noise(jax.random.fold_in(key, i), origin, shape[1] // height, shape[1:])
        for i, shape in enumerate(shapes)
    ]


def _window_of_noise(key, origin, factor, shape):
    """Noise of `shape`, at `factor` times the LR resolution, drawn by blocks of NOISE_BLOCK."""
    height, width, channels = shape
    block = NOISE_BLOCK * factor
    first = origin // NOISE_BLOCK

    def draw(row, column):
        block_key = jax.random.fold_in(jax.random.fold_in(key, row), column)
        return jax.random.normal(block_key, (block, block, channels), jnp.float32)

    rows, columns = (jnp.arange(-(-side // block) + 1) for side in (height, width))
    blocks = jax.vmap(jax.vmap(draw, (None, 0)), (0, None))(first[0] + rows, first[1] + columns)
    plane = blocks.swapaxes(1, 2).reshape(rows.size * block, columns.size * block, channels)
    row, column = (origin - first * NOISE_BLOCK) * factor
    return jax.lax.dynamic_slice(plane, (row, column, jnp.zeros_like(row)), shape)


@dataclasses.dataclass(frozen=True)
class _Window:
    picture: TiledPicture
    origin: tuple[int, int]
    shape: tuple[int, int]
    core: tuple[slice, slice]


def _span(start, begin, end, window, halo):
    """The part of a window that is kept: without its halo, except at the picture's borders."""
    return slice(0 if start == begin else halo, window if start == end else window - halo)


def _windows(picture, tile, halo):
    """The windows of a picture, in LR pixels, that are to be computed."""
    height, width = picture.extent or picture.temperatures.shape
    shape = min(height, tile), min(width, tile)
    rows, columns = starts(height, shape[0], 2 * halo), starts(width, shape[1], 2 * halo)
    windows = [
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
    return [w for w in windows if picture.stale is None or picture.stale[_crop(w, 1)].any()]


def count(lr_size: tuple[int, int], scale: int, tile: int = TILE, halo: int = HALO) -> int:
    """How many windows a picture of `lr_size` LR pixels has.

    `tile` and `halo` in pixels of the large picture, whose sides are `scale` times as long.
    """
    sides = [bucket(scale * side) // scale for side in lr_size]
    window, overlap = tile // scale, 2 * -(-halo // scale)
    return math.prod(len(starts(side, min(side, window), overlap)) for side in sides)


def _crop(window, factor):
    return tuple(
        slice(factor * o, factor * (o + side))
        for o, side in zip(window.origin, window.shape, strict=True)
    )


def _cut(array, window, factor=1, mirrored=False):
    """The window of an array, which goes on by reflection or by its last row and column."""
    inside, beyond = [], {}
    for axis, part in enumerate(_crop(window, factor)):
        side = array.shape[axis]
        if part.stop > side:
            index = np.arange(part.start, part.stop) % (2 * side if mirrored else part.stop)
            index = np.minimum(index, 2 * side - 1 - index if mirrored else side - 1)
            part = slice(int(index.min()), int(index.max()) + 1)
            beyond[axis] = index - part.start
        inside.append(part)
    array = array[tuple(inside)]
    for axis, index in beyond.items():
        array = np.take(array, index, axis)
    return array


def _paste(window, values, factors):
    """Puts the inner part of each of a window's results into those of its picture."""
    picture = window.picture
    values = [
        found if keep is None else keep(found)
        for found, keep in itertools.zip_longest(values, picture.keep)
    ]
    if not picture.results:
        height, width = picture.temperatures.shape
        picture.results = [
            picture.empty((height * factor, width * factor, *found.shape[2:]), found.dtype)
            for found, factor in zip(values, factors, strict=True)
        ]
    for result, found, factor in zip(picture.results, values, factors, strict=True):
        source = tuple(slice(factor * s.start, factor * s.stop) for s in window.core)
        target = tuple(
            slice(factor * (o + s.start), factor * (o + s.stop))
            for o, s in zip(window.origin, window.core, strict=True)
        )
        inside = result[target]
        inside[:] = found[source][: inside.shape[0], : inside.shape[1]]
        scratch.release(result)
    picture.windows_left -= 1


def _paste_all(group, values, factors, progress):
    """`_paste` of a batch, which is waited for."""
    fetched = [np.asarray(array) for array in values]
    for i, window in enumerate(group):
        _paste(window, [array[i] for array in fetched], factors)
    progress(-len(group))


def _amplitudes(window):
    """temperature · mix of a window, [h, w, K, L or 1]."""
    picture = window.picture
    return _cut(picture.temperatures, window)[..., None, None] * _cut(picture.mix, window)


def _batch(group, rows, inputs):
    """What `run`'s `apply` takes of windows, the last repeated until there are `rows`."""
    padded = group + group[-1:] * (rows - len(group))
    return (
        np.stack([_cut(w.picture.pixels, w, inputs, mirrored=True) for w in padded]),
        np.stack([_amplitudes(w) for w in padded]),
        np.array([w.origin for w in padded], np.int32),
        np.array([w.picture.seed for w in padded], np.uint32),
        np.array([w.picture.indices for w in padded], np.uint32),
    )


def _rows(windows, local, most):
    """Windows of the batch that holds so many: `local` times a power of 2, at most `most`.

    So that few programs are compiled, and a picture of one window does not cost a whole batch.
    """
    return min(most, local << (-(-windows // local) - 1).bit_length())


def run(
    apply: Callable,
    pictures: Iterable[TiledPicture],
    *,
    inputs: int,
    outputs: tuple[int, ...],
    tile: int,
    halo: int,
    progress: Callable[[int], None] = lambda count: None,
    batch: int = 1,
) -> Iterator[TiledPicture]:
    """Yields the pictures with their results, in order; a batch is `batch` windows per device.

    Windows of one shape, and of mixtures of one shape, share batches, also those of several
    pictures. Reading a picture, dispatching a batch and fetching the results of the last overlap.

    Args:
      apply: (pixels [n, h', w', C], temperatures · mix [n, h, w, K, L or 1], origins [n, 2],
        seeds [n], indices [n, K]) -> arrays [n, h', w', C'], sharded over the local devices.
      inputs, outputs: pixels read, and written of each array, per LR pixel, along a side.
      tile, halo: in LR pixels.
      progress: called with the number of windows added, or, negative, done.
    """
    local = devices.local_count()
    most = local * batch
    queued: dict[tuple, list[_Window]] = {}
    unfinished, in_flight = deque[TiledPicture](), deque[tuple]()

    def dispatch(kind):
        group = queued.pop(kind)
        in_flight.append((group, apply(*_batch(group, _rows(len(group), local, most), inputs))))

    def collect():
        _paste_all(*in_flight.popleft(), outputs, progress)

    def finished():
        while unfinished and unfinished[0].windows_left == 0:
            yield unfinished.popleft()

    for picture in pictures:
        windows = _windows(picture, tile, halo)
        picture.windows_left = len(windows)
        unfinished.append(picture)
        progress(len(windows))
        for window in windows:
            kind = (window.shape, picture.mix.shape[2:])
            queued.setdefault(kind, []).append(window)
            if len(queued[kind]) == most:
                dispatch(kind)
            if len(in_flight) > 1:
                collect()
        if len(unfinished) > 2 * most:
            for kind in list(queued):
                dispatch(kind)
        yield from finished()
    for kind in list(queued):
        dispatch(kind)
    while in_flight:
        collect()
        yield from finished()
