"""Residual dense blocks for CPUs, with gradients of their own. (ESRGAN, section 3.1.)

Plain formulas: `y = plain(concatenate([x, a_1, …, a_{i−1}]), kernel_i) + bias_i, a_i =
leaky_relu(y_i)`, which is `plain_dense_convolutions`, and x ← x + 0.2·RDB(RDB(RDB(x))), which is
`plain_rrdbs`; tests/kernels/test_convolution.py and tests/model/test_model.py hold values and
gradients to them.

Where it pays, on two cores: each feature map is convolved once, with the kernels of all
convolutions that read it side by side, in fewer and wider products: 1.3 times as fast forward, 1.3
to 1.9 times backward; residuals are stored once, in place: two RRDBs at 4×80² take 215 instead of
316 MB.

When: where `Arithmetic.kernels` is "auto" and JAX's default backend is the CPU.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax

from hcflow_jax.kernels import buffers
from hcflow_jax.kernels.convolution import HIGHEST, conv2d, plain, shared_input_vjp

LEAKY_SLOPE = 0.2
"""Slope of LeakyReLU below 0."""

RDBS = 3
"""Residual dense blocks of an RRDB."""

RESIDUAL_SCALE = 0.2
"""Factor of a block's and an RRDB's branch when it is added to its input."""


def leaky_relu(x):
    """x where x > 0, else 0.2·x; its slope at 0 is 0.2, as in PyTorch."""
    return jnp.where(x > 0, x, LEAKY_SLOPE * x)


def _dense(x, kernels, biases):
    """(y, the list of maps that the last convolution reads), y = dense_convolutions(…)."""
    widths = [kernel.shape[-1] for kernel in kernels]
    sums, maps, start = list(biases), [], 0
    for i in range(len(kernels)):
        maps.append(x)
        stop = start + x.shape[-1]
        side_by_side = jnp.concatenate([kernel[:, :, start:stop] for kernel in kernels[i:]], -1)
        edges = list(itertools.accumulate(widths[i:-1]))
        pieces = jnp.split(conv2d(x, side_by_side), edges, -1)
        sums[i:] = [total + piece for total, piece in zip(sums[i:], pieces, strict=True)]
        x, start = leaky_relu(sums[i]).astype(x.dtype), stop
    return sums[-1], maps


def _recomputed_maps(x, kernels, biases):
    """The maps that the last convolution reads, as one array, without that convolution."""
    last, maps = _dense(x, kernels[:-1], biases[:-1])
    return jnp.concatenate([*maps, leaky_relu(last).astype(x.dtype)], -1)


def _materialised(maps):
    """`maps` as one buffer: else XLA concatenates, and keeps, the parts of every slice of it."""
    return lax.optimization_barrier(maps)


def _dense_gradients(stack, i, kernels, biases, g, remat=False):
    """Gradients of `dense_convolutions` with respect to its arguments.

    stack[i] are the maps that its last convolution reads, or with `remat` its input alone, from
    which they are recomputed; `g` is the gradient by its result.
    """
    if remat:
        maps = _recomputed_maps(buffers.at(stack, i), kernels, biases)
        stack, i = _materialised(maps)[None], 0
    vjp = shared_input_vjp(buffers.at(stack, i))
    g_maps, g_kernels, g_biases = 0, [], []
    for kernel, bias in zip(kernels[::-1], biases[::-1], strict=True):
        inputs = kernel.shape[2]
        if g_kernels:
            corner, shape = (i, 0, 0, 0, inputs), (1, *g.shape[:3], kernel.shape[3])
            a = lax.dynamic_slice(stack, corner, shape, allow_negative_indices=False)[0]
            slope = jnp.where(a > 0, 1, LEAKY_SLOPE).astype(g.dtype)
            g_maps, g = g_maps[..., :inputs], g_maps[..., inputs:] * slope
        g_biases.append(g.sum((0, 1, 2)).astype(bias.dtype))
        g_x, g_kernel = vjp(kernel, g.astype(stack.dtype))
        g_kernels.append(g_kernel)
        g_maps += g_x.astype(g.dtype)
    return g_maps.astype(stack.dtype), g_kernels[::-1], g_biases[::-1]


def plain_dense_convolutions(x, kernels, biases, precision=HIGHEST):
    """`dense_convolutions` by its formula, for every platform and for forward mode."""
    maps = x
    for kernel, bias in zip(kernels, biases, strict=True):
        y = plain(maps, kernel, precision) + bias
        maps = jnp.concatenate([maps, leaky_relu(y).astype(x.dtype)], -1)
    return y


@jax.custom_vjp
def dense_convolutions(x, kernels, biases):
    """y_i = conv2d([x, a_1, …, a_{i−1}], kernel_i) + bias_i, a_i = leaky_relu(y_i); the last y_i.

    [B, H, W, C] -> [B, H, W, O], the O of the last kernel; kernels, of the type of x, and biases
    are lists. Forward, each map is convolved once, with the kernels of all convolutions that read
    it side by side, and the results are added; backward, each gradient once, to all the maps that
    its convolution read. In half precision each summand is rounded. Reverse mode only; within
    `shard_map` its gradient needs check_vma=False.
    """
    return _dense(x, kernels, biases)[0]


def _dense_forward(x, kernels, biases):
    y, maps = _dense(x, kernels, biases)
    return y, (jnp.concatenate(maps, -1), kernels, biases)


def _dense_backward(residuals, g):
    maps, kernels, biases = residuals
    return _dense_gradients(_materialised(maps)[None], 0, kernels, biases, g)


dense_convolutions.defvjp(_dense_forward, _dense_backward)


def _per_block(tree):
    """Stacks of [RRDBs, 3, …] as [RRDBs·3, …]: an entry per block."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def _store_maps(stack, i, maps):
    """`stack` with stack[i] = concatenate(maps), written map by map, in place."""
    start = 0
    for x in maps:
        corner = (i, 0, 0, 0, start)
        stack = lax.dynamic_update_slice(stack, x[None], corner, allow_negative_indices=False)
        start += x.shape[-1]
    return stack


def _run_blocks(x, kernels, biases, tap, remat=False, stored=None):
    """(rrdbs(…), `stored` filled with every block's maps, or with its input if `remat`)."""
    count, dtype = len(kernels[0]), kernels[0].dtype
    weights = _per_block((kernels, biases))

    def rdb(carry, i):
        y, stored = carry
        z, maps = _dense(y.astype(dtype), *buffers.at(weights, i))
        if stored is not None:
            stored = _store_maps(stored, i, maps[:1] if remat else maps)
        return (y + RESIDUAL_SCALE * z, stored), None

    def rrdb(carry, n):
        x, tapped, stored = carry
        (y, stored), _ = lax.scan(rdb, (x, stored), RDBS * n + jnp.arange(RDBS))
        x = x + RESIDUAL_SCALE * y
        return (x, None if tap is None else jnp.where(n == tap, x, tapped), stored), None

    tapped = None if tap is None else jnp.zeros_like(x)
    (x, tapped, stored), _ = lax.scan(rrdb, (x, tapped, stored), jnp.arange(count))
    return (tapped, x), stored


def plain_rrdbs(x, kernels, biases, tap=None, remat=False, precision=HIGHEST):
    """`rrdbs` by its formula, for every platform and for forward mode."""
    dtype = kernels[0].dtype

    def rdb(y, weights):
        branch = plain_dense_convolutions(y.astype(dtype), *weights, precision)
        return y + RESIDUAL_SCALE * branch, None

    def rrdb(carry, entry):
        (x, tapped), (n, weights) = carry, entry
        y, _ = lax.scan(rdb, x, weights)
        x = x + RESIDUAL_SCALE * y
        return (x, None if tap is None else jnp.where(n == tap, x, tapped)), None

    start = x, None if tap is None else jnp.zeros_like(x)
    entries = jnp.arange(len(kernels[0])), (kernels, biases)
    (x, tapped), _ = lax.scan(jax.checkpoint(rrdb) if remat else rrdb, start, entries)
    return tapped, x


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def rrdbs(x, kernels, biases, tap=None, remat=False):
    """x ← x + 0.2·RDB(RDB(RDB(x))), RDB(y) = y + 0.2·dense_convolutions(y), one after the other.

    [B, H, W, C] -> (output of RRDB number `tap`, or None; output of the last). Lists of kernels
    [RRDBs, 3, kh, kw, I, O] and biases [RRDBs, 3, O], at least one RRDB. Blocks compute in the
    type of the kernels; x has that of a sum with biases. Residuals are one array, written and
    read in place: the maps of every block, or with `remat` its input alone. Reverse mode only,
    as `dense_convolutions`.
    """
    del remat
    return _run_blocks(x, kernels, biases, tap)[0]


def _rrdbs_forward(x, kernels, biases, tap, remat):
    reader = kernels[0 if remat else -1]  # the convolution that reads all that is stored of a block
    shape = (RDBS * len(reader), *x.shape[:3], reader.shape[-2])
    stored = buffers.unwritten(jax.ShapeDtypeStruct(shape, reader.dtype), x)
    y, stored = _run_blocks(x, kernels, biases, tap, remat, stored)
    return y, (stored, kernels, biases)


def _rrdbs_backward(tap, remat, residuals, g):
    stored, kernels, biases = residuals
    count = len(kernels[0])
    weights = _per_block((kernels, biases))

    def rdb(carry, i):
        g, g_weights = carry
        g_branch = RESIDUAL_SCALE * g
        g_x, *g_block = _dense_gradients(stored, i, *buffers.at(weights, i), g_branch, remat)
        return (g + g_x.astype(g.dtype), buffers.put(g_weights, i, tuple(g_block))), None

    def rrdb(carry, n):
        g, g_weights = carry
        if tap is not None:
            g = g + jnp.where(n == tap, g_tapped, 0)
        indices = RDBS * n + jnp.arange(RDBS)
        (g_y, g_weights), _ = lax.scan(rdb, (RESIDUAL_SCALE * g, g_weights), indices, reverse=True)
        return (g + g_y, g_weights), None

    g_tapped, g = g
    g_weights = buffers.unwritten(weights, g)
    (g, g_weights), _ = lax.scan(rrdb, (g, g_weights), jnp.arange(count), reverse=True)
    return g, *jax.tree.map(lambda x, like: x.reshape(like.shape), g_weights, (kernels, biases))


rrdbs.defvjp(_rrdbs_forward, _rrdbs_backward)
