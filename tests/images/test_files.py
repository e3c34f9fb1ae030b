import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from hcflow_jax import images

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


def _save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".bmp"])
@pytest.mark.parametrize("height, width", [(1, 1), (5, 7), (1, 9)])
def test_lossless_formats_return_what_was_written(tmp_path, suffix, height, width):
    rgb = RNG.integers(0, 256, (height, width, 3)).astype(np.float32) / 255
    images.write(tmp_path / f"a{suffix}", rgb)
    picture = images.read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(picture.rgb, rgb)
    assert picture.rgb.dtype == np.float32 and picture.alpha is None and not picture.grey


def test_jpeg_is_close(tmp_path):
    rgb = np.full((16, 16, 3), [0.2, 0.5, 0.9], np.float32)
    images.write(tmp_path / "a.jpg", rgb)
    np.testing.assert_allclose(images.read(tmp_path / "a.jpg").rgb, rgb, atol=0.02)


def test_alpha_grey_and_text_return(tmp_path):
    rgb, alpha = COLOUR.astype(np.float32) / 255, GREY.astype(np.float32) / 255
    grey = np.repeat(alpha[..., None], 3, -1)
    images.write(tmp_path / "a.png", rgb, alpha=alpha, info={"key": "value é"})
    picture = images.read(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.alpha, alpha)
    assert picture.info == {"key": "value é"}
    images.write(tmp_path / "g.png", grey, grey=True)
    assert Image.open(tmp_path / "g.png").mode == "L"
    np.testing.assert_array_equal(images.read(tmp_path / "g.png").rgb, grey)
    images.write(tmp_path / "ga.png", grey, alpha=alpha, grey=True)
    assert Image.open(tmp_path / "ga.png").mode == "LA"


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
    picture = images.read(path)
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


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    _save(tmp_path / "a.png", COLOUR)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(images.ImageError, match="too many pixels"):
        images.read(tmp_path / "a.png")


@pytest.mark.parametrize(
    "target, options, words",
    [
        ("absent/a.png", {}, "is not a folder"),
        ("file/a.png", {}, "is not a folder"),
        (".", {}, "is a folder"),
        ("a.xyz", {}, "cannot write .xyz"),
        ("a", {}, "without a suffix"),
        ("a.jpg", {"alpha": np.ones((2, 2))}, "write a .png"),
        ("a.png", {"rgb": np.full((2, 2, 3), np.nan)}, "not finite"),
    ],
)
def test_bad_outputs_are_refused_and_leave_nothing(tmp_path, target, options, words):
    (tmp_path / "file").write_text("")
    with pytest.raises(images.ImageError, match=words):
        images.write(tmp_path / target, **{"rgb": np.zeros((2, 2, 3))} | options)
    assert os.listdir(tmp_path) == ["file"]


def test_a_failing_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    images.write(path, np.zeros((2, 2, 3)))
    before = path.read_bytes()

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(images.ImageError, match="No space left"):
        images.write_beside(path, fail)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.png"]


def test_an_unwritable_folder_is_refused():
    with pytest.raises(images.ImageError, match="cannot write to /proc"):
        images.check_writable("/proc/a.png")


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


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 2, 4, 8, 16]))
def test_padding_divides_and_crops_back(height, width, multiple):
    image = np.random.default_rng(height * width).random((height, width, 3))
    padded = images.pad_reflect(image, multiple)
    assert padded.shape[0] % multiple == padded.shape[1] % multiple == 0
    assert padded.shape[0] - height < multiple and padded.shape[1] - width < multiple
    np.testing.assert_array_equal(padded[:height, :width], image)


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


@pytest.mark.parametrize("length", [240, 300])
def test_long_names(tmp_path, length):
    path = tmp_path / ("a" * length + ".png")
    if length < 255:
        images.write(path, np.zeros((2, 2, 3)))
        assert os.listdir(tmp_path) == [path.name]
    else:
        for refuse in (images.check_writable, images.read, images.list_images):
            with pytest.raises(images.ImageError):
                refuse(path)


@pytest.mark.parametrize(
    "rgb, alpha",
    [
        (np.zeros((4, 4)), None),
        (np.zeros((1, 4, 4, 3)), None),
        (np.zeros((0, 4, 3)), None),
        (np.zeros((4, 4, 3), np.uint8), None),
        (np.zeros((4, 5, 3)), np.zeros((5, 4))),
    ],
)
def test_arrays_of_the_wrong_kind_are_refused(tmp_path, rgb, alpha):
    with pytest.raises(images.ImageError, match="a.png"):
        images.write(tmp_path / "a.png", rgb, alpha)
    assert os.listdir(tmp_path) == []


def test_a_size_the_format_cannot_hold_is_refused(tmp_path):
    with pytest.raises(images.ImageError, match="a.webp"):
        images.write(tmp_path / "a.webp", np.zeros((1, 17000, 3)))
    assert os.listdir(tmp_path) == []


def test_colour_under_full_transparency_is_kept(tmp_path):
    rgb = COLOUR.astype(np.float32) / 255
    for name in ("a.png", "a.webp", "a.tif"):
        images.write(tmp_path / name, rgb, alpha=np.zeros((5, 7)))
        np.testing.assert_array_equal(images.read(tmp_path / name).rgb, rgb)


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


def test_files_get_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        images.write(tmp_path / "a.png", np.zeros((2, 2, 3), np.float32))
    finally:
        os.umask(before)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o640
