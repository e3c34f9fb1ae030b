"""The uniform noise that makes 8-bit images continuous, and its mean in what is sampled."""

import jax
import jax.numpy as jnp

from hcflow_jax import bijectors
from hcflow_jax.bijectors.base import Params
from hcflow_jax.model.hcflow import HCFlow

KINDS = ("centred", "published")
"""U(−½, ½)/q, of mean 0; U(0, 1)/q as the authors train, of mean ½/q."""


def noise(kind: str, rng: jax.Array, shape, dtype, quant: int) -> jax.Array:
    """Dequantisation noise of a kind of KINDS, 1/quant wide, for images in [0, 1]."""
    uniform = jax.random.uniform(rng, shape, dtype)
    return (uniform - 0.5 if kind == "centred" else uniform) / quant


def recipe_quant(scale: int) -> int:
    """The q of the published recipe for a scale: 256 for ×8, of faces, and 64 for the others."""
    return 256 if scale == 8 else 64


def without_noise_mean(model: HCFlow, params: Params, quant: int) -> Params:
    """`params` of a flow of images with noise U(0, 1)/quant as those of one with U(−½, ½)/quant.

    A flow f of x + ½/quant becomes one of x when the bias of its first ActNorm grows by the
    squeezed ½/quant: what it samples is darker by 255/(2·quant) on the 0–255 scale, and an image
    is as likely as the brighter one was.

    ValueError when the first level has no unconditional step, and so no such ActNorm, or steps of
    somebody's own.
    """
    if model.step is not None:
        raise ValueError("flow steps of somebody's own may have no ActNorm, which would move")
    count = model.steps[0] - model.conditional_steps[0]
    if not count:
        raise ValueError("the first level has no unconditional step, whose ActNorm would move")
    (group, name), index = bijectors.locate(0, model.cycle, count)
    mean = jnp.full((1, 2, 2, model.image_channels), 0.5 / quant)
    mean = model.levels[0].squeeze.forward({}, mean)[0][0, 0, 0]

    def moved(bias):
        return jnp.asarray(bias).at[... if index is None else index].add(mean)

    return _replaced(params, ("level0", "flow", group, name, "actnorm", "bias"), moved)


def _replaced(tree, path, change):
    """`tree` with change(value) at `path`."""
    if not path:
        return change(tree)
    return {**tree, path[0]: _replaced(tree[path[0]], path[1:], change)}
