"""Pictures as people have them, through the command line."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from hcflow_jax import cli, images
from hcflow_jax.images import encoding, formats, reading, scratch
from hcflow_jax.sampling import memory
from tests.cli import test_batch
from tests.images import profiles
from tests.images.test_colour import PATCHES
from tests.images.test_metadata import exif

folder = test_batch.folder  # models that enlarge and shrink by bicubic interpolation
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(40)


def _lab(image):
    profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("LAB"), "RGB", "LAB")
    return np.asarray(transform.apply(image)).astype(np.int8).astype(int)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif"])
def test_colours_beyond_srgb_are_kept(folder, suffix):
    original = Image.fromarray(PATCHES)
    original.save("p3.png", icc_profile=profiles.rgb())
    assert cli.main(["upscale", "p3.png", "-o", f"large.{suffix}"]) == 0
    with Image.open("p3.png") as small, Image.open(f"large.{suffix}") as large:
        assert large.size == (128, 64)
        lab = [
            _lab(image)[rows, columns]
            for image, rows, columns in ((small, 8, [4, 28]), (large, 32, [16, 112]))
        ]
        np.testing.assert_allclose(np.asarray(large)[32, [16, 112]], PATCHES[8, [4, 28]], atol=2)
    np.testing.assert_allclose(*lab, atol=2)


def test_restored_pictures_have_the_profile_of_the_first(folder):
    Image.fromarray(PATCHES).save("p3.png", icc_profile=profiles.rgb())
    assert cli.main(["downscale", "p3.png", "-o", "small.png"]) == 0
    assert cli.main(["restore", "small.png", "-o", "again.png"]) == 0
    for name in ("small.png", "again.png"):
        with Image.open(name) as image:
            assert image.info["icc_profile"] == profiles.rgb()
    with Image.open("again.png") as image:
        assert image.size == (32, 16) and image.text == {"hcflow:made_by": "restore"}
        np.testing.assert_allclose(np.asarray(image)[8, [4, 28]], PATCHES[8, [4, 28]], atol=2)


def test_a_damaged_profile_is_one_line(folder, capsys):
    Image.fromarray(PATCHES).save("a.png", icc_profile=b"damaged" * 30)
    assert cli.main(["upscale", "a.png"]) == 0
    line = "a.png: its colour profile is damaged or of an unknown kind; taken as sRGB\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("command, label", [("upscale", "x4"), ("downscale", "lr")])
def test_strip_leaves_out_who_and_where_but_not_the_profile(folder, command, label):
    Image.fromarray(PATCHES).save("a.jpg", exif=exif(), icc_profile=profiles.rgb())
    for flags, kept in (([], True), (["--strip"], False)):
        assert cli.main([command, "a.jpg", *flags]) == 0
        with Image.open(f"a_{label}.png") as image:
            image.load()
            assert bool(image.getexif().get_ifd(0x8825)) == kept
            assert image.info["icc_profile"] == profiles.rgb()
            assert ("hcflow:size" in image.text) == (command == "downscale")


def _deep():
    """A ramp finer than 8 bits."""
    return np.repeat(np.linspace(0.2, 0.25, 16 * 24).reshape(16, 24, 1), 3, -1) * [1, 0.9, 0.8]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_in_and_out(folder, capsys, suffix):
    images.write(f"a.{suffix}", _deep(), bits=16)
    assert cli.main(["upscale", f"a.{suffix}", "-o", f"b.{suffix}"]) == 0
    picture = images.read(f"b.{suffix}")
    assert picture.bits == 16 and len(np.unique(picture.rgb[..., 0])) > 300
    np.testing.assert_allclose(picture.rgb[34, 50], _deep()[8, 12], atol=2e-3)
    for flags, target, bits in (
        (["--bits", "8"], "c.png", 8),
        ([], "c.jpg", 8),
        (["--bits", "16"], "d.tif", 16),
    ):
        assert cli.main(["upscale", f"a.{suffix}", "-o", target, *flags]) == 0
        assert images.read(target).bits == bits
    capsys.readouterr()
    assert cli.main(["upscale", f"a.{suffix}", "-o", "e.jpg", "--bits", "16"]) == 2
    err = capsys.readouterr().err
    assert "e.jpg: JPEG keeps no 16 bits; write a .png or .tif" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "target, limit, remedy",
    [
        ("a.webp", "WEBP holds 16,383", "write a .png or .tif"),
        ("a.jpg", "JPEG holds 65,500", "write a .png or .tif"),
        ("a.avif", "AVIF holds 32,768", "write a .png or .tif"),
    ],
)
def test_sizes_are_checked_before_the_work(folder, capsys, monkeypatch, target, limit, remedy):
    Image.fromarray(np.zeros((1, 20000, 3), np.uint8)).save("wide.png")
    from hcflow_jax import sampling

    def never(model, params, pictures, *args, **kwargs):
        assert not list(pictures)
        return iter(())

    monkeypatch.setattr(sampling, "sample_all", never)
    assert cli.main(["upscale", "wide.png", "-o", target]) == 2
    err = capsys.readouterr().err
    assert f"{target} would be 80000×4, and {limit} pixels a side; {remedy}" in err
    assert err.count("\n") == 1 and not os.path.exists(target)


@pytest.mark.parametrize("suffix, bits, side", [("tif", 16, 26000), ("bmp", 8, 37700)])
def test_files_of_four_gigabytes_are_refused(tmp_path, suffix, bits, side):
    images.check_writable(tmp_path / f"a.{suffix}", size=(side, side), bits=bits)
    with pytest.raises(images.ImageError, match=r"more than .* holds; write a .png"):
        images.check_writable(tmp_path / f"a.{suffix}", size=(side + 1600, side), bits=bits)
    images.check_writable(tmp_path / "a.png", size=(10 * side, side), bits=bits)


def test_only_the_first_picture_of_an_animation_is_taken(folder, capsys):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "a.webp", "a.png", "a.tif"):
        frames[0].save(name, save_all=True, append_images=frames[1:])
        assert cli.main(["upscale", name, "-o", "large.png"]) == 0
        line = (
            f"{name}: of several pictures in it only the first is taken (--frames all takes all)\n"
        )
        assert capsys.readouterr().err == line
        with Image.open("large.png") as image:
            assert image.getpixel((0, 0))[2] < 5


def test_a_folder_gives_every_format_that_can_be_read(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, formats.HEIF_PACKAGE, None)
    photo = Image.fromarray(PATCHES)
    names = ["b.avif", "c.jfif", "d.jpe", "e.webp", "f.BMP", "g.tiff", "h.gif"]
    for name in names:
        kind = {"c": "JPEG", "d": "JPEG"}.get(name[0])
        photo.save(f"in/{name}", kind)
    for name in ("i.heic", "j.HEIF"):
        Path(f"in/{name}").write_bytes(HEIC)
    Path("in/notes.txt").touch()
    assert cli.main(["upscale", "in", "-o", "out"]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == len(names) + 2
    first, *failed = err.splitlines()
    assert first == "hcflow: 2 of 11 pictures failed:"
    for line, name in zip(failed, ("i.heic", "j.HEIF"), strict=True):
        assert f"in/{name} is a HEIC picture, which needs pillow-heif" in line
        assert "pip install 'hcflow_jax[heic]'" in line


def test_heic_is_read_where_its_package_is(folder):
    heif = pytest.importorskip(formats.HEIF_PACKAGE)
    heif.from_pillow(Image.fromarray(PATCHES.repeat(2, 0).repeat(2, 1))).save(
        "in/a.heic", quality=95
    )
    assert cli.main(["upscale", "in/a.heic", "-o", "large.png"]) == 0
    with Image.open("large.png") as image:
        assert image.size == (256, 128)
        np.testing.assert_allclose(image.getpixel((40, 60)), PATCHES[8, 4], atol=12)


def test_a_pillow_without_avif_is_named(folder, capsys, monkeypatch):
    Image.fromarray(PATCHES).save("a.avif")
    monkeypatch.setattr(features, "check", lambda name: False)
    assert cli.main(["upscale", "in/1.png", "-o", "b.avif"]) == 2
    assert "this Pillow cannot write AVIF; pip install -U pillow" in capsys.readouterr().err
    data = Path("a.avif").read_bytes()
    Path("a.avif").write_bytes(data[:16] + bytes(len(data) - 16))  # so that no Pillow reads it
    assert cli.main(["upscale", "a.avif"]) == 2
    assert "a.avif is an AVIF picture, which this Pillow" in capsys.readouterr().err


def _nested():
    for name in ("in/sub/1.png", "in/sub/deep/2.png", "in/.hidden/4.png", "in/.trash.png"):
        os.makedirs(os.path.dirname(name), exist_ok=True)
        Image.fromarray(PATCHES).save(name)
    os.symlink("sub", "in/link")


def _files(top):
    return sorted(
        os.path.relpath(os.path.join(path, name), top)
        for path, _, names in os.walk(top)
        for name in names
    )


RESULTS = ["1_x4.png", "3_x4.png", "sub/1_x4.png", "sub/deep/2_x4.png"]


def test_folders_of_folders(folder, capsys):
    _nested()
    assert cli.main(["upscale", "in", "-o", "flat"]) == 0
    assert _files("flat") == ["1_x4.png", "3_x4.png"]
    assert cli.main(["upscale", "in", "-o", "out", "--recursive"]) == 0
    assert _files("out") == RESULTS
    before = _files("in")
    for _ in range(2):  # results below the inputs are not taken for inputs
        assert cli.main(["upscale", "in", "in/sub", "-o", "in/large", "--recursive"]) == 0
    assert "left out: 4 pictures in in/large, where results go\n" in capsys.readouterr().err
    assert _files("in/large") == RESULTS
    assert [name for name in _files("in") if not name.startswith("large/")] == before
    assert cli.main(["upscale", "in/sub", "--recursive"]) == 0
    assert {"1_x4.png", "deep/2_x4.png"} <= set(_files("in/sub"))


@pytest.mark.parametrize("values", [np.uint8, np.uint16])
def test_large_tiffs_are_shrunk_without_being_held(tmp_path, monkeypatch, values):
    """Read part by part into a file, they give what they give when they are read whole."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, np.iinfo(values).max, (90, 70, 3), values)
    monkeypatch.setattr(encoding, "_STRIP_BYTES", 4000)
    with open("in.tif", "wb") as file:
        encoding.write_tiff(file, pixels)
    needed = []
    monkeypatch.setattr(memory, "needed", lambda *args, **_: needed.append(args[3]) or 0)
    for folder, large, held in ("whole", 10**6, 10**9), ("parts", 1000, 1000):
        monkeypatch.setattr(reading, "LARGE", large)
        monkeypatch.setattr(scratch, "HELD", held)
        assert cli.main(["downscale", "in.tif", "-o", f"{folder}/"]) == 0
    whole, parts = (Path(folder, "in_lr.png").read_bytes() for folder in ("whole", "parts"))
    assert whole == parts and max(needed[len(needed) // 2 :]) < min(needed[: len(needed) // 2])
