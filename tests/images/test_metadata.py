"""EXIF, XMP and text of results."""

import re
import struct

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from hcflow_jax import images
from hcflow_jax.images import metadata
from tests.images import profiles

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
BASE, IFD = ExifTags.Base, ExifTags.IFD
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:creator="me"'
    b' tiff:ImageLength="6" exif:PixelXDimension="8">'
    b"<tiff:Orientation>6</tiff:Orientation><tiff:ImageWidth>8</tiff:ImageWidth>"
    b"<exif:PixelYDimension>6</exif:PixelYDimension></rdf:Description></x:xmpmeta>"
)
THUMBNAIL = b"\xff\xd8THUMBNAIL\xff\xd9"
SUFFIXES = [".png", ".jpg", ".webp", ".tif", ".avif"]


def exif():
    """Of a turned photograph, with place, thumbnail and the size of the original."""
    result = Image.Exif()
    result[BASE.Orientation], result[BASE.Make], result[BASE.Copyright] = 6, "Maker", "me"
    result[BASE.ImageWidth] = 8
    part = {BASE.ExifImageWidth: 8, BASE.ExifImageHeight: 6, BASE.ExposureTime: 0.005}
    part |= {0x9214: (4, 3, 2, 2), BASE.SubjectLocation: (4, 3)}  # in pixels
    result[IFD.Exif] = part | {
        BASE.DateTimeOriginal: "2020:01:02 03:04:05",
        IFD.Interop: {1: "R98"},
    }
    result[IFD.GPSInfo] = {1: "N", 2: (50.0, 4.0, 30.0)}
    data = result.tobytes().removeprefix(b"Exif\0\0")
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack(f"{order}I", data[4:8])
    (count,) = struct.unpack(f"{order}H", data[start : start + 2])
    link, end = start + 2 + 12 * count, len(data)
    second = struct.pack(f"{order}H", 2)
    for tag, value in ((513, end + 30), (514, len(THUMBNAIL))):
        second += struct.pack(f"{order}HHII", tag, 4, 1, value)
    data = data[:link] + struct.pack(f"{order}I", end) + data[link + 4 :]
    return b"Exif\0\0" + data + second + bytes(4) + THUMBNAIL


def save(path, **options):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", XMP.decode())
    chunks.add_text("Comment", "hello")
    options |= {"pnginfo": chunks} if path.suffix == ".png" else {"xmp": XMP}
    if path.suffix == ".tif":
        options["tiffinfo"] = loaded = Image.Exif()
        loaded.load(exif())
        loaded[700] = options.pop("xmp")
    else:
        options["exif"] = exif()
    Image.fromarray(COLOUR).save(path, **options)
    return path


def _check(path, width, height):
    """The file says what the photograph did, and is of that size."""
    data = path.read_bytes()
    assert THUMBNAIL[2:-2] not in data and b"Orientation" not in data
    with Image.open(path) as image:
        assert image.size == (width, height)
        image.load()
        found = image.getexif()
        part, place = found.get_ifd(IFD.Exif), found.get_ifd(IFD.GPSInfo)
        xmp = image.info["xmp"]
    assert BASE.Orientation not in found and not found.get_ifd(IFD.IFD1)
    assert (found[BASE.Make], found[BASE.Copyright]) == ("Maker", "me")
    assert (part[BASE.ExifImageWidth], part[BASE.ExifImageHeight]) == (width, height)
    assert part[BASE.ExposureTime] == 0.005
    assert part[BASE.DateTimeOriginal] == "2020:01:02 03:04:05"
    assert place[1] == "N" and place[2] == (50, 4, 30)
    assert 0x9214 not in part and BASE.SubjectLocation not in part
    assert b'dc:creator="me"' in xmp and not re.search(b"Width|Length|Dimension", xmp)


@pytest.mark.parametrize("target", [*SUFFIXES, "16.png", "16.tif"])
@pytest.mark.parametrize("source", [".jpg", ".png", ".tif"])
def test_what_a_picture_says_is_kept(tmp_path, source, target):
    picture = images.read(save(tmp_path / f"a{source}"))
    assert picture.rgb.shape[:2] == (8, 6) and not picture.notes
    large = picture.rgb.repeat(2, 0).repeat(2, 1)
    path = tmp_path / f"b{target.removeprefix('16')}"
    bits = 16 if target.startswith("16") else 8
    about = {"profile": profiles.rgb(), "exif": picture.exif, "xmp": picture.xmp}
    images.write(path, large, info=picture.info, bits=bits, **about)
    _check(path, 12, 16)
    again = images.read(path)
    np.testing.assert_allclose(again.rgb, large, atol=0 if path.suffix in (".png", ".tif") else 0.6)
    assert again.profile == about["profile"]
    if source == path.suffix == ".png":
        assert again.info == {"Comment": "hello"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_invented(tmp_path, suffix):
    images.write(tmp_path / f"a{suffix}", COLOUR / 255)
    picture = images.read(tmp_path / f"a{suffix}")
    assert (picture.exif, picture.xmp, picture.info, picture.profile) == (b"", b"", {}, None)


def test_a_tiff_s_exif_is_not_how_its_pixels_are_stored(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.tif", software="me", dpi=(300, 300))
    found = Image.Exif()
    found.load(images.read(tmp_path / "a.tif").exif)
    assert set(found) == {BASE.Software, BASE.XResolution, BASE.YResolution, BASE.ResolutionUnit}


@pytest.mark.parametrize(
    "text, kept",
    [
        ('{"shape": [6, 8, 3]}', False),  # tifffile
        ('{"axes": "YXS", "shape": [6, 8, 3]}', False),
        ("ImageJ=1.11a\nimages=1\n", False),
        ('<?xml version="1.0" encoding="UTF-8"?><OME xmlns="a"><Pixels SizeX="8"/></OME>', False),
        ("A meadow {of the shape: round}", True),
        ("<?xml is no description", True),
    ],
)
def test_descriptions_of_the_layout_of_arrays_stay_with_the_array(tmp_path, text, kept):
    """Programs read a file by them, and would not read one of another size."""
    Image.fromarray(COLOUR).save(tmp_path / "a.tif", tiffinfo={BASE.ImageDescription: text})
    picture = images.read(tmp_path / "a.tif")
    images.write(tmp_path / "b.tif", picture.rgb.repeat(2, 0), exif=picture.exif)
    with Image.open(tmp_path / "b.tif") as image:
        assert image.getexif().get(BASE.ImageDescription) == (text if kept else None)


def test_what_does_not_fit_a_jpeg_is_left_out(tmp_path):
    about = Image.Exif()
    about[BASE.ImageDescription] = "long " * 20000
    images.write(tmp_path / "a.jpg", COLOUR / 255, exif=about.tobytes(), xmp=b"long " * 20000)
    picture = images.read(tmp_path / "a.jpg")
    assert not picture.exif and not picture.xmp
    images.write(tmp_path / "a.bmp", COLOUR / 255, exif=about.tobytes(), xmp=XMP)


def test_exif_that_cannot_be_kept_costs_no_picture(tmp_path, monkeypatch):
    def fail(image):
        raise struct.error("unpack requires a buffer of 4 bytes")

    monkeypatch.setattr(metadata, "exif", fail)
    picture = images.read(save(tmp_path / "a.jpg"))
    assert (
        not picture.xmp
        and picture.notes == ("its EXIF or XMP is damaged; both are left out",)
        and not picture.exif
    )
