"""Losses: the likelihood's terms and their sums, rescaling and adversarial losses.

Images are [B, H, W, C] in [0, 1]; scalars are means over the batch.
"""

import math

import flax.struct
import jax
import jax.numpy as jnp

from hcflow_jax.model import HCFlow
from hcflow_jax.model.prior import gaussian_logp

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
        log_lr_raw=gaussian_logp(encoding.lr, lr, LR_LOG_STD),
        log_quant=math.log(quant),
        pixels=height * width,
        channels=channels,
    )


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
    log_density = terms.log_det + jnp.sum(terms.log_prior, 0) + terms.log_lr_raw
    return _bits(log_density, terms) + math.log2(255)


def lr_bits_per_dim(terms: LikelihoodTerms) -> jax.Array:
    """−log_lr_raw / (ln 2·CHW), mean over B: the LR image's share of `bits_per_dim`."""
    return _bits(terms.log_lr_raw, terms)


def _bits(log_density, terms):
    return -jnp.mean(log_density) / (math.log(2) * terms.pixels * terms.channels)


def rescaling_losses(model: HCFlow, params, latents, hr: jax.Array, lr: jax.Array):
    """The three terms of the rescaling objective, unweighted: {"lr", "latents", "hr"}.

    LR = clamp(LR_raw), HR' = clamp(decode(Q(LR), e)) with the given latents e ~ N(0, 1):
    lr = mean (LR − lr)², latents = mean of all encoded latents², hr = mean |HR' − hr|.
    (HCFlow, equation 11.)
    """
    encoding = model.encode(params, hr)
    encoded_lr = jnp.clip(encoding.lr, 0, 1)
    restored = jnp.clip(model.decode(params, quantize(encoded_lr), latents), 0, 1)
    count = sum(latent.size for latent in encoding.latents)
    return {
        "lr": jnp.mean(jnp.square(encoded_lr - lr)),
        "latents": sum(jnp.sum(jnp.square(latent)) for latent in encoding.latents) / count,
        "hr": jnp.mean(jnp.abs(restored - hr)),
    }


def distance(a: jax.Array, b: jax.Array, norm: str) -> jax.Array:
    """mean |a − b| for norm "l1", mean (a − b)² for "l2"."""
    return jnp.mean(jnp.abs(a - b) if norm == "l1" else jnp.square(a - b))


GAN_TYPES = ("gan", "lsgan", "wgan", "ragan")


def _classification_loss(kind, logits, real):
    """Loss of `logits` against the label `real`: BCE, MSE for lsgan, ∓mean for wgan."""
    if kind == "lsgan":
        return jnp.mean(jnp.square(logits - float(real)))
    if kind == "wgan":
        return -jnp.mean(logits) if real else jnp.mean(logits)
    return jnp.mean(jax.nn.softplus(-logits if real else logits))


def _relative(logits, others, axis_name):
    """logits − mean(others) over all devices."""
    mean = jnp.mean(others)
    return logits - (mean if axis_name is None else jax.lax.pmean(mean, axis_name))


def discriminator_losses(
    kind: str, real: jax.Array, fake: jax.Array, axis_name: str | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(loss of the discriminator, its term on real images, its term on fake ones).

    gan: BCE with logits; lsgan: MSE against 1 and 0; wgan: −mean real + mean fake; their sum.
    ragan: BCE of each side's logits minus the mean of the other's, halved. (ESRGAN, equation 1.)

    Args:
      kind: one of GAN_TYPES.
      real, fake: logits of any shape.
      axis_name: mapped axis over which ragan takes its means.
    """
    if kind == "ragan":
        real, fake = _relative(real, fake, axis_name), _relative(fake, real, axis_name)
    on_real = _classification_loss(kind, real, True)
    on_fake = _classification_loss(kind, fake, False)
    return (on_real + on_fake) / (2 if kind == "ragan" else 1), on_real, on_fake


def generator_loss(
    kind: str, real: jax.Array, fake: jax.Array, axis_name: str | None = None
) -> jax.Array:
    """Loss of the generator; kinds and arguments as in `discriminator_losses`, labels swapped.

    Only ragan uses `real`. (ESRGAN, equation 2.)
    """
    if kind == "ragan":
        on_real = _classification_loss(kind, _relative(real, fake, axis_name), False)
        on_fake = _classification_loss(kind, _relative(fake, real, axis_name), True)
        return (on_real + on_fake) / 2
    return _classification_loss(kind, fake, True)
