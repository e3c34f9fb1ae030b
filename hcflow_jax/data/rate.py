"""How fast batches come, measured."""

import time

from hcflow_jax.data import pipeline
from hcflow_jax.data.source import Source

WARM_UP = 2
"""Batches before the clock starts: threads and processes have then begun."""


def patches_per_second(
    source: Source, patch_size: int, batch_size: int, workers: int, seconds: float
) -> float:
    """HR patches that `data.patches` of a training gives in a second, with nothing done beside it.

    Args:
      source: without a cache, for the rate of a set that is larger than the cache.
      workers: as `data.iterate` takes them.
      seconds: for how long at least, and at least for one batch.

    Raises:
      UserError: as `data.patches`.
    """
    stream = pipeline.patches(source, source.scale, patch_size, True, batch_size, seed=0)
    with pipeline.iterate(stream, 0, workers, repr(source)) as batches:
        for _ in range(WARM_UP):
            next(batches)
        begin, count = time.perf_counter(), 0
        while count == 0 or time.perf_counter() - begin < seconds:
            next(batches)
            count += 1
        return count * batch_size / (time.perf_counter() - begin)
