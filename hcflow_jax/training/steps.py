"""One training iteration as a pure function of state, batch and key.

An iteration updates the flow once per objective of its recipe, each clipped by itself, all with
one Adam state, in this order: the likelihood (or the rescaling objective), the pixel loss of the
image at temperature 0, the perceptual and adversarial loss of a sample. Then the discriminator is
updated once. (HCFlow, section 4.)
"""

import functools

import flax.struct
import jax
import jax.numpy as jnp
import optax

from hcflow_jax.training import discriminators, objectives, perceptual
from hcflow_jax.training.config import Recipe
from hcflow_jax.training.objectives import Batch, draw_noise
from hcflow_jax.training.optimizer import Learner, new_learner, update


@flax.struct.dataclass
class TrainState:
    """Everything that an iteration reads and writes.

    Attributes:
      step: iterations done, including skipped ones.
      model: the flow.
      discriminator: None in recipes without one.
      ema: averaged parameters of the flow, or None.
      skipped: iterations that changed nothing because a value was not finite.
      skipped_in_a_row: how many of the latest iterations were skipped.
    """

    step: jax.Array
    model: Learner
    discriminator: Learner | None
    ema: dict | None
    skipped: jax.Array
    skipped_in_a_row: jax.Array


def create_state(recipe: Recipe, params, rng: jax.Array, patch: int) -> TrainState:
    """The state before the first iteration, of a flow's `params` and a new discriminator.

    Args:
      patch: side of the HR patches, on which the discriminator's dense layers depend.
    """
    discriminator = None
    if recipe.adversarial:
        images = jnp.zeros((1, patch, patch, recipe.model.image_channels))
        network = discriminators.build(recipe.discriminator)
        discriminator = new_learner(network.init(rng, images)["params"])
    zero = jnp.zeros((), jnp.int32)
    ema = jax.tree.map(jnp.copy, params) if recipe.train.ema else None
    return TrainState(zero, new_learner(params), discriminator, ema, zero, zero)


def abstract_arguments(recipe: Recipe, rows: int, patch: int) -> tuple[TrainState, Batch, dict]:
    """Shapes and types of an iteration's state, batch and VGG19 weights."""
    model = recipe.model
    lr_side = patch // model.scale

    def arguments(key):
        state = create_state(recipe, model.init_params(key), key, patch)
        hr = jnp.zeros((rows, patch, patch, model.image_channels), jnp.float32)
        return state, {"hr": hr, "lr": hr[:, :lr_side, :lr_side]}

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
    """`train_step` given a batch with its noise; deterministic."""
    rate, micro_batches = recipe.schedule(state.step + 1), recipe.train.accumulate
    flow, discriminator, metrics, finites, fake = state.model, state.discriminator, {}, [], None
    if only_discriminator:
        fake = objectives.sample(recipe, flow.params, batch, recipe.loss.temperature)
    else:
        flow_losses = objectives.objectives(recipe, discriminator, vgg, axis_name)
        for name, loss in flow_losses.items():
            flow, found, fake, finite = update(loss, rate, flow, batch, micro_batches, axis_name)
            metrics |= _prefixed(found, name) | {"learning_rate": rate}
            finites.append(finite)
    if discriminator is not None:
        loss = functools.partial(objectives.discriminator_objective, recipe, axis_name)
        batch = batch | {"fake": jax.lax.stop_gradient(fake)}
        rate = recipe.discriminator_schedule(state.step + 1)
        discriminator, found, _, finite = update(
            loss, rate, discriminator, batch, micro_batches, axis_name
        )
        metrics |= _prefixed(found, "discriminator")
        finites.append(finite)
    finite = functools.reduce(jnp.logical_and, finites)
    if len(finites) > 1:  # a single update has already reverted itself
        flow = _where(finite, flow, state.model)
        discriminator = _where(finite, discriminator, state.discriminator)
    ema = state.ema
    if ema is not None:
        averaged = optax.incremental_update(flow.params, ema, 1 - recipe.train.ema)
        ema = _where(finite, averaged, ema)
    skip = jnp.where(finite, 0, 1)
    in_a_row = skip * (state.skipped_in_a_row + 1)
    state = TrainState(state.step + 1, flow, discriminator, ema, state.skipped + skip, in_a_row)
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
    """One iteration; gradients, batch statistics and metrics are averaged over all devices.

    Where a loss or a gradient norm is not finite, networks, optimiser states and averages stay as
    they are, and `skipped` grows by one.

    Args:
      batch: this device's shard, {"hr": [B, H, W, C], "lr": [B, h, w, C]}, float in [0, 1].
      rng: the training's key; step and image number are folded in here.
      vgg: weights for `perceptual.vgg19`, where the recipe has a perceptual loss.
      axis_name: mapped axis of the devices.
      only_discriminator: do not update the flow; true of the first iterations of a GAN recipe.

    Returns:
      (state, metrics): means over the global batch; "loss/NAME" and "gradient_norm/NAME" per
      update.
    """
    rows = batch["hr"].shape[0]
    first = 0 if axis_name is None else rows * jax.lax.axis_index(axis_name)
    batch = draw_noise(recipe, jax.random.fold_in(rng, state.step), batch, first)
    return iteration(recipe, state, batch, vgg, axis_name, only_discriminator)
