"""Networks whose products are of rounded numbers, as accelerators compute them; forward only.

`with rounded(products)` replaces the convolutions of models with `kernels="plain"`, in what is
traced inside.
"""

import contextlib
import functools

from jax import lax

from hcflow_jax.kernels import convolution, dense
from hcflow_jax.kernels.convolution import plain

BITS = {"tensorfloat32": 10, "bfloat16": 7}
"""Bits of mantissa that are kept of a float32's 23."""


def nearest(x, kind):
    """`x`, float32, rounded to the nearest of `kind`, ties to even."""
    return lax.reduce_precision(x, exponent_bits=8, mantissa_bits=BITS[kind])


def of(kind, stored=False):
    """Products of operands that are rounded to `kind`; `stored`: their sums are rounded too."""

    def products(x, kernel, precision):
        y = plain(nearest(x, kind), nearest(kernel, kind), precision)
        return nearest(y, kind) if stored else y

    return products


def in_three_passes(x, kernel, precision):
    """Products of x = high + low, both bfloat16, without that of two low ones."""
    split = functools.partial(nearest, kind="bfloat16")
    high, high_kernel = split(x), split(kernel)
    low, low_kernel = split(x - high), split(kernel - high_kernel)
    crossed = plain(low, high_kernel, precision) + plain(high, low_kernel, precision)
    return crossed + plain(high, high_kernel, precision)


@contextlib.contextmanager
def rounded(products):
    """A context in which plain convolutions are `products(x, kernel, precision)`."""
    try:
        convolution.plain = dense.plain = products
        yield
    finally:
        convolution.plain = dense.plain = plain
