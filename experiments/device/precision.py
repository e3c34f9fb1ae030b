"""What the dtypes of full-size networks do to round trips and likelihoods, beside float32."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.device import timing
from experiments.networks import network
from hcflow_jax.training import losses

QUANT = 64


def measurements(size):
    return [(name, functools.partial(_compared, name, size)) for name in size.names]


def _compared(name, size):
    _, model, params = network(name, size.variant)
    hr = jnp.asarray(timing.images(1, size.patch))
    lr = hr[:, :: model.scale, :: model.scale]
    programs = {}
    for dtype in timing.DTYPES:
        of = dataclasses.replace(model, dtype=dtype)

        def both(params, hr, lr, of=of):
            encoding = of.encode(params, hr)
            back = of.decode(params, encoding.lr, encoding.latents)
            if of.task == "sr":
                bits = losses.bits_per_dim(losses.likelihood(of, params, hr, lr, QUANT))
            else:
                bits = jnp.float32(0)
            return back, encoding.lr, bits

        programs[dtype] = jax.jit(both).lower(params, hr, lr).compile()

    def measure(kept):
        found = {dtype: run(params, hr, lr) for dtype, run in programs.items()}
        exact = found["float32"]
        return [
            {
                "network": name,
                "dtype": dtype,
                "round_trip_of_255": float(255 * np.abs(back - hr).max()),
                "lr_change_of_255": float(255 * np.abs(small - exact[1]).max()),
                "bits_per_dim_change": float(bits - exact[2]),
            }
            for dtype, (back, small, bits) in found.items()
        ]

    return measure
