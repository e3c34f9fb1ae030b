"""What an iteration of every published recipe costs: arithmetic, memory, bytes between devices.

    python experiments/costs.py [--rows 16 2]

FLOPs are two per multiplication of every convolution and matrix product, counted in the traced
program of a batch of 16 patches of 160×160; memory is what XLA's CPU backend plans (arguments and
temporaries) for so many patches on one device, when it orders the program to need little, as its
GPU and TPU backends do. Nothing is run.
"""

import argparse
import functools
import os

os.environ["XLA_FLAGS"] = (  # the last two: quick compilation of what never runs
    "--xla_cpu_enable_concurrency_optimized_scheduler=false --xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true"
)
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402
import numpy as np  # noqa: E402
from counting import flops  # noqa: E402

from hcflow_jax.training import recipes, steps  # noqa: E402
from hcflow_jax.training.config import parse  # noqa: E402


def step_and_arguments(config, rows):
    config.data.path = "any"
    recipe = parse(config)
    state, batch, vgg = steps.abstract_arguments(recipe, rows, config.data.patch_size)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return functools.partial(steps.train_step, recipe), (state, batch, key, vgg)


def memory(config, rows):
    """GiB on one device: the state, the batch, VGG19 and XLA's temporaries."""
    step, arguments = step_and_arguments(config, rows)
    compiled = jax.jit(step, donate_argnums=0).lower(*arguments).compile()
    plan = compiled.memory_analysis()
    return (plan.argument_size_in_bytes + plan.temp_size_in_bytes) / 2**30


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[16, 2], help="patches per device")
    rows = parser.parse_args().rows
    columns = [f"GiB, {n} per device" for n in rows] + [f"with remat, {n}" for n in rows]
    print("| recipe | TFLOP per iteration | MB all-reduced |", " | ".join(columns), "|")
    print("|---" * (3 + len(columns)) + "|")
    for name, variant in recipes.PUBLISHED:
        config = recipes.load(f"{name}:{variant}").unlock()
        config.model.kernels = "plain"
        step, arguments = step_and_arguments(config, 16)
        total = flops(jax.make_jaxpr(step)(*arguments).jaxpr) / 1e12
        state = arguments[0]
        config.model.kernels = "auto"
        updates = 1 + bool(config.loss.get("pixel_weight")) + bool(config.loss.get("gan_weight"))
        shared = updates * _bytes(state.model.params)
        shared += 0 if state.discriminator is None else _bytes(state.discriminator.params)
        cells = []
        for remat in (False, True):
            config.model.remat = remat
            cells += [f"{memory(config, n):.2f}" for n in rows]
        row = [f"{name}:{variant}", f"{total:.2f}", f"{shared / 1e6:.0f}", *cells]
        print("|", " | ".join(row), "|", flush=True)


def _bytes(tree):
    return sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree))


if __name__ == "__main__":
    main()
