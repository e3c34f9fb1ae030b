"""One training iteration as a pure function of state, batch and key; it sees only an axis name.

An iteration makes one update of the model per objective of its recipe, in this order, each with
its own clipping and all with one Adam: the likelihood (or the rescaling objective), the pixel
loss of the image at temperature 0, the perceptual and adversarial loss of a sample. Then the
discriminator makes one. (HCFlow, section 4.)
"""

import functools

import flax.struct
import jax
import jax.numpy as jnp
import optax

from hcflow_jax.training import discriminators, objectives, perceptual
from hcflow_jax.training.config import Recipe
from hcflow_jax.training.objectives import Batch, draw_noise
from hcflow_jax.training.optimizer import Learner, learner, update


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


def create_state(recipe: Recipe, params, rng: jax.Array, patch: int) -> TrainState:
    """A training that has done nothing yet, of a flow's `params` and a fresh discriminator.

    Args:
      patch: side of the HR patches, which the discriminator's dense layers depend on.
    """
    adversary = None
    if recipe.adversarial:
        images = jnp.zeros((1, patch, patch, recipe.model.image_channels))
        network = discriminators.build(recipe.discriminator)
        adversary = learner(**network.init(rng, images, train=False))
    zero = jnp.zeros((), jnp.int32)
    ema = jax.tree.map(jnp.copy, params) if recipe.train.ema else None
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


def _where(condition, new, old):
    return jax.tree.map(functools.partial(jnp.where, condition), new, old)


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
    rate, parts = recipe.rate(state.step + 1), recipe.train.accumulate
    flow, adversary, metrics, goods, fake = state.model, state.discriminator, {}, [], None
    if only_discriminator:
        fake = objectives.sample(recipe, flow.params, batch, recipe.loss.temperature)
    else:
        for name, loss in objectives.objectives(recipe, adversary, vgg, axis_name).items():
            flow, own, fake, good = update(loss, rate, flow, batch, parts, axis_name)
            metrics |= _prefixed(own, name) | {"learning_rate": rate}
            goods.append(good)
    if adversary is not None:
        loss = functools.partial(objectives.discrimination, recipe, adversary, axis_name)
        batch = batch | {"fake": jax.lax.stop_gradient(fake)}
        rate = recipe.discriminator_rate(state.step + 1)
        stats = adversary.batch_stats
        adversary, own, rest, good = update(loss, rate, adversary, batch, parts, axis_name)
        adversary = adversary.replace(batch_stats=_where(good, rest, stats))
        metrics |= _prefixed(own, "discriminator")
        goods.append(good)
    finite = functools.reduce(jnp.logical_and, goods)
    if len(goods) > 1:  # a single update has seen to it itself
        flow = _where(finite, flow, state.model)
        adversary = _where(finite, adversary, state.discriminator)
    ema = state.ema
    if ema is not None:
        averaged = optax.incremental_update(flow.params, ema, 1 - recipe.train.ema)
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
