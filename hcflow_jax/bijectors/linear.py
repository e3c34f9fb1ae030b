"""Linear bijectors: ActNorm and the invertible 1×1 convolution."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hcflow_jax.bijectors.base import Bijector

LEAST_STD = 0.002
"""Below it, half a level of 8 bits, a channel counts as flat; those of photographs have 0.01."""


def fit_actnorm(x, axis_name: str | None = None):
    """b = −mean(x), s = −log(std(x) + 1e-6) per channel, so that (x + b)·exp(s) is normalised.

    A channel that is flat, std(x) < LEAST_STD, keeps its scale, s = 0. Every further ActNorm would
    meet it as flat again, and their product would blow up the first image that is not.

    Args:
      x: [B, H, W, C].
      axis_name: mapped axis over which the batch is sharded.

    Returns:
      {"bias": [C], "logs": [C]}, float32 at least; the mean and the population standard deviation
      of a channel are those over B, H, W and all devices. (Glow, section 3.1.)
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def mean(v):
        v = jnp.mean(v, axis=(0, 1, 2))
        return v if axis_name is None else jax.lax.pmean(v, axis_name)

    centre = mean(x)
    std = jnp.sqrt(mean(jnp.square(x - centre)))
    return {"bias": -centre, "logs": jnp.where(std < LEAST_STD, 0.0, -jnp.log(std + 1e-6))}


@dataclasses.dataclass(frozen=True)
class ActNorm(Bijector):
    """y = (x + b)·exp(s) per channel; log_det = H·W·Σ s.

    params {"bias": b [C], "logs": s [C]}, zero until `data_init` sets them by `fit_actnorm`.
    (Glow, section 3.1.)
    """

    channels: int

    def init(self, rng):
        zeros = jnp.zeros(self.channels, jnp.float32)
        return {"bias": zeros, "logs": zeros}

    def _log_det(self, params, x):
        return jnp.full(x.shape[0], x.shape[1] * x.shape[2] * jnp.sum(params["logs"]))

    def forward(self, params, x, cond=None):
        y = (x + params["bias"]) * jnp.exp(params["logs"])
        return y, self._log_det(params, x)

    def inverse(self, params, y, cond=None):
        x = y * jnp.exp(-params["logs"]) - params["bias"]
        return x, -self._log_det(params, y)

    def data_init(self, params, x, cond=None, *, fit):
        fitted = fit(x)
        return fitted, self.forward(fitted, x)[0]


PREPARED = ("inverse", "log_abs_det")
"""What `prepare` adds to parameters: a function of them, computed on the host."""


@dataclasses.dataclass(frozen=True)
class InvertibleConv1x1(Bijector):
    """y = W x at every pixel, W [C, C] unconstrained; log_det = H·W·log|det W|.

    params {"weight": W}, initially a random orthogonal matrix. `prepare` adds "inverse" = W⁻¹ and
    "log_abs_det", computed in float64, so that neither direction factorises W again. Products
    have full float32 precision on every platform. (Glow, section 3.2.)
    """

    channels: int

    def init(self, rng):
        return {"weight": jax.random.orthogonal(rng, self.channels, dtype=jnp.float32)}

    def prepare(self, params):
        weight = np.asarray(params["weight"], np.float64)
        dtype = params["weight"].dtype
        added = np.linalg.inv(weight), np.linalg.slogdet(weight)[1]
        added = (jnp.asarray(value, dtype) for value in added)
        return {"weight": params["weight"], **dict(zip(PREPARED, added, strict=True))}

    def _log_det(self, params, x):
        if "log_abs_det" in params:
            per_pixel = params["log_abs_det"]
        else:
            per_pixel = jnp.linalg.slogdet(params["weight"])[1]
        return jnp.full(x.shape[0], x.shape[1] * x.shape[2] * per_pixel)

    def forward(self, params, x, cond=None):
        y = jnp.einsum("bhwc,dc->bhwd", x, params["weight"], precision="highest")
        return y, self._log_det(params, x)

    def inverse(self, params, y, cond=None):
        inverse = params["inverse"] if "inverse" in params else jnp.linalg.inv(params["weight"])
        x = jnp.einsum("bhwc,dc->bhwd", y, inverse, precision="highest")
        return x, -self._log_det(params, y)
