"""The type and the kernels that the networks' convolutions are computed with."""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from hcflow_jax.kernels import convolution, dense
from hcflow_jax.kernels.convolution import HIGHEST

Dtype = jax.typing.DTypeLike | None


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """How the networks compute their convolutions.

    Attributes:
      dtype: of inputs and kernels; None for the type that they have.
      kernels: "auto" is the kernels for CPUs where JAX's default backend is the CPU, and plain
        JAX elsewhere; "plain" is plain JAX everywhere, as forward-mode differentiation and
        programs lowered for another platform need.
      precision: of the products of plain JAX where they are of float32: HIGHEST is float32; HIGH
        is TensorFloat-32 on GPUs that have it (10 bits of mantissa) and three passes of bfloat16
        on TPUs (16 bits). Gradients have the same. CPUs, and the kernels for them, have float32.
    """

    dtype: Dtype = None
    kernels: Literal["auto", "plain"] = "auto"
    precision: jax.lax.Precision = HIGHEST

    @property
    def _plain(self):
        return self.kernels == "plain" or jax.default_backend() != "cpu"

    def conv2d(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """`convolution.conv2d`, or its plain form."""
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        if self._plain:
            return convolution.plain(x, kernel, self.precision)
        return convolution.conv2d(x, kernel)

    def dense_convolutions(self, x: jax.Array, kernels, biases) -> jax.Array:
        """`dense.dense_convolutions`, or its plain form."""
        x, *kernels = nn.dtypes.promote_dtype(x, *kernels, dtype=self.dtype)
        if self._plain:
            return dense.plain_dense_convolutions(x, kernels, biases, self.precision)
        return dense.dense_convolutions(x, kernels, biases)

    def rrdbs(self, x: jax.Array, kernels, biases, tap: int | None = None, remat: bool = False):
        """`dense.rrdbs`, or its plain form."""
        narrow, *kernels = nn.dtypes.promote_dtype(x, *kernels, dtype=self.dtype)
        x = narrow if self.dtype is None else x
        x = x.astype(jnp.result_type(x, *biases))
        if self._plain:
            return dense.plain_rrdbs(x, kernels, biases, tap, remat, self.precision)
        return dense.rrdbs(x, kernels, biases, tap, remat)
