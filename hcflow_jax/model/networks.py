"""The convolutional networks inside the flow, as Flax modules; images [B, H, W, C].

Module and parameter names follow the published checkpoints, except that a level's RRDBs are
stacked (`RRDB_trunks`, see `checkpoints.published`).
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from hcflow_jax.bijectors.base import Fit
from hcflow_jax.kernels import Arithmetic
from hcflow_jax.kernels.dense import RDBS

Initializer = Callable[..., jax.Array]
small_xavier = nn.initializers.variance_scaling(0.01, "fan_avg", "normal")
"""Xavier-normal × 0.1."""

kaiming = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""Uniform ±1/√fan_in (Kaiming-uniform with a = √5)."""


def _stacked(init: Initializer) -> Initializer:
    """Initialises each entry of a leading axis by `init`."""

    def fill(key, shape, dtype):
        keys = jax.random.split(key, shape[0])
        return jax.vmap(lambda key: init(key, shape[1:], dtype))(keys)

    return fill


class ConvWeights(nn.Module):
    """(kernel [*stack, size, size, inputs, outputs], bias [*stack, outputs]), or the kernel alone.

    The parameters of a convolution, which the caller computes; `stack` are leading axes, every
    entry of which is another convolution.
    """

    inputs: int
    outputs: int
    size: int = 3
    use_bias: bool = True
    init: Initializer = small_xavier  # type: ignore[assignment]  # hides Module.init
    uniform_bias: bool = False
    stack: tuple[int, ...] = ()

    @nn.compact
    def __call__(self):
        shape, init = (self.size, self.size, self.inputs, self.outputs), self.init
        for _ in self.stack:
            init = _stacked(init)
        kernel = self.param("kernel", init, (*self.stack, *shape), jnp.float32)
        if not self.use_bias:
            return kernel
        bound = (self.size * self.size * self.inputs) ** -0.5

        def uniform(key, shape, dtype):
            return jax.random.uniform(key, shape, dtype, minval=-bound, maxval=bound)

        bias_init = uniform if self.uniform_bias else nn.initializers.zeros
        return kernel, self.param("bias", bias_init, (*self.stack, self.outputs), jnp.float32)


def _in_scope(module, weights: nn.Module):
    """weights(), with its parameters directly under those of `module`."""
    nn.share_scope(module, weights)
    return weights()


class Conv(nn.Module):
    """conv3×3(x) + bias, with PyTorch's default initialisation."""

    outputs: int
    arithmetic: Arithmetic = Arithmetic()

    @nn.compact
    def __call__(self, x):
        kernel, bias = _in_scope(
            self, ConvWeights(x.shape[-1], self.outputs, init=kaiming, uniform_bias=True)
        )
        return self.arithmetic.conv2d(x, kernel) + bias


class NetActNorm(nn.Module):
    """(x + b)·exp(s) per channel; with `fit`, b and s are first set to those of fit(x)."""

    @nn.compact
    def __call__(self, x, fit: Fit | None = None):
        zeros = nn.initializers.zeros
        bias = self.param("bias", zeros, (x.shape[-1],), jnp.float32)
        logs = self.param("logs", zeros, (x.shape[-1],), jnp.float32)
        if fit is not None:
            fitted = fit(x)
            bias, logs = fitted["bias"], fitted["logs"]
            self.put_variable("params", "bias", bias)
            self.put_variable("params", "logs", logs)
        return (x + bias) * jnp.exp(logs)


class ActNormConv(nn.Module):
    """relu(actnorm(conv(x))), no bias."""

    outputs: int
    size: int
    arithmetic: Arithmetic = Arithmetic()

    @nn.compact
    def __call__(self, x, fit: Fit | None = None):
        kernel = _in_scope(self, ConvWeights(x.shape[-1], self.outputs, self.size, use_bias=False))
        return nn.relu(NetActNorm(name="actnorm")(self.arithmetic.conv2d(x, kernel), fit))


class ZeroConv(nn.Module):
    """(conv3×3(x) + bias)·exp(3·g), g a gain per channel; initially zero. (Glow, section 4.)"""

    outputs: int
    arithmetic: Arithmetic = Arithmetic()

    @nn.compact
    def __call__(self, x):
        kernel, bias = _in_scope(
            self, ConvWeights(x.shape[-1], self.outputs, init=nn.initializers.zeros)
        )
        logs = self.param("logs", nn.initializers.zeros, (self.outputs,), jnp.float32)
        return (self.arithmetic.conv2d(x, kernel) + bias) * jnp.exp(3 * logs)


class FCN(nn.Module):
    """zero-conv3×3 ∘ relu ∘ actnorm ∘ conv1×1 ∘ relu ∘ actnorm ∘ conv3×3: C -> hidden -> outputs.

    `fit` sets the two ActNorms from the data, as `Bijector.data_init` does. (Glow, section 4.)
    """

    hidden: int
    outputs: int
    arithmetic: Arithmetic = Arithmetic()

    @nn.compact
    def __call__(self, x, fit: Fit | None = None):
        x = ActNormConv(self.hidden, 3, self.arithmetic, name="conv1")(x, fit)
        x = ActNormConv(self.hidden, 1, self.arithmetic, name="conv2")(x, fit)
        return ZeroConv(self.outputs, self.arithmetic, name="conv3")(x)


class DenseWeights(nn.Module):
    """(kernels, biases) of a dense block's five convolutions; `stack` as in ConvWeights."""

    inputs: int
    growth: int
    outputs: int
    zero_last: bool = False
    stack: tuple[int, ...] = ()

    @nn.compact
    def __call__(self):
        kernels, biases = [], []
        for i, width in enumerate([self.growth] * 4 + [self.outputs]):
            init = nn.initializers.zeros if self.zero_last and i == 4 else small_xavier
            inputs = self.inputs + i * self.growth
            conv = ConvWeights(inputs, width, init=init, stack=self.stack, name=f"conv{i + 1}")
            kernel, bias = conv()
            kernels.append(kernel)
            biases.append(bias)
        return kernels, biases


class DenseBlock(nn.Module):
    """Four conv3×3 + LeakyReLU(0.2) of `growth` channels, each reading the input and all earlier
    outputs; a fifth, linear, reads everything and writes `outputs` channels.

    It has no ActNorm, so `fit` changes nothing. (ESRGAN, section 3.1.)
    """

    growth: int
    outputs: int
    zero_last: bool = True
    arithmetic: Arithmetic = Arithmetic()

    @nn.compact
    def __call__(self, x, fit: Fit | None = None):
        del fit
        kernels, biases = _in_scope(
            self, DenseWeights(x.shape[-1], self.growth, self.outputs, self.zero_last)
        )
        return self.arithmetic.dense_convolutions(x, kernels, biases)


class RRDBs(nn.Module):
    """`count` RRDBs in a row, x + 0.2·RDB(RDB(RDB(x))) with RDB(x) = x + 0.2·dense_block(x).

    Parameters are stacked on leading axes, [count, 3, …]. [B, H, W, C] -> (output of RRDB number
    `tap`, or None; output of the last). `remat` as in `dense.rrdbs`. (ESRGAN, section 3.1.)
    """

    count: int
    growth: int
    tap: int | None = None
    arithmetic: Arithmetic = Arithmetic()
    remat: bool = False

    @nn.compact
    def __call__(self, x):
        channels = x.shape[-1]
        stack = (self.count, RDBS)
        kernels, biases = DenseWeights(channels, self.growth, channels, stack=stack, name="RDB")()
        return self.arithmetic.rrdbs(x, kernels, biases, self.tap, self.remat)


class FeatureTrunk(nn.Module):
    """f0 = conv_first(c); f1 = trunk0(f0); f2 = conv(trunk1(f1)) + f0.

    [B, H, W, C] -> [B, H, W, 2·features] = (f1, f2) when `both`, else f2 alone: the features that
    a level's conditional steps and prior are conditioned on. (HCFlow, section 3.3.)
    """

    blocks: tuple[int, int]
    features: int
    growth: int
    both: bool
    arithmetic: Arithmetic = Arithmetic()
    remat: bool = False

    @nn.compact
    def __call__(self, c):
        f0 = Conv(self.features, self.arithmetic, name="conv_first")(c)
        tap = self.blocks[0] - 1 if self.both else None
        count = sum(self.blocks)
        trunks = RRDBs(count, self.growth, tap, self.arithmetic, self.remat, name="RRDB_trunks")
        f1, f2 = trunks(f0)
        f2 = Conv(self.features, self.arithmetic, name="trunk_conv1")(f2) + f0
        return jnp.concatenate([f1, f2], -1) if self.both else f2
