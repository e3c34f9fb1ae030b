"""Weights as they ship: guarded by what training pictures and their samples reach, half precision.

python experiments/shipped_weights/finish.py WEIGHTS DATA.zip -o OUT.npz
"""

import argparse
from pathlib import Path

import batches
import jax
import jax.numpy as jnp
import train

from hcflow_jax import checkpoints, fit_guard

SIDE, BATCH = 128, 8
EXPLODED = 1.5
"""Further from 1/2 than this no value of a sample may be, else its picture stands for it."""


def seen(model, params, tiles, count, temperatures):
    """Batches of training pictures, and raw samples of theirs at each temperature."""

    @jax.jit
    def sample(hr, lr, key, t):
        found = model.decode(params, lr, model.draw_latents(key, lr, t))
        sane = jnp.abs(found - 0.5).max((1, 2, 3), keepdims=True) <= EXPLODED  # NaN is not
        return jnp.where(sane, found, hr)

    side = SIDE + 2 * batches.margin(model.scale)
    for i in range(count):
        hr, lr = batches.pair(jnp.asarray(tiles.windows(2, i, BATCH, side)), model.scale)
        yield hr
        for t in temperatures:
            yield sample(hr, lr, jax.random.key(i), t)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights")
    parser.add_argument("data", type=Path, help="zip written by pack.py")
    parser.add_argument("-o", "--output", required=True, type=Path)
    parser.add_argument("--batches", type=int, default=24)
    parser.add_argument("--temperatures", type=float, nargs="*", default=(0.0, 0.5, 1.0))
    parser.add_argument("--synthetic", type=float, default=0.0, help="their share of the pictures")
    parser.add_argument("--margin", type=float, default=0.1)
    args = parser.parse_args()
    model, params = checkpoints.load_model(args.weights)
    tiles = batches.Tiles(args.data, args.synthetic)
    images = seen(model, params, tiles, args.batches, args.temperatures)
    model, params = fit_guard(model, params, images, args.margin)
    train.export(args.output, model, params)


if __name__ == "__main__":
    main()
