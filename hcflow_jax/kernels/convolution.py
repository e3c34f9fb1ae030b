"""2-D convolution for CPUs, with a gradient of its own.

Plain formula: `lax.conv_general_dilated(x, kernel, (1, 1), "SAME", …)`, which is `plain`;
tests/kernels/test_convolution.py holds values and gradients to it.

Where it pays, on two cores: XLA runs the gradient with respect to a kernel inside `lax.scan` about
13 times too slowly (4.0 against 0.3 s for three RRDBs at 40×40), here it is matrix products; and
wide float32 and float64 convolutions take half the multiplications (`winograd`), which makes
an iteration of the ×4 network 0.7 times as long.

When: where `Arithmetic.kernels` is "auto" and JAX's default backend is the CPU.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from hcflow_jax.kernels import winograd

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

CACHE_BLOCK = 2048
"""Pixels whose features and gradients a core's cache holds: products block by block."""

NARROW = 16
"""Output channels that leave most of a core's vector registers empty: up to here one matrix product
gives every tap's share of an output."""

WINOGRAD_OUTPUTS = 160
"""Output channels from which a convolution is Winograd's. Below, that gains time too, but its sums
take memory to compile, which is the most that small images need."""

WINOGRAD_CHANNELS = 192
"""Channels of an image from which, for the same reason, gradients of its readers are Winograd's."""

LARGE_BATCH, WINOGRAD_CHANNELS_LARGE = 12_800, 64
"""Pixels of a batch that need more memory than compiling does, and what both limits are there."""


def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`conv2d` by XLA's own convolution, for every platform and for forward mode."""
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_DIMENSIONS)


def _one_row_more(x, kernel):
    """`plain` with a row of padding too many, whose result is dropped.

    XLA gives a convolution that grows its image to Eigen and others to YNNPACK, which runs those
    of few input channels on one thread.
    """
    kh, kw = kernel.shape[0] // 2, kernel.shape[1] // 2
    padding = ((kh, kh + 1), (kw, kw))
    y = lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=_DIMENSIONS)
    return y[:, :-1]


def _sum_of_shifts(x, kernel):
    """One matrix product that gives every tap's share of an output, then their shifted sum."""
    kh, kw, channels, outputs = kernel.shape
    b, h, w, _ = x.shape
    wide = jnp.promote_types(x.dtype, jnp.float32)
    columns = kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
    shares = jnp.matmul(x.reshape(-1, channels), columns, preferred_element_type=wide)
    padding = ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0))
    shares = jnp.pad(shares.reshape(b, h, w, columns.shape[1]), padding)
    taps = [(u, v) for u in range(kh) for v in range(kw)]
    return sum(
        shares[:, u : u + h, v : v + w, i * outputs : (i + 1) * outputs]
        for i, (u, v) in enumerate(taps)
    ).astype(x.dtype)


def _pointwise(x, kernel):
    return jnp.einsum("bhwc,co->bhwo", x, kernel[0, 0])


def _winograd(x, kernel):
    products = map(_one_row_more, winograd.split(x), winograd.weights(kernel))
    return winograd.join(products, x.shape[2])


def _winograd_fits(x, kernel_shape):
    """Whether Winograd's sums can stand for columns; in half precision they would err too much."""
    fine = x.dtype in (jnp.float32, jnp.float64)
    return fine and kernel_shape[:2] == (3, 3) and x.shape[2] >= winograd.STEP


def _winograd_pays(x, channels, least):
    """Whether Winograd's pays for so many channels; `least` is the limit for small images."""
    large = math.prod(x.shape[:-1]) >= LARGE_BATCH
    return channels >= (min(least, WINOGRAD_CHANNELS_LARGE) if large else least)


def _forward(x, kernel):
    kh, kw, channels, outputs = kernel.shape
    if kh == kw == 1:
        return _pointwise(x, kernel)
    if outputs <= min(NARROW, channels):
        return _sum_of_shifts(x, kernel)
    pays = channels > NARROW and _winograd_pays(x, outputs, WINOGRAD_OUTPUTS)
    return (_winograd if pays and _winograd_fits(x, kernel.shape) else _one_row_more)(x, kernel)


def _transposed(kernel):
    """The kernel whose convolution is the gradient of `kernel`'s with respect to its input."""
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def _channels_first(image, kh, kw):
    """[kw·C, B, H + kh − 1, W]: `image` as each column of a kernel sees it, padded with zeros."""
    padding = ((0, 0), (0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2))
    padded = jnp.pad(image.transpose(3, 0, 1, 2), padding)
    return jnp.concatenate([padded[..., v : v + image.shape[2]] for v in range(kw)])


def _divisor(number, limit):
    """The largest divisor of `number` up to `limit`, at least 1."""
    return max(d for d in range(1, number + 1) if number % d == 0 and (d == 1 or d <= limit))


def _shifted_products(columns, fixed, shape, band):
    """Σ over bands (images, or rows of one) of [P, rows·M, pixels]·[P, pixels, N], P by P.

    columns, [P, M, B, H + rows − 1, W], which lie channels first because such products are fastest
    so, are shifted against every row of a kernel; `shape` is (rows, N). The first N channels of
    `fixed`, [P, B·H·W, N or more], are read band by band where they are, of about `band` pixels.
    """
    (rows, width), (parts, channels, b, padded, w) = shape, columns.shape
    h = padded - rows + 1
    images = _divisor(b, band // (h * w))
    lines = _divisor(h, band // (images * w))
    pixels = images * lines * w
    wide = jnp.promote_types(columns.dtype, jnp.float32)
    take = partial(lax.dynamic_slice, allow_negative_indices=False)
    columns = lax.optimization_barrier(columns)

    def add(total, corner):
        image, top = corner
        piece = (parts, channels, images, lines, w)
        shifts = [take(columns, (0, 0, image, top + u, 0), piece) for u in range(rows)]
        shifted = jnp.concatenate(shifts, 1).reshape(parts, rows * channels, pixels)
        here = take(fixed, (0, (image * h + top) * w, 0), (parts, pixels, width))
        return total + jnp.matmul(shifted, here, preferred_element_type=wide), None

    zero = jnp.zeros((parts, rows * channels, width), wide)
    corners = tuple(np.mgrid[0:b:images, 0:h:lines].reshape(2, -1))
    total, _ = lax.scan(add, zero, corners, unroll=2)  # a little faster than one at a time
    return total.reshape(parts, rows, channels, width).astype(columns.dtype)


def _kernel_gradient_matmul(x, g, kernel_shape):
    """Of a kernel that read the first channels of x: `_shifted_products` of them and g.

    The narrower is shifted; the other, if that is x, is read where it is.
    """
    kh, kw, channels, outputs = kernel_shape
    if not x.size:
        return jnp.zeros(kernel_shape, x.dtype)
    wider = outputs > channels
    moved, fixed, width = (x[..., :channels], g, outputs) if wider else (g, x, channels)
    columns, rows = _channels_first(moved, kh, kw)[None], fixed.reshape(1, -1, fixed.shape[-1])
    products = _shifted_products(columns, rows, (kh, width), CACHE_BLOCK).reshape(kh, kw, -1, width)
    return products if wider else _transposed(products)


@jax.custom_vjp
def conv2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """y[i, j, o] = Σ_{u,v,c} x[i + u − kh//2, j + v − kw//2, c]·kernel[u, v, c, o].

    [B, H, W, C] * [kh, kw, C, O] -> [B, H, W, O]; stride 1, zero padding, odd kernel sizes.
    Reverse mode only; within `shard_map` its gradient needs check_vma=False.
    """
    return _forward(x, kernel)


def _with_residuals(x, kernel):
    return _forward(x, kernel), (x, kernel)


def _backward(residuals, g):
    x, kernel = residuals
    return _forward(g, _transposed(kernel)), _kernel_gradient_matmul(x, g, kernel.shape)


conv2d.defvjp(_with_residuals, _backward)


def _split_rows(x):
    """What gradients of kernels that read `x` need of it: [6, B·H·⌈W/4⌉, C]."""
    parts = jax.eval_shape(winograd.split, x)
    (parts,) = jax.linear_transpose(lambda parts: winograd.join(parts, x.shape[2]), parts)(x)
    return jnp.stack(parts).reshape(len(parts), -1, x.shape[-1])


def _kernel_gradient_winograd(rows, g, kernel_shape):
    """Of a kernel that read the first channels of the image which `rows` are."""
    kh, kw, channels, outputs = kernel_shape
    columns = jnp.concatenate([_channels_first(part, kh, 1)[None] for part in winograd.split(g)])
    products = _shifted_products(columns, rows, (kh, channels), CACHE_BLOCK // winograd.STEP)
    swapped = jax.ShapeDtypeStruct((kh, kw, outputs, channels), products.dtype)
    (found,) = jax.linear_transpose(winograd.weights, swapped)(tuple(products[:, :, None]))
    return _transposed(found)


def readers(x):
    """(kernel, g) -> gradients of conv2d(x', kernel) with respect to x' and kernel.

    g is that of the result, x' are as many channels of x, from the first, as the kernel reads.
    What several kernels need of x is computed once.
    """
    pays = x.size and _winograd_pays(x, x.shape[-1], WINOGRAD_CHANNELS)
    fits = pays and _winograd_fits(x, (3, 3))
    sums = _split_rows(x) if fits else None

    def gradients(kernel, g):
        g_x = _forward(g, _transposed(kernel))
        if fits and kernel.shape[:2] == (3, 3):
            return g_x, _kernel_gradient_winograd(sums, g, kernel.shape)
        return g_x, _kernel_gradient_matmul(x, g, kernel.shape)

    return gradients
