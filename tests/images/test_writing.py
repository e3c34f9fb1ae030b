import os

import numpy as np
import pytest
from PIL import Image

from hcflow_jax import images

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


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


@pytest.mark.parametrize("suffix", [".jpg", ".avif"])
@pytest.mark.parametrize("quality", [None, 80])
def test_chroma_is_kept_whole(tmp_path, suffix, quality):
    """Columns of two colours of like luma: halved chroma would make them one."""
    rgb = np.tile(np.array([[0.8, 0.3, 0.3], [0.2, 0.5, 0.8]], np.float32), (32, 16, 1))
    images.write(tmp_path / f"a{suffix}", rgb, quality=quality)
    found = images.read(tmp_path / f"a{suffix}").rgb
    np.testing.assert_allclose(found.mean(0), rgb[0], atol=0.1)


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


def test_files_get_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        images.write(tmp_path / "a.png", np.zeros((2, 2, 3), np.float32))
    finally:
        os.umask(before)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o640
