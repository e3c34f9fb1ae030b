"""Many copies of one bijector in a row, as one loop with a gradient of its own."""

import dataclasses

import jax
import jax.numpy as jnp

from hcflow_jax.bijectors.base import Bijector
from hcflow_jax.kernels import buffers


def _pull_back(bijector, direction, params, y, cond, g_y, g_log_det):
    """(x, g_params, g_x, g_cond) of y, log_det = bijector.`direction`(params, x, cond).

    x is computed back from y, the gradients from g_y and g_log_det, those of y and log_det. Parts
    are undone and differentiated one by one: both then need a coupling's network at the same
    input, and XLA computes it once.
    """
    if not bijector.parts:
        step, undo = bijector.forward, bijector.inverse
        if direction == "inverse":
            step, undo = undo, step
        x, _ = undo(params, y, cond)
        outputs, vjp = jax.vjp(step, params, x, cond)
        return x, *vjp(jax.tree.map(lambda g, out: g.astype(out.dtype), (g_y, g_log_det), outputs))
    g_params, g_cond = {}, jax.tree.map(jnp.zeros_like, cond)
    for name, part in bijector.parts[:: -1 if direction == "forward" else 1]:
        y, g_params[name], g_y, g_cond_part = _pull_back(
            part, direction, params[name], y, cond, g_y, g_log_det
        )
        g_cond = jax.tree.map(jnp.add, g_cond, g_cond_part)
    return y, g_params, g_y, g_cond


@dataclasses.dataclass(frozen=True)
class Repeat(Bijector):
    """`times` copies of one bijector in a row, each with its own weights: f_n ∘ … ∘ f_1.

    Runs as one `lax.scan`, so that compile time does not depend on `times`. Every array of params
    has a leading axis of that length. With `remat`, reverse mode stores the inputs of the copies
    alone and recomputes the inside of each; with `reversible` it stores the last output alone and
    inverts one copy after the other, so that memory does not grow with `times`. (RevNet, section
    3.2.)
    """

    bijector: Bijector
    times: int
    remat: bool = False
    reversible: bool = False

    def init(self, rng):
        return jax.vmap(self.bijector.init)(jax.random.split(rng, self.times))

    def _scan(self, step, params, x, cond, reverse):
        def body(carry, params):
            x, total = carry
            x, log_det = step(params, x, cond)
            return (x, total + log_det), None

        if self.remat:
            body = jax.checkpoint(body, prevent_cse=False)
        start = (x, jnp.zeros(x.shape[0], x.dtype))
        return jax.lax.scan(body, start, params, length=self.times, reverse=reverse)[0]

    def _run(self, direction, params, x, cond):
        reverse = direction == "inverse"

        def scan(params, x, cond):
            step = getattr(self.bijector, direction)
            return self._scan(step, params, x, cond, reverse)

        if not (self.reversible and self.times):
            return scan(params, x, cond)

        def with_residuals(params, x, cond):
            y, total = scan(params, x, cond)
            return (y, total), (params, y, cond)

        def pull_back(residuals, cotangents):
            params, y, cond = residuals
            g_y, g_log_det = cotangents

            def body(carry, i):
                y, g_y, g_cond, g_params = carry
                x, g_copy, g_x, g_cond_copy = _pull_back(
                    self.bijector, direction, buffers.at(params, i), y, cond, g_y, g_log_det
                )
                g_params = buffers.put(g_params, i, g_copy)
                return (x, g_x, jax.tree.map(jnp.add, g_cond, g_cond_copy), g_params), None

            g_cond, g_params = jax.tree.map(jnp.zeros_like, cond), buffers.unwritten(params, g_y)
            start, indices = (y, g_y, g_cond, g_params), jnp.arange(self.times)
            (_, *gradients), _ = jax.lax.scan(body, start, indices, reverse=not reverse)
            g_x, g_cond, g_params = gradients
            return g_params, g_x, g_cond

        run = jax.custom_vjp(scan)
        run.defvjp(with_residuals, pull_back)
        return run(params, x, cond)

    def forward(self, params, x, cond=None):
        return self._run("forward", params, x, cond)

    def inverse(self, params, y, cond=None):
        return self._run("inverse", params, y, cond)

    def data_init(self, params, x, cond=None, *, fit):
        return self._visit(lambda *args: self.bijector.data_init(*args, cond, fit=fit), params, x)

    def observe(self, params, x, cond=None):
        return self._visit(lambda *args: self.bijector.observe(*args, cond), params, x)

    def _visit(self, method, params, x):
        def body(x, params):
            params, x = method(params, x)
            return x, params

        y, changed = jax.lax.scan(body, x, params, length=self.times)
        return changed, y

    def prepare(self, params):
        return self.bijector.prepare(params)
