"""Encoders that take a picture by strips, as Pillow's do not: PNG and TIFF, of 8 or 16 bits."""

import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol

import numpy as np
from PIL import ExifTags, Image, TiffTags
from PIL.PngImagePlugin import PngInfo, putchunk
from PIL.TiffImagePlugin import ImageFileDirectory_v2

_STRIP_BYTES = 2**20  # of pixels that are compressed at a time
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}  # by the number of channels
_DEFLATE, _DIFFERENCES = 8, 2  # TIFF's numbers of the compression and of its predictor


class Values(Protocol):
    """uint8 or uint16 [H, W, C] of which rows can be had: an array, or what computes them."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    def __getitem__(self, rows: slice) -> np.ndarray: ...


def _rows(values):
    """Rows of a strip, of about _STRIP_BYTES."""
    _, width, channels = values.shape
    return max(1, _STRIP_BYTES // (width * channels * values.dtype.itemsize))


def strips(values: Values) -> Iterator[np.ndarray]:
    """`values`, rows of about a megabyte at a time."""
    rows = _rows(values)
    for start in range(0, values.shape[0], rows):
        yield values[start : start + rows]


def write_png(
    file: BinaryIO, values: Values, profile: bytes | None, exif: bytes, info: PngInfo
) -> None:
    """Writes a PNG of uint8 or uint16 [H, W, C], C channels grey, grey and alpha, RGB or RGBA.

    Every row is stored as its differences to the pixel on the left ("Sub"), to the row above
    ("Up") or to the nearest of three neighbours ("Paeth"), whichever has the smallest sum of bytes
    in absolute value.
    """
    height, width, channels = values.shape
    pixel = channels * values.dtype.itemsize
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    file.write(_PNG_SIGNATURE)
    depth = 8 * values.dtype.itemsize
    putchunk(file, b"IHDR", size + bytes([depth, _PNG_COLOUR[channels], 0, 0, 0]))
    if profile:
        putchunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile))
    if exif:
        putchunk(file, b"eXIf", exif.removeprefix(b"Exif\0\0"))
    for kind, data, *_ in info.chunks:
        putchunk(file, kind, data)
    packing = zlib.compressobj(memLevel=9, strategy=zlib.Z_FILTERED)
    above = np.zeros((1, width * pixel), np.uint8)
    for strip in strips(values):
        big_endian = np.ascontiguousarray(strip, strip.dtype.newbyteorder(">"))
        rows = big_endian.view(np.uint8).reshape(len(strip), -1)
        data = packing.compress(_filtered(rows, above, pixel))
        if data:
            putchunk(file, b"IDAT", data)
        above = rows[-1:]
    putchunk(file, b"IDAT", packing.flush())
    putchunk(file, b"IEND", b"")


_FILTERS = np.array([1, 2, 4], np.uint8)  # PNG's numbers of Sub, Up and Paeth


def _filtered(rows, above, pixel):
    """The bytes of filtered rows, each behind the number of its filter."""
    up = np.concatenate([above, rows[:-1]])
    left, corner = (np.pad(part[:, :-pixel], ((0, 0), (pixel, 0))) for part in (rows, up))
    stored = np.stack([rows - left, rows - up, rows - _paeth(left, up, corner)])
    best = np.minimum(stored, 0 - stored).sum(-1, dtype=np.int64).argmin(0)
    kept = stored[best, np.arange(len(rows))]
    return np.concatenate([_FILTERS[best][:, None], kept], axis=1).tobytes()


def _paeth(left, up, corner):
    """The one of three neighbours that is nearest to left + up − corner; ties in that order."""
    a, b, c = (part.astype(np.int16) for part in (left, up, corner))
    to_left, to_up, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    nearest = np.where(to_up <= to_corner, up, corner)
    return np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)


def write_tiff(
    file: BinaryIO,
    values: Values,
    profile: bytes | None = None,
    exif: Image.Exif | None = None,
    xmp: bytes = b"",
) -> None:
    """Writes a TIFF of uint8 or uint16 [H, W, C], C channels grey, grey and alpha, RGB or RGBA.

    Strips of differences to the pixel on the left, packed by zlib. `file` starts empty; the
    directory, whose length is known before the strips are, is written before them in the end.
    """
    rows = min(_rows(values), values.shape[0])
    none_yet = (0,) * -(-values.shape[0] // rows)
    tags = _directory(values, rows, profile, exif, xmp)
    tags[ExifTags.Base.StripOffsets] = tags[ExifTags.Base.StripByteCounts] = none_yet
    file.seek(8 + len(tags.tobytes(8)))
    offsets, counts, end = [], [], 0
    for strip in strips(values):
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
    tags[base.BitsPerSample] = (8 * values.dtype.itemsize,) * channels
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
