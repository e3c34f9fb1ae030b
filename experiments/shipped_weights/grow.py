"""A deeper network that starts as the shallower one that was trained."""

import dataclasses

import jax
import jax.numpy as jnp

from hcflow_jax import HCFlow
from hcflow_jax.kernels.dense import RESIDUAL_SCALE


def _nothing(last):
    """conv5 [blocks, 3, …] of RRDBs x -> x.

    Of x + 0.2·RDB(RDB(RDB(x))), with RDB(y) = y + 0.2·conv5(y, …), the first two conv5 are 0, and
    the third is −5·y.
    """
    kernel = jnp.zeros_like(last["kernel"])
    features = jnp.arange(kernel.shape[-1])
    kernel = kernel.at[:, -1, 1, 1, features, features].set(-1 / RESIDUAL_SCALE)
    return {"kernel": kernel, "bias": jnp.zeros_like(last["bias"])}


def deepen(small: HCFlow, params, large: HCFlow, rng: jax.Array):
    """`params` of `small` with RRDBs added at the end of every trunk, each x -> x at first.

    ValueError when the models differ in more than their RRDB counts.
    """
    if dataclasses.replace(small, blocks=large.blocks) != large:
        raise ValueError(f"{large} is no deeper {small}")
    grown = {name: dict(level) for name, level in params.items()}
    fresh = large.init_params(rng)
    counts = zip(small.per_level("blocks"), large.per_level("blocks"), strict=True)
    for i, (old, new) in enumerate(counts):
        if any(a > b for a, b in zip(old, new, strict=True)):
            raise ValueError(f"{new} RRDBs are fewer than {old}")
        target = fresh[f"level{i}"]["trunk"]["RRDB_trunks"]["RDB"]
        target["conv5"] = _nothing(target["conv5"])
        source = params[f"level{i}"]["trunk"]["RRDB_trunks"]["RDB"]

        def place(own, given, old=old, new=new):
            own = own.at[: old[0]].set(given[: old[0]])
            return own.at[new[0] : new[0] + old[1]].set(given[old[0] :])

        trunks = {"RDB": jax.tree.map(place, target, source)}
        grown[f"level{i}"]["trunk"] = {**params[f"level{i}"]["trunk"], "RRDB_trunks": trunks}
    return grown
