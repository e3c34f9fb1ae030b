"""TIFFs read part by part: equal to the same file read whole, whatever its layout."""

import io
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, TiffImagePlugin

from hcflow_jax import images
from hcflow_jax.images import encoding, large_tiff, reading

RNG = np.random.default_rng(0)
RGB = np.kron(RNG.integers(0, 256, (9, 8, 3), np.uint8), np.ones((11, 9, 1), np.uint8))
DEEP = RNG.integers(0, 2**16, RGB.shape, np.uint16)


def _pillow(image, strip=1500, **options):
    out = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(out, "TIFF", strip_size=strip, **options)
    return out.getvalue()


def _tiled(array, side=32, prefix=b"II"):
    """A TIFF of tiles, packed by zlib, in little-endian or big-endian ("MM") numbers."""
    height, width, channels = array.shape
    array = array.astype(array.dtype.newbyteorder("<" if prefix == b"II" else ">"))
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=prefix)
    base = ExifTags.Base
    padded = np.pad(array, [(0, -height % side), (0, -width % side), (0, 0)])
    tiles = [
        zlib.compress(np.ascontiguousarray(padded[y : y + side, x : x + side]).tobytes())
        for y in range(0, height, side)
        for x in range(0, width, side)
    ]
    tags[base.ImageWidth], tags[base.ImageLength] = width, height
    tags[base.BitsPerSample] = (8 * array.itemsize,) * channels
    tags[base.SamplesPerPixel], tags[base.Compression] = channels, 8
    tags[base.PhotometricInterpretation], tags[base.PlanarConfiguration] = 2, 1
    tags[base.TileWidth] = tags[base.TileLength] = side
    for tag in (base.TileOffsets, base.TileByteCounts):
        tags.tagtype[tag] = 4
        tags[tag] = tuple(map(len, tiles))
    end = 8 + len(tags.tobytes(8))
    tags[base.TileOffsets] = tuple(end + sum(map(len, tiles[:i])) for i in range(len(tiles)))
    out = io.BytesIO()
    tags.save(out)
    out.write(b"".join(tiles))
    return out.getvalue()


def _own(array):
    out = io.BytesIO()
    encoding.write_tiff(out, array)
    return out.getvalue()


FILES = {
    "lzw": lambda: _pillow(RGB, compression="tiff_lzw"),
    "differences": lambda: _pillow(RGB, compression="tiff_deflate", tiffinfo={317: 2}),
    "jpeg": lambda: _pillow(RGB, compression="jpeg", quality=90),
    "grey": lambda: _pillow(RGB[..., 0], compression="tiff_lzw"),
    "black and white": lambda: _pillow(RGB[..., 0] > 99, strip=90, compression="group4"),
    "deep grey": lambda: _pillow(DEEP[..., 0], compression="tiff_deflate"),
    "palette": lambda: _pillow(Image.fromarray(RGB).quantize(50), compression="tiff_lzw"),
    "own": lambda: _own(RGB),
    "own, deep": lambda: _own(DEEP),
    "tiles": lambda: _tiled(RGB),
    "deep tiles": lambda: _tiled(DEEP),
    "big-endian tiles": lambda: _tiled(DEEP, prefix=b"MM"),
}


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(reading, "LARGE", 1000)
    monkeypatch.setattr(large_tiff, "_PART_PIXELS", 3000)
    monkeypatch.setattr(encoding, "_STRIP_BYTES", 2000)


@pytest.mark.parametrize("name", FILES)
def test_parts_give_what_the_whole_gives(small_parts, monkeypatch, name):
    data = FILES[name]()
    made = []

    def empty(*shape_and_type):
        made.append(np.empty(*shape_and_type))
        return made[-1]

    parts = images.read(data, empty=empty)
    monkeypatch.setattr(reading, "LARGE", 10**6)
    whole = images.read(data)
    assert len(made) == 1 and parts.values is made[0]
    np.testing.assert_array_equal(parts.values, whole.values)
    assert (parts.bits, parts.grey, parts.size) == (whole.bits, whole.grey, whole.size)
    assert len(np.unique(parts.values)) > 1


def test_few_pixels_are_decoded_together(small_parts, monkeypatch):
    sizes = []
    decode = reading._pixels

    def watched(*args):
        found = decode(*args)
        sizes.append(found.values.shape[0])
        return found

    monkeypatch.setattr(reading, "_pixels", watched)
    images.read(_own(RGB))
    assert sum(sizes) == len(RGB) and max(sizes) * RGB.shape[1] <= 3000 and len(sizes) > 2


def test_turned_and_transparent_ones_are_read_whole(small_parts):
    turned = _pillow(RGB, tiffinfo={274: 6})
    rgba = np.concatenate([RGB, RGB[..., :1]], -1)
    for data, size in (turned, RGB.shape[1::-1]), (_pillow(rgba), RGB.shape[:2]):
        with images.opened(data) as image:
            assert not large_tiff.has_parts(image)
        assert images.read(data).size == size


@pytest.mark.parametrize("name", ["own", "tiles"])
def test_damage_is_one_line(small_parts, name):
    data = FILES[name]()
    for cut in (len(data) // 2, len(data) - 40):
        with pytest.raises(images.ImageError, match="^the picture is truncated or damaged"):
            images.read(data[:cut])
