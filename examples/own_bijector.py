"""A bijector of one's own in the model, without a fork.

`HCFlow(step=…)` asks a function for every flow step. Here each is followed by a bend, sinh-arcsinh
of Jones & Pewsey (2009): nothing at s = 0; at another s, to be learnt, photographs are likelier.

    python examples/own_bijector.py [PHOTO]      ->  own_bijector.png
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from panels import enlarged, photograph, save, shrunk

from hcflow_jax import bijectors, load


@dataclasses.dataclass(frozen=True)
class Bend(bijectors.Bijector):
    """y = sinh(z), z = e^s·asinh(x); log_det = Σ s + log cosh(z) − ½ log(1 + x²)."""

    channels: int

    def init(self, rng):
        return {"s": jnp.zeros(self.channels, jnp.float32)}

    def forward(self, params, x, cond=None):
        z = jnp.exp(params["s"]) * jnp.arcsinh(x)
        slope = params["s"] + jnp.log(jnp.cosh(z)) - 0.5 * jnp.log1p(x**2)
        return jnp.sinh(z), slope.sum((1, 2, 3))

    def inverse(self, params, y, cond=None):
        x = jnp.sinh(jnp.arcsinh(y) * jnp.exp(-params["s"]))
        return x, -self.forward(params, x)[1]


def step(built_in, channels, cond_channels):
    """The built-in flow step, and a bend."""
    return bijectors.Chain((*built_in.parts, ("bend", Bend(channels))))


shipped, weights = load()
model = dataclasses.replace(shipped, step=step)
shapes = flatten_dict(jax.eval_shape(model.init_params, jax.random.key(0)))
encode, decode = jax.jit(model.encode), jax.jit(model.decode)
hr = photograph(side=96)[None]
lr = jnp.asarray(shrunk(hr[0]))[None]
latents = tuple(model.draw_latents(jax.random.key(1), lr, 0.8))
row = [("the photograph", enlarged(hr[0], 2))]
for s in (0.0, -0.01, -0.02, -0.04):
    bent = {path: jnp.full(x.shape, s, x.dtype) for path, x in shapes.items() if "bend" in path}
    params = unflatten_dict(flatten_dict(weights) | bent)
    e = encode(params, hr)
    likelihood = float(e.log_det[0] + e.log_prior.sum()) / hr.size
    error = 255 * float(jnp.abs(decode(params, e.lr, e.latents) - hr).max())
    print(f"s = {s:5.2f}: {likelihood:.2f} nats per value, back within {error:.4f} of 255")
    sample = jnp.clip(decode(params, lr, latents)[0], 0, 1)
    row.append((f"a sample, s = {s}:\n{likelihood:.2f} nats", enlarged(sample, 2)))
save("own_bijector.png", [row])
