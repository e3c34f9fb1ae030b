"""Bicubic resizing that reproduces MATLAB's `imresize`, the protocol of super-resolution."""

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import jax


def _cubic(x):
    """Keys' kernel with a = −½ (Keys 1981, equation 4)."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


@functools.lru_cache(maxsize=64)
def _taps(length, target, scale):
    """(indices, weights), both [target, taps]: out[i] = Σ_k weights[i, k]·in[indices[i, k]].

    From `length` to `target` pixels; symmetric borders are in the indices.
    """
    shrink = min(scale, 1.0)
    centre = (np.arange(target) + 0.5) / scale - 0.5
    first = np.floor(centre - 2 / shrink).astype(int)
    indices = first[:, None] + np.arange(math.ceil(4 / shrink) + 2)
    weights = shrink * _cubic(shrink * (centre[:, None] - indices))
    weights /= weights.sum(axis=1, keepdims=True)
    used = np.any(weights != 0, axis=0)
    mirrored = np.mod(indices[:, used], 2 * length)
    return np.minimum(mirrored, 2 * length - 1 - mirrored), weights[:, used]


def _resize_axis(image, axis, target, scale):
    return _weighted(image, axis, *_taps(image.shape[axis], target, scale))


def _weighted(image, axis, indices, weights):
    """Σ_k weights[i, k]·image[indices[i, k]] along an axis."""
    shape = [1] * image.ndim
    shape[axis] = len(indices)
    weights = weights.reshape([*shape, -1])
    out = weights[..., 0] * np.take(image, indices[:, 0], axis)
    for k in range(1, indices.shape[1]):
        out += weights[..., k] * np.take(image, indices[:, k], axis)
    return out


def _axes(scales):
    """Axis of the smaller scale first."""
    return sorted((0, 1), key=lambda axis: scales[axis])


def imresize(
    image: np.ndarray, scale: float | None = None, size: tuple[int, int] | None = None
) -> np.ndarray:
    """MATLAB's imresize(image, scale or size, 'bicubic').

    Separable cubic kernel with a = −½, widened by 1/scale when shrinking (antialiasing), symmetric
    borders; the axis of smaller scale first. Computed in float64.

    Args:
      image: [H, W] or [H, W, C], float of any range or uint8.
      scale: output sides are ⌈scale·side⌉.
      size: (height, width), instead of `scale`.

    Returns:
      An image of the same dtype; uint8 is rounded half up and clamped after each axis, as in
      MATLAB, floats are neither.

    Raises:
      ValueError: neither or both of scale and size are given, or one is not positive; the image
        has another rank or no pixels.
    """
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"an image must be [H, W] or [H, W, C], got shape {image.shape}")
    if (scale is None) == (size is None):
        raise ValueError("imresize takes either a scale or a size")
    if scale is not None:
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"scale must be positive, got {scale}")
        scales = (scale, scale)
        size = tuple(math.ceil(scale * side) for side in image.shape[:2])
    else:
        if min(size) < 1:
            raise ValueError(f"size must be positive, got {size}")
        scales = tuple(new / old for new, old in zip(size, image.shape[:2], strict=True))
    out = image
    for axis in _axes(scales):
        out = _resize_axis(out, axis, size[axis], scales[axis])
        if image.dtype == np.uint8:
            out = np.clip(np.floor(out + 0.5), 0, 255)
    return out.astype(image.dtype)


def scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """(height, width) times `factor`, each rounded, halves up, and at least 1."""
    height, width = (max(1, math.floor(factor * side + 0.5)) for side in size)
    return height, width


class Resized:
    """`imresize(image, size=size)·factor` of which only those rows are computed that are asked for.

    resized[first:last] are rows, in floats of 32 bits where `image` has such, else of 64 bits; they
    equal those of the whole. Whole numbers are not rounded on the way.

    Attributes:
      shape: of the result, whose sides are those of `crop` where it is given.
    """

    def __init__(
        self,
        image: np.ndarray,
        size: tuple[int, int],
        crop: tuple[int, int] | None = None,
        factor: float = 1.0,
    ):
        self.shape = (*(crop or size), *image.shape[2:])
        self._image, self._size, self._factor = image, size, factor
        self._scales = [new / old for new, old in zip(size, image.shape[:2], strict=True)]

    def __getitem__(self, rows: slice) -> np.ndarray:
        image, kept = self._image, slice(*rows.indices(self.shape[0]))
        taps = _taps(len(image), self._size[0], self._scales[0])
        indices, weights = (part[kept] for part in taps)
        first = int(indices.min())
        out = image[first : int(indices.max()) + 1]
        for axis in _axes(self._scales):
            if axis == 0:
                out = _weighted(out, 0, indices - first, weights)
            else:
                out = _resize_axis(out, 1, self._size[1], self._scales[1])
        out = self._factor * out[:, : self.shape[1]]
        return out.astype(np.float32) if image.dtype == np.float32 else out


def bicubic(images: "jax.Array", up: int = 1, down: int = 1) -> "jax.Array":
    """`imresize(image, up / down)` of JAX's arrays: can be jitted, mapped and differentiated.

    Computed in the precision of `images`. JAX's own cubic resizing differs at the borders, and
    equals MATLAB's where the image goes on symmetrically beyond them.

    Args:
      images: [B, H, W, C] floats of any range.

    Returns:
      [B, H·up/down, W·up/down, C].

    Raises:
      ValueError: `images` have another rank, or sides of which H·up/down is no whole number.
    """
    import jax
    import jax.numpy as jnp

    if images.ndim != 4:
        raise ValueError(f"images must be [B, H, W, C], got {images.shape}")
    b, height, width, channels = images.shape
    if height * up % down or width * up % down:
        raise ValueError(f"sides must divide by {down} when multiplied by {up}, got {images.shape}")
    margin = 3 * down
    padded = jnp.pad(images, [(0, 0), (margin, margin), (margin, margin), (0, 0)], "symmetric")
    tall, wide = (side * up // down for side in padded.shape[1:3])
    resized = jax.image.resize(padded, (b, tall, wide, channels), "cubic")
    cut = margin * up // down
    return resized[:, cut : tall - cut, cut : wide - cut]
