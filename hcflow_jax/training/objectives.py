"""The losses that an iteration minimises, as functions of parameters and batch."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from hcflow_jax.model import dequantization
from hcflow_jax.training import discriminators, losses, perceptual
from hcflow_jax.training.config import Recipe
from hcflow_jax.training.optimizer import Learner

Batch = dict[str, jax.Array]


def draw_noise(recipe: Recipe, rng: jax.Array, batch: Batch, first_row=0) -> Batch:
    """The batch and the noise of an iteration: "dequantization" (SR) and "latents" N(0, 1).

    With loss.jpeg_share also how LR images are saved: "quality", 0 for no JPEG, and "halved".

    Row i draws from the key folded with first_row + i, so that the noise of an image does not
    depend on how a global batch is sharded over devices.
    """
    model = recipe.model

    def draw(row, hr, lr):
        keys = jax.random.split(jax.random.fold_in(rng, row))
        noise = {}
        if model.task == "sr":
            noise["dequantization"] = dequantization.noise(
                recipe.loss.dequantization, keys[0], hr.shape, hr.dtype, recipe.loss.quant
            )
        if model.task == "rescaling" or recipe.perceptual or recipe.adversarial:
            noise["latents"] = [e[0] for e in model.draw_latents(keys[1], lr[None], 1.0)]
        return noise | _drawn_jpeg(recipe.loss, keys[0])

    rows = first_row + jnp.arange(batch["hr"].shape[0])
    return batch | jax.vmap(draw)(rows, batch["hr"], batch["lr"])


def _drawn_jpeg(loss, key):
    """{"quality", "halved"} of an LR image, or nothing where none are JPEGs."""
    if not getattr(loss, "jpeg_share", 0):
        return {}
    keys = jax.random.split(key, 3)
    low, high = loss.jpeg_qualities
    quality = jax.random.randint(keys[0], (), low, high + 1)
    return {
        "quality": quality * jax.random.bernoulli(keys[1], loss.jpeg_share),
        "halved": jax.random.bernoulli(keys[2]),
    }


def _nll(recipe, params, batch):
    hr = batch["hr"] + batch["dequantization"]
    terms = losses.likelihood(recipe.model, params, hr, batch["lr"], recipe.loss.quant)
    nll = losses.nll(terms)
    metrics = {
        "nll": nll,
        "bits_per_dim": losses.bits_per_dim(terms),
        "lr_bits_per_dim": losses.lr_bits_per_dim(terms),
    }
    return recipe.loss.nll_weight * nll, (metrics, None)


def _rescaling(recipe, params, batch):
    loss, saved = recipe.loss, losses.quantize
    if loss.jpeg_share:
        saved = functools.partial(losses.as_jpegs, quality=batch["quality"], halved=batch["halved"])
    terms = losses.rescaling_losses(
        recipe.model, params, batch["latents"], batch["hr"], batch["lr"], saved
    )
    value = loss.lr_weight * terms["lr"] + loss.latents_weight * terms["latents"]
    value = value + loss.hr_weight * terms["hr"]
    return value, (terms, None)


def sample(recipe: Recipe, params, batch: Batch, temperature: float) -> jax.Array:
    """decode(lr, τ·e), clamped to [0, 1]; e are the batch's "latents", not needed at τ = 0."""
    model, lr = recipe.model, batch["lr"]
    if temperature:
        latents = [temperature * e for e in batch["latents"]]
    else:
        latents = [jnp.zeros(shape, lr.dtype) for shape in model.latent_shapes(lr.shape)]
    return jnp.clip(model.decode(params, lr, latents), 0, 1)


def _pixel(recipe, params, batch):
    image = sample(recipe, params, batch, 0.0)
    value = losses.distance(image, batch["hr"], recipe.loss.pixel_norm)
    return recipe.loss.pixel_weight * value, ({"pixel": value}, None)


def _discriminator(recipe, params, axis_name):
    """images -> logits, in training mode: batch norm by the statistics of the images.

    Running averages of the statistics, which evaluation would need, are not kept.
    """
    network = discriminators.build(recipe.discriminator, axis_name, recipe.model.precision)
    return lambda images: network.apply({"params": params}, images, mutable=["batch_stats"])[0]


def _perceptual_and_adversarial(recipe, discriminator, vgg, axis_name, params, batch):
    """Perceptual and adversarial loss of a sample; the sample is returned too."""
    loss, image = recipe.loss, sample(recipe, params, batch, recipe.loss.temperature)
    value, metrics = 0.0, {}
    if recipe.perceptual:
        precision = recipe.model.precision
        features = [perceptual.vgg19(vgg, x, precision) for x in (image, batch["hr"])]
        metrics["perceptual"] = losses.distance(*features, loss.perceptual_norm)
        value += loss.perceptual_weight * metrics["perceptual"]
    if recipe.adversarial:
        discriminate = _discriminator(recipe, discriminator.params, axis_name)
        fake = discriminate(image)
        real = discriminate(batch["hr"]) if loss.gan_type == "ragan" else None
        metrics["gan"] = losses.generator_loss(loss.gan_type, real, fake, axis_name)
        value += loss.gan_weight * metrics["gan"]
    return value, (metrics, image)


def discriminator_objective(recipe: Recipe, axis_name, params, batch: Batch):
    """(loss, (metrics, None)) of the discriminator on the batch's "hr" and "fake"."""
    discriminate = _discriminator(recipe, params, axis_name)
    real, fake = discriminate(batch["hr"]), discriminate(batch["fake"])
    kind = recipe.loss.gan_type
    value, on_real, on_fake = losses.discriminator_losses(kind, real, fake, axis_name)
    metrics = {
        "d_real": on_real,
        "d_fake": on_fake,
        "logit_real": jnp.mean(real),
        "logit_fake": jnp.mean(fake),
    }
    return value, (metrics, None)


def objectives(
    recipe: Recipe, discriminator: Learner | None, vgg, axis_name
) -> dict[str, Callable]:
    """{name: objective} of the flow's updates, in order.

    An objective maps (params, batch) to (loss, (metrics, aux)); aux is the sample or None.
    """
    if recipe.model.task == "rescaling":
        return {"rescaling": functools.partial(_rescaling, recipe)}
    chosen: dict[str, Callable] = {}
    if recipe.loss.nll_weight:
        chosen["likelihood"] = functools.partial(_nll, recipe)
    if recipe.loss.pixel_weight:
        chosen["pixel"] = functools.partial(_pixel, recipe)
    if recipe.perceptual or recipe.adversarial:
        chosen["looks"] = functools.partial(
            _perceptual_and_adversarial, recipe, discriminator, vgg, axis_name
        )
    return chosen
