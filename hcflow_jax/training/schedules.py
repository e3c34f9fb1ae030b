"""Learning rates as functions of the iteration, which counts from 1."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from hcflow_jax.errors import UserError

Schedule = Callable[[jax.Array | int], jax.Array]


def _cycles(base, restarts, weights):
    """[(first iteration, learning rate at its start)] of every cycle: 0, then each restart + 1."""
    if len(restarts) != len(weights):
        raise UserError(f"{len(restarts)} restarts need as many weights, got {len(weights)}")
    if list(restarts) != sorted(set(restarts)):
        raise UserError(f"restarts must increase, got {tuple(restarts)}")
    return [(0, base)] + [(r + 1, base * w) for r, w in zip(restarts, weights, strict=True)]


def _joined(schedules, cycles) -> Schedule:
    """One schedule from those of the cycles, which count from a cycle's first iteration."""
    joined = optax.join_schedules(schedules, [first for first, _ in cycles[1:]])
    return lambda iteration: jnp.asarray(joined(jnp.asarray(iteration)), jnp.float32)


def multistep(
    base: float,
    milestones: Sequence[int],
    gamma: float = 0.5,
    restarts: Sequence[int] = (),
    weights: Sequence[float] = (),
) -> Schedule:
    """base·γ^(milestones passed); a restart r resets it to base·weight at iteration r + 1.

    A milestone counts from that iteration on, twice if listed twice; one at the first iteration of
    a cycle is ignored. UserError when restarts do not increase or have not as many weights.
    (BasicSR's MultiStepLR_Restart.)
    """
    cycles = _cycles(base, restarts, weights)
    schedules = [
        optax.piecewise_constant_schedule(
            rate, {m - first: gamma ** list(milestones).count(m) for m in milestones if m > first}
        )
        for first, rate in cycles
    ]
    return _joined(schedules, cycles)


def cosine(
    base: float,
    periods: Sequence[int],
    restarts: Sequence[int] = (),
    weights: Sequence[float] = (),
    least: float = 0.0,
) -> Schedule:
    """least + (rate − least)·(1 + cos(π·t / T))/2, t iterations into a cycle of period T.

    A restart r begins the next cycle, of rate base·weight, at iteration r + 1; after its period a
    cycle stays at `least`. UserError unless there is one period more than restarts. (SGDR,
    equation 5, with weighted restarts.)
    """
    cycles = _cycles(base, restarts, weights)
    if len(periods) != len(cycles):
        raise UserError(f"{len(restarts)} restarts need {len(cycles)} periods, got {len(periods)}")
    waves = [
        optax.cosine_decay_schedule(rate - least, period)
        for (_, rate), period in zip(cycles, periods, strict=True)
    ]
    joined = _joined(waves, cycles)
    return lambda iteration: least + joined(iteration)
