"""One training iteration as pure functions of state, batch and key; they see only an axis name."""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import optax

from hcflow_jax import losses
from hcflow_jax.model import HCFlow

Loss = Callable[..., tuple[jax.Array, dict[str, jax.Array]]]


@flax.struct.dataclass
class TrainState:
    """Everything that a training iteration reads and writes.

    Attributes:
      step: iterations done, skipped ones included.
      params: of the model.
      opt_state: of the optimiser.
      skipped: iterations whose loss or gradient was not finite, and that changed nothing.
    """

    step: jax.Array
    params: dict
    opt_state: optax.OptState
    skipped: jax.Array


def optimizer(schedule: optax.Schedule | float) -> optax.GradientTransformation:
    """Adam (0.9, 0.99, 1e-8) on gradients clipped by value to ±5, then by global norm to 100."""
    return optax.chain(
        optax.clip(5.0),
        optax.clip_by_global_norm(100.0),
        optax.adam(schedule, b1=0.9, b2=0.99, eps=1e-8),
    )


def create_state(params, tx: optax.GradientTransformation) -> TrainState:
    """A training that has done nothing yet."""
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), jnp.zeros((), jnp.int32))


def sr_loss(model: HCFlow, quant: int) -> Loss:
    """loss(params, rng, batch) = nll of the dequantised batch; metrics: its parts."""

    def loss(params, rng, batch):
        hr = losses.dequantize(rng, batch["hr"], quant)
        terms = losses.likelihood(model, params, hr, batch["lr"], quant)
        nll = losses.nll(terms)
        return nll, {
            "nll": nll,
            "bits_per_dim": losses.bits_per_dim(terms),
            "lr_bits_per_dim": losses.lr_bits_per_dim(terms),
        }

    return loss


def rescaling_loss(model: HCFlow) -> Loss:
    """loss(params, rng, batch) = 0.05·lr + 1e-5·latents + hr; metrics: the three terms."""

    def loss(params, rng, batch):
        terms = losses.rescaling_losses(model, params, rng, batch["hr"], batch["lr"])
        return losses.rescaling_objective(terms), terms

    return loss


def train_step(
    loss: Loss,
    tx: optax.GradientTransformation,
    state: TrainState,
    batch: dict[str, jax.Array],
    rng: jax.Array,
    axis_name: str | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """params ← params − tx(∇ loss), gradients averaged over `axis_name`.

    Where the loss or the gradient's norm is not finite, parameters and optimiser stay as they are
    and `skipped` grows by one.

    Args:
      loss: loss(params, rng, batch) -> (scalar, metrics).
      batch: this device's share, {"hr": [B, H, W, C], "lr": [B, h, w, C]}, float in [0, 1].
      rng: the training's key; device and step are folded in here.

    Returns:
      (state, metrics): metrics averaged over devices, with "loss" and "gradient_norm".
    """
    if axis_name is not None:
        rng = jax.random.fold_in(rng, jax.lax.axis_index(axis_name))
    rng = jax.random.fold_in(rng, state.step)
    (value, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.params, rng, batch)
    metrics = metrics | {"loss": value}
    if axis_name is not None:
        metrics, gradients = jax.lax.pmean((metrics, gradients), axis_name)
    norm = optax.tree.norm(gradients)
    updates, opt_state = tx.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    finite = jnp.isfinite(norm) & jnp.isfinite(metrics["loss"])
    params, opt_state = jax.tree.map(
        lambda new, old: jnp.where(finite, new, old),
        (params, opt_state),
        (state.params, state.opt_state),
    )
    skipped = state.skipped + jnp.where(finite, 0, 1)
    state = TrainState(state.step + 1, params, opt_state, skipped)
    return state, metrics | {"gradient_norm": norm}
