"""Images a second of a training iteration, of every recipe, and the largest batch that fits.

The iteration is what `hcflow train` runs, mapped over all local devices.
"""

import functools

import jax
import numpy as np

from experiments.device import rates, timing
from experiments.networks import network
from hcflow_jax import devices
from hcflow_jax.training import steps
from hcflow_jax.training.config import parse

SAVING = {"remat": True, "reversible": True}
KEPT_FREE = 0.95
"""Part of the memory that the largest batch may plan for."""


def measurements(size):
    first = [(*of, dtype, {}) for dtype in timing.DTYPES for of in size.trainings[:1]]
    others = [(*of, "float32", {}) for of in size.trainings[1:]]
    saving = [(*of, "float32", SAVING) for of in size.trainings]
    return [
        (f"{of[0]}:{of[1]} {of[2]}{' saving' * bool(of[3])}", functools.partial(_images, *of, size))
        for of in first + others + saving
    ]


def iteration(name, variant, dtype, changes, patch, rows):
    """(pmapped step, its arguments); `rows` patches over all local devices."""
    config, model, params = network(name, variant, dtype=dtype, **changes)
    config.data.path = "any"
    config.data.patch_size = patch
    recipe = parse(config)
    key = jax.random.key(0)
    state = jax.jit(lambda p: steps.create_state(recipe, p, key, patch))(params)
    _, _, vgg = steps.abstract_arguments(recipe, rows, patch)
    rng = np.random.default_rng(0)
    vgg = jax.tree.map(lambda x: (0.02 * rng.standard_normal(x.shape)).astype(x.dtype), vgg)
    hr = timing.images(rows, patch)
    spread = devices.spread()
    batch = spread.shard({"hr": hr, "lr": hr[:, :: model.scale, :: model.scale]})
    step = spread.step(functools.partial(steps.train_step, recipe))
    return step, [spread.replicate(state), batch, key, spread.replicate(vgg)]


def rows_for(rows):
    """The least number of patches, `rows` or more, that divides over the local devices."""
    return rows + -rows % devices.local_count()


def _images(name, variant, dtype, changes, size):
    rows = rows_for(size.rows)
    step, arguments = iteration(name, variant, dtype, changes, size.patch, rows)
    program, facts = timing.compiled(step, *arguments)

    def measure(kept):
        def run():
            arguments[0], figures = program(*arguments)
            return figures

        seconds = timing.seconds_of(run, size.seconds)
        if not all(np.all(np.isfinite(value)) for value in jax.device_get(run()).values()):
            raise FloatingPointError(f"{name}:{variant}: a figure is not finite")
        found = {
            "recipe": f"{name}:{variant}",
            "dtype": dtype,
            "saving": bool(changes),
            "patches": rows,
            "images_per_s": rows / seconds,
            "seconds": seconds,
        }
        arguments.clear()
        return found | rates.share(kept, dtype, facts["tflop"], seconds) | facts

    return measure


def largest(size):
    """Measurements of the largest batch, for the first recipe and the rescaling one."""
    chosen = [of for of in size.trainings if of[1] in ("hcflow", size.variant)]
    return [
        (
            f"{of[0]}:{of[1]}{' saving' * bool(changes)}",
            functools.partial(_largest, *of, changes, size),
        )
        for of in chosen
        for changes in (SAVING, {})
    ]


def _largest(name, variant, changes, size):
    local = devices.local_count()

    def planned(each):
        step, arguments = iteration(name, variant, "float32", changes, size.patch, each * local)
        program, facts = timing.compiled(step, *arguments)
        return program, arguments, facts["memory_gib"]

    few = -(-size.rows // local)
    plans = [planned(each)[2] for each in (few, 2 * few)]

    def measure(kept):
        slope = (plans[1] - plans[0]) / few
        fixed = plans[0] - few * slope
        row = {"recipe": f"{name}:{variant}", "saving": bool(changes)}
        row |= {"gib_per_patch": slope, "gib_fixed": fixed}
        if (limit := timing.memory_limit()) is None:
            return row | {"note": "the device does not say how much memory it has"}
        each = max(8, int((KEPT_FREE * limit / 2**30 - fixed) / slope) // 8 * 8)
        program, arguments, _ = planned(each)
        jax.block_until_ready(program(*arguments))
        return row | {"largest_that_ran": each, "limit_gib": limit / 2**30}

    return measure
