"""Sizes of image files, of most without decoding them."""

import contextlib
import os
import struct
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path

from PIL import ExifTags, Image

from hcflow_jax.images.reading import ImageError, opened, stream

_ABOUT_THE_PICTURE = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # chunks of a PNG


def header_size(path: str | Path | bytes, max_pixels: int | None = None) -> tuple[int, int]:
    """(height, width) of what `read` gives, of most files without decoding them."""
    with opened(path, max_pixels) as image:
        if image.format == "PNG" and _tells_more_after_pixels(path):
            image.load()
        # PNG's own getexif always decodes the picture first; TIFF sizes are upright already
        orientation = 1
        with contextlib.suppress(Exception):  # of damaged EXIF
            orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
        turned = orientation in (5, 6, 7, 8) and image.format != "TIFF"
        return (image.width, image.height) if turned else (image.height, image.width)


def header_sizes(paths: Sequence[Path]) -> list[tuple[int, int] | ImageError]:
    """`header_size` of each file, or the ImageError that it raised."""

    def attempt(path):
        try:
            return header_size(path)
        except ImageError as error:
            return error

    with futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(attempt, paths))


def _tells_more_after_pixels(path):
    """Whether a PNG has chunks behind its pixels in which an orientation may be."""
    with stream(path) as file:
        file.seek(8)
        pixels = False
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            pixels = pixels or kind == b"IDAT"
            if pixels and kind in _ABOUT_THE_PICTURE:
                return True
            file.seek(length + 4, os.SEEK_CUR)
    return False
