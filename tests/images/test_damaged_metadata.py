"""Files whose pixels are sound and whose metadata are not, or are unusual."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from hcflow_jax import cli, images
from tests.images import profiles

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_damaged_exif_is_left_out_and_told(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(PIXELS).save(path, exif=b"Exif\0\0garbage here", **options)
    found = images.read(path)
    assert "its EXIF or XMP is damaged; both are left out" in found.notes
    if suffix != "jpg":
        np.testing.assert_array_equal(np.rint(255 * found.rgb), PIXELS)
        np.testing.assert_array_equal(images.read_uint8(path), PIXELS)
    assert images.header_size(path) == (12, 16)


def _tiff(path, values, photometric):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = photometric
    Image.fromarray(values).save(path, tiffinfo=tags)


@pytest.mark.parametrize("kind, top", [(np.uint16, 65535), (np.float32, 1)])
def test_white_may_be_zero(tmp_path, kind, top):
    grey = np.linspace(0, top, 96).reshape(8, 12).astype(kind)
    for photometric, values in ((0, (top - grey).astype(kind)), (1, grey)):
        _tiff(tmp_path / "a.tif", values, photometric)
        found = images.read(tmp_path / "a.tif").rgb[..., 0]
        np.testing.assert_allclose(found, grey / top, atol=1e-6)


def test_a_profile_that_no_png_keeps_is_converted_and_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    large = profiles.rgb() + rng.integers(0, 256, 1_500_000, dtype=np.uint8).tobytes()
    Image.fromarray(PIXELS).save("p3.tif", icc_profile=profiles.rgb())
    Image.fromarray(PIXELS).save("large.tif", icc_profile=large)
    found = images.read("large.tif")
    assert found.profile is None and "larger than 1 MB; converted to sRGB" in found.notes[0]
    np.testing.assert_array_equal(np.rint(255 * found.rgb), images.read_uint8("p3.tif"))
    assert cli.main(["downscale", "large.tif", "-o", "small.png"]) == 0
    assert cli.main(["restore", "small.png", "-o", "again.png"]) == 0
    assert "converted to sRGB" in capsys.readouterr().err


@pytest.mark.parametrize("bits", [8, 16])
def test_no_png_is_written_that_nothing_reads(tmp_path, bits):
    large = profiles.rgb() + bytes(1_500_000)
    rgb = np.float32(PIXELS / 255)
    with pytest.raises(images.ImageError, match="keeps no colour profile over 1 MB; write a .tif"):
        images.write(tmp_path / "a.png", rgb, bits=bits, profile=large)
    assert not list(tmp_path.iterdir())
    images.write(tmp_path / "a.tif", rgb, bits=bits, profile=large)
    with images.opened(tmp_path / "a.tif") as image:
        assert image.info["icc_profile"] == large


@pytest.mark.parametrize("behind", [False, True])
def test_texts_too_large_to_be_read_are_left_out_and_told(tmp_path, monkeypatch, capsys, behind):
    """zTXt and iTXt of megabytes, as programs write that keep their workflow in pictures."""
    monkeypatch.chdir(tmp_path)
    chunks = PngImagePlugin.PngInfo()
    for key, size in (("small", 1000), ("work\x1bflow", 5_000_000)):
        packed = zlib.compress(b"a" * size)
        chunks.add(b"zTXt", f"{key}\0\0".encode() + packed, behind)
        chunks.add(b"iTXt", f"{key} too\0\1\0\0\0".encode() + packed, behind)
    Image.fromarray(PIXELS).save("a.png", pnginfo=chunks)
    found = images.read("a.png")
    np.testing.assert_array_equal(np.rint(255 * found.rgb), PIXELS)
    np.testing.assert_array_equal(images.read_uint8("a.png"), PIXELS)
    assert found.info == {"small": 1000 * "a", "small too": 1000 * "a"}
    names = r"work\x1bflow, work\x1bflow too"
    assert found.notes[0].startswith(f"its text {names} is left out; ") and len(found.notes) == 1
    assert cli.main(["downscale", "a.png", "-o", "small.png"]) == 0
    assert f"a.png: its text {names} is left out" in capsys.readouterr().err
    assert images.read("small.png").info["small too"] == 1000 * "a"


def test_texts_that_are_too_many_are_left_out(tmp_path):
    chunks = PngImagePlugin.PngInfo()
    for i in range(70):
        chunks.add_text(f"t{i}", 1_000_000 * "a", zip=True)
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=chunks)
    assert list(images.read(tmp_path / "a.png").info) == [f"t{i}" for i in range(67)]


def test_a_profile_too_large_to_be_read_is_called_so(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png", icc_profile=bytes(5_000_000))
    with pytest.raises(images.ImageError, match="colour profile over 1 MB, not read; convert it"):
        images.read(tmp_path / "a.png")


def _twelve_bits(values):
    """A TIFF of 12-bit greys, two to three bytes."""
    height, width = values.shape
    pairs = values.reshape(-1, 2).astype(int)
    data = b"".join(((a << 12) | b).to_bytes(3, "big") for a, b in pairs.tolist())
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: height}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    entries.append(struct.pack("<HHII", 279, 4, 1, len(data)))
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def test_greys_of_twelve_bits_are_as_bright_as_they_are(tmp_path):
    values = np.linspace(0, 4095, 48).astype(np.uint16).reshape(6, 8)
    (tmp_path / "a.tif").write_bytes(_twelve_bits(values))
    found = images.read(tmp_path / "a.tif").rgb[..., 0]
    np.testing.assert_allclose(found, values / 4095, atol=1e-6)
