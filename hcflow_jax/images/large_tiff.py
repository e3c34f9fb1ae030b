"""TIFFs too large for the memory: some of their strips or tiles at a time, as TIFFs of their own.

Pillow decodes a file whole. Strips and tiles are coded apart, so that a row of them, behind the
tags that say how they are coded, is a TIFF that Pillow decodes too, whatever its compression.
"""

import io
import math
from collections.abc import Iterator
from typing import BinaryIO

from PIL import ExifTags, Image, TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

_BASE = ExifTags.Base
_STRIPS = _BASE.StripOffsets, _BASE.StripByteCounts
_TILES = _BASE.TileOffsets, _BASE.TileByteCounts
_HOW_CODED = {
    *(_BASE.ImageWidth, _BASE.BitsPerSample, _BASE.Compression, _BASE.PhotometricInterpretation),
    *(_BASE.FillOrder, _BASE.SamplesPerPixel, _BASE.RowsPerStrip, _BASE.PlanarConfiguration),
    *(_BASE.Predictor, _BASE.ColorMap, _BASE.TileWidth, _BASE.TileLength, _BASE.SampleFormat),
    *(_BASE.YCbCrCoefficients, _BASE.YCbCrSubSampling, _BASE.YCbCrPositioning),
    *(_BASE.ReferenceBlackWhite, _BASE.T4Options, _BASE.T6Options, _BASE.JPEGTables),
}

_PART_PIXELS = 2**22
"""Pixels of a part, about, unless a row of tiles has more."""


def _rows(tags):
    """(rows of pixels, parts) of a row of strips or of tiles; None where the tags do not fit."""
    width, height = tags[_BASE.ImageWidth], tags[_BASE.ImageLength]
    if _BASE.TileOffsets in tags:
        rows, across = tags.get(_BASE.TileLength, 0), tags.get(_BASE.TileWidth, 0)
        count = len(tags[_BASE.TileOffsets])
        fits = rows > 0 < across and count == -(-width // across) * -(-height // rows)
        return (rows, -(-width // across)) if fits else None
    rows = min(tags.get(_BASE.RowsPerStrip, height), height)
    fits = rows > 0 and len(tags.get(_BASE.StripOffsets, ())) == -(-height // rows)
    return (rows, 1) if fits else None


def has_parts(image: Image.Image) -> bool:
    """Whether `parts` can be had of an opened image: an upright TIFF, opaque, of several parts."""
    if not isinstance(image, TiffImageFile):
        return False
    tags = image.tag_v2
    plain = tags.get(_BASE.Orientation, 1) == 1 and tags.get(_BASE.PlanarConfiguration, 1) == 1
    found = _rows(tags) if plain and _BASE.ExtraSamples not in tags else None
    return found is not None and found[0] < image.height


def parts(file: BinaryIO, image: TiffImageFile) -> Iterator[tuple[int, bytes]]:
    """(first row of pixels, a TIFF of some rows of strips or tiles) of an image with parts.

    Args:
      file: that of the image.
    """
    tags, (rows, across) = image.tag_v2, _rows(image.tag_v2)
    names = _TILES if _BASE.TileOffsets in tags else _STRIPS
    offsets, counts = (tags[name] for name in names)
    together = max(1, _PART_PIXELS // (rows * image.width))
    for first in range(0, math.ceil(image.height / rows), together):
        chosen = range(first * across, min((first + together) * across, len(offsets)))
        stored = []
        for i in chosen:
            file.seek(offsets[i])
            stored.append(file.read(counts[i]))
        height = min(together * rows, image.height - first * rows)
        yield first * rows, _file(tags, names, stored, height)


def _file(tags, names, stored, height):
    """A TIFF of `height` rows of pixels, whose strips or tiles are `stored`."""
    directory = ImageFileDirectory_v2(prefix=tags.prefix[:2])
    for tag in _HOW_CODED & set(tags):
        directory.tagtype[tag] = tags.tagtype[tag]
        directory[tag] = tags[tag]
    directory[_BASE.ImageLength] = height
    starts = [0]
    for part in stored:
        starts.append(starts[-1] + len(part) + len(part) % 2)
    for name in names:
        directory.tagtype[name] = TiffTags.LONG
        directory[name] = tuple(map(len, stored))
    end = 8 + len(directory.tobytes(8))
    # Pillow adds the end of the directory to offsets of strips, and leaves those of tiles
    directory[names[0]] = tuple(start + end * (names is _TILES) for start in starts[:-1])
    out = io.BytesIO()
    directory.save(out)
    for part in stored:
        out.write(part + b"\0" * (len(part) % 2))
    return out.getvalue()
