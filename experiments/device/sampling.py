"""Samples a second of the published networks, prepared, on one device."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp

from experiments.device import rates, timing
from experiments.networks import network

TEMPERATURE = 0.8


def measurements(size):
    plan = [(side, batch) for side in size.sides for batch in size.batches]
    plan = [(side, batch) for side, batch in plan if side == size.sides[0] or batch == 1]
    return [
        (f"{of[0]} {of[1][1]} of {of[1][0]} {of[2]}", functools.partial(_samples, *of, size))
        for of in itertools.product(size.names, plan, timing.DTYPES)
    ]


def _samples(name, image, dtype, size):
    side, batch = image
    _, model, params = network(name, size.variant)
    model = dataclasses.replace(model, dtype=dtype)
    params = model.prepare(params)
    lr = jnp.asarray(timing.images(batch, side // model.scale))
    arguments = params, jax.random.key(0), lr
    function = jax.jit(lambda p, key, lr: model.sample(p, key, lr, TEMPERATURE))
    program, facts = timing.compiled(function, *arguments)

    def measure(kept):
        seconds = timing.seconds_of(lambda: program(*arguments), size.seconds)
        return {
            "network": name,
            "side": side,
            "batch": batch,
            "dtype": dtype,
            "samples_per_s": batch / seconds,
            "megapixels_per_s": batch * side**2 / seconds / 1e6,
            **rates.share(kept, dtype, facts["tflop"], seconds),
            **facts,
        }

    return measure
