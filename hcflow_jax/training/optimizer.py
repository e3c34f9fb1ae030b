"""Clipped Adam on all parameters as one vector; updates that are not finite are left out."""

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree


@flax.struct.dataclass
class Learner:
    """A network in training: its parameters, its optimiser and (a discriminator's) statistics."""

    params: dict
    opt_state: optax.OptState
    batch_stats: dict = flax.struct.field(default_factory=dict)


OPTIMIZER = optax.chain(
    optax.clip(5.0),
    optax.clip_by_global_norm(100.0),
    optax.scale_by_adam(b1=0.9, b2=0.99, eps=1e-8),
)
"""Clipping by value, then by norm, then Adam, on all gradients as one vector."""


def learner(params, batch_stats=None) -> Learner:
    """A network that has not learnt yet; its optimiser sees all parameters as one vector."""
    leaves = jax.tree.leaves(params)
    vector = jnp.zeros(sum(x.size for x in leaves), jnp.result_type(*leaves))
    return Learner(params, OPTIMIZER.init(vector), batch_stats or {})


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


def descend(params, gradient: jax.Array, opt_state, rate, good: jax.Array):
    """(params − rate · `OPTIMIZER`'s update, its state), both as they were unless `good`.

    On vectors of all parameters, so that the program is small, and as a branch, so that XLA
    rewrites the moments in place and does not compute the update again for every array.

    Args:
      gradient: one vector, in the order of `ravel_pytree(params)`.
    """

    def move(gradient, state):
        update, state = OPTIMIZER.update(gradient, state)
        return (rate * update).astype(gradient.dtype), state

    def stay(gradient, state):
        return jnp.zeros_like(gradient), state

    update, opt_state = jax.lax.cond(good, move, stay, gradient, opt_state)
    _, unravel = ravel_pytree(params)
    params = jax.tree.map(lambda p, u: (p - u).astype(p.dtype), params, unravel(update))
    return params, opt_state


def update(loss, rate, own: Learner, batch, parts: int, axis_name):
    """(learner, metrics, rest of the loss, all finite?) after one clipped Adam update of `own`,
    which stays as it is where the loss or the gradient is not finite.
    """
    (value, metrics, rest), gradients = _value_and_grad(loss, own.params, batch, parts)
    flat, _ = ravel_pytree(gradients)
    if axis_name is not None:
        value, metrics, flat = jax.lax.pmean((value, metrics, flat), axis_name)
    norm = jnp.linalg.norm(flat)
    good = jnp.isfinite(value) & jnp.isfinite(norm) & jnp.isfinite(rate)
    params, opt_state = descend(own.params, flat, own.opt_state, rate, good)
    own = own.replace(params=params, opt_state=opt_state)
    return own, metrics | {"loss": value, "gradient_norm": norm}, rest, good
