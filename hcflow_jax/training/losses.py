"""Losses: those of `model.likelihood`, rescaling and adversarial losses.

Images are [B, H, W, C] in [0, 1]; scalars are means over the batch.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from hcflow_jax.images import jpeg
from hcflow_jax.model import HCFlow
from hcflow_jax.model.likelihood import (
    LikelihoodTerms,
    bits_per_dim,
    likelihood,
    log_density,
    lr_bits_per_dim,
    nll,
    quantize,
)

__all__ = [
    "GAN_TYPES",
    "LikelihoodTerms",
    "as_jpegs",
    "bits_per_dim",
    "discriminator_losses",
    "distance",
    "generator_loss",
    "likelihood",
    "log_density",
    "lr_bits_per_dim",
    "nll",
    "quantize",
    "rescaling_losses",
]


def rescaling_losses(
    model: HCFlow,
    params,
    latents,
    hr: jax.Array,
    lr: jax.Array,
    saved: Callable[[jax.Array], jax.Array] = quantize,
):
    """The three terms of the rescaling objective, unweighted: {"lr", "latents", "hr"}.

    LR = clamp(LR_raw), HR' = clamp(decode(saved(LR), e)) with the given latents e ~ N(0, 1):
    lr = mean (LR − lr)², latents = mean of all encoded latents², hr = mean |HR' − hr|.
    (HCFlow, equation 11, where `saved` rounds to 8 bits.)
    """
    encoding = model.encode(params, hr)
    encoded_lr = jnp.clip(encoding.lr, 0, 1)
    restored = jnp.clip(model.decode(params, saved(encoded_lr), latents), 0, 1)
    count = sum(latent.size for latent in encoding.latents)
    return {
        "lr": jnp.mean(jnp.square(encoded_lr - lr)),
        "latents": sum(jnp.sum(jnp.square(latent)) for latent in encoding.latents) / count,
        "hr": jnp.mean(jnp.abs(restored - hr)),
    }


def as_jpegs(images: jax.Array, quality: jax.Array, halved: jax.Array) -> jax.Array:
    """`images` as JPEGs of `quality` [B], with halved chroma or not; Q(image) where it is 0.

    (SAIN: Yang et al. 2023, "Self-asymmetric invertible network for compression-aware image
    rescaling", trains with a simulated JPEG between the two directions.)
    """
    full, half = (jpeg.compress(images, quality, kind) for kind in jpeg.SUBSAMPLINGS)
    lossy = jnp.where(halved[:, None, None, None], half, full)
    return jnp.where(quality[:, None, None, None] > 0, lossy, quantize(images))


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
