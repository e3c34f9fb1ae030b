"""Finding and reading the pictures of a test set."""

import numpy as np
import pytest
from PIL import Image

from hcflow_jax import images
from hcflow_jax.evaluation import pairs
from hcflow_jax.images.resize import imresize

HR = np.random.default_rng(0).integers(0, 256, (42, 51, 3), dtype=np.uint8)
LIMITS = (4, 19, 10_000)


def _save(path, pixels):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def _find(hr, lr_dir=None):
    return pairs.find(pairs.pictures(hr)[0], lr_dir, 4)


def test_without_lr_pictures_it_is_matlabs_bicubic_of_the_cropped_picture(tmp_path):
    (files,) = _find(_save(tmp_path / "a.png", HR).parent)
    pixels = pairs.read(files, *LIMITS)
    np.testing.assert_array_equal(pixels.hr, HR[:40, :48])
    np.testing.assert_array_equal(pixels.lr, imresize(HR[:40, :48], 0.25))
    assert pixels.cropped and files.name == "a.png"


def test_lr_pictures_are_those_of_the_same_name_or_with_the_scale(tmp_path):
    for name, level in (("a", 10), ("b", 20)):
        _save(tmp_path / f"hr/{name}.png", HR)
        lr = np.full((10, 12, 3), level, np.uint8)
        _save(tmp_path / f"lr/{name}{'x4' * (name == 'b')}.png", lr)
    _save(tmp_path / "lr/of_no_hr.png", HR)
    found = _find(tmp_path / "hr", tmp_path / "lr")
    assert [pairs.read(files, *LIMITS).lr[0, 0, 0] for files in found] == [10, 20]


def test_results_of_this_program_are_no_pictures_of_a_set(tmp_path):
    for name in ("a.png", "b.png", "c_lr.png"):
        _save(tmp_path / name, HR)
    for name in ("a_x4.png", "b_lr.png", "other.png"):
        images.write(tmp_path / name, HR / 255, info={"hcflow:made_by": "restore"})
    found, results = pairs.pictures(tmp_path)
    assert ([path.name for path in found], results) == (["a.png", "b.png", "c_lr.png"], 3)
    assert pairs.pictures(tmp_path / "a_x4.png") == ([tmp_path / "a_x4.png"], 0)
    for path in found:
        path.unlink()
    for name in ("a_x4.png", "b_lr.png"):
        (tmp_path / name).unlink()
    with pytest.raises(images.ImageError, match="holds results of hcflow alone; name another"):
        pairs.pictures(tmp_path)


def test_a_single_file_is_a_set(tmp_path):
    assert [files.name for files in _find(_save(tmp_path / "a.png", HR))] == ["a.png"]


def test_equal_names_cannot_be_paired(tmp_path):
    for name in ("hr/a.png", "hr/a.jpg", "lr/a.png"):
        _save(tmp_path / name, HR)
    with pytest.raises(images.ImageError, match="same name"):
        _find(tmp_path / "hr", tmp_path / "lr")
    assert len(_find(tmp_path / "hr")) == 2


@pytest.mark.parametrize(
    ("lr", "least", "words"),
    [
        (None, 41, r"a.png is 51×42, and figures need sides of 41 pixels"),
        ((9, 12), 19, r"a.png is 51×42, not 4 times .*a.png, 12×9; crop it"),
        ("missing", 19, r"a.png has no LR picture in .*lr; add it or leave out --lr"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path, lr, least, words):
    _save(tmp_path / "hr/a.png", HR)
    if lr is not None:
        name = "lr/other.png" if lr == "missing" else "lr/a.png"
        _save(tmp_path / name, np.zeros((*(lr if lr != "missing" else (10, 12)), 3), np.uint8))
    (files,) = _find(tmp_path / "hr", None if lr is None else tmp_path / "lr")
    error = pairs.look(files, 4, least, 10_000)
    assert isinstance(error, images.ImageError)
    with pytest.raises(images.ImageError, match=words):
        raise error


def test_the_digest_is_that_of_both_pictures(tmp_path):
    _save(tmp_path / "hr/a.png", HR)
    digests = set()
    for level in (10, 11):
        _save(tmp_path / "lr/a.png", np.full((10, 12, 3), level, np.uint8))
        (files,) = _find(tmp_path / "hr", tmp_path / "lr")
        digests.add(pairs.read(files, *LIMITS).digest)
    _save(tmp_path / "hr/a.png", 255 - HR)
    digests.add(pairs.read(files, *LIMITS).digest)
    assert len(digests) == 3


def test_one_picture_may_have_one_file_as_its_lr_picture(tmp_path):
    for name, side in (("a.png", 64), ("small.png", 16)):
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(tmp_path / name)
    (found,) = _find(tmp_path / "a.png", tmp_path / "small.png")
    assert found.lr == tmp_path / "small.png"
