"""What an iteration minimises: the recipe, and its losses as functions of parameters and batch."""

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from hcflow_jax.model import HCFlow
from hcflow_jax.training import losses, perceptual
from hcflow_jax.training.optimizer import Learner
from hcflow_jax.training.schedules import Schedule

Batch = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What an iteration minimises, and how fast.

    Args:
      model: of either task.
      rate: learning rate of iteration 1, 2, …
      quant: q of the dequantisation noise U(0, 1)/q (SR).
      nll, pixel, perceptual, gan: weights of the SR objectives; 0 leaves one out.
      lr, latents, hr: weights of the rescaling objective's terms.
      pixel_norm, perceptual_norm: "l1" or "l2".
      gan_type: one of losses.GAN_TYPES.
      temperature: of the samples that the perceptual and adversarial losses see.
      discriminator: Flax module called as (images, train); needed when gan > 0.
      discriminator_rate: its learning rate.
      accumulate: gradients are means over this many parts of the batch, taken in turn.
      ema: decay of the average of the parameters; 0 keeps none.
    """

    model: HCFlow
    rate: Schedule
    quant: int = 64
    nll: float = 1.0
    pixel: float = 0.0
    perceptual: float = 0.0
    gan: float = 0.0
    lr: float = 0.05
    latents: float = 1e-5
    hr: float = 1.0
    pixel_norm: str = "l1"
    perceptual_norm: str = "l1"
    gan_type: str = "gan"
    temperature: float = 0.9
    discriminator: nn.Module | None = None
    discriminator_rate: Schedule | None = None
    accumulate: int = 1
    ema: float = 0.0


def draw_noise(recipe: Recipe, rng: jax.Array, batch: Batch, first_row=0) -> Batch:
    """The batch with the noise of an iteration: "dequantization" U(0, 1)/q, "latents" N(0, 1).

    Row i of a batch draws from the key folded with first_row + i: however a global batch is
    spread over devices, each of its images meets the same noise.
    """
    model = recipe.model

    def draw(row, hr, lr):
        keys = jax.random.split(jax.random.fold_in(rng, row))
        noise = {}
        if model.task == "sr":
            noise["dequantization"] = jax.random.uniform(keys[0], hr.shape, hr.dtype) / recipe.quant
        if model.task == "rescaling" or recipe.perceptual or recipe.gan:
            noise["latents"] = [e[0] for e in model.draw_latents(keys[1], lr[None], 1.0)]
        return noise

    rows = first_row + jnp.arange(batch["hr"].shape[0])
    return batch | jax.vmap(draw)(rows, batch["hr"], batch["lr"])


def _nll(recipe, params, batch):
    hr = batch["hr"] + batch["dequantization"]
    terms = losses.likelihood(recipe.model, params, hr, batch["lr"], recipe.quant)
    nll = losses.nll(terms)
    metrics = {
        "nll": nll,
        "bits_per_dim": losses.bits_per_dim(terms),
        "lr_bits_per_dim": losses.lr_bits_per_dim(terms),
    }
    return recipe.nll * nll, (metrics, None)


def _rescaling(recipe, params, batch):
    terms = losses.rescaling_losses(
        recipe.model, params, batch["latents"], batch["hr"], batch["lr"]
    )
    value = recipe.lr * terms["lr"] + recipe.latents * terms["latents"] + recipe.hr * terms["hr"]
    return value, (terms, None)


def sample(recipe: Recipe, params, batch: Batch, temperature: float) -> jax.Array:
    """decode(lr, τ·e), clamped; e the batch's latents, or none of them at τ = 0."""
    model, lr = recipe.model, batch["lr"]
    if temperature:
        latents = [temperature * e for e in batch["latents"]]
    else:
        latents = [jnp.zeros(shape, lr.dtype) for shape in model.latent_shapes(lr.shape)]
    return jnp.clip(model.decode(params, lr, latents), 0, 1)


def _pixel(recipe, params, batch):
    image = sample(recipe, params, batch, 0.0)
    value = losses.distance(image, batch["hr"], recipe.pixel_norm)
    return recipe.pixel * value, ({"pixel": value}, None)


def _judge(recipe, adversary, images):
    """(logits, batch statistics after them) in training mode."""
    variables = {"params": adversary.params, "batch_stats": adversary.batch_stats}
    logits, new = recipe.discriminator.apply(variables, images, mutable=["batch_stats"])
    return logits, new["batch_stats"]


def _looks(recipe, adversary, vgg, axis_name, params, batch):
    """Perceptual and adversarial loss of a sample, which is handed on."""
    image = sample(recipe, params, batch, recipe.temperature)
    value, metrics = 0.0, {}
    if recipe.perceptual:
        features = [perceptual.vgg19(vgg, x) for x in (image, batch["hr"])]
        metrics["perceptual"] = losses.distance(*features, recipe.perceptual_norm)
        value += recipe.perceptual * metrics["perceptual"]
    if recipe.gan:
        fake, _ = _judge(recipe, adversary, image)
        real = _judge(recipe, adversary, batch["hr"])[0] if recipe.gan_type == "ragan" else None
        metrics["gan"] = losses.generator_loss(recipe.gan_type, real, fake, axis_name)
        value += recipe.gan * metrics["gan"]
    return value, (metrics, image)


def discrimination(recipe: Recipe, adversary: Learner, axis_name, params, batch: Batch):
    """Loss of the discriminator on the images of the batch, "hr" and "fake"."""
    adversary = adversary.replace(params=params)
    real, stats = _judge(recipe, adversary, batch["hr"])
    fake, stats = _judge(recipe, adversary.replace(batch_stats=stats), batch["fake"])
    value, on_real, on_fake = losses.discriminator_losses(recipe.gan_type, real, fake, axis_name)
    metrics = {
        "d_real": on_real,
        "d_fake": on_fake,
        "logit_real": jnp.mean(real),
        "logit_fake": jnp.mean(fake),
    }
    return value, (metrics, stats)


def objectives(recipe: Recipe, adversary: Learner | None, vgg, axis_name) -> dict[str, Callable]:
    """{name: loss} of the updates that the flow makes, in order."""
    if recipe.model.task == "rescaling":
        return {"rescaling": functools.partial(_rescaling, recipe)}
    found = {}
    if recipe.nll:
        found["likelihood"] = functools.partial(_nll, recipe)
    if recipe.pixel:
        found["pixel"] = functools.partial(_pixel, recipe)
    if recipe.perceptual or recipe.gan:
        found["looks"] = functools.partial(_looks, recipe, adversary, vgg, axis_name)
    return found
