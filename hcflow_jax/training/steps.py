"""One training iteration as a pure function of state, batch and key; it sees only an axis name.

An iteration makes one update of the model per objective of its recipe, in this order, each with
its own clipping and all with one Adam: the likelihood (or the rescaling objective), the pixel
loss of the image at temperature 0, the perceptual and adversarial loss of a sample. Then the
discriminator makes one. (HCFlow, section 4.)
"""

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from hcflow_jax.model import HCFlow
from hcflow_jax.training import losses, perceptual
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


@flax.struct.dataclass
class Learner:
    """A network in training: its parameters, its optimiser and (a discriminator's) statistics."""

    params: dict
    opt_state: optax.OptState
    batch_stats: dict = flax.struct.field(default_factory=dict)


@flax.struct.dataclass
class TrainState:
    """Everything that an iteration reads and writes.

    Attributes:
      step: iterations done, skipped ones included.
      model: the flow.
      discriminator: None in recipes without one.
      ema: averaged parameters of the flow, or None.
      skipped: iterations that met a value that is not finite, and changed nothing.
      skipped_in_a_row: how many of them were the latest.
    """

    step: jax.Array
    model: Learner
    discriminator: Learner | None
    ema: dict | None
    skipped: jax.Array
    skipped_in_a_row: jax.Array


_LARGEST, _LONGEST, _B1, _B2, _EPS = 5.0, 100.0, 0.9, 0.99, 1e-8
OPTIMIZER = optax.chain(
    optax.clip(_LARGEST),
    optax.clip_by_global_norm(_LONGEST),
    optax.scale_by_adam(_B1, _B2, _EPS),
)
"""Clipping by value, then by norm, then Adam, on all gradients as one vector."""


def learner(params, batch_stats=None) -> Learner:
    """A network that has not learnt yet; its optimiser sees all parameters as one vector."""
    leaves = jax.tree.leaves(params)
    vector = jnp.zeros(sum(x.size for x in leaves), jnp.result_type(*leaves))
    return Learner(params, OPTIMIZER.init(vector), batch_stats or {})


def create_state(recipe: Recipe, params, rng: jax.Array, patch: int) -> TrainState:
    """A training that has done nothing yet, of a flow's `params` and a fresh discriminator.

    Args:
      patch: side of the HR patches, which the discriminator's dense layers depend on.
    """
    adversary = None
    if recipe.gan:
        images = jnp.zeros((1, patch, patch, recipe.model.image_channels))
        adversary = learner(**recipe.discriminator.init(rng, images, train=False))
    zero = jnp.zeros((), jnp.int32)
    ema = jax.tree.map(jnp.copy, params) if recipe.ema else None
    return TrainState(zero, learner(params), adversary, ema, zero, zero)


def abstract_arguments(recipe: Recipe, rows: int, patch: int) -> tuple[TrainState, Batch, dict]:
    """Shapes and types of an iteration's state, batch and VGG19 weights."""
    model = recipe.model
    small = patch // model.scale

    def arguments(key):
        state = create_state(recipe, model.init_params(key), key, patch)
        hr = jnp.zeros((rows, patch, patch, model.image_channels), jnp.float32)
        return state, {"hr": hr, "lr": hr[:, :small, :small]}

    vgg = perceptual.abstract_params() if recipe.perceptual else {}
    return *jax.eval_shape(arguments, jax.random.key(0)), vgg


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


def _sample(recipe, params, batch, temperature):
    """decode(lr, τ·e), clamped; e the batch's latents, or none of them at τ = 0."""
    model, lr = recipe.model, batch["lr"]
    if temperature:
        latents = [temperature * e for e in batch["latents"]]
    else:
        latents = [jnp.zeros(shape, lr.dtype) for shape in model.latent_shapes(lr.shape)]
    return jnp.clip(model.decode(params, lr, latents), 0, 1)


def _pixel(recipe, params, batch):
    image = _sample(recipe, params, batch, 0.0)
    value = losses.distance(image, batch["hr"], recipe.pixel_norm)
    return recipe.pixel * value, ({"pixel": value}, None)


def _judge(recipe, adversary, images):
    """(logits, batch statistics after them) in training mode."""
    variables = {"params": adversary.params, "batch_stats": adversary.batch_stats}
    logits, new = recipe.discriminator.apply(variables, images, mutable=["batch_stats"])
    return logits, new["batch_stats"]


def _looks(recipe, adversary, vgg, axis_name, params, batch):
    """Perceptual and adversarial loss of a sample, which is handed on."""
    image = _sample(recipe, params, batch, recipe.temperature)
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


def _discrimination(recipe, adversary, axis_name, params, batch):
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


def _value_and_grad(loss, params, batch, parts):
    """((value, metrics, rest), gradients) of loss(params, batch), means over `parts` of it.

    `rest`, an array per image or none, is joined again; discriminator statistics are averaged.
    """
    differentiate = jax.value_and_grad(loss, has_aux=True)
    if parts == 1:
        (value, (metrics, rest)), gradients = differentiate(params, batch)
        return (value, metrics, rest), gradients
    split = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)
    first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), split)
    shapes = jax.eval_shape(differentiate, params, first)
    (value, (metrics, _)), gradients = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def add(sums, part):
        (value, (metrics, rest)), gradients = differentiate(params, part)
        return jax.tree.map(jnp.add, sums, (value, metrics, gradients)), rest

    sums, rest = jax.lax.scan(add, (value, metrics, gradients), split)
    value, metrics, gradients = jax.tree.map(lambda x: x / parts, sums)
    if isinstance(rest, dict):
        rest = jax.tree.map(lambda x: jnp.mean(x, 0), rest)
    elif rest is not None:
        rest = rest.reshape(-1, *rest.shape[2:])
    return (value, metrics, rest), gradients


def _where(condition, new, old):
    return jax.tree.map(functools.partial(jnp.where, condition), new, old)


def descend(params, gradient: jax.Array, opt_state, rate, good: jax.Array):
    """(params − rate · `OPTIMIZER`'s update, its state), both as they were unless `good`.

    On vectors of all parameters, so that the program is small, and as a branch, so that XLA
    rewrites the moments in place and does not compute the update again for every array.

    Args:
      gradient: one vector, in the order of `ravel_pytree(params)`.
    """
    *clips, adam = opt_state

    def move(vectors):
        gradient, mu, nu, count = vectors
        gradient = jnp.clip(gradient, -_LARGEST, _LARGEST)
        gradient *= jnp.minimum(1, _LONGEST / jnp.linalg.norm(gradient))
        mu = optax.tree.update_moment(gradient, mu, _B1, 1)
        nu = optax.tree.update_moment(gradient, nu, _B2, 2)
        count += 1
        mean, variance = mu / (1 - _B1**count), nu / (1 - _B2**count)
        update = rate * mean / (jnp.sqrt(variance) + _EPS)
        return update.astype(gradient.dtype), mu, nu, count

    def stay(vectors):
        return jnp.zeros_like(vectors[0]), *vectors[1:]

    update, mu, nu, count = jax.lax.cond(good, move, stay, (gradient, adam.mu, adam.nu, adam.count))
    _, unravel = ravel_pytree(params)
    params = jax.tree.map(lambda p, u: (p - u).astype(p.dtype), params, unravel(update))
    return params, (*clips, adam._replace(count=count, mu=mu, nu=nu))


def _update(recipe, loss, rate, own: Learner, batch, axis_name):
    """(learner, metrics, rest of the loss, all finite?) after one clipped Adam update of `own`,
    which stays as it is where the loss or the gradient is not finite.
    """
    (value, metrics, rest), gradients = _value_and_grad(loss, own.params, batch, recipe.accumulate)
    flat, _ = ravel_pytree(gradients)
    if axis_name is not None:
        value, metrics, flat = jax.lax.pmean((value, metrics, flat), axis_name)
    norm = jnp.linalg.norm(flat)
    good = jnp.isfinite(value) & jnp.isfinite(norm) & jnp.isfinite(rate)
    params, opt_state = descend(own.params, flat, own.opt_state, rate, good)
    own = own.replace(params=params, opt_state=opt_state)
    return own, metrics | {"loss": value, "gradient_norm": norm}, rest, good


def _objectives(recipe, adversary, vgg, axis_name) -> dict[str, Callable]:
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


def _prefixed(metrics, name):
    shared = ("loss", "gradient_norm")
    return {f"{k}/{name}" if k in shared else k: v for k, v in metrics.items()}


def iteration(
    recipe: Recipe,
    state: TrainState,
    batch: Batch,
    vgg=None,
    axis_name: str | None = None,
    only_discriminator: bool = False,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """`train_step` with the noise already in the batch: nothing here is random."""
    rate = recipe.rate(state.step + 1)
    flow, adversary, metrics, goods, fake = state.model, state.discriminator, {}, [], None
    if only_discriminator:
        fake = _sample(recipe, flow.params, batch, recipe.temperature)
    else:
        for name, loss in _objectives(recipe, adversary, vgg, axis_name).items():
            flow, own, fake, good = _update(recipe, loss, rate, flow, batch, axis_name)
            metrics |= _prefixed(own, name) | {"learning_rate": rate}
            goods.append(good)
    if adversary is not None:
        loss = functools.partial(_discrimination, recipe, adversary, axis_name)
        batch = batch | {"fake": jax.lax.stop_gradient(fake)}
        rate = recipe.discriminator_rate(state.step + 1)
        stats = adversary.batch_stats
        adversary, own, rest, good = _update(recipe, loss, rate, adversary, batch, axis_name)
        adversary = adversary.replace(batch_stats=_where(good, rest, stats))
        metrics |= _prefixed(own, "discriminator")
        goods.append(good)
    finite = functools.reduce(jnp.logical_and, goods)
    if len(goods) > 1:  # a single update has seen to it itself
        flow = _where(finite, flow, state.model)
        adversary = _where(finite, adversary, state.discriminator)
    ema = state.ema
    if ema is not None:
        averaged = optax.incremental_update(flow.params, ema, 1 - recipe.ema)
        ema = _where(finite, averaged, ema)
    skip = jnp.where(finite, 0, 1)
    in_a_row = skip * (state.skipped_in_a_row + 1)
    state = TrainState(state.step + 1, flow, adversary, ema, state.skipped + skip, in_a_row)
    return state, metrics | {"skipped": state.skipped, "skipped_in_a_row": in_a_row}


def train_step(
    recipe: Recipe,
    state: TrainState,
    batch: Batch,
    rng: jax.Array,
    vgg=None,
    axis_name: str | None = None,
    only_discriminator: bool = False,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One iteration; gradients, batch statistics and metrics are those of all devices.

    Where a loss or the norm of a gradient is not finite, the networks, their optimisers and
    averages stay as they are and `skipped` grows by one.

    Args:
      batch: this device's share, {"hr": [B, H, W, C], "lr": [B, h, w, C]}, float in [0, 1].
      rng: the training's key; iteration and image are folded in here.
      vgg: weights for `perceptual.vgg19`, where the recipe has a perceptual loss.
      axis_name: mapped axis of the devices.
      only_discriminator: leave the flow as it is, as the first iterations of a GAN recipe do.

    Returns:
      (state, metrics): means over the global batch; "loss/NAME" and "gradient_norm/NAME" per
      update.
    """
    rows = batch["hr"].shape[0]
    first = 0 if axis_name is None else rows * jax.lax.axis_index(axis_name)
    batch = draw_noise(recipe, jax.random.fold_in(rng, state.step), batch, first)
    return iteration(recipe, state, batch, vgg, axis_name, only_discriminator)
