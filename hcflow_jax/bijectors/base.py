"""The contract every bijector keeps, and the two ways of composing them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Params = Any
Fit = Callable[[jax.Array], Params]


class Bijector:
    """y = f(x; params, cond), invertible in x for every cond.

    A bijector is a frozen dataclass that holds sizes and networks but no weights: those are a
    tree that every method takes. Images are [B, H, W, C]; `cond` is an image of the same height
    and width, or None. The log-determinant is that of the direction taken, in nats, summed over
    H, W and C: log_det = log|det ∂y/∂x| of `forward`, log|det ∂x/∂y| of `inverse`; shape [B].
    """

    parts: tuple[tuple[str, "Bijector"], ...] = ()
    """(name, bijector) of its parts in forward order; params is then {name: params of the part}."""

    def init(self, rng: jax.Array) -> Params:
        """Initial float32 parameters."""
        raise NotImplementedError

    def forward(self, params: Params, x: jax.Array, cond=None) -> tuple[jax.Array, jax.Array]:
        """(f(x), log|det ∂f/∂x|)."""
        raise NotImplementedError

    def inverse(self, params: Params, y: jax.Array, cond=None) -> tuple[jax.Array, jax.Array]:
        """(f⁻¹(y), log|det ∂f⁻¹/∂y|)."""
        raise NotImplementedError

    def data_init(self, params: Params, x: jax.Array, cond=None, *, fit: Fit):
        """(params, f(x; params)), every ActNorm set by `fit` from the input that reaches it."""
        del fit
        return params, self.forward(params, x, cond)[0]

    def observe(self, params: Params, x: jax.Array, cond=None) -> tuple[Params, jax.Array]:
        """(params, f(x; params)), every guard's ranges widened to what it meets."""
        return params, self.forward(params, x, cond)[0]

    def prepare(self, params: Params) -> Params:
        """`params` and what sampling computes from them once, in float64; the map is the same."""
        return params


def sum_pixels(x: jax.Array) -> jax.Array:
    """Σ over H, W, C: [B, H, W, C] -> [B]."""
    return jnp.sum(x, axis=(1, 2, 3))


def fold_forward(parts, x, cond=None):
    """f_n ∘ … ∘ f_1 of [(bijector, params), …]; log-determinants add: (y, Σ log_det_i)."""
    total = jnp.zeros(x.shape[0], x.dtype)
    for bijector, params in parts:
        x, log_det = bijector.forward(params, x, cond)
        total = total + log_det
    return x, total


def fold_inverse(parts, y, cond=None):
    """f_1⁻¹ ∘ … ∘ f_n⁻¹ of [(bijector, params), …] in forward order: (x, Σ log_det_i)."""
    total = jnp.zeros(y.shape[0], y.dtype)
    for bijector, params in reversed(parts):
        y, log_det = bijector.inverse(params, y, cond)
        total = total + log_det
    return y, total


@dataclasses.dataclass(frozen=True)
class Chain(Bijector):
    """f = f_n ∘ … ∘ f_1, log_det = Σ log_det_i.

    Args:
      parts: (name, bijector) pairs in forward order; params is {name: params of that part}.
    """

    parts: tuple[tuple[str, Bijector], ...]

    def _with(self, params):
        return [(bijector, params[name]) for name, bijector in self.parts]

    def init(self, rng):
        keys = jax.random.split(rng, max(1, len(self.parts)))
        return {name: part.init(key) for (name, part), key in zip(self.parts, keys, strict=False)}

    def forward(self, params, x, cond=None):
        return fold_forward(self._with(params), x, cond)

    def inverse(self, params, y, cond=None):
        return fold_inverse(self._with(params), y, cond)

    def data_init(self, params, x, cond=None, *, fit):
        return self._visit(lambda part, *inputs: part.data_init(*inputs, fit=fit), params, x, cond)

    def observe(self, params, x, cond=None):
        return self._visit(lambda part, *inputs: part.observe(*inputs), params, x, cond)

    def _visit(self, method, params, x, cond):
        changed = {}
        for name, part in self.parts:
            changed[name], x = method(part, params[name], x, cond)
        return changed, x

    def prepare(self, params):
        return {name: part.prepare(params[name]) for name, part in self.parts}
