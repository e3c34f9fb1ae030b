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

BATCHES = (16, 8, 4, 2, 1)
"""Windows per device among which `filling` chooses."""

PROGRAM_BYTES = 380_000_000
"""Of Python, JAX, weights and a compiler that has done its work."""

_REFINING_BYTES, _REFINING_FACTOR = 900_000_000, 2
"""More while gradients are compiled, and times as much per pixel, where `refined` searches: 1.4 and
2.7 times, by XLA's account, for the networks of ×4 and ×2 that ship, 2.4 GB of a tile of 1024."""

_WINDOW_BYTES = 60
"""Of a pixel of a window on the host, while it is gathered, computed and fetched."""

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


def needed(
    model: HCFlow,
    lr_size: tuple[int, int],
    tile: int,
    held: int,
    batch: int = 1,
    windows: int = 1,
    refine: bool = False,
) -> int:
    """Bytes, about, that the process takes at most while it works on one picture after another.

    Args:
      lr_size: (height, width) of the small picture that is largest.
      tile: side of a window, in pixels of the large picture.
      held: bytes in which pictures are held, `of_results` or `of_reading`.
      batch: windows per device.
      windows: of all pictures; where they are fewer than a batch, it is smaller.
      refine: whether small pictures are `downscaling.refined`.
    """
    local = devices.local_count()
    pixels = _window_pixels(model, lr_size, tile) * max(local, min(batch * local, windows))
    on_host = _network_bytes(model, refine) if jax.default_backend() == "cpu" else 0
    program = PROGRAM_BYTES + refine * _REFINING_BYTES
    return program + pixels * (_WINDOW_BYTES + on_host) + held


def _window_pixels(model, lr_size, tile):
    return math.prod(min(tiling.bucket(model.scale * side), tile) for side in lr_size)


def _network_bytes(model, refine):
    """Per pixel of a window: what a program holds of the memory of the device that runs it.

    By XLA's account, on CPUs, of programs of networks of several widths: that of the RRDBs' dense
    features, or else of what is as large in every network.
    """
    hidden, features, growth = (
        np.max(width) for width in (model.hidden, model.features, model.growth)
    )
    widest = int(max(hidden, features + 4 * growth))
    return max(180, 5 * widest) * (_REFINING_FACTOR if refine else 1)


def fitting(
    model: HCFlow, lr_size: tuple[int, int], held: int, budget: int, refine: bool = False
) -> int:
    """The largest of TILES with which `needed` is within `budget`, else the smallest."""
    fit = (t for t in TILES if needed(model, lr_size, t, held, refine=refine) <= budget)
    return next(fit, TILES[-1])


def filling(
    model: HCFlow,
    lr_size: tuple[int, int],
    tile: int,
    held: int,
    budget: int,
    windows: int,
    refine: bool = False,
) -> int:
    """Windows per device: the largest of BATCHES that devices and host hold.

    Half of a device's memory is left to what convolutions work in, and `needed`, whose arguments
    these are, is within `budget`, the host's. 1 on CPUs, whose cores a single window keeps busy.
    """
    memory = devices.local_memory()
    if memory is None:
        return 1
    each = _window_pixels(model, lr_size, tile) * (_WINDOW_BYTES + _network_bytes(model, refine))
    fit = (
        batch
        for batch in BATCHES
        if batch * each <= memory // 2
        and needed(model, lr_size, tile, held, batch, windows, refine) <= budget
    )
    return next(fit, BATCHES[-1])
