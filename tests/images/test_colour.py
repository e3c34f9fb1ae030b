"""Colours of pictures with a profile: kept by results, converted for training."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from hcflow_jax import images
from hcflow_jax.images import colour
from tests.images import profiles

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
PATCHES = np.zeros((16, 32, 3), np.uint8)
PATCHES[:, :16], PATCHES[:, 16:] = [250, 10, 5], [12, 245, 20]
RGB = {
    "p3": profiles.rgb(),
    "adobe": profiles.rgb(profiles.ADOBE, (2.19921875,)),
    "linear": profiles.rgb(profiles.P3, (1.0,)),
}


def _save(path, array, profile, mode=None, **options):
    Image.fromarray(array, mode).save(path, icc_profile=profile, **options)
    return path


def _copied(source, target):
    """The picture `source` written again, and read."""
    picture = images.read(source)
    images.write(target, picture.rgb, grey=picture.grey, bits=8, profile=picture.profile)
    return Image.open(target)


def _srgb(linear):
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _expected(values, primaries, light):
    """uint8 values of a profile -> sRGB by the formulas; `light` is its tone curve."""
    matrix = np.linalg.solve(profiles.columns(profiles.SRGB).T, profiles.columns(primaries).T)
    return 255 * _srgb(np.clip(light(values / 255) @ matrix.T, 0, 1))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("name", RGB)
def test_every_value_and_the_profile_return(tmp_path, name, suffix):
    source = _save(tmp_path / "a.png", COLOUR, RGB[name])
    with _copied(source, tmp_path / f"b{suffix}") as copy:
        assert copy.info["icc_profile"] == RGB[name]
        np.testing.assert_array_equal(np.asarray(copy), COLOUR)


@pytest.mark.parametrize("suffix", [".jpg", ".avif"])
def test_saturated_colours_survive_lossy_formats(tmp_path, suffix):
    source = _save(tmp_path / "a.png", PATCHES, RGB["p3"])
    with _copied(source, tmp_path / f"b{suffix}") as copy:
        assert copy.info["icc_profile"] == RGB["p3"]
        found = np.asarray(copy).astype(int)
        np.testing.assert_allclose(found[8, [4, 28]], PATCHES[8, [4, 28]], atol=2)


def test_a_format_without_profiles_is_in_srgb(tmp_path):
    source = _save(tmp_path / "a.png", COLOUR, RGB["p3"])
    with _copied(source, tmp_path / "b.bmp") as copy:
        np.testing.assert_array_equal(np.asarray(copy), images.read_uint8(source))


@pytest.mark.parametrize("name", RGB)
def test_training_sees_srgb(tmp_path, name):
    curves = {"p3": profiles.light, "adobe": lambda v: v**2.19921875, "linear": lambda v: v}
    primaries = profiles.ADOBE if name == "adobe" else profiles.P3
    source = _save(tmp_path / "a.png", COLOUR, RGB[name])
    expected = _expected(COLOUR, primaries, curves[name])
    for given in (source, source.read_bytes()):
        np.testing.assert_allclose(images.read_uint8(given), expected, atol=1)
    transparent = np.concatenate([COLOUR, np.full((6, 8, 1), 200, np.uint8)], -1)
    source = _save(tmp_path / "alpha.png", transparent, RGB[name])
    np.testing.assert_allclose(images.read_uint8(source), expected, atol=1)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_srgb_by_its_profile_is_read_as_without(tmp_path, suffix):
    bare = _save(tmp_path / f"a{suffix}", COLOUR, None)
    tagged = _save(tmp_path / f"b{suffix}", COLOUR, profiles.rgb(profiles.SRGB))
    np.testing.assert_array_equal(images.read_uint8(tagged), images.read_uint8(bare))
    np.testing.assert_array_equal(images.read(tagged).rgb, images.read(bare).rgb)


def test_networks_see_tone_curves_like_srgbs():
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[:, None].repeat(3, 1)
    for name in ("p3", "adobe"):
        assert colour.for_network(ramp, RGB[name]) is ramp
    np.testing.assert_allclose(colour.for_network(ramp, RGB["linear"]), _srgb(ramp), atol=0.04)
    back = colour.from_network(colour.for_network(ramp, RGB["linear"]), RGB["linear"])
    np.testing.assert_allclose(back, ramp, atol=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
def test_grey_is_brought_to_srgb_and_back(tmp_path, gamma):
    profile, ramp = profiles.grey(gamma), np.arange(256, dtype=np.uint8)[None].repeat(4, 0)
    source = _save(tmp_path / "a.png", ramp, profile)
    picture = images.read(source)
    exact = _srgb((ramp / 255) ** gamma)
    np.testing.assert_allclose(picture.rgb[..., 0], exact, atol=0.2 / 255)
    expected = np.rint(255 * exact)[..., None].repeat(3, -1)
    np.testing.assert_allclose(images.read_uint8(source), expected, atol=1)
    with _copied(source, tmp_path / "b.png") as copy:
        assert copy.mode == "L" and copy.info["icc_profile"] == profile
        np.testing.assert_array_equal(np.asarray(copy), ramp)
    for target in ("b.webp", "b.bmp"):  # have no grey, and need sRGB
        with _copied(source, tmp_path / target) as copy:
            assert "icc_profile" not in copy.info
            np.testing.assert_allclose(np.asarray(copy.convert("L")), expected[..., 0], atol=1)


def test_grey_of_a_colour_profile_keeps_three_channels(tmp_path):
    ramp = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    for mode in ("L", "RGB"):
        source = tmp_path / "a.jpg"
        Image.fromarray(ramp).convert(mode).save(source, icc_profile=RGB["p3"], quality=100)
        with _copied(source, tmp_path / "b.png") as copy, Image.open(source) as original:
            assert copy.mode == "RGB" and copy.info["icc_profile"] == RGB["p3"]
            np.testing.assert_array_equal(np.asarray(copy.convert("L")), original.convert("L"))


def test_cmyk_is_printed_colour_in_srgb(tmp_path):
    inks = np.zeros((2, 5, 4), np.uint8)
    inks[:, range(1, 5), range(4)] = 255
    source = tmp_path / "a.tif"
    Image.fromarray(inks, "CMYK").save(source, icc_profile=profiles.cmyk())
    found = images.read_uint8(source)[0].astype(int)
    np.testing.assert_allclose(found[[0, 4]], [[255] * 3, [48] * 3], atol=3)
    assert found[2][0] > 200 and found[2][1] < 80  # magenta, and not the 255, 0, 255 of no profile
    assert found[2][2] < 180
    with _copied(source, tmp_path / "b.png") as copy:
        np.testing.assert_array_equal(np.asarray(copy)[0], found)
        named = ImageCms.ImageCmsProfile(io.BytesIO(copy.info["icc_profile"]))
        assert "sRGB" in named.profile.profile_description


BAD = {
    "noise": b"no profile" * 20,
    "truncated": profiles.rgb()[:300],
    "grey": profiles.grey(2.2),
    "cmyk": profiles.cmyk(),
}


@pytest.mark.parametrize("name", BAD)
def test_a_profile_that_cannot_be_used_is_told_of_once(tmp_path, capsys, name):
    source = _save(tmp_path / "a.png", COLOUR, BAD[name])
    picture = images.read(source)
    assert picture.profile is None
    (note,) = picture.notes
    assert note.startswith("its colour profile is") and note.endswith("taken as sRGB")
    for _ in range(2):
        np.testing.assert_array_equal(images.read_uint8(source), COLOUR)
    assert capsys.readouterr().err == f"{source}: {note}\n"
