"""Fits a model's guard: the ranges beyond which its networks would extrapolate."""

import dataclasses
from collections.abc import Iterable

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from hcflow_jax.model.hcflow import HCFlow

GUARD = "guard"


def fit_guard(
    model: HCFlow, params, images: Iterable[jax.Array], margin: float = 0.1
) -> tuple[HCFlow, dict]:
    """(guarded model, params with ranges) that leave such images as they are.

    Every range becomes what its channel takes while `images` are encoded, widened at both ends by
    `margin` of its width. The map stays an exact bijection, with the log-determinant that it
    reports; images whose features leave the ranges are mapped otherwise than without guard.

    Args:
      params: not `prepare`d; ranges in them are replaced.
      images: [B, H, W, C] each, values near [0, 1]: photographs, and raw samples of theirs.

    Raises:
      ValueError: `images` are none.
    """
    guarded = dataclasses.replace(model, guard=True)
    params = _empty(guarded, params)
    observe, met = jax.jit(guarded.observe), False
    for hr in images:
        params, met = observe(params, hr), True
    if not met:
        raise ValueError("a guard needs images to be fitted to, got none")
    return guarded, _with_margin(params, margin)


def _flat(params):
    """{path: array}, and what is empty, such as no conditional steps, as it is."""
    return flatten_dict(params, keep_empty_nodes=True)


def _empty(guarded, params):
    """`params` with every range empty, so that the first image opens it."""
    arrays = {k: v for k, v in _flat(params).items() if GUARD not in k}
    shapes = flatten_dict(jax.eval_shape(guarded.init_params, jax.random.key(0)))
    for path, shape in shapes.items():
        if GUARD in path:
            value = jnp.inf if path[-1] == "low" else -jnp.inf
            arrays[path] = jnp.full(shape.shape, value, shape.dtype)
    return unflatten_dict(arrays)


def _with_margin(params, margin):
    flat = _flat(params)
    for *path, leaf in [path for path in flat if GUARD in path and path[-1] == "low"]:
        low, high = (*path, leaf), (*path, "high")
        room = margin * (flat[high] - flat[low])
        flat[low], flat[high] = flat[low] - room, flat[high] + room
    return unflatten_dict(flat)
