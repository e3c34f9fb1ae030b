"""Objectives: the likelihood's terms, where they are summed, and the rescaling loss.

Images are [B, H, W, C] in [0, 1]; scalars are means over the batch.
"""

import math

import flax.struct
import jax
import jax.numpy as jnp

from hcflow_jax.model import HCFlow
from hcflow_jax.priors import gaussian_logp

LR_LOG_STD = -6.0
"""log σ of the Gaussian that ties the LR image to the given one."""


@flax.struct.dataclass
class LikelihoodTerms:
    """Everything that log p(hr, lr) is made of, in nats, apart; B images, L levels.

    Attributes:
      log_det: [B] log-determinant of the flow.
      log_prior: [L, B] log density of each level's latents.
      log_lr: [B] log N(Q(LR_raw); lr, e^−6).
      log_quant: log q, q the quantisation levels of the dequantisation noise U(0, 1)/q.
      pixels: H·W of the HR image.
      channels: C of the HR image.
    """

    log_det: jax.Array
    log_prior: jax.Array
    log_lr: jax.Array
    log_quant: float = flax.struct.field(pytree_node=False)
    pixels: int = flax.struct.field(pytree_node=False)
    channels: int = flax.struct.field(pytree_node=False)


def quantize(x: jax.Array) -> jax.Array:
    """Q(x) = round(255·clamp(x, 0, 1))/255, with a straight-through gradient of 1 everywhere."""
    rounded = jnp.round(255 * jnp.clip(x, 0, 1)) / 255
    return x + jax.lax.stop_gradient(rounded - x)


def dequantize(rng: jax.Array, hr: jax.Array, quant: int) -> jax.Array:
    """hr + U(0, 1)/q."""
    return hr + jax.random.uniform(rng, hr.shape, hr.dtype) / quant


def likelihood(model: HCFlow, params, hr: jax.Array, lr: jax.Array, quant: int) -> LikelihoodTerms:
    """Terms of log p(hr, lr) for an already dequantised `hr` and its LR image `lr`.

    (HCFlow, equations 5 and 9.)
    """
    encoding = model.encode(params, hr)
    _, height, width, channels = hr.shape
    return LikelihoodTerms(
        log_det=encoding.log_det,
        log_prior=encoding.log_prior,
        log_lr=gaussian_logp(quantize(encoding.lr), lr, LR_LOG_STD),
        log_quant=math.log(quant),
        pixels=height * width,
        channels=channels,
    )


def nll(terms: LikelihoodTerms) -> jax.Array:
    """−(−log q·HW + log_det + Σ_l log_prior_l + log_lr) / (ln 2·HW), mean over B.

    The published training loss. It counts pixels, not dimensions, and adds the LR term: compare
    models by `bits_per_dim`.
    """
    objective = terms.log_det + jnp.sum(terms.log_prior, 0) + terms.log_lr
    objective = objective - terms.log_quant * terms.pixels
    return -jnp.mean(objective) / (math.log(2) * terms.pixels)


def bits_per_dim(terms: LikelihoodTerms) -> jax.Array:
    """−(−log q·CHW + log_det + Σ_l log_prior_l) / (ln 2·CHW), mean over B.

    Bits per dimension of the latents' share of p(hr); `lr_bits_per_dim` is the LR image's.
    """
    dimensions = terms.pixels * terms.channels
    objective = terms.log_det + jnp.sum(terms.log_prior, 0) - terms.log_quant * dimensions
    return -jnp.mean(objective) / (math.log(2) * dimensions)


def lr_bits_per_dim(terms: LikelihoodTerms) -> jax.Array:
    """−log_lr / (ln 2·CHW), mean over B; what the LR term would add to `bits_per_dim`."""
    return -jnp.mean(terms.log_lr) / (math.log(2) * terms.pixels * terms.channels)


def rescaling_losses(model: HCFlow, params, rng: jax.Array, hr: jax.Array, lr: jax.Array):
    """The three terms of the rescaling objective, unweighted: {"lr", "latents", "hr"}.

    LR = clamp(LR_raw), HR' = clamp(decode(Q(LR), e ~ N(0, 1))):
    lr = mean (LR − lr)², latents = mean of all latents², hr = mean |HR' − hr|.
    """
    latents = model.draw_latents(rng, lr, 1.0)
    return rescaling_losses_given(model, params, latents, hr, lr)


def rescaling_losses_given(model: HCFlow, params, latents, hr: jax.Array, lr: jax.Array):
    """`rescaling_losses` with the latents to decode given."""
    encoding = model.encode(params, hr)
    small = jnp.clip(encoding.lr, 0, 1)
    restored = jnp.clip(model.decode(params, quantize(small), latents), 0, 1)
    count = sum(latent.size for latent in encoding.latents)
    return {
        "lr": jnp.mean(jnp.square(small - lr)),
        "latents": sum(jnp.sum(jnp.square(latent)) for latent in encoding.latents) / count,
        "hr": jnp.mean(jnp.abs(restored - hr)),
    }


def rescaling_objective(terms) -> jax.Array:
    """0.05·lr + 1e-5·latents + 1.0·hr. (HCFlow, equation 11.)"""
    return 0.05 * terms["lr"] + 1e-5 * terms["latents"] + terms["hr"]
