"""The smallest models that have every part, as files for the command line."""

import dataclasses

import jax.numpy as jnp

from hcflow_jax import bijectors, build_model
from hcflow_jax.bijectors.base import sum_pixels

SIZES = {
    "steps": (2, 2),
    "conditional_steps": (1, 1),
    "hidden": 4,
    "conditional_hidden": 4,
    "blocks": (1, 1),
    "features": 4,
    "growth": 2,
}
FIELDS = {
    "sr": SIZES | {"task": "sr"},
    "rescaling": SIZES
    | {
        "task": "rescaling",
        "squeeze": "haar",
        "coupling": "shift",
        "permutation": "none",
        "net": "dense_block",
        "steps": (3, 3),
    },
}
ONE_LEVEL = {
    task: build_model(fields | {"steps": (fields["steps"][0],), "conditional_steps": (1,)})
    for task, fields in FIELDS.items()
}
SR, RESCALING = (build_model(FIELDS[task]) for task in ("sr", "rescaling"))


@dataclasses.dataclass(frozen=True)
class Bend(bijectors.Bijector):
    """y = sinh(e^s·asinh(x) + t) per channel, as somebody would write a bijector of their own."""

    channels: int

    def init(self, rng):
        return {name: jnp.zeros(self.channels, jnp.float32) for name in ("s", "t")}

    def forward(self, params, x, cond=None):
        bent = jnp.exp(params["s"]) * jnp.arcsinh(x) + params["t"]
        log_slope = params["s"] + jnp.log(jnp.cosh(bent)) - 0.5 * jnp.log1p(x**2)
        return jnp.sinh(bent), sum_pixels(log_slope)

    def inverse(self, params, y, cond=None):
        x = jnp.sinh((jnp.arcsinh(y) - params["t"]) * jnp.exp(-params["s"]))
        return x, -self.forward(params, x)[1]


def bent(step, channels, cond_channels):
    """A flow step, what it makes of the image bent, and once more an ActNorm."""
    parts = {"own": step, "bend": Bend(channels), "norm": bijectors.ActNorm(channels)}
    return bijectors.Chain(tuple(parts.items()))
