"""The Gaussian density, and a level's prior given its features."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from hcflow_jax.bijectors.base import Bijector, sum_pixels
from hcflow_jax.bijectors.coupling import bounded_log_scale, interleaved
from hcflow_jax.bijectors.guard import clamp, unbounded, widen
from hcflow_jax.kernels import Arithmetic
from hcflow_jax.model.networks import ZeroConv

_GUARDED = ("mean", "log_std")


def gaussian_logp(x: jax.Array, mean=0.0, log_std=0.0) -> jax.Array:
    """log N(x; mean, exp(log_std)²) = −Σ ½((x − mean)·e^−log_std)² + log_std + ½ log 2π.

    Nats, summed over H, W, C: [B, H, W, C] -> [B].
    """
    standard = (x - mean) * jnp.exp(-log_std)
    return sum_pixels(-0.5 * jnp.square(standard) - log_std - 0.5 * math.log(2 * math.pi))


@dataclasses.dataclass(frozen=True)
class ConditionalGaussian(Bijector):
    """a ~ N(mean(u), std(u)²) as the bijector e = (a − mean)·exp(−log_std), e ~ N(0, 1).

    h = zero_conv(u) interleaves: mean = h[0::2], raw = h[1::2]; log_std = raw, or
    0.318·atan(2·raw) when `bounded` (rescaling). log_det = −Σ log_std, so that
    log p(a | u) = log N(e; 0, 1) + log_det. (HCFlow, section 3.3.)

    Args:
      channels: C of a.
      cond_channels: channels of the features u.
      arithmetic: of the convolution.
      guard: params hold ranges, {"guard": {"mean": …, "log_std": …}}, to which both are clamped.
    """

    channels: int
    cond_channels: int
    bounded: bool
    arithmetic: Arithmetic = Arithmetic()
    guard: bool = False

    @property
    def _net(self):
        return ZeroConv(2 * self.channels, self.arithmetic)

    def init(self, rng):
        params = self._net.init(rng, jnp.zeros((1, 2, 2, self.cond_channels), jnp.float32))[
            "params"
        ]
        if self.guard:
            params = {**params, "guard": {name: unbounded(self.channels) for name in _GUARDED}}
        return params

    def _unguarded(self, params, cond):
        weights = {name: array for name, array in params.items() if name != "guard"}
        mean, raw = interleaved(self._net.apply({"params": weights}, cond))
        return mean, bounded_log_scale(raw) if self.bounded else raw

    def distribution(self, params, cond):
        """(mean, log_std) given features [B, H, W, cond_channels]; both [B, H, W, channels]."""
        mean, log_std = self._unguarded(params, cond)
        ranges = params.get("guard", {})
        return clamp(mean, ranges.get("mean")), clamp(log_std, ranges.get("log_std"))

    def observe(self, params, x, cond=None):
        if self.guard:
            met = dict(zip(_GUARDED, self._unguarded(params, cond), strict=True))
            ranges = {name: widen(params["guard"][name], value) for name, value in met.items()}
            params = {**params, "guard": ranges}
        return super().observe(params, x, cond)

    def forward(self, params, x, cond=None):
        mean, log_std = self.distribution(params, cond)
        return (x - mean) * jnp.exp(-log_std), -sum_pixels(log_std)

    def inverse(self, params, y, cond=None):
        mean, log_std = self.distribution(params, cond)
        return mean + jnp.exp(log_std) * y, sum_pixels(log_std)
