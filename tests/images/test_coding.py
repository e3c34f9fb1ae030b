"""Pixels coded part by part are those that are coded as the file is written."""

import io

import numpy as np
import pytest
from PIL import Image

from hcflow_jax import images
from hcflow_jax.images import encoding
from tests.images import profiles

RNG = np.random.default_rng(0)
LINEAR = profiles.rgb(profiles.P3, (1.0,))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp"])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("bits, profile", [(8, None), (16, None), (8, LINEAR)])
def test_coded_pixels_give_the_same_file(tmp_path, monkeypatch, suffix, grey, bits, profile):
    if bits == 16 and suffix in (".bmp", ".webp"):
        pytest.skip("keeps no 16 bits")
    monkeypatch.setattr(encoding, "_STRIP_BYTES", 200)
    rgb = RNG.random((20, 9, 3), dtype=np.float32) * 1.2 - 0.1
    options = {"grey": grey, "bits": bits, "profile": profile}
    images.write(tmp_path / f"a{suffix}", rgb, **options)
    code = images.result_coding(f"b{suffix}", **options)
    parts = [code.values(rgb[:7]), code.values(rgb[7:])]
    images.write(tmp_path / f"b{suffix}", np.concatenate(parts), **options, coded=True)
    a, b = ((tmp_path / f"{name}{suffix}").read_bytes() for name in "ab")
    assert a == b
    if profile is None and not grey:
        expected = np.floor((2**bits - 1) * np.clip(rgb, 0, 1) + 0.5)
        np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_pixels_coded_otherwise_are_refused(tmp_path):
    values = np.zeros((2, 2, 3), np.uint8)
    for options in ({"bits": 16}, {"grey": True}):
        with pytest.raises(images.ImageError, match=r"a.png: pixels"):
            images.write(tmp_path / "a.png", values, coded=True, **options)


def test_nothing_is_held_twice_while_png_and_tiff_are_written(tmp_path):
    asked = []

    class Rows:
        shape, dtype = (3000, 800, 3), np.dtype(np.uint8)

        def __getitem__(self, rows):
            rows = range(*rows.indices(3000))
            asked.append(len(rows))
            return np.full((len(rows), 800, 3), rows[0] % 256, np.uint8)

    for save in (
        lambda file: encoding.write_png(file, Rows(), None, b"", images.writing._chunks({}, b"")),
        lambda file: encoding.write_tiff(file, Rows()),
    ):
        file = io.BytesIO()
        save(file)
        assert max(asked) * 2400 <= encoding._STRIP_BYTES and sum(asked) == 3000
        asked.clear()
        with Image.open(file) as image:
            assert image.size == (800, 3000) and image.getpixel((0, 2999))[0] < 256


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_photographs_take_no_more_than_pillows_png(tmp_path, mode):
    y, x = np.mgrid[:200, :300] / 40
    waves = [np.sin(x * a + y * b) + np.cos(x * y / c) for a, b, c in [(1, 2, 3), (2, 1, 4)] * 2]
    values = np.stack(waves, -1) / 4 + 0.5 + RNG.normal(0, 0.004, (200, 300, 4))
    image = Image.fromarray(np.uint8(np.clip(255 * values, 0, 255)), "RGBA").convert(mode)
    image.save(tmp_path / "pillow.png")
    channels = np.atleast_3d(np.asarray(image)) / np.float32(255)
    colours = 3 if mode.startswith("RGB") else 1
    rgb = np.repeat(channels[..., :colours], 3 // colours, -1)
    alpha = channels[..., -1] if mode.endswith("A") else None
    images.write(tmp_path / "own.png", rgb, alpha, grey=colours == 1)
    own, pillow = ((tmp_path / f"{name}.png").stat().st_size for name in ("own", "pillow"))
    assert own < 1.03 * pillow
    np.testing.assert_array_equal(Image.open(tmp_path / "own.png"), image)
