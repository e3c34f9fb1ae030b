"""Results that say what made them."""

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from hcflow_jax import images
from hcflow_jax.images import own, reading

PIXELS = np.full((8, 8, 3), 0.5, np.float32)


def _picture(path, **options):
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8), "teal").save(path, **options)
    return path


FORMATS = [("png", 8), ("jpg", 8), ("webp", 8), ("avif", 8), ("tif", 8), ("bmp", 8)]


@pytest.mark.parametrize("suffix, bits", [*FORMATS, ("png", 16), ("tif", 16)])
def test_results_say_which_command_made_them(tmp_path, suffix, bits):
    path = tmp_path / f"a.{suffix}"
    assert own.made_by(path) is None
    for command in own.COMMANDS:
        marks = own.marked(command, suffix == "png", {}, b"")
        images.write(path, PIXELS, bits=bits, **marks)
        assert own.made_by(path) == (command if suffix != "bmp" else None)
    assert own.made_by(_picture(tmp_path / f"b.{suffix}")) is None


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_results_may_be_larger_than_what_is_read(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a.{suffix}"
    images.write(path, PIXELS, **own.marked("upscale", suffix == "png", {}, b""))
    monkeypatch.setattr(reading, "MAX_PIXELS", 10)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(images.ImageError, match="more than"):
        images.read(path)
    assert own.made_by(path) == "upscale"
    assert own.results([path] * 20) == {path: "upscale"}
    assert Image.MAX_IMAGE_PIXELS == 10


def test_no_gif_is_opened(tmp_path, monkeypatch):
    """Frames of a hostile one may be larger than all limits, and Pillow fills them."""
    calls, open_image = [], Image.open
    monkeypatch.setattr(Image, "open", lambda *a, **kw: (calls.append(a), open_image(*a, **kw))[1])
    for kind in ("PNG", "GIF"):
        assert own.made_by(_picture(tmp_path / "a.png", format=kind)) is None
        assert len(calls) == 1


def test_a_mark_keeps_what_else_a_picture_says(tmp_path):
    exif = Image.Exif()
    exif[0x010F], exif[0x0131] = "a camera", "a program"
    marks = own.marked("upscale", True, {"Title": "dune"}, exif.tobytes())
    images.write(tmp_path / "a.png", PIXELS, **marks)
    found = images.read(tmp_path / "a.png")
    assert found.info["Title"] == "dune" and b"a program" in found.exif
    marks = own.marked("restore", False, {}, exif.tobytes())
    images.write(tmp_path / "a.jpg", PIXELS, **marks)
    with Image.open(tmp_path / "a.jpg") as image:
        found = image.getexif()
    assert (found[0x010F], found[0x0131]) == ("a camera", "hcflow restore")


@pytest.mark.parametrize("text", ["hcflow train", "my hcflow upscale", "upscale", ""])
def test_other_programs_are_not_this_one(tmp_path, text):
    exif = Image.Exif()
    exif[0x0131] = text
    assert own.made_by(_picture(tmp_path / "a.jpg", exif=exif.tobytes())) is None
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Software", text)
    chunks.add_text("comment", "hcflow:made_by upscale")
    assert own.made_by(_picture(tmp_path / "a.png", pnginfo=chunks)) is None


def test_a_small_picture_of_an_earlier_version_is_known_by_its_size(tmp_path):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("hcflow:size", "32x32")
    assert own.made_by(_picture(tmp_path / "a.png", pnginfo=chunks)) == "downscale"


def test_a_bmp_is_known_by_its_name_beside_its_picture(tmp_path):
    names = {
        "a.jpg": None,
        "a_x4.bmp": "upscale",
        "a_x2.5.bmp": "upscale",
        "a_x4_2.bmp": "upscale",
        "a_x4_frame0012.bmp": "upscale",
        "a_jpg_x8.bmp": "upscale",
        "a_restored.bmp": "restore",
        "a_x4.png": None,
        "a_lr.jpg": None,
        "b_x4.bmp": None,
        "a_4x.bmp": None,
        "ax4.bmp": None,
        "other/a_x4.bmp": None,
    }
    found = own.results([_picture(tmp_path / name) for name in names])
    assert found == {tmp_path / name: maker for name, maker in names.items() if maker}
