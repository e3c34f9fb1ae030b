"""What rounded products in its networks do to a flow: round trips and likelihoods.

    python experiments/precision/precision.py [--side 64] [--gain 0.5] [-o results.json]

The three published networks with random weights whose couplings act: zero-initialised kernels are
drawn, of `gain` times the size that keeps variance, and every ActNorm is set from photographs.
Accelerators are emulated on the CPU (`experiments/rounding.py`): operands of the networks'
convolutions are rounded to nearest, sums are of float32, the flow's own arithmetic is float32.
The shipped, trained networks stand beside. Errors of LR images, log-determinants and likelihoods
log p(HR | LR), the largest of two photographs, are against the whole model in float64.
"""

import argparse
import dataclasses
import json
import math
import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

import hcflow_jax
from experiments import rounding
from hcflow_jax import build_model
from hcflow_jax.training import memory, recipes

ROOT = Path(__file__).parents[2]
NETWORKS = ("sr_x4", "sr_x8", "rescaling_x4")
TASKS = ("sr", "rescaling")
WAYS = {
    "float32": rounding.plain,
    "TF32 (`tensorfloat32`, GPU)": rounding.of("tensorfloat32"),
    "3 × bfloat16 (`tensorfloat32`, TPU)": rounding.in_three_passes,
    "bfloat16 operands (JAX's default, TPU)": rounding.of("bfloat16"),
    "`bfloat16`": rounding.of("bfloat16", stored=True),
}
"""{name: convolutions in place of the plain ones}."""

FIGURES = ("round trip, max", "mean", "LR image", "log-det", "nll")
"""Levels of 255, and bits per dimension."""

PRIOR_GAIN = 0.1
"""Of priors, whose scales are not bounded."""


def photographs(side: int, count: int) -> np.ndarray:
    """Different squares of the photograph that ships, [count, side, side, 3] in [0, 1]."""
    image = np.asarray(Image.open(ROOT / "hcflow_jax/assets/chelsea.png").convert("RGB"))
    tall, wide = (range(0, length - side + 1, side) for length in image.shape[:2])
    corners = [(i, j) for i in tall for j in wide][::-1]
    return np.stack([image[i : i + side, j : j + side] / 255 for i, j in corners[:count]])


def random_params(model, images, gain):
    """Float32 parameters with no array of zeros among kernels, ActNorms set from `images`."""
    key = jax.random.key(0)
    params = memory.quickly_compiled(jax.jit(model.init_params).lower(key))(key)

    def draw(path, leaf):
        name = jax.tree_util.keystr(path)
        if "kernel" not in name or np.any(leaf):
            return np.asarray(leaf)
        own = gain * (PRIOR_GAIN if "prior" in name else 1)
        rng = np.random.default_rng(list(name.encode()))
        noise = rng.standard_normal(leaf.shape) / math.sqrt(np.prod(leaf.shape[-4:-1]))
        return np.asarray(own * noise, np.float32)

    params = jax.tree_util.tree_map_with_path(draw, params)
    return jax.jit(model.data_init)(params, jnp.asarray(images, jnp.float32))


def models(images, gain):
    """Yields (name, model, float32 parameters)."""
    for task in TASKS:
        model, params = hcflow_jax.load(task=task)
        yield f"shipped, {task}", model, params
    for name in NETWORKS:
        model = build_model(recipes.load(f"{name}:hcflow").model)
        plain = dataclasses.replace(model, kernels="plain")
        yield f"{name}, random", plain, random_params(plain, images, gain)


def measured(model, products, params, hr):
    """LR image, log-determinant and log p(hr | LR) [B] in nats, and what decodes from them."""
    model = dataclasses.replace(model, kernels="plain")

    def run(params, hr):
        e = model.encode(params, hr)
        back = model.decode(params, e.lr, e.latents)
        return e.lr, e.log_det, e.log_det + e.log_prior.sum(0), back

    params = model.prepare(params)
    with rounding.rounded(products):
        return [np.asarray(x, np.float64) for x in jax.jit(run)(params, hr)]


def rows(model, params, hr):
    """Yields (way, {figure: value})."""
    double = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    exact = measured(model, rounding.plain, double, hr)
    dimensions = hr[0].size * math.log(2)
    for way, products in WAYS.items():
        found = measured(model, products, params, hr.astype(np.float32))
        lr, log_det, log_p, _ = (np.abs(a - b).max() for a, b in zip(found, exact, strict=True))
        back = np.abs(found[3] - hr)
        values = 255 * back.max(), 255 * back.mean(), 255 * lr
        values += log_det / dimensions, log_p / dimensions
        yield way, dict(zip(FIGURES, map(float, values), strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--side", type=int, default=64, help="HR side in pixels (default: 64)")
    parser.add_argument("--gain", type=float, default=0.5, help="of couplings (default: 0.5)")
    parser.add_argument("-o", "--output", help="write the table as JSON as well")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    images, table = photographs(args.side, 6), {}
    print(f"| | | {' | '.join(FIGURES)} |\n|---|---|{'---|' * len(FIGURES)}")
    for name, model, params in models(images[2:], args.gain):
        for way, figures in rows(model, params, images[:2]):
            table.setdefault(name, {})[way] = figures
            values = " | ".join(f"{value:.1e}" for value in figures.values())
            print(f"| {name} | {way} | {values} |", flush=True)
    if args.output:
        Path(args.output).write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
