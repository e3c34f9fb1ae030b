import os
import struct
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, PngImagePlugin, TiffImagePlugin

from hcflow_jax import images
from hcflow_jax.images import reading

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


def _save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def _agree(path):
    """Every way to read a file gives the same picture, which is returned."""
    picture = images.read(path)
    data = path.read_bytes()
    assert images.header_size(path) == images.header_size(data) == picture.rgb.shape[:2]
    expected = np.rint(255 * picture.rgb).astype(np.uint8)
    for source in (path, data):
        np.testing.assert_array_equal(images.read_uint8(source), expected)
    return picture


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "I"])
def test_every_mode_is_read(tmp_path, mode):
    if mode == "I;16":
        path = _save(tmp_path / "a.png", GREY.astype(np.uint16) * 257)
    elif mode == "F":
        path = _save(tmp_path / "a.tif", GREY.astype(np.float32) / 255)
    elif mode == "I":
        path = _save(tmp_path / "a.tif", GREY.astype(np.int32) * 257)
    else:
        suffix = ".tif" if mode == "CMYK" else ".png"
        path = _save(tmp_path / f"a{suffix}", COLOUR, mode)
    picture = _agree(path)
    assert picture.rgb.shape == (5, 7, 3)
    assert picture.grey == (mode in ("1", "L", "LA", "I;16", "F", "I"))
    assert (picture.alpha is not None) == mode.endswith("A")
    if mode in ("I;16", "F", "I"):
        np.testing.assert_allclose(picture.rgb[..., 0], GREY / 255, atol=1e-6)
    if mode in ("RGB", "RGBA"):
        np.testing.assert_array_equal(picture.rgb, COLOUR.astype(np.float32) / 255)


def test_palette_transparency_becomes_alpha(tmp_path):
    palette = Image.fromarray(COLOUR).convert("P")
    palette.save(tmp_path / "a.png", transparency=palette.getpixel((0, 0)))
    assert images.read(tmp_path / "a.png").alpha[0, 0] == 0


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOUR).save(tmp_path / "a.png", exif=exif)
    expected = np.rot90(COLOUR, -1).astype(np.float32) / 255
    np.testing.assert_array_equal(images.read(tmp_path / "a.png").rgb, expected)


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(images.read(tmp_path / "a.gif").rgb[0, 0], [1, 0, 0])


def _truncated(path):
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    _save(path, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BAD_FILES = {
    "missing": (lambda path: None, "does not exist"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "text": (lambda path: path.write_text("not an image at all"), "is not an image"),
    "truncated": (_truncated, "truncated"),
    "header": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40), "{path}"),
}


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named(tmp_path, name, suffix):
    make, words = BAD_FILES[name]
    path = tmp_path / f"bad{suffix}"
    make(path)
    with pytest.raises(images.ImageError) as error:
        images.read(path)
    assert str(path) in str(error.value) and words.format(path=path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_broken_exif_is_named(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "hello"
    path = _save(tmp_path / "a.jpg", COLOUR, exif=exif)
    data = path.read_bytes()
    at = data.index(b"Exif\0\0")
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(data)
        broken[at + 6 + rng.integers(50)] = rng.integers(256)
        broken[at + 6 + rng.integers(50)] = rng.integers(256)
        path.write_bytes(broken)
        try:
            images.read(path)
        except images.ImageError as error:
            assert str(path) in str(error)


def test_nan_pixels_are_refused(tmp_path):
    values = np.full((4, 4), np.nan, np.float32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(images.ImageError, match="not finite"):
        images.read(tmp_path / "a.tif")


@pytest.mark.parametrize("reader", [images.read, images.read_uint8, images.header_size])
def test_more_pixels_than_allowed_are_refused(tmp_path, monkeypatch, reader):
    path = _save(tmp_path / "a.png", COLOUR)
    with pytest.raises(
        images.ImageError, match="a.png has 35, more than 30 pixels; .* --max-pixels"
    ):
        reader(path, 30)
    reader(path, 35)
    monkeypatch.setattr(reading, "MAX_PIXELS", 30)
    with pytest.raises(images.ImageError, match="a.png has 35, more .* make it smaller"):
        reader(path)


def test_pillows_limit_is_raised_only_where_more_is_asked_for(tmp_path, monkeypatch):
    path = _save(tmp_path / "a.png", COLOUR)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(images.ImageError, match="a.png has more"):
        images.read(path)
    assert Image.MAX_IMAGE_PIXELS == 10
    assert images.read(path, 35).rgb.shape == (5, 7, 3)


def test_folders_list_their_images_in_natural_order(tmp_path):
    for name in ("10.png", "2.PNG", "a.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub.png").mkdir()
    assert [p.name for p in images.list_images(tmp_path)] == ["2.PNG", "10.png"]
    assert images.list_images(tmp_path / "a.txt") == [tmp_path / "a.txt"]
    (tmp_path / "empty").mkdir()
    for bad in ("empty", "absent"):
        with pytest.raises(images.ImageError, match=bad):
            images.list_images(tmp_path / bad)


def test_words_sort_by_letter_and_numbers_by_value(tmp_path):
    names = ["2b.png", "10.png", "a2.png", "a10.png", "abcdef.png", "b1.png", "zoo.png"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert [p.name for p in images.list_images(tmp_path)] == names


@pytest.mark.parametrize("value", [-1.0, 200.0])
def test_floats_outside_the_unit_range_are_refused(tmp_path, value):
    Image.fromarray(np.full((4, 4), value, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(images.ImageError, match="outside 0…1"):
        images.read(tmp_path / "a.tif")


def test_an_xmp_orientation_is_not_applied_twice(tmp_path):
    chunks = PngImagePlugin.PngInfo()
    orientation = '<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    chunks.add_itxt("XML:com.adobe.xmp", orientation)
    Image.fromarray(COLOUR).save(tmp_path / "a.png", pnginfo=chunks)
    picture = images.read(tmp_path / "a.png")
    images.write(tmp_path / "b.png", picture.rgb, info=picture.info)
    np.testing.assert_array_equal(images.read(tmp_path / "b.png").rgb, picture.rgb)


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = _save(tmp_path / "a.png", COLOUR)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(images.ImageError, match="may not be read"):
        images.read(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "tif"])
def test_no_truncation_goes_unnoticed(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    _save(path, RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    whole, rgb = path.read_bytes(), images.read(path).rgb
    for length in range(1, len(whole), 7):
        path.write_bytes(whole[:length])
        try:
            np.testing.assert_array_equal(images.read(path).rgb, rgb)
        except images.ImageError as error:
            assert str(path) in str(error)


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(height, width, bits, colour_type, rows, late=b""):
    """A PNG from the bytes of its rows, with chunks `late` behind them."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", pixels)
        + late
        + _chunk(b"IEND", b"")
    )


def _turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


LATE = {
    "eXIf": (b"eXIf", _turned().removeprefix(b"Exif\0\0")),
    "XMP": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b'<x tiff:Orientation="6"/>'),
}


@pytest.mark.parametrize("kind", LATE)
def test_an_orientation_behind_the_pixels_is_seen_by_every_reader(tmp_path, kind):
    path = tmp_path / "late.png"
    path.write_bytes(_png(5, 7, 8, 2, [row.tobytes() for row in COLOUR], _chunk(*LATE[kind])))
    expected = np.rot90(COLOUR, -1).astype(np.float32) / 255
    np.testing.assert_array_equal(_agree(path).rgb, expected)


def _grey_and_alpha_of_16_bits(path):
    planes = np.stack([GREY, np.full_like(GREY, 200)], -1).astype(">u2") * 257
    path.write_bytes(_png(5, 7, 16, 4, [row.tobytes() for row in planes]))


GREYS = {
    "rgb.png": lambda path: _save(path, GREY, "RGB"),
    "palette.png": lambda path: _save(path, GREY, "P"),
    "rgb.jpg": lambda path: _save(path, GREY, "RGB"),
    "cmyk.tif": lambda path: _save(path, GREY, "CMYK"),
    "la16.png": _grey_and_alpha_of_16_bits,
}


@pytest.mark.parametrize("name", GREYS)
def test_a_picture_is_grey_by_its_pixels(tmp_path, name):
    GREYS[name](tmp_path / name)
    assert _agree(tmp_path / name).grey


def test_one_faint_colour_makes_a_picture_coloured(tmp_path):
    rgb = np.repeat(GREY[..., None], 3, -1)
    rgb[2, 3, 0] ^= 1
    assert not images.read(_save(tmp_path / "a.png", rgb)).grey


def test_what_is_hidden_changes_nothing(tmp_path):
    """Colours of transparent pixels, in whichever way a file keeps them."""
    hidden = GREY < 128
    alpha = np.where(hidden, 0, 255).astype(np.uint8)
    found = []
    for under in ([0, 0, 0], [255, 9, 80]):
        rgb = np.where(hidden[..., None], under, GREY[..., None]).astype(np.uint8)
        rgba = np.concatenate([rgb, alpha[..., None]], -1)
        found.append(_agree(_save(tmp_path / "a.png", rgba)))
    np.testing.assert_array_equal(found[0].rgb, found[1].rgb)
    assert found[0].grey and found[1].grey
    Image.fromarray(COLOUR).save(tmp_path / "key.png", transparency=tuple(map(int, COLOUR[0, 0])))
    assert _agree(tmp_path / "key.png").alpha[0, 0] == 0


@pytest.mark.skipif(os.name != "posix", reason="the program is a shell script")
def test_no_file_runs_a_program(tmp_path, monkeypatch):
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # what it found before, if it did
    path = tmp_path / "a.png"
    Image.fromarray(COLOUR).save(path, "EPS")
    for reader in (images.read, images.read_uint8, images.header_size):
        with pytest.raises(images.ImageError, match="a.png is not an image of a known format"):
            reader(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "bits, kind, words", [(32, 3, "32-bit floats"), (64, 1, "64-bit integers")]
)
def test_a_tiff_that_is_not_read_is_named_by_what_it_holds(tmp_path, bits, kind, words):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[256], tags[257], tags[258], tags[262], tags[277] = 2, 1, (bits,) * 3, 2, 3
    tags[339], tags[273], tags[278], tags[279] = (kind,) * 3, 400, 1, 2 * 3 * bits // 8
    data = b"II*\0" + struct.pack("<L", 8) + tags.tobytes(8)
    path = tmp_path / "a.tif"
    path.write_bytes(data.ljust(400, b"\0") + bytes(tags[279]))
    with pytest.raises(images.ImageError, match=f"a.tif is a TIFF with 3 channels of {words}"):
        images.read(path)


@pytest.mark.parametrize("kind", ["empty", "text", "missing", "folder"])
def test_every_reader_has_the_same_words(tmp_path, kind):
    path = tmp_path / "a.png"
    BAD_FILES[kind][0](path)
    said = set()
    for reader in (images.read, images.read_uint8, images.header_size):
        with pytest.raises(images.ImageError) as error:
            reader(path)
        said.add(str(error.value))
    assert len(said) == 1
