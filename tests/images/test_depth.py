"""Sixteen bits per channel: read whole, written whole."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from hcflow_jax import images
from hcflow_jax.images import encoding
from tests.images import profiles

RNG = np.random.default_rng(0)
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(values, interlaced=False, more=b""):
    """A PNG of uint16 [H, W, C], by the standard: no filters, Adam7 where it is interlaced."""
    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, interlaced)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
    passes = [*passes, (1, 0, 2, 1)] if interlaced else [(0, 0, 1, 1)]
    rows = [row for y, x, dy, dx in passes for row in values[y::dy, x::dx].astype(">u2")]
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows if row.size))
    chunks = _chunk(b"IHDR", header) + more + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _tiff(values, order="<", planar=False, kind=1, colours=2, extra=2):
    """An uncompressed TIFF of [H, W, C] in that byte order, tags 262 and 338 as given."""
    height, width, channels = values.shape
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II" if order == "<" else b"MM")
    bits = 8 * values.itemsize
    tags[256], tags[257], tags[258], tags[262], tags[277] = (
        width,
        height,
        (bits,) * channels,
        colours,
        channels,
    )
    tags[284], tags[339] = 1 + planar, (kind,) * channels
    if channels in (2, 4) and extra is not None:
        tags[338] = extra
    data = values.astype(values.dtype.newbyteorder(order))
    data = np.moveaxis(data, -1, 0) if planar else data
    strips = channels if planar else 1
    tags.tagtype[273] = tags.tagtype[279] = 4
    tags[278] = height
    tags[279] = (data.nbytes // strips,) * strips
    tags[273] = tuple(i * data.nbytes // strips for i in range(strips))
    head = (b"II*\0\x08\0\0\0") if order == "<" else (b"MM\0*\0\0\0\x08")
    return head + tags.tobytes(8) + data.tobytes()


def _values(channels, height=9, width=7):
    return RNG.integers(0, 65536, (height, width, channels), dtype=np.uint16)


def _check(path, values):
    """The file is read as these 16-bit values, by both readers."""
    picture = images.read(path)
    assert picture.bits == 16
    rgb = values[..., :3] if values.shape[-1] > 2 else values[..., :1].repeat(3, -1)
    np.testing.assert_array_equal(np.rint(65535 * picture.rgb.astype(np.float64)), rgb)
    if values.shape[-1] in (2, 4):
        np.testing.assert_array_equal(np.rint(65535 * picture.alpha), values[..., -1])
    else:
        assert picture.alpha is None
    expected = np.rint(255 * picture.rgb).astype(np.uint8)
    np.testing.assert_array_equal(images.read_uint8(path), expected)
    np.testing.assert_array_equal(images.read_uint8(path.read_bytes()), expected)
    return picture


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", COLOUR_TYPES)
def test_png_is_read_whole(tmp_path, channels, interlaced):
    values = _values(channels)
    (tmp_path / "a.png").write_bytes(_png(values, interlaced))
    assert _check(tmp_path / "a.png", values).grey == (channels < 3)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("channels", [3, 4])
def test_tiff_is_read_whole(tmp_path, channels, order):
    values = _values(channels)
    (tmp_path / "a.tif").write_bytes(_tiff(values, order))
    _check(tmp_path / "a.tif", values)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", COLOUR_TYPES)
def test_what_is_written_is_read(tmp_path, monkeypatch, channels, suffix):
    monkeypatch.setattr(encoding, "_STRIP_BYTES", 100)  # several strips, the last not whole
    values = _values(channels, 11, 8)
    values[2:5] = values[2]  # rows for either filter
    planes = values.astype(np.float32) / 65535
    rgb = planes[..., :3] if channels > 2 else planes[..., :1].repeat(3, -1)
    alpha = planes[..., -1] if channels in (2, 4) else None
    path = tmp_path / f"a{suffix}"
    images.write(path, rgb, alpha, channels < 3, bits=16, profile=None)
    _check(path, values)
    with Image.open(path) as image:  # another decoder of the same bytes: the upper half
        upper = np.atleast_3d(image.convert("RGBA" if alpha is not None else "RGB"))
    if channels > 2:
        np.testing.assert_array_equal(upper, values >> 8)


def test_profile_and_16_bits_return(tmp_path):
    (tmp_path / "a.tif").write_bytes(_tiff(_values(3)))
    profile = profiles.rgb(profiles.P3, (1.0,))
    first = images.read(tmp_path / "a.tif")
    for name in ("b.png", "c.tif"):
        linear = first.rgb.astype(np.float64) ** 0.5  # any values: those of the profile come back
        images.write(tmp_path / name, linear, bits=16, profile=profile)
        picture = images.read(tmp_path / name)
        assert picture.profile == profile and picture.bits == 16
        np.testing.assert_allclose(picture.rgb, linear, atol=3e-3)


def test_every_row_is_stored_by_the_shorter_filter(tmp_path):
    flat = np.zeros((4, 64, 3)) + np.linspace(0, 1, 64)[:, None]  # equal rows: Up is all zeros
    images.write(tmp_path / "a.png", flat, bits=16)
    assert (tmp_path / "a.png").stat().st_size < 700


def test_a_colour_key_of_16_bits_is_transparent(tmp_path):
    for channels in (1, 3):
        values = _values(channels)
        values[0, 1] = values[0, 0] ^ 1  # differs in the last bit alone
        key = _chunk(b"tRNS", values[0, 0].astype(">u2").tobytes())
        (tmp_path / "a.png").write_bytes(_png(values, more=key))
        alpha = images.read(tmp_path / "a.png").alpha
        assert alpha[0, 0] == 0 and alpha[0, 1] == 1 and alpha.mean() > 0.9


def test_what_is_hidden_by_16_bit_transparency_changes_nothing(tmp_path):
    found = []
    for under in (0, 60000):
        values = _values(4)
        values[...] = 3000
        values[:4, :, :3], values[:4, :, 3] = under, 0
        (tmp_path / "a.png").write_bytes(_png(values))
        found.append(images.read(tmp_path / "a.png").rgb)
    np.testing.assert_array_equal(*found)


def test_an_orientation_turns_both_halves(tmp_path):
    values = _values(3)
    exif = Image.Exif()
    exif[0x0112] = 6
    chunk = _chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    (tmp_path / "a.png").write_bytes(_png(values, more=chunk))
    _check(tmp_path / "a.png", np.rot90(values, -1))


@pytest.mark.parametrize("reader", [images.read, images.read_uint8])
def test_layouts_that_are_not_read_are_named(tmp_path, reader):
    path = tmp_path / "a.tif"
    path.write_bytes(_tiff(_values(3), planar=True))
    with pytest.raises(images.ImageError, match=r"a.tif has 16-bit channels .*save them interl"):
        reader(path)
    path.write_bytes(_tiff(np.zeros((2, 2, 3), np.float32), kind=3))
    with pytest.raises(images.ImageError, match="of 32-bit floats, .*convert it to 16-bit int"):
        reader(path)


@pytest.mark.parametrize(
    "channels, colours, remedy",
    [(2, 1, "save it as PNG"), (3, 6, "convert it to RGB"), (3, 8, "convert it to RGB")],
)
def test_the_remedy_fits_the_layout(tmp_path, channels, colours, remedy):
    (tmp_path / "a.tif").write_bytes(_tiff(_values(channels), colours=colours))
    with pytest.raises(images.ImageError, match=f"of 16-bit integers, not read; {remedy}$"):
        images.read(tmp_path / "a.tif")


@pytest.mark.parametrize("order", ["<", ">"])
def test_colours_multiplied_by_alpha_are_divided_whole(tmp_path, order):
    path, values = tmp_path / "a.tif", _values(4)
    values[..., 3] = values[..., 3] // 2 + 30000
    colours = values[..., :3] / 65535
    values[..., :3] = np.rint(colours * values[..., 3:])
    path.write_bytes(_tiff(values, order, extra=1))
    found = images.read(path)
    assert found.bits == 16 and not found.notes
    np.testing.assert_allclose(found.rgb, colours, atol=1.1 / 65535)  # half a step over alpha
    np.testing.assert_array_equal(np.rint(65535 * found.alpha), values[..., 3])


def test_hidden_multiplied_colours_are_spread(tmp_path):
    values = np.zeros((2, 3, 4), np.uint16)
    values[0, 0] = 10000, 20000, 30000, 40000
    (tmp_path / "a.tif").write_bytes(_tiff(values, extra=1))
    found = images.read(tmp_path / "a.tif").rgb
    np.testing.assert_allclose(found, np.broadcast_to([0.25, 0.5, 0.75], (2, 3, 3)), atol=1e-6)


def test_bits_that_are_not_read_are_told(tmp_path):
    (tmp_path / "a.tif").write_bytes(_tiff(_values(4), colours=5, extra=None))
    found = images.read(tmp_path / "a.tif")
    assert found.bits == 8 and found.notes == ("of its 16 bits per channel 8 are read",)


def test_half_a_16_bit_file_is_refused(tmp_path):
    data = _png(_values(3, 40, 40))
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(images.ImageError, match="a.png is truncated"):
        images.read(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(images.ImageError, match="1,600, more than 1,599 pixels"):
        images.read(tmp_path / "a.png", 1599)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".bmp"])
def test_16_bits_need_a_format_that_keeps_them(tmp_path, suffix):
    with pytest.raises(images.ImageError, match="keeps no 16 bits; write a .png or .tif"):
        images.check_writable(tmp_path / f"a{suffix}", bits=16)
    assert images.result_bits(f"a{suffix}", 16) == images.result_bits("a.png", 8) == 8
    assert images.result_bits("a.png", 16) == images.result_bits("a.tif", 8, 16) == 16
