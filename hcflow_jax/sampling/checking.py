"""Samples held against their input: drawn again, colder, where they strayed from it.

A flow extrapolates on pictures unlike those of its training (lettering, dither), the more the
higher the temperature: specks, blobs, infinity. What it sampled must shrink to what it read.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from hcflow_jax.images.resize import bicubic, imresize
from hcflow_jax.sampling import tiling

LIMIT = 30.0
"""The largest departure, of 255, of a sample that is kept above temperature 0. Photographs reach
24 at temperature 0.8 (experiments/README.md), one-bit noise more than the limit at 1."""

NEIGHBOURHOOD = 5
"""Side, in LR pixels, of the square over which departures are averaged."""

PLACE = tiling.NOISE_BLOCK
"""Side, in LR pixels, of the squares that are drawn again."""

_MARGIN = 4  # LR pixels around a place that its bicubic enlargement may read


@dataclasses.dataclass(frozen=True)
class Sample:
    """A checked sample.

    Attributes:
      pixels: [H, W, 3], clamped to [0, 1]; or as they are kept by what `sample_all` was given.
      colder: share of the picture that was drawn again below the temperature asked for.
      bicubic: share that failed at temperature 0 too, and is the LR image's bicubic enlargement.
      finite: whether the network's result is, everywhere.
      colder_in, bicubic_in: (x, y, width, height) of the least rectangle of the LR image with all
        of either in it; None where there is nothing.
    """

    pixels: np.ndarray
    colder: float = 0.0
    bicubic: float = 0.0
    finite: bool = True
    colder_in: tuple[int, int, int, int] | None = None
    bicubic_in: tuple[int, int, int, int] | None = None


def departures(lr: jax.Array, hr: jax.Array) -> jax.Array:
    """How far HR images, and bicubic enlargements, are from the LR images they were made of.

    √ of the mean, over NEIGHBOURHOOD² LR pixels, of max over channels (255·(shrink(hr) − lr))²,
    where shrink is MATLAB's bicubic imresize.

    Args:
      lr: [n, h, w, C] in [0, 1]; hr: [n, s·h, s·w, C], clamped first.

    Returns:
      [n, h, w, 2]: of `hr`, NaN for LR pixels in which a value of `hr` is not finite; and of the
      LR image's bicubic enlargement, clamped.
    """
    n, h, w, _ = lr.shape
    scale = hr.shape[1] // h
    finite = jnp.isfinite(hr).all(-1).reshape(n, h, scale, w, scale).all((2, 4))
    own = _departure(lr, jnp.nan_to_num(hr))
    return jnp.stack([jnp.where(finite, own, jnp.nan), _departure(lr, bicubic(lr, up=scale))], -1)


def _departure(lr, hr):
    shrunk = bicubic(jnp.clip(hr, 0, 1), down=hr.shape[1] // lr.shape[1])
    square = jnp.square(255 * (shrunk - lr)).max(-1)
    reach = NEIGHBOURHOOD // 2
    square = jnp.pad(square, [(0, 0), (reach, reach), (reach, reach)], "symmetric")
    window, steps = (1, NEIGHBOURHOOD, NEIGHBOURHOOD), (1, 1, 1)
    sums = jax.lax.reduce_window(square, 0.0, jax.lax.add, window, steps, "VALID")
    return jnp.sqrt(sums / NEIGHBOURHOOD**2)


def strays(departures: np.ndarray, limit: float) -> np.ndarray:
    """[h, w, 2]: where departures are beyond the limit; and beyond bicubic's too, if that is more.

    NaN is beyond everything, infinity included.
    """
    own, bicubic = departures[..., 0], departures[..., 1]
    return np.stack([~(own <= limit), ~(own <= np.maximum(limit, bicubic))], axis=-1)


def mend(
    picture: tiling.TiledPicture,
    asked: np.ndarray,
    redraw: Callable[[tiling.TiledPicture], object],
    free: np.ndarray | bool = True,
) -> Sample:
    """The sample `picture`, drawn again at half the temperature, then at 0, where it strayed.

    What strays is a matter of places of the picture, not of windows, so that windows still agree.
    At temperature 0 the network's picture is kept unless it is farther from the input than
    bicubic enlargement is, which then stands there: no temperature would mend it.

    Args:
      picture: with results [pixels, `strays` of them]; its temperatures are lowered.
      asked: temperatures [h, w] that were asked for.
      redraw: computes the stale windows of `picture`.
      free: [h, w], where temperatures may be lowered.
    """
    while True:
        before = picture.temperatures
        near = _places(picture.results[1][..., 0] & (before > 0), reach=1) & free & (before > 0)
        if not near.any():
            break
        picture.temperatures = np.where(near, np.where(before > asked / 2, asked / 2, 0), before)
        picture.stale = near
        redraw(picture)
    hopeless = _places(picture.results[1][..., 1])
    _put_bicubic(picture, hopeless)
    colder = picture.temperatures < asked
    return Sample(
        picture.results[0],
        colder=float(np.mean(colder)),
        bicubic=float(np.mean(hopeless)),
        colder_in=_around(colder),
        bicubic_in=_around(hopeless),
    )


def _around(mask):
    """(x, y, width, height) of the least rectangle with all of a mask in it; None of nothing."""
    if not mask.any():
        return None
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    (y, bottom), (x, right) = ((int(ones[0]), int(ones[-1]) + 1) for ones in (rows, columns))
    return x, y, right - x, bottom - y


def _places(mask, reach=0):
    """`mask` widened to whole places, and by `reach` places more on every side."""
    height, width = mask.shape
    rows, columns = -(-height // PLACE), -(-width // PLACE)
    filled = np.pad(mask, ((0, rows * PLACE - height), (0, columns * PLACE - width)))
    places = np.pad(filled.reshape(rows, PLACE, columns, PLACE).any((1, 3)), reach)
    around = range(2 * reach + 1)
    places = np.any([places[i:, j:][:rows, :columns] for i in around for j in around], axis=0)
    return places.repeat(PLACE, axis=0).repeat(PLACE, axis=1)[:height, :width]


def _put_bicubic(picture, mask):
    """Replaces what is in `mask`, made of whole places, by the bicubic enlargement."""
    pixels, lr = picture.results[0], picture.pixels
    scale = pixels.shape[0] // lr.shape[0]
    for top, left in np.argwhere(mask[::PLACE, ::PLACE]) * PLACE:
        first = max(top - _MARGIN, 0), max(left - _MARGIN, 0)
        around = lr[first[0] : top + PLACE + _MARGIN, first[1] : left + PLACE + _MARGIN]
        large = np.clip(imresize(around, scale), 0, 1)
        y, x = scale * (top - first[0]), scale * (left - first[1])
        target = pixels[scale * top :, scale * left :][: scale * PLACE, : scale * PLACE]
        large = large[y:, x:][: target.shape[0], : target.shape[1]]
        target[:] = large if picture.keep[0] is None else picture.keep[0](large)
