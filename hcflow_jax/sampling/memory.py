"""How much memory sampling takes, and which tile fits what there is."""

import math
from pathlib import Path

import jax
import numpy as np
import psutil

from hcflow_jax import devices
from hcflow_jax.model import HCFlow
from hcflow_jax.sampling import tiling

TILES = (1024, 512, 256)
"""Sides of tiles among which `fitting` chooses, pixels of the large picture."""

PROGRAM_BYTES = 380_000_000
"""Of Python, JAX, weights and a compiler that has done its work."""

_LR_PIXEL_BYTES = 14
"""Of an LR pixel in float32, of its temperature, of what is known of how far its result strays."""


def available() -> int:
    """Bytes that programs can take before the system runs short, or this one's limit is met."""
    free = psutil.virtual_memory().available
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        try:
            found = [int(Path(path).read_text()) for path in (limit, used)]
        except (OSError, ValueError):  # there is none, or it says "max"
            continue
        free = min(free, max(found[0] - found[1], 0))
    return free


def needed(model: HCFlow, lr_size: tuple[int, int], tile: int, kept: int) -> int:
    """Bytes, about, that the process holds at most while it samples one picture.

    Args:
      lr_size: (height, width) of the picture.
      tile: side of a window, in pixels of the result.
      kept: bytes in which a pixel of the network's result is kept.
    """
    extent = [min(tiling.bucket(model.scale * side), tile) for side in lr_size]
    result = kept * model.scale**2 + _LR_PIXEL_BYTES
    windows = math.prod(extent) * devices.local_count() * _window_bytes(model)
    return PROGRAM_BYTES + windows + math.prod(lr_size) * result


def _window_bytes(model):
    """Per pixel of a window: what a program and its windows hold of the host's memory.

    By XLA's account of programs of networks of several widths, on CPUs that of the RRDBs' dense
    features, or else of what is as large in every network.
    """
    if jax.default_backend() != "cpu":
        return 60
    hidden, features, growth = (
        np.max(width) for width in (model.hidden, model.features, model.growth)
    )
    return 60 + max(180, 5 * int(max(hidden, features + 4 * growth)))


def fitting(model: HCFlow, lr_size: tuple[int, int], kept: int, budget: int) -> int:
    """The largest of TILES with which `needed` is within `budget`, else the smallest."""
    fit = (tile for tile in TILES if needed(model, lr_size, tile, kept) <= budget)
    return next(fit, TILES[-1])
