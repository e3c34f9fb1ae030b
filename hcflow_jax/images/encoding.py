"""Encoders of what Pillow does not write: PNG with 16 bits, TIFF with 16 bits or with EXIF."""

import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, TiffTags
from PIL.PngImagePlugin import PngInfo, putchunk
from PIL.TiffImagePlugin import ImageFileDirectory_v2

_STRIP_BYTES = 2**20  # of pixels that are compressed at a time
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}  # by the number of channels
_DEFLATE, _DIFFERENCES = 8, 2  # TIFF's numbers of the compression and of its predictor


def _strips(values) -> Iterator[np.ndarray]:
    """Rows of `values` [H, W, C], about _STRIP_BYTES at a time."""
    rows = max(1, _STRIP_BYTES // values[0].nbytes)
    for start in range(0, len(values), rows):
        yield values[start : start + rows]


def write_png16(
    file: BinaryIO, values: np.ndarray, profile: bytes | None, exif: bytes, info: PngInfo
) -> None:
    """Writes a PNG of uint16 [H, W, C], C channels grey, grey and alpha, RGB or RGBA.

    Every row but the first is stored as its difference to the row above (filter "Up"), or, where
    that has the smaller sum of bytes in absolute value, to the pixel on the left ("Sub").
    """
    height, width, channels = values.shape
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    file.write(_PNG_SIGNATURE)
    putchunk(file, b"IHDR", size + bytes([16, _PNG_COLOUR[channels], 0, 0, 0]))
    if profile:
        putchunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile))
    if exif:
        putchunk(file, b"eXIf", exif.removeprefix(b"Exif\0\0"))
    for kind, data, *_ in info.chunks:
        putchunk(file, kind, data)
    packing = zlib.compressobj()
    above = np.zeros((1, width * channels * 2), np.uint8)
    for strip in _strips(values):
        rows = strip.astype(">u2").view(np.uint8).reshape(len(strip), -1)
        data = packing.compress(_filtered(rows, above, 2 * channels))
        if data:
            putchunk(file, b"IDAT", data)
        above = rows[-1:]
    putchunk(file, b"IDAT", packing.flush())
    putchunk(file, b"IEND", b"")


def _filtered(rows, above, pixel_bytes):
    """The bytes of filtered rows, each behind the number of its filter."""
    up = rows - np.concatenate([above, rows[:-1]])
    sub = rows.copy()
    sub[:, pixel_bytes:] -= rows[:, :-pixel_bytes]
    cost = [np.abs(part.view(np.int8).astype(np.int16)).sum(1) for part in (sub, up)]
    number = 1 + (cost[1] < cost[0]).astype(np.uint8)[:, None]
    return np.concatenate([number, np.where(number == 1, sub, up)], axis=1).tobytes()


def write_tiff(
    file: BinaryIO,
    values: np.ndarray,
    profile: bytes | None = None,
    exif: Image.Exif | None = None,
    xmp: bytes = b"",
) -> None:
    """Writes a TIFF of uint8 or uint16 [H, W, C], C channels grey, grey and alpha, RGB or RGBA.

    Strips of differences to the pixel on the left, packed by zlib. `file` starts empty; the
    directory, whose length is known before the strips are, is written before them in the end.
    """
    strips = list(_strips(values))
    tags = _directory(values, len(strips[0]), profile, exif, xmp)
    tags[ExifTags.Base.StripOffsets] = tags[ExifTags.Base.StripByteCounts] = (0,) * len(strips)
    file.seek(8 + len(tags.tobytes(8)))
    offsets, counts, end = [], [], 0
    for strip in strips:
        data = zlib.compress(_differences(strip).tobytes())
        data += b"\0" * (len(data) % 2)
        file.write(data)
        offsets.append(end)  # from the end of the directory, as Pillow expects them
        counts.append(len(data))
        end += len(data)
    tags[ExifTags.Base.StripOffsets] = tuple(offsets)
    tags[ExifTags.Base.StripByteCounts] = tuple(counts)
    file.seek(0)
    tags.save(file)


def _differences(strip):
    result = strip.astype(strip.dtype.newbyteorder("<"))
    result[:, 1:] -= strip[:, :-1]
    return result


def _directory(values, rows, profile, exif, xmp):
    """TIFF's tags but for those of the strips' places, whose type is set."""
    height, width, channels = values.shape
    base, tags = ExifTags.Base, ImageFileDirectory_v2(prefix=b"II")
    for tag in exif or ():
        pointer = tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
        tags[tag] = exif.get_ifd(tag) if pointer else exif[tag]
    tags[base.ImageWidth], tags[base.ImageLength] = width, height
    tags[base.BitsPerSample] = (8 * values.itemsize,) * channels
    tags[base.SamplesPerPixel], tags[base.RowsPerStrip] = channels, rows
    tags[base.PhotometricInterpretation] = 2 if channels > 2 else 1
    tags[base.Compression], tags[base.Predictor] = _DEFLATE, _DIFFERENCES
    tags[base.PlanarConfiguration] = 1
    if channels in (2, 4):
        tags[base.ExtraSamples] = 2  # alpha, the colours not multiplied by it
    if profile:
        tags[base.InterColorProfile] = profile
    if xmp:
        tags.tagtype[base.XMLPacket] = TiffTags.BYTE
        tags[base.XMLPacket] = xmp
    for tag in (base.StripOffsets, base.StripByteCounts):
        tags.tagtype[tag] = TiffTags.LONG
    return tags
