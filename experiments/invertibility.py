"""Round-trip error of random flows against depth, in float32 and float64.

    python experiments/invertibility.py [--side 64] [-o invertibility.json]

max |decode(encode(x)) − x| over a random image, for stacks of K flow steps and for the full-size
networks. Weights are random rather than zero-initialised, so that every coupling acts; 1×1
convolutions are near-identity. Rows with "prepared" invert the 1×1 matrices once, in float64.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from configs import rescaling_x4, sr_x4, sr_x8
from hcflow_jax import bijectors, build_model
from hcflow_jax.model.networks import FCN

DEPTHS = (1, 2, 4, 8, 13, 26)
CHANNELS = 12


def random_params(shapes, seed=0):
    """Noise in place of every array, float64; He-scaled kernels and 0.1 for the rest."""

    def draw(path, leaf):
        keys = jax.tree_util.keystr(path)
        rng = np.random.default_rng([seed, *keys.encode()])
        noise = rng.standard_normal(leaf.shape)
        if "permute" in keys:
            return np.eye(leaf.shape[-1]) + 0.3 * noise / leaf.shape[-1] ** 0.5
        if "kernel" in keys:
            gain = 0.05 if "prior" in keys or "conv3" in keys else 0.3 if "trunk" in keys else 1.0
            return gain * noise / np.prod(leaf.shape[-4:-1]) ** 0.5
        return 0.1 * noise

    return jax.tree_util.tree_map_with_path(draw, shapes)


def error_of(encode, decode, params, x, dtype, prepare=None):
    """max |decode(encode(x)) − x| in `dtype`."""
    params = jax.tree.map(lambda v: jnp.asarray(v, dtype), params)
    inverse_params = prepare(params) if prepare else params
    x = jnp.asarray(x, dtype)
    back = jax.jit(decode)(inverse_params, jax.jit(encode)(params, x))
    return float(jnp.max(jnp.abs(back - x)))


def rows(side):
    """(name, encode, decode, prepare, params, image) of everything that is measured."""
    rng = np.random.default_rng(0)
    for depth in DEPTHS:
        coupling = bijectors.AffineCoupling(CHANNELS, CHANNELS // 2, FCN(64, CHANNELS))
        flow = bijectors.Repeat(bijectors.flow_step(coupling), depth)
        params = random_params(jax.eval_shape(flow.init, jax.random.key(0)))
        x = rng.standard_normal((1, side // 2, side // 2, CHANNELS))
        yield (
            f"{depth} affine steps",
            lambda p, x, flow=flow: flow.forward(p, x)[0],
            lambda p, y, flow=flow: flow.inverse(p, y)[0],
            flow.prepare,
            params,
            x,
        )
    for name, config in (("sr_x4", sr_x4), ("sr_x8", sr_x8), ("rescaling_x4", rescaling_x4)):
        model = build_model(config.get_config().model)
        yield (
            f"{name}, full size",
            model.encode,
            lambda p, e, model=model: model.decode(p, e.lr, e.latents),
            model.prepare,
            random_params(jax.eval_shape(model.init_params, jax.random.key(0))),
            rng.random((1, side, side, 3)),
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--side", type=int, default=64, help="HR side in pixels (default: 64)")
    parser.add_argument("-o", "--output", help="write the table as JSON as well")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    columns = ("float32", "float32 prepared", "float64")
    print(f"{'':24}" + "".join(f"{column:>18}" for column in columns))
    table = {}
    for name, encode, decode, prepare, params, x in rows(args.side):
        table[name] = {
            "float32": error_of(encode, decode, params, x, jnp.float32),
            "float32 prepared": error_of(encode, decode, params, x, jnp.float32, prepare),
            "float64": error_of(encode, decode, params, x, jnp.float64),
        }
        print(f"{name:24}" + "".join(f"{table[name][c]:18.1e}" for c in columns), flush=True)
    if args.output:
        Path(args.output).write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
