"""Large pictures as overlapping tiles, so that reading a patch decodes one tile."""

import itertools

from hcflow_jax.errors import UserError
from hcflow_jax.images.cropping import starts

TILE, OVERLAP = 480, 160
"""Default side of a tile and the overlap of neighbours, in HR pixels: every patch of up to
OVERLAP + 1 pixels, wherever it is in a picture, lies within a tile."""


def check(tile: int, scale: int) -> None:
    """UserError unless `tile` is 0, for whole pictures, or a multiple of `scale` over OVERLAP."""
    if tile and (tile <= OVERLAP or tile % scale):
        raise UserError(
            f"tiles must be a multiple of {scale} pixels and over {OVERLAP}, got {tile}; "
            f"give --tile {TILE}, or 0 for whole pictures"
        )


def windows(lr_size: tuple[int, int], scale: int, tile: int) -> list[tuple[slice, slice]]:
    """(rows, columns) of the tiles of an LR image; the whole of it where `tile` is 0.

    A side of less than a tile is taken whole.
    """
    if not tile:
        return [(slice(0, lr_size[0]), slice(0, lr_size[1]))]

    def spans(side):
        window = min(tile // scale, side)
        return [slice(s, s + window) for s in starts(side, window, OVERLAP // scale)]

    return list(itertools.product(*map(spans, lr_size)))


def enlarged(window: tuple[slice, slice], scale: int) -> tuple[slice, slice]:
    """The window of the HR image that belongs to one of the LR image."""
    rows, columns = (slice(scale * part.start, scale * part.stop) for part in window)
    return rows, columns
