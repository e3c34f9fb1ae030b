"""Colours where a picture is transparent."""

import numpy as np

from hcflow_jax.images.padding import pad_reflect
from hcflow_jax.images.resize import imresize


def spread(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The colours, with those that nobody sees replaced by those of the visible pixels nearby.

    out = rgb where alpha > 0. Elsewhere Σ alpha·rgb / Σ alpha over the smallest square of 2^k × 2^k
    pixels, counted from the upper left corner, in which something is visible. Networks mix
    neighbouring pixels: without this, what is hidden (often black) would tint visible edges.

    Args:
      rgb: [H, W, 3] float; alpha: [H, W] in [0, 1].

    Returns:
      [H, W, 3] of the same dtype; zeros where alpha is 0 everywhere.
    """
    weight = alpha[..., None].astype(np.float64)
    filled = _filled(weight * rgb, weight)
    return np.where(alpha[..., None] > 0, rgb, filled).astype(rgb.dtype)


def _filled(total, weight):
    """total / weight where that is not 0, else the value of the next coarser squares."""
    own = total / np.where(weight > 0, weight, 1)
    if np.all(weight > 0) or weight.size == 1:
        return own
    height, width = weight.shape[:2]
    coarse = _filled(_halved(total), _halved(weight))
    coarse = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.where(weight > 0, own, coarse)


def _halved(values):
    """Sums over squares of 2 × 2, zeros beyond the border."""
    height, width = values.shape[:2]
    values = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    return values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]


def resized(alpha: np.ndarray | None, size: tuple[int, int], multiple: int = 1):
    """alpha [H, W], its sides first extended to multiples of `multiple`, by bicubic to `size`."""
    if alpha is None:
        return None
    return imresize(pad_reflect(alpha[..., None], multiple)[..., 0], size=size)
