"""Sixteen bits per channel of colour pictures.

Pillow holds eight, and its decoders take those of a pixel format that the image names: "RGB;16B" is
the first byte of two, "RGB;16L" the second. So a file is decoded twice, once for the upper and once
for the lower bytes, by decoders that bound what a hostile file can do.
"""

import sys

import numpy as np
from PIL import Image, ImageFile

_NATIVE = "L" if sys.byteorder == "little" else "B"
_LOWER = {"L": "B", "B": "L"}
_GREY_AND_ALPHA = "LA;16B"


class LayoutError(ValueError):
    """A layout of 16-bit channels that is not read."""


def is_deep(image: Image.Image) -> bool:
    """Whether an opened, not decoded image has 16 bits per channel of which Pillow drops eight.

    Raises:
      LayoutError: it has, but channel after channel.
    """
    raw = _raw_mode(image)
    deep = ";16" in raw and image.mode in ("RGB", "RGBA")
    apart = image.format == "TIFF" and image.tag_v2.get(284, 1) == 2  # type: ignore[attr-defined]
    if apart and stored_bits(image) > 8:
        raise LayoutError("16-bit channels one after another (planar); save them interleaved")
    return deep


def stored_bits(image: Image.Image) -> int:
    """Bits per channel that a TIFF says it has; 8 of other formats."""
    if image.format != "TIFF":
        return 8
    return max(image.tag_v2.get(258, (1,)))  # type: ignore[attr-defined]


def _raw_mode(image):
    args = image.tile[0].args if getattr(image, "tile", None) else ""
    return args if isinstance(args, str) else str(args[0])


def is_multiplied(image: Image.Image) -> bool:
    """Whether the colours of an opened, not decoded image are multiplied by its alpha."""
    return _raw_mode(image).startswith("RGBa")


def take_upper(image: ImageFile.ImageFile) -> None:
    """Makes an opened, not decoded image decode the upper bytes, undivided by alpha."""
    image.tile = [tile._replace(args=_undivided(tile.args)) for tile in image.tile]


def _undivided(args):
    if not isinstance(args, str):
        return (_undivided(args[0]), *args[1:])
    return args.replace("RGBa", "RGBA")


def take_lower(image: ImageFile.ImageFile) -> None:
    """Makes an opened, not decoded image decode the lower bytes, undivided by alpha."""
    image.tile = [tile._replace(args=_lowered(_undivided(tile.args))) for tile in image.tile]


def _lowered(args):
    if not isinstance(args, str):
        return (_lowered(args[0]), *args[1:])
    if args == _GREY_AND_ALPHA:
        return "RGBA"  # both bytes of both channels, as `joined` knows
    order = _NATIVE if args[-1] == "N" else args[-1]
    return args[:-1] + _LOWER[order]


def is_grey_and_alpha(image: Image.Image) -> bool:
    """Whether the channels of a deep image are grey and alpha, as Pillow has no mode for."""
    return _raw_mode(image) == _GREY_AND_ALPHA


def joined(upper: Image.Image, lower: Image.Image, grey_and_alpha: bool) -> np.ndarray:
    """uint16 [H, W, 3 or 4] of both halves, decoded."""
    low = np.asarray(lower)
    if grey_and_alpha:
        low = low[..., [1, 1, 1, 3]]
    return np.asarray(upper).astype(np.uint16) << 8 | low
