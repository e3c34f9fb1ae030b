"""Adam with clipped gradients, on all parameters as one vector; skips non-finite updates."""

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree


class Learner(flax.struct.PyTreeNode):
    """A network in training: parameters and optimiser state."""

    params: dict
    opt_state: optax.OptState


OPTIMIZER = optax.chain(
    optax.clip(5.0),
    optax.clip_by_global_norm(100.0),
    optax.scale_by_adam(b1=0.9, b2=0.99, eps=1e-8),
)
"""Clipping by value, then by norm, then Adam, on all gradients as one vector."""


def new_learner(params) -> Learner:
    """A network before its first update; the optimiser state is that of one vector."""
    leaves = jax.tree.leaves(params)
    vector = jnp.zeros(sum(x.size for x in leaves), jnp.result_type(*leaves))
    return Learner(params, OPTIMIZER.init(vector))


def _value_and_grad(loss, params, batch, micro_batches):
    """((value, metrics, aux), gradients) of loss(params, batch) by gradient accumulation.

    Means over `micro_batches` equal parts of the batch. aux is an array of images, which is
    concatenated, or None.
    """
    differentiate = jax.value_and_grad(loss, has_aux=True)
    if micro_batches == 1:
        (value, (metrics, aux)), gradients = differentiate(params, batch)
        return (value, metrics, aux), gradients
    split = jax.tree.map(lambda x: x.reshape(micro_batches, -1, *x.shape[1:]), batch)
    first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), split)
    shapes = jax.eval_shape(differentiate, params, first)
    (value, (metrics, _)), gradients = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def accumulate(sums, micro_batch):
        (value, (metrics, aux)), gradients = differentiate(params, micro_batch)
        return jax.tree.map(jnp.add, sums, (value, metrics, gradients)), aux

    sums, aux = jax.lax.scan(accumulate, (value, metrics, gradients), split)
    value, metrics, gradients = jax.tree.map(lambda x: x / micro_batches, sums)
    if aux is not None:
        aux = aux.reshape(-1, *aux.shape[2:])
    return (value, metrics, aux), gradients


def descend(params, gradient: jax.Array, opt_state, learning_rate, finite: jax.Array):
    """(params − learning_rate·u, new state), u the update of `OPTIMIZER`, or both unchanged.

    Computed on vectors of all parameters, so that the program is small, and in a branch, so that
    XLA updates the moments in place and does not recompute u for every array.

    Args:
      gradient: one vector, in the order of `ravel_pytree(params)`.
      finite: whether to update.
    """

    def move(gradient, state):
        update, state = OPTIMIZER.update(gradient, state)
        return (learning_rate * update).astype(gradient.dtype), state

    def stay(gradient, state):
        return jnp.zeros_like(gradient), state

    update, opt_state = jax.lax.cond(finite, move, stay, gradient, opt_state)
    _, unravel = ravel_pytree(params)
    params = jax.tree.map(lambda p, u: (p - u).astype(p.dtype), params, unravel(update))
    return params, opt_state


def update(loss, learning_rate, learner: Learner, batch, micro_batches: int, axis_name):
    """(learner, metrics, aux, finite) after one update by `descend`.

    Args:
      loss: (params, batch) -> (value, (metrics, aux)); value and gradient are averaged over
        devices. `finite`: whether both, and the learning rate, are; else `learner` is unchanged.
    """
    (value, metrics, aux), gradients = _value_and_grad(loss, learner.params, batch, micro_batches)
    flat, _ = ravel_pytree(gradients)
    if axis_name is not None:
        value, metrics, flat = jax.lax.pmean((value, metrics, flat), axis_name)
    norm = jnp.linalg.norm(flat)
    finite = jnp.isfinite(value) & jnp.isfinite(norm) & jnp.isfinite(learning_rate)
    params, opt_state = descend(learner.params, flat, learner.opt_state, learning_rate, finite)
    learner = learner.replace(params=params, opt_state=opt_state)
    return learner, metrics | {"loss": value, "gradient_norm": norm}, aux, finite
