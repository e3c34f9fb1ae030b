"""A 3×3-and-friends convolution whose weight gradient stays fast inside `lax.scan` on CPUs."""

import functools
import itertools

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


def _kernel_gradient_matmul(x, g, kernel_shape):
    """Σ over bands (images, or rows of one) of [taps·M, pixels]·[pixels, F], all taps at once.

    M are the channels of the narrower of x and g, which is shifted against every tap and lies
    channels first, where such products are fastest; F are those of the other.
    """
    kh, kw, channels, outputs = kernel_shape
    b, h, w, _ = x.shape
    if not x.size:
        return jnp.zeros(kernel_shape, x.dtype)
    moved, fixed = (g, x) if outputs < channels else (x, g)
    columns = lax.optimization_barrier(_channels_first(moved, kh, kw))
    images = _divisor(b, BAND // (h * w))
    rows = _divisor(h, BAND // (images * w))
    wide = jnp.promote_types(x.dtype, jnp.float32)

    def add(total, band):
        pixels, image, top = band
        shape = (len(columns), images, rows, w)
        shifts = [
            lax.dynamic_slice(columns, (0, image, top + u, 0), shape, allow_negative_indices=False)
            for u in range(kh)
        ]
        shifted = jnp.concatenate(shifts).reshape(-1, len(pixels))
        return total + jnp.matmul(shifted, pixels, preferred_element_type=wide), None

    zero = jnp.zeros((kh * kw * moved.shape[-1], fixed.shape[-1]), wide)
    corners = np.mgrid[0:b:images, 0:h:rows].reshape(2, -1)
    bands = fixed.reshape(-1, images * rows * w, fixed.shape[-1]), *corners
    total, _ = lax.scan(add, zero, bands, unroll=2)  # a little faster than one at a time
    total = total.reshape(kh, kw, moved.shape[-1], -1)
    if moved is g:
        total = jnp.flip(total, (0, 1)).swapaxes(2, 3)
    return total.astype(x.dtype)


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


def _transposed(kernel):
    """The kernel whose convolution is the gradient of `kernel`'s with respect to its input."""
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def _gradients_on_cpu(x, kernel, g):
    return _on_cpu(g, _transposed(kernel)), _kernel_gradient_matmul(x, g, kernel.shape)


def _gradients_natively(x, kernel, g):
    return _native(g, _transposed(kernel)), _kernel_gradient_native(x, g, kernel.shape)


def _backward(residuals, g):
    return lax.platform_dependent(*residuals, g, cpu=_gradients_on_cpu, default=_gradients_natively)


conv2d.defvjp(_forward, _backward)

SLOPE = 0.2


def leaky_relu(x):
    """x where x > 0, else 0.2·x; its slope at 0 is 0.2, as in PyTorch."""
    return jnp.where(x > 0, x, SLOPE * x)


def _dense(x, kernels, biases):
    """(what `dense_convolutions` returns, all that its last convolution reads)."""
    widths = [kernel.shape[-1] for kernel in kernels]
    sums, maps, start = list(biases), [], 0
    for i in range(len(kernels)):
        maps.append(x)
        stop = start + x.shape[-1]
        readers = jnp.concatenate([kernel[:, :, start:stop] for kernel in kernels[i:]], -1)
        edges = list(itertools.accumulate(widths[i:-1]))
        pieces = jnp.split(conv2d(x, readers), edges, -1)
        sums[i:] = [total + piece for total, piece in zip(sums[i:], pieces, strict=True)]
        x, start = leaky_relu(sums[i]).astype(x.dtype), stop
    return sums[-1], jnp.concatenate(maps, -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def dense_convolutions(x, kernels, biases, remat=False):
    """y_i = conv2d([x, a_1, …, a_{i−1}], kernel_i) + bias_i, a_i = leaky_relu(y_i); the last y_i.

    [B, H, W, C] -> [B, H, W, O], the O of the last kernel. Forward, each map is convolved once,
    with the kernels of all its later readers side by side, and the results accumulate; backward,
    each gradient once, to all the maps that its convolution read: the arithmetic of convolving
    concatenations, in fewer and wider products. With `remat` gradients keep x alone and compute
    the a_i again, which takes no part of the last convolution. Reverse mode only.
    """
    return _dense(x, kernels, biases)[0]


def _dense_forward(x, kernels, biases, remat):
    y, maps = _dense(x, kernels, biases)
    return y, (x if remat else maps, kernels, biases)


def _maps_again(x, kernels, biases):
    """All that the last convolution reads, without that convolution."""
    last, maps = _dense(x, kernels[:-1], biases[:-1])
    return jnp.concatenate([maps, leaky_relu(last).astype(x.dtype)], -1)


def _dense_backward(remat, residuals, g):
    kept, kernels, biases = residuals
    maps = _maps_again(kept, kernels, biases) if remat else kept
    maps = lax.optimization_barrier(maps)  # or XLA joins, and keeps, the parts of every slice
    g_maps, g_kernels, g_biases = 0, [], []
    for kernel, bias in zip(kernels[::-1], biases[::-1], strict=True):
        inputs = kernel.shape[2]
        if g_kernels:
            slope = jnp.where(maps[..., inputs : inputs + kernel.shape[3]] > 0, 1, SLOPE)
            g_maps, g = g_maps[..., :inputs], g_maps[..., inputs:] * slope.astype(g.dtype)
        narrow = g.astype(maps.dtype)
        g_biases.append(g.sum((0, 1, 2)).astype(bias.dtype))
        g_x, g_kernel = _backward((maps[..., :inputs], kernel), narrow)
        g_kernels.append(g_kernel)
        g_maps += g_x.astype(g.dtype)
    return g_maps.astype(maps.dtype), g_kernels[::-1], g_biases[::-1]


dense_convolutions.defvjp(_dense_forward, _dense_backward)
