"""Sizes, compilation and timing that all measurements share."""

import dataclasses
import statistics
import time
from typing import get_args

import jax
import numpy as np

from experiments import counting
from hcflow_jax.model.architecture import Architecture

DTYPES = get_args(Architecture.__dataclass_fields__["dtype"].type)


@dataclasses.dataclass(frozen=True)
class Size:
    """How large the networks and images are.

    Attributes:
      variant: of the recipes that are sampled from and encoded with.
      trainings: (recipe, variant) of those whose iterations are timed.
      sides: of the sampled images.
      batches: of images of the first side.
      patch, rows: side and number of the patches of an iteration.
      matmul: side of the matrices whose product gives the rate that others are compared with.
      photographs, photograph: how many the data pipeline reads, and (width, height).
      seconds: that a measurement takes at least, once compiled.
    """

    names: tuple[str, ...] = ("sr_x4", "sr_x8", "rescaling_x4")
    variant: str = "hcflow"
    trainings: tuple[tuple[str, str], ...] = ()
    sides: tuple[int, ...] = (256, 1024)
    batches: tuple[int, ...] = (1, 16)
    patch: int = 160
    rows: int = 16
    matmul: int = 8192
    photographs: int = 16
    photograph: tuple[int, int] = (2040, 1356)
    seconds: float = 1.0


TINY = Size(
    names=("sr_x4",),
    variant="smoke",
    trainings=(("sr_x4", "smoke"),),
    sides=(32,),
    batches=(1,),
    patch=32,
    rows=2,
    matmul=64,
    photographs=2,
    photograph=(96, 80),
    seconds=0.01,
)
"""For a processor: shows that everything runs, and measures nothing of interest."""


def images(batch, side, seed=1):
    """float32 [batch, side, side, 3] of smooth structure, in [0, 1]."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((batch, -(-side // 8), -(-side // 8), 3), np.float32)
    fine = rng.random((batch, side, side, 3), np.float32)
    smooth = coarse.repeat(8, 1).repeat(8, 2)[:, :side, :side]
    return 0.9 * smooth + 0.1 * fine


def seconds_of(call, least):
    """Median seconds of `call`, whose result is waited for, over `least` seconds or three runs."""
    jax.block_until_ready(call())
    times, begin = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < least:
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def compiled(function, *arguments):
    """(program, {"compile_s", "tflop", "memory_gib"}) of a jitted or pmapped function."""
    begin = time.perf_counter()
    program = function.lower(*arguments).compile()
    facts = {"compile_s": time.perf_counter() - begin}
    facts["tflop"] = counting.flops(jax.make_jaxpr(function)(*arguments).jaxpr) / 1e12
    plan = program.memory_analysis()
    if plan is not None:
        kept = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
        facts["memory_gib"] = (kept + plan.temp_size_in_bytes) / 2**30
    return program, facts


def memory_limit():
    """Bytes that JAX may use of the first device, or None where it does not say."""
    return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
