"""The likelihood's terms and their sums.

Images are [B, H, W, C] in [0, 1]; scalars are means over the batch.
"""

import math
from typing import TYPE_CHECKING

import flax.struct
import jax
import jax.numpy as jnp

from hcflow_jax.model.prior import gaussian_logp

if TYPE_CHECKING:
    from hcflow_jax.model.hcflow import HCFlow

LR_LOG_STD = -6.0
"""log σ of the Gaussian of the encoded LR image about the given one."""


@flax.struct.dataclass
class LikelihoodTerms:
    """The terms of log p(hr, lr), in nats; B images, L levels.

    Attributes:
      log_det: [B] log-determinant of the flow.
      log_prior: [L, B] log density of each level's latents.
      log_lr: [B] log N(Q(LR_raw); lr, e^−6), as it is trained.
      log_lr_raw: [B] log N(LR_raw; lr, e^−6), a density.
      log_quant: log q; the dequantisation noise is 1/q wide.
      pixels: H·W of the HR image.
      channels: C of the HR image.
    """

    log_det: jax.Array
    log_prior: jax.Array
    log_lr: jax.Array
    log_lr_raw: jax.Array
    log_quant: float = flax.struct.field(pytree_node=False)
    pixels: int = flax.struct.field(pytree_node=False)
    channels: int = flax.struct.field(pytree_node=False)


def quantize(x: jax.Array) -> jax.Array:
    """Q(x) = round(255·clamp(x, 0, 1))/255, with a straight-through gradient of 1 everywhere."""
    rounded = jnp.round(255 * jnp.clip(x, 0, 1)) / 255
    return x + jax.lax.stop_gradient(rounded - x)


def likelihood(
    model: "HCFlow", params, hr: jax.Array, lr: jax.Array, quant: int
) -> LikelihoodTerms:
    """Terms of log p(hr, lr) for an already dequantised `hr` and its LR image `lr`.

    (HCFlow, equations 5 and 9.) ValueError where `lr` has not the size of the model's LR image.
    """
    encoding = model.encode(params, hr)
    if lr.shape != encoding.lr.shape:
        raise ValueError(f"the LR image must be {encoding.lr.shape}, got {lr.shape}")
    _, height, width, channels = hr.shape
    return LikelihoodTerms(
        log_det=encoding.log_det,
        log_prior=encoding.log_prior,
        log_lr=gaussian_logp(quantize(encoding.lr), lr, LR_LOG_STD),
        log_lr_raw=gaussian_logp(encoding.lr, lr, LR_LOG_STD),
        log_quant=math.log(quant),
        pixels=height * width,
        channels=channels,
    )


def log_density(terms: LikelihoodTerms) -> jax.Array:
    """log p(hr, lr) = log_det + Σ_l log_prior_l + log_lr_raw, of images in [0, 1]: [B] nats."""
    return terms.log_det + jnp.sum(terms.log_prior, 0) + terms.log_lr_raw


def nll(terms: LikelihoodTerms) -> jax.Array:
    """−(−log q·HW + log_det + Σ_l log_prior_l + log_lr) / (ln 2·HW), mean over B.

    The published training loss: per pixel, not per dimension, in levels of 1/q, not of 8 bits.
    Compare models by `bits_per_dim`.
    """
    objective = terms.log_det + jnp.sum(terms.log_prior, 0) + terms.log_lr
    objective = objective - terms.log_quant * terms.pixels
    return -jnp.mean(objective) / (math.log(2) * terms.pixels)


def bits_per_dim(terms: LikelihoodTerms) -> jax.Array:
    """−(log_det + Σ_l log_prior_l + log_lr_raw) / (ln 2·CHW) + log2 255, mean over B.

    The bits that a value of an 8-bit HR image takes given its LR image: −log2 of the density
    p(hr | lr) on the scale of 0 to 255, on which a level is 1 wide. An upper bound (Jensen) where
    the dequantisation noise is one level wide, q = 255; with wider noise it is that of the
    blurred image. Models of any scale and q compare. (Theis et al. 2016, section 3.1.)
    """
    return share_in_bits(log_density(terms), terms) + math.log2(255)


def lr_bits_per_dim(terms: LikelihoodTerms) -> jax.Array:
    """−log_lr_raw / (ln 2·CHW), mean over B: the LR image's share of `bits_per_dim`."""
    return share_in_bits(terms.log_lr_raw, terms)


def share_in_bits(log_term: jax.Array, terms: LikelihoodTerms) -> jax.Array:
    """−log_term / (ln 2·CHW), mean over B: the share of a term, [B] nats, of `bits_per_dim`."""
    return -jnp.mean(log_term) / (math.log(2) * terms.pixels * terms.channels)
