"""A 3×3-and-friends convolution whose weight gradient stays fast inside `lax.scan` on CPUs."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

BAND = 2048
"""Pixels whose features and gradients a core's cache holds."""


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


def _kernel_gradient_native(x, g, kernel_shape):
    kernel = jax.ShapeDtypeStruct(kernel_shape, x.dtype)
    return jax.linear_transpose(lambda k: _native(x, k), kernel)(g)[0]


def _kernel_gradient_taps(padded, g):
    """One matrix product per kernel tap, (x shifted by the tap)ᵀ · g: [kh·kw, C, O]."""
    _, h, w, outputs = g.shape
    wide = jnp.promote_types(g.dtype, jnp.float32)
    taps = [
        jnp.matmul(
            padded[:, u : u + h, v : v + w].reshape(-1, padded.shape[-1]).T,
            g.reshape(-1, outputs),
            preferred_element_type=wide,
        )
        for u in range(padded.shape[1] - h + 1)
        for v in range(padded.shape[2] - w + 1)
    ]
    return jnp.stack(taps)


def _kernel_gradient_matmul(x, g, kernel_shape):
    """`_kernel_gradient_taps` of a small batch, or summed over bands of rows of a large one."""
    kh, kw, channels, outputs = kernel_shape
    b, h, w, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
    if b * h * w <= 4 * BAND:
        return _kernel_gradient_taps(padded, g).reshape(kernel_shape).astype(x.dtype)
    rows = max(r for r in range(1, h + 1) if h % r == 0 and (r == 1 or r * w <= BAND))

    def add(total, i):
        start = (i // (h // rows), i % (h // rows) * rows, 0, 0)
        size = (1, rows + kh - 1, w + kw - 1, channels)
        band = lax.dynamic_slice(padded, start, size)
        return total + _kernel_gradient_taps(
            band, lax.dynamic_slice(g, start, (1, rows, w, outputs))
        ), None

    zero = jnp.zeros((kh * kw, channels, outputs), jnp.promote_types(x.dtype, jnp.float32))
    total, _ = lax.scan(add, zero, jnp.arange(b * (h // rows)))
    return total.reshape(kernel_shape).astype(x.dtype)


@jax.custom_vjp
def conv2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """y[i, j, o] = Σ_{u,v,c} x[i + u − kh//2, j + v − kw//2, c]·kernel[u, v, c, o].

    [B, H, W, C] * [kh, kw, C, O] -> [B, H, W, O]; stride 1, zero padding, odd kernel sizes. XLA's
    CPU backend runs the gradient with respect to a kernel about 13 times too slowly when the
    convolution is the body of a scan; there it is computed as matrix products instead.
    Reverse mode only.
    """
    if kernel.shape[0] == kernel.shape[1] == 1:
        return jnp.einsum("bhwc,co->bhwo", x, kernel[0, 0])
    return lax.platform_dependent(x, kernel, cpu=_one_row_more, default=_native)


def _forward(x, kernel):
    return conv2d(x, kernel), (x, kernel)


def _backward(residuals, g):
    x, kernel = residuals
    g_x = conv2d(g, jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    g_kernel = lax.platform_dependent(
        x,
        g,
        cpu=functools.partial(_kernel_gradient_matmul, kernel_shape=kernel.shape),
        default=functools.partial(_kernel_gradient_native, kernel_shape=kernel.shape),
    )
    return g_x, g_kernel


conv2d.defvjp(_forward, _backward)
