"""A 3×3-and-friends convolution whose weight gradient stays fast inside `lax.scan` on CPUs."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

BAND = 2048
"""Pixels whose features and gradients a core's cache holds."""

FEW = 16
"""Output channels that leave most of a core's vector registers empty."""


def _native(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_DIMENSIONS)


def _one_row_more(x, kernel):
    """`_native` with a row of padding too many, whose result is dropped.

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


def _on_cpu(x, kernel):
    kh, kw, channels, outputs = kernel.shape
    if kh == kw == 1:
        return _pointwise(x, kernel)
    return (_sum_of_shifts if outputs <= min(FEW, channels) else _one_row_more)(x, kernel)


def _transposed(kernel):
    """The kernel whose convolution is the gradient of `kernel`'s with respect to its input."""
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def _kernel_gradient_native(x, g, kernel_shape):
    kernel = jax.ShapeDtypeStruct(kernel_shape, x.dtype)
    return jax.linear_transpose(lambda k: _native(x, k), kernel)(g)[0]


def _channels_first(image, kh, kw):
    """[kw·C, B, H + kh − 1, W]: `image` as each column of a kernel sees it, padded with zeros."""
    padding = ((0, 0), (0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2))
    padded = jnp.pad(image.transpose(3, 0, 1, 2), padding)
    return jnp.concatenate([padded[..., v : v + image.shape[2]] for v in range(kw)])


def _divisor(number, limit):
    """The largest divisor of `number` up to `limit`, at least 1."""
    return max(d for d in range(1, number + 1) if number % d == 0 and (d == 1 or d <= limit))


def _shifted_products(moved, fixed, start, size, width):
    """Σ over bands (images, or rows of one) of [taps·M, pixels]·[pixels, width], all taps at once.

    moved, [B, H, W, M], is shifted against every tap and lies channels first, where such products
    are fastest. fixed is [rows, width or more], the first of the B·H·W rows at `start`; its bands
    are read where they are.
    """
    (kh, kw), (b, h, w, channels) = size, moved.shape
    columns = lax.optimization_barrier(_channels_first(moved, kh, kw))
    images = _divisor(b, BAND // (h * w))
    rows = _divisor(h, BAND // (images * w))
    band, shape = images * rows * w, (len(columns), images, rows, w)
    wide = jnp.promote_types(moved.dtype, jnp.float32)
    take = partial(lax.dynamic_slice, allow_negative_indices=False)

    def add(total, corner):
        image, top = corner
        shifts = [take(columns, (0, image, top + u, 0), shape) for u in range(kh)]
        shifted = jnp.concatenate(shifts).reshape(-1, band)
        pixels = take(fixed, (start + (image * h + top) * w, 0), (band, width))
        return total + jnp.matmul(shifted, pixels, preferred_element_type=wide), None

    zero = jnp.zeros((kh * kw * channels, width), wide)
    corners = tuple(np.mgrid[0:b:images, 0:h:rows].reshape(2, -1))
    total, _ = lax.scan(add, zero, corners, unroll=2)  # a little faster than one at a time
    return total.reshape(kh, kw, channels, width).astype(moved.dtype)


def _kernel_gradient_matmul(x, g, kernel_shape, fixed=None, start=0):
    """By `_shifted_products` of the narrower of x and g with the other.

    Where the other is x, `fixed` may hold it already: in its first channels, from row `start`.
    """
    *size, channels, outputs = kernel_shape
    if not x.size:
        return jnp.zeros(kernel_shape, x.dtype)
    if outputs >= channels:
        return _shifted_products(x, g.reshape(-1, outputs), 0, size, outputs)
    fixed = x.reshape(-1, channels) if fixed is None else fixed
    return _transposed(_shifted_products(g, fixed, start, size, channels))


@jax.custom_vjp
def conv2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """y[i, j, o] = Σ_{u,v,c} x[i + u − kh//2, j + v − kw//2, c]·kernel[u, v, c, o].

    [B, H, W, C] * [kh, kw, C, O] -> [B, H, W, O]; stride 1, zero padding, odd kernel sizes. XLA's
    CPU backend runs the gradient with respect to a kernel about 13 times too slowly when the
    convolution is the body of a scan; there it is computed as matrix products instead.
    Reverse mode only; within `shard_map` its gradient needs check_vma=False.
    """
    if kernel.shape[0] == kernel.shape[1] == 1:
        return _pointwise(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=_on_cpu, default=_native)


def _forward(x, kernel):
    return conv2d(x, kernel), (x, kernel)


def _gradients_on_cpu(x, kernel, g):
    return _on_cpu(g, _transposed(kernel)), _kernel_gradient_matmul(x, g, kernel.shape)


def _gradients_natively(x, kernel, g):
    return _native(g, _transposed(kernel)), _kernel_gradient_native(x, g, kernel.shape)


def _backward(residuals, g):
    return lax.platform_dependent(*residuals, g, cpu=_gradients_on_cpu, default=_gradients_natively)


def _stacked_gradients_on_cpu(stack, i, kernel, g):
    x, fixed = _read(stack, i, kernel), stack.reshape(-1, stack.shape[-1])
    g_kernel = _kernel_gradient_matmul(x, g, kernel.shape, fixed, i * math.prod(g.shape[:3]))
    return _on_cpu(g, _transposed(kernel)), g_kernel


def _stacked_gradients_natively(stack, i, kernel, g):
    return _gradients_natively(_read(stack, i, kernel), kernel, g)


def _read(stack, i, kernel):
    return lax.dynamic_index_in_dim(stack, i, keepdims=False)[..., : kernel.shape[2]]


def stacked_gradients(stack, i, kernel, g):
    """Gradients of conv2d(x, kernel) with respect to x and kernel, from that of its result.

    x, which is not copied on CPUs, are as many channels of stack[i], from the first, as the kernel
    reads: [N, B, H, W, channels or more].
    """
    on_cpu, natively = _stacked_gradients_on_cpu, _stacked_gradients_natively
    return lax.platform_dependent(stack, i, kernel, g, cpu=on_cpu, default=natively)


conv2d.defvjp(_forward, _backward)
