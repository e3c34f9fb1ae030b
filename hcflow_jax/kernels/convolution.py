"""2-D convolution for CPUs, with a gradient of its own.

Plain formula: `lax.conv_general_dilated(x, kernel, (1, 1), "SAME", …)`, which is `plain`;
tests/kernels/test_convolution.py holds values and gradients to it.

Where it pays, on two cores: inside `lax.scan`, XLA's gradient with respect to a kernel is about
13 times slower (4.0 against 0.3 s for three RRDBs at 40×40) than the matrix products here; and
wide float32 and float64 convolutions take half the multiplications (`winograd`), which reduces
the time of an iteration of the ×4 network to 0.7 of it.

When: where `Arithmetic.kernels` is "auto" and JAX's default backend is the CPU. Products are of
full precision: CPUs have no faster float32.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from hcflow_jax.kernels import winograd

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
HIGHEST = lax.Precision.HIGHEST

CACHE_BLOCK_PIXELS = 2048
"""Pixels whose features and gradients a core's cache holds: the block of cache blocking."""

VECTOR_CHANNELS = 16
"""Channels up to which a convolution leaves most of a core's vector registers empty: so few outputs
are computed by one matrix product for all taps of the kernel."""

WINOGRAD_MIN_OUTPUTS = 160
"""Output channels from which a convolution is Winograd's. It saves time below as well, but its
transforms take memory to compile, and with small images that is the peak."""

WINOGRAD_MIN_GRADIENT_CHANNELS = 192
"""Input channels from which, for the same reason, gradients by kernels are Winograd's."""

LARGE_BATCH_PIXELS, WINOGRAD_MIN_CHANNELS_LARGE_BATCH = 12_800, 64
"""Pixels of a batch from which running takes more memory than compiling, and both limits there."""


def plain(x: jax.Array, kernel: jax.Array, precision: lax.Precision = HIGHEST) -> jax.Array:
    """`conv2d` by XLA's own convolution, for every platform and for forward mode."""
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=_DIMENSIONS, precision=precision
    )


def _direct(x, kernel):
    """`plain`, computed with one extra row of padding, whose output row is dropped.

    XLA leaves a convolution with more output than input rows to Eigen, others to YNNPACK, which
    runs those with few input channels on one thread.
    """
    kh, kw = kernel.shape[0] // 2, kernel.shape[1] // 2
    padding = ((kh, kh + 1), (kw, kw))
    y = lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=_DIMENSIONS, precision=HIGHEST
    )
    return y[:, :-1]


def _sum_of_shifts(x, kernel):
    """Σ over taps of the shifted x·kernel[tap], all taps' products as one matrix product."""
    kh, kw, channels, outputs = kernel.shape
    b, h, w, _ = x.shape
    wide = jnp.promote_types(x.dtype, jnp.float32)
    columns = kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
    rows = x.reshape(-1, channels)
    shares = jnp.matmul(rows, columns, precision=HIGHEST, preferred_element_type=wide)
    padding = ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0))
    shares = jnp.pad(shares.reshape(b, h, w, columns.shape[1]), padding)
    taps = [(u, v) for u in range(kh) for v in range(kw)]
    return sum(
        shares[:, u : u + h, v : v + w, i * outputs : (i + 1) * outputs]
        for i, (u, v) in enumerate(taps)
    ).astype(x.dtype)


def _pointwise(x, kernel):
    return jnp.einsum("bhwc,co->bhwo", x, kernel[0, 0], precision=HIGHEST)


def _winograd(x, kernel):
    products = map(_direct, winograd.transform_input(x), winograd.transform_kernel(kernel))
    return winograd.transform_output(products, x.shape[2])


def _winograd_fits(x, kernel_shape):
    """Whether Winograd's can do it: 3×3, of four columns or more, precision not below float32."""
    precise = x.dtype in (jnp.float32, jnp.float64)
    return precise and kernel_shape[:2] == (3, 3) and x.shape[2] >= winograd.TILE_COLUMNS


def _winograd_pays(x, channels, limit):
    """Whether Winograd's pays for so many channels; `limit` is that of small batches."""
    large = math.prod(x.shape[:-1]) >= LARGE_BATCH_PIXELS
    return channels >= (min(limit, WINOGRAD_MIN_CHANNELS_LARGE_BATCH) if large else limit)


def _forward(x, kernel):
    kh, kw, channels, outputs = kernel.shape
    if kh == kw == 1:
        return _pointwise(x, kernel)
    if outputs <= min(VECTOR_CHANNELS, channels):
        return _sum_of_shifts(x, kernel)
    pays = channels > VECTOR_CHANNELS and _winograd_pays(x, outputs, WINOGRAD_MIN_OUTPUTS)
    return (_winograd if pays and _winograd_fits(x, kernel.shape) else _direct)(x, kernel)


def _transposed(kernel):
    """The kernel whose convolution is the gradient of `kernel`'s with respect to its input."""
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def _channels_first(image, kh, kw):
    """[B, H, W, C] -> [kw·C, B, H + kh − 1, W]: zero-padded, shifted for each kernel column."""
    padding = ((0, 0), (0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2))
    padded = jnp.pad(image.transpose(3, 0, 1, 2), padding)
    return jnp.concatenate([padded[..., v : v + image.shape[2]] for v in range(kw)])


def _largest_divisor(number, limit):
    """The largest divisor of `number` up to `limit`, at least 1."""
    return max(d for d in range(1, number + 1) if number % d == 0 and (d == 1 or d <= limit))


def _shifted_products(columns, fixed, shape, block_pixels):
    """products[p, u, m, n] = Σ_{b,i,j} columns[p, m, b, i + u, j]·fixed[p, (b, i, j), n].

    Cache blocking: summed over blocks (images, or rows of one) of about `block_pixels` pixels.

    Args:
      columns: [P, M, B, H + rows − 1, W], channels first, as these products are fastest.
      fixed: [P, B·H·W, N or more], whose first N channels are read in place.
      shape: (rows, N) -> [P, rows, M, N].
    """
    (rows, width), (parts, channels, b, padded, w) = shape, columns.shape
    h = padded - rows + 1
    images = _largest_divisor(b, block_pixels // (h * w))
    lines = _largest_divisor(h, block_pixels // (images * w))
    pixels = images * lines * w
    wide = jnp.promote_types(columns.dtype, jnp.float32)
    take = partial(lax.dynamic_slice, allow_negative_indices=False)
    columns = lax.optimization_barrier(columns)

    def add(total, corner):
        image, top = corner
        size = (parts, channels, images, lines, w)
        shifts = [take(columns, (0, 0, image, top + u, 0), size) for u in range(rows)]
        shifted = jnp.concatenate(shifts, 1).reshape(parts, rows * channels, pixels)
        block = take(fixed, (0, (image * h + top) * w, 0), (parts, pixels, width))
        product = jnp.matmul(shifted, block, precision=HIGHEST, preferred_element_type=wide)
        return total + product, None

    zero = jnp.zeros((parts, rows * channels, width), wide)
    corners = tuple(np.mgrid[0:b:images, 0:h:lines].reshape(2, -1))
    total, _ = lax.scan(add, zero, corners, unroll=2)  # a little faster than one at a time
    return total.reshape(parts, rows, channels, width).astype(columns.dtype)


def _kernel_gradient_matmul(x, g, kernel_shape):
    """∂/∂kernel from g of conv2d(x[..., :C], kernel), by `_shifted_products` of x and g.

    Whichever has fewer channels is copied and shifted; the other is read in place.
    """
    kh, kw, channels, outputs = kernel_shape
    if not x.size:
        return jnp.zeros(kernel_shape, x.dtype)
    wider = outputs > channels
    moved, fixed, width = (x[..., :channels], g, outputs) if wider else (g, x, channels)
    columns, rows = _channels_first(moved, kh, kw)[None], fixed.reshape(1, -1, fixed.shape[-1])
    products = _shifted_products(columns, rows, (kh, width), CACHE_BLOCK_PIXELS)
    products = products.reshape(kh, kw, -1, width)
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
    """The transpose of Winograd's output transform, of x: [B, H, W, C] -> [6, B·H·⌈W/4⌉, C]."""

    def join(parts):
        return winograd.transform_output(parts, x.shape[2])

    (parts,) = jax.linear_transpose(join, jax.eval_shape(winograd.transform_input, x))(x)
    return jnp.stack(parts).reshape(len(parts), -1, x.shape[-1])


def _kernel_gradient_winograd(rows, g, kernel_shape):
    """`_kernel_gradient_matmul` in Winograd's form; `rows` = _split_rows(x)."""
    kh, kw, channels, outputs = kernel_shape
    parts = [_channels_first(part, kh, 1)[None] for part in winograd.transform_input(g)]
    block_pixels = CACHE_BLOCK_PIXELS // winograd.TILE_COLUMNS
    products = _shifted_products(jnp.concatenate(parts), rows, (kh, channels), block_pixels)
    swapped = jax.ShapeDtypeStruct((kh, kw, outputs, channels), products.dtype)
    transpose = jax.linear_transpose(winograd.transform_kernel, swapped)
    (gradient,) = transpose(tuple(products[:, :, None]))
    return _transposed(gradient)


def shared_input_vjp(x):
    """(kernel, g) -> gradients of y = conv2d(x[..., :C], kernel) by x[..., :C] and kernel.

    g, [B, H, W, O], is the gradient by y; C is the number of channels that the kernel reads. What
    all kernels need of x is computed once.
    """
    pays = x.size and _winograd_pays(x, x.shape[-1], WINOGRAD_MIN_GRADIENT_CHANNELS)
    fits = pays and _winograd_fits(x, (3, 3))
    rows = _split_rows(x) if fits else None

    def gradients(kernel, g):
        g_x = _forward(g, _transposed(kernel))
        if fits and kernel.shape[:2] == (3, 3):
            return g_x, _kernel_gradient_winograd(rows, g, kernel.shape)
        return g_x, _kernel_gradient_matmul(x, g, kernel.shape)

    return gradients
