"""JPEG's loss as a function of JAX: what an image is after it was saved as a JPEG and opened again.

As libjpeg computes it (the Independent JPEG Group's standard tables and scaling of quality, its
replicated edges, averaged chroma and "fancy" upsampling). Rounding has the gradient of the identity
("straight-through"), so that networks can learn to write images which survive it.
(ITU-T T.81, annexes A and K; JFIF 1.02.)
"""

import jax
import jax.numpy as jnp
import numpy as np

SUBSAMPLINGS = ("4:4:4", "4:2:0")
"""Chroma at the resolution of luma, and averaged over squares of 2×2 pixels."""

_LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_CHROMA = np.full((8, 8), 99)
_CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

_TO_YCBCR = (
    np.array([[19595, 38470, 7471], [-11059, -21709, 32768], [32768, -27439, -5329]]) / 2**16
)
_TO_RGB = np.array([[65536, 0, 91881], [65536, -22554, -46802], [65536, 116130, 0]]) / 2**16
_MIDDLE = np.array([0.0, 128, 128])
_BIAS = np.array([0.5, 0.5 - 2**-16, 0.5 - 2**-16])  # of rounding, to YCbCr


def _cosines():
    """√8 times the DCT-II of eight values: rows frequencies, columns samples."""
    even = np.array([[8192, 8192], [10703, 4433], [8192, -8192], [4433, -10704]])
    odd = [
        *([11363, 9633, 6437, 2260], [9633, -2259, -11362, -6436]),
        *([6437, -11362, 2261, 9633], [2260, -6436, 9633, -11363]),
    ]
    signs = np.array([[1, 1], [1, -1], [1, 1], [1, -1]])  # of the other half of an even row
    rows = np.zeros((8, 4))
    rows[::2] = np.concatenate([even, (signs[:, 1:] * even)[:, ::-1]], 1)
    rows[1::2] = odd
    mirrored = rows[:, ::-1] * np.where(np.arange(8) % 2, -1, 1)[:, None]
    return np.concatenate([rows, mirrored], 1) / 8192


_COSINES = _cosines()
"""Libjpeg's constants of 13 bits, which keep ties of rounding as they are there."""


def _rounded(x):
    """⌊x + ½⌋, with the gradient of x."""
    return x + jax.lax.stop_gradient(jnp.floor(x + 0.5) - x)


def tables(quality: jax.Array | int) -> jax.Array:
    """The steps of quantisation, luma's and chroma's: qualities [...] -> [..., 2, 8, 8].

    Those of Annex K scaled by 50/q below quality 50, by 2 − q/50 from there on, as libjpeg does.
    """
    quality = jnp.clip(jnp.asarray(quality), 1, 100)[..., None, None, None]
    scale = jnp.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return jnp.clip((np.stack([_LUMA, _CHROMA]) * scale + 50) // 100, 1, 255)


def _quantised(x):
    """x to the nearest whole number, halves away from 0, with the gradient of x."""
    whole = jnp.sign(x) * jnp.floor(jnp.abs(x) + 0.5)
    return x + jax.lax.stop_gradient(whole - x)


def _transformed(blocks, forward):
    """8 times the DCT of 8×8 blocks [B, rows, 8, columns, 8], or of such the inverse, rounded.

    Whole numbers, of quarters between the two axes: that along rows comes first, and last back.
    """
    first, last = "brick,vk->bricv", "ui,bricv->brucv"
    if forward:
        matrix, order, scale = _COSINES, [(first, False), (last, True)], 1 / 4
    else:
        matrix, order, scale = _COSINES.T, [(last, True), (first, False)], 1 / 32
    matrix = matrix.astype(blocks.dtype)
    for scaled, (axes, leads) in zip((4, scale), order, strict=True):
        pair = (matrix, blocks) if leads else (blocks, matrix)
        found = jnp.einsum(axes, *pair, precision=jax.lax.Precision.HIGHEST)
        blocks = _rounded(scaled * found)
    return blocks


def _compressed(plane, table):
    """A plane [B, h, w] of 0…255 with its DCT coefficients rounded to steps [B, 8, 8].

    Blocks beyond the plane's edge hold copies of the edge.
    """
    b, height, width = plane.shape
    padded = jnp.pad(plane, [(0, 0), (0, -height % 8), (0, -width % 8)], "edge")
    rows, columns = (side // 8 for side in padded.shape[1:])
    blocks = padded.reshape(b, rows, 8, columns, 8) - 128
    steps = table[:, None, :, None].astype(plane.dtype)
    found = _quantised(_transformed(blocks, True) / (8 * steps)) * steps
    whole = (_transformed(found, False) + 128).reshape(padded.shape)[:, :height, :width]
    return jnp.clip(whole, 0, 255)


def _halved(plane):
    """Means of 2×2 pixels, halves up and down in turn; to a multiple of 8 columns.

    Beyond the edge are copies of it.
    """
    _, height, width = plane.shape
    plane = jnp.pad(plane, [(0, 0), (0, height % 2), (0, -width % 16)], "edge")
    sums = sum(plane[:, i::2, j::2] for i in (0, 1) for j in (0, 1))
    bias = 1 + np.arange(sums.shape[2]) % 2
    down = jnp.floor((sums + bias) / 4)
    return sums / 4 + jax.lax.stop_gradient(down - sums / 4)


def _doubled(plane, height, width):
    """[B, height, width] of half as many: ¾ of the nearest, ¼ of the next along each axis."""
    plane = plane[:, :, : -(-width // 2)]
    for axis in (1, 2):
        before, after = (jnp.roll(jnp.pad(plane, _edge(axis), "edge"), s, axis) for s in (1, -1))
        inside = [slice(None)] * 3
        inside[axis] = slice(1, -1)
        pairs = [3 * plane + other[tuple(inside)] for other in (before, after)]
        shape = [side * (1 + (i == axis)) for i, side in enumerate(plane.shape)]
        plane = jnp.stack(pairs, axis + 1).reshape(shape)
    bias = np.where(np.arange(plane.shape[2]) % 2, 7, 8)
    down = jnp.floor((plane + bias) / 16)
    found = plane / 16 + jax.lax.stop_gradient(down - plane / 16)
    return found[:, :height, :width]


def _edge(axis):
    return [(1, 1) if i == axis else (0, 0) for i in range(3)]


def compress(images: jax.Array, quality: jax.Array | int, subsampling: str = "4:2:0") -> jax.Array:
    """What RGB images are after they were saved as JPEGs and opened again.

    RGB -> YCbCr in whole numbers, chroma halved where asked, DCT of 8×8 pixels, coefficients
    rounded to multiples of `tables`, and all of it back. The gradient is that of the same without
    rounding; where the result is clamped it is 0.

    Args:
      images: [B, H, W, 3] in [0, 1], of any size; rounded to 8 bits first.
      quality: 1 to 100, one for all or [B].
      subsampling: one of SUBSAMPLINGS.

    Returns:
      [B, H, W, 3], multiples of 1/255 in [0, 1].

    Raises:
      ValueError: another subsampling, or images that are not [B, H, W, 3].
    """
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must be [B, H, W, 3], got {images.shape}")
    if subsampling not in SUBSAMPLINGS:
        raise ValueError(f"subsampling {subsampling!r} is not one of {', '.join(SUBSAMPLINGS)}")
    dtype, (b, height, width, _) = images.dtype, images.shape
    precision = jax.lax.Precision.HIGHEST
    values = _rounded(255 * jnp.clip(images, 0, 1))
    ycbcr = jnp.matmul(values, _TO_YCBCR.T.astype(dtype), precision=precision)
    ycbcr = _rounded(ycbcr + (_MIDDLE + _BIAS - 0.5).astype(dtype))
    steps = jnp.broadcast_to(tables(quality), (b, 2, 8, 8))
    planes = []
    for channel in range(3):
        plane, table = ycbcr[..., channel], steps[:, int(channel > 0)]
        if channel and subsampling == "4:2:0":
            plane = _doubled(_compressed(_halved(plane), table), height, width)
        else:
            plane = _compressed(plane, table)
        planes.append(plane)
    decoded = jnp.stack(planes, -1) - _MIDDLE.astype(dtype)
    rgb = jnp.matmul(decoded, _TO_RGB.T.astype(dtype), precision=precision)
    return jnp.clip(_rounded(rgb), 0, 255) / 255
