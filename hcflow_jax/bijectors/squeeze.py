"""Bijectors that only move pixels: the two squeezes and the channel split."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from hcflow_jax.bijectors.base import Bijector

HAAR_SIGNS = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
"""[band, position]: the sign of each pixel (dy, dx), row-major, in each Haar band."""


def _blocks(x):
    """[B, H, W, C] -> [B, H/2, W/2, C, 4]; the last axis is the 2×2 block, row by row."""
    b, h, w, c = x.shape
    if h % 2 or w % 2:
        raise ValueError(f"squeeze needs an even height and width, got {h}×{w}")
    x = x.reshape(b, h // 2, 2, w // 2, 2, c)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(b, h // 2, w // 2, c, 4)


def _unblocks(x):
    """The inverse of `_blocks`."""
    b, h, w, c, _ = x.shape
    x = x.reshape(b, h, w, c, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(b, 2 * h, 2 * w, c)


def _check_channels(y):
    if y.shape[-1] % 4:
        raise ValueError(f"unsqueeze needs channels divisible by 4, got {y.shape[-1]}")


@dataclasses.dataclass(frozen=True)
class CheckerboardSqueeze(Bijector):
    """y[i, j, 4c + 2dy + dx] = x[2i + dy, 2j + dx, c]; log_det = 0.

    [B, H, W, C] -> [B, H/2, W/2, 4C]. ValueError when H or W is odd. (RealNVP, section 3.6.)
    """

    def init(self, rng):
        return {}

    def forward(self, params, x, cond=None):
        b, h, w, c = x.shape
        return _blocks(x).reshape(b, h // 2, w // 2, 4 * c), jnp.zeros(b, x.dtype)

    def inverse(self, params, y, cond=None):
        _check_channels(y)
        b, h, w, c = y.shape
        return _unblocks(y.reshape(b, h, w, c // 4, 4)), jnp.zeros(b, y.dtype)


@dataclasses.dataclass(frozen=True)
class HaarSqueeze(Bijector):
    """y[i, j, band·C + c] = ¼ Σ sign[band, 2dy + dx]·x[2i + dy, 2j + dx, c].

    [B, H, W, C] -> [B, H/2, W/2, 4C]; log_det = −(HW/4)·C·log 16. Band 0 is the mean of the
    block. ValueError when H or W is odd. (HCFlow, section 3.3; IRN, section 3.2.)
    """

    def init(self, rng):
        return {}

    def forward(self, params, x, cond=None):
        b, h, w, c = x.shape
        signs = jnp.asarray(HAAR_SIGNS / 4, x.dtype)
        bands = jnp.einsum("bhwcp,kp->bhwkc", _blocks(x), signs, precision="highest")
        log_det = -(h * w // 4) * c * math.log(16)
        return bands.reshape(b, h // 2, w // 2, 4 * c), jnp.full(b, log_det, x.dtype)

    def inverse(self, params, y, cond=None):
        _check_channels(y)
        b, h, w, c = y.shape
        signs = jnp.asarray(HAAR_SIGNS, y.dtype)
        bands = y.reshape(b, h, w, 4, c // 4)
        x = _unblocks(jnp.einsum("bhwkc,kp->bhwcp", bands, signs, precision="highest"))
        return x, jnp.full(b, h * w * (c // 4) * math.log(16), y.dtype)


@dataclasses.dataclass(frozen=True)
class ChannelSplit(Bijector):
    """x -> (y, a): the first `keep` channels and the others; log_det = 0.

    The only bijector whose forward result is a pair of images. `inverse` raises ValueError when y
    has not `keep` channels. (HCFlow, section 3.2.)
    """

    keep: int

    def init(self, rng):
        return {}

    def forward(self, params, x, cond=None):
        y, a = x[..., : self.keep], x[..., self.keep :]
        return (y, a), jnp.zeros(x.shape[0], x.dtype)

    def inverse(self, params, y, cond=None):
        y, a = y
        if y.shape[-1] != self.keep:
            raise ValueError(f"expected {self.keep} kept channels, got {y.shape[-1]}")
        return jnp.concatenate([y, a], -1), jnp.zeros(y.shape[0], y.dtype)
