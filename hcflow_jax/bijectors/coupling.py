"""Coupling layers: one part of the channels transforms the other, or shifts it."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from hcflow_jax.bijectors.base import Bijector, sum_pixels
from hcflow_jax.bijectors.guard import clamp, unbounded, widen

LOG_SCALE_BOUND = 0.318
"""0.318·atan(·) stays within ±0.5: a bounded scale keeps the inverse well conditioned."""


def interleaved(h):
    """Channels 0, 2, 4, … and 1, 3, 5, … of a network's output: (shift or mean, raw scale)."""
    return h[..., 0::2], h[..., 1::2]


def bounded_log_scale(raw):
    """0.318·atan(2·raw), within ±0.5."""
    return LOG_SCALE_BOUND * jnp.arctan(2 * raw)


@dataclasses.dataclass(frozen=True)
class Coupling(Bijector):
    """What both couplings share: a network that reads part of the channels, and cond.

    Args:
      channels: C of the image.
      split: z1 = the first `split` channels, z2 = the others.
      net: Flax module from [B, H, W, inputs + cond_channels] to the parameters of the map.
      cond_channels: channels of cond, which follows the inputs; 0 when there is none.
      guard: params hold ranges, {"guard": …}, to which the net's inputs are clamped.
    """

    channels: int
    split: int
    net: nn.Module
    cond_channels: int = 0
    guard: bool = False

    @property
    def net_inputs(self) -> int:
        """Channels of the image that the network reads."""
        raise NotImplementedError

    def init(self, rng):
        dummy = jnp.zeros((1, 2, 2, self.net_inputs + self.cond_channels), jnp.float32)
        bounds = {"guard": unbounded(self.net_inputs)} if self.guard else {}
        return {"f": self.net.init(rng, dummy)["params"], **bounds}

    def _read(self, x):
        """What the network reads of the image."""
        raise NotImplementedError

    def _inputs(self, params, z, cond):
        z = clamp(z, params.get("guard"))
        return z if cond is None else jnp.concatenate([z, cond], -1)

    def _apply(self, params, z, cond):
        return self.net.apply({"params": params["f"]}, self._inputs(params, z, cond))

    def data_init(self, params, x, cond=None, *, fit):
        inputs = self._inputs(params, self._read(x), cond)
        _, new = self.net.apply({"params": params["f"]}, inputs, fit=fit, mutable=["params"])
        return super().data_init({**params, "f": new["params"]}, x, cond, fit=fit)

    def observe(self, params, x, cond=None):
        if self.guard:
            params = {**params, "guard": widen(params["guard"], self._read(x))}
        return super().observe(params, x, cond)


class AffineCoupling(Coupling):
    """z1' = z1, z2' = (z2 + t)·exp(s); log_det = Σ s.

    h = net(z1, cond) interleaves: t = h[0::2], s = 0.318·atan(2·h[1::2]), so that the scale stays
    within e^±0.5. net writes 2·(channels − split) channels. (HCFlow, section 3.2; Glow, table 1.)
    """

    @property
    def net_inputs(self) -> int:
        """z1."""
        return self.split

    def _read(self, x):
        return x[..., : self.split]

    def _shift_and_log_scale(self, params, z1, cond):
        shift, raw = interleaved(self._apply(params, z1, cond))
        return shift, bounded_log_scale(raw)

    def forward(self, params, x, cond=None):
        z1, z2 = x[..., : self.split], x[..., self.split :]
        shift, log_scale = self._shift_and_log_scale(params, z1, cond)
        z2 = (z2 + shift) * jnp.exp(log_scale)
        return jnp.concatenate([z1, z2], -1), sum_pixels(log_scale)

    def inverse(self, params, y, cond=None):
        z1, z2 = y[..., : self.split], y[..., self.split :]
        shift, log_scale = self._shift_and_log_scale(params, z1, cond)
        z2 = z2 * jnp.exp(-log_scale) - shift
        return jnp.concatenate([z1, z2], -1), -sum_pixels(log_scale)


class ShiftCoupling(Coupling):
    """z1' = z1 + net(z2, cond), z2' = z2; log_det = 0.

    With split = 3, z1 is what becomes the LR image, shifted by a function of the details z2. net
    writes `split` channels. (HCFlow, section 3.3.)
    """

    @property
    def net_inputs(self) -> int:
        """z2."""
        return self.channels - self.split

    def _read(self, x):
        return x[..., self.split :]

    def _shifted(self, params, x, cond, sign):
        z1, z2 = x[..., : self.split], x[..., self.split :]
        z1 = z1 + sign * self._apply(params, z2, cond)
        return jnp.concatenate([z1, z2], -1), jnp.zeros(x.shape[0], x.dtype)

    def forward(self, params, x, cond=None):
        return self._shifted(params, x, cond, 1)

    def inverse(self, params, y, cond=None):
        return self._shifted(params, y, cond, -1)
