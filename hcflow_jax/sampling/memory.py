"""How much memory sampling takes, and which tile fits what there is."""

import math
from pathlib import Path

import jax
import numpy as np
import psutil

from hcflow_jax import devices
from hcflow_jax.images import scratch
from hcflow_jax.model import HCFlow
from hcflow_jax.sampling import tiling

TILES = (1024, 768, 512, 256)
"""Sides of tiles among which `fitting` chooses, pixels of the large picture."""

PROGRAM_BYTES = 380_000_000
"""Of Python, JAX, weights and a compiler that has done its work."""

_LR_PIXEL_BYTES, _READ_BYTES = 16, 12
"""Of an LR pixel, its temperature and what is known of how far its result strays; of a pixel that
is decoded, in Pillow's image and out of it."""


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


def of_results(lr_size: tuple[int, int], scale: int, kept: int, arrays: int = 1) -> int:
    """Bytes, about, in which an LR picture and its results are held, the large ones on disk.

    Args:
      lr_size: (height, width).
      kept: bytes of a pixel of a result; arrays: how many results are held together.
    """
    pixels = math.prod(lr_size)
    return _LR_PIXEL_BYTES * pixels + arrays * min(kept * scale**2 * pixels, scratch.HELD)


def of_reading(size: tuple[int, int]) -> int:
    """Bytes, about, in which a picture of (height, width) is decoded."""
    return _READ_BYTES * math.prod(size)


def needed(model: HCFlow, lr_size: tuple[int, int], tile: int, held: int) -> int:
    """Bytes, about, that the process takes at most while it works on one picture.

    Args:
      lr_size: (height, width) of the small picture.
      tile: side of a window, in pixels of the large picture.
      held: bytes in which pictures are held, `of_results` or `of_reading`.
    """
    extent = [min(tiling.bucket(model.scale * side), tile) for side in lr_size]
    windows = math.prod(extent) * devices.local_count() * _window_bytes(model)
    return PROGRAM_BYTES + windows + held


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


def fitting(model: HCFlow, lr_size: tuple[int, int], held: int, budget: int) -> int:
    """The largest of TILES with which `needed` is within `budget`, else the smallest."""
    fit = (tile for tile in TILES if needed(model, lr_size, tile, held) <= budget)
    return next(fit, TILES[-1])
