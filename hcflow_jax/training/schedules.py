"""Learning rates as functions of the iteration number, which counts from 1."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

Schedule = Callable[[jax.Array | int], jax.Array]


def _starts(base, restarts, weights):
    """[(first iteration, rate)] of every cycle: the start, then after each restart."""
    if len(restarts) != len(weights):
        raise ValueError(f"{len(restarts)} restarts need as many weights, got {len(weights)}")
    if list(restarts) != sorted(set(restarts)):
        raise ValueError(f"restarts must grow, got {tuple(restarts)}")
    return [(0, base)] + [(r + 1, base * w) for r, w in zip(restarts, weights, strict=True)]


def _last(starts, iteration):
    """Index of the cycle that `iteration` belongs to."""
    return jnp.searchsorted(np.array([start for start, _ in starts]), iteration, side="right") - 1


def multistep(
    base: float,
    milestones: Sequence[int],
    gamma: float = 0.5,
    restarts: Sequence[int] = (),
    weights: Sequence[float] = (),
) -> Schedule:
    """base·γ^(milestones passed); iteration r + 1 after a restart r sets base·weight anew.

    A milestone acts from that iteration on; one listed twice acts twice. ValueError when restarts
    do not grow or have not as many weights. (BasicSR's MultiStepLR_Restart.)
    """
    starts = _starts(base, restarts, weights)
    cycles = dict(starts)
    changes, rate = [], base
    for at in sorted({*cycles, *milestones}):
        rate = cycles[at] if at in cycles else rate * gamma ** list(milestones).count(at)
        changes.append((at, rate))
    rates = np.array([rate for _, rate in changes], np.float32)
    return lambda iteration: jnp.asarray(rates)[_last(changes, iteration)]


def cosine(
    base: float,
    periods: Sequence[int],
    restarts: Sequence[int] = (),
    weights: Sequence[float] = (),
    least: float = 0.0,
) -> Schedule:
    """least + (rate − least)·(1 + cos(π·t / T))/2, t iterations into a cycle of period T.

    A restart r begins, at iteration r + 1, the next period with rate base·weight. ValueError
    unless there is one period more than restarts. (SGDR, equation 5, with weighted restarts.)
    """
    starts = _starts(base, restarts, weights)
    if len(periods) != len(starts):
        raise ValueError(f"{len(restarts)} restarts need {len(starts)} periods, got {len(periods)}")
    first = np.array([start for start, _ in starts], np.float32)
    rates = np.array([rate for _, rate in starts], np.float32)
    lengths = np.array(periods, np.float32)

    def rate(iteration):
        cycle = _last(starts, iteration)
        t = (iteration - jnp.asarray(first)[cycle]) / jnp.asarray(lengths)[cycle]
        return least + (jnp.asarray(rates)[cycle] - least) * (1 + jnp.cos(math.pi * t)) / 2

    return rate
