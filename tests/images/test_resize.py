from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcflow_jax.images.resize import Resized, bicubic, imresize
from tests.reference import recipe

REFERENCE = np.load(Path(__file__).parents[1] / "reference/modules.npz")


def _image():
    image = recipe.smooth_image("resize/x", 48, 40).transpose(1, 2, 0).astype(np.float64)
    return image + 0.2 * (recipe.uniform("resize/t", (48, 40, 3)) - 0.5)


@pytest.mark.parametrize("name, scale", [("half", 1 / 2), ("quarter", 1 / 4), ("eighth", 1 / 8)])
def test_shrinking_equals_matlab(name, scale):
    np.testing.assert_allclose(imresize(_image(), scale), REFERENCE[f"resize/{name}"], atol=1e-6)


def test_enlarging_equals_matlab():
    small = _image()[:12, :10]
    np.testing.assert_allclose(imresize(small, 4), REFERENCE["resize/times4"], atol=1e-6)


def test_uint8_equals_matlab():
    image = np.round(255 * np.clip(_image(), 0, 1)).astype(np.uint8)
    np.testing.assert_array_equal(imresize(image, 1 / 4), REFERENCE["resize/uint8_quarter"])


@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from([0.125, 0.25, 0.3, 1, 2.5, 4]))
def test_constants_stay_and_sides_round_up(height, width, scale):
    out = imresize(np.full((height, width, 2), 0.3), scale)
    assert out.shape == (np.ceil(scale * height), np.ceil(scale * width), 2)
    np.testing.assert_allclose(out, 0.3, atol=1e-12)


@given(st.integers(0, 2**31 - 1))
def test_linear_and_axes_alike(seed):
    a, b = np.random.default_rng(seed).random((2, 9, 7))
    np.testing.assert_allclose(
        imresize(2 * a - 3 * b, 0.4), 2 * imresize(a, 0.4) - 3 * imresize(b, 0.4), atol=1e-12
    )
    np.testing.assert_allclose(imresize(a.T, 0.4), imresize(a, 0.4).T, atol=1e-12)


def test_size_and_dtype_are_those_asked_for():
    out = imresize(_image().astype(np.float32), size=(96, 20))
    assert out.shape == (96, 20, 3) and out.dtype == np.float32


@pytest.mark.parametrize(
    "shape, kwargs",
    [
        ((4, 4), {}),
        ((4, 4), {"scale": 1, "size": (2, 2)}),
        ((4, 4), {"scale": 0}),
        ((4, 4), {"scale": float("nan")}),
        ((4, 4), {"size": (0, 2)}),
        ((4,), {"scale": 1}),
        ((0, 4), {"scale": 1}),
    ],
)
def test_nonsense_is_refused(shape, kwargs):
    with pytest.raises(ValueError):
        imresize(np.zeros(shape), **kwargs)


@pytest.mark.parametrize("up, down", [(1, 2), (1, 4), (1, 8), (2, 1), (4, 1), (3, 2), (1, 1)])
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 1e-6)])
def test_bicubic_of_jax_arrays_equals_imresize(up, down, dtype, tolerance):
    """Borders included, and images smaller than the kernel."""
    for shape in [(2, 24, 16, 3), (1, down, 8, 1)]:
        images = np.random.default_rng(1).random(shape).astype(dtype)
        found = jax.jit(bicubic, static_argnums=(1, 2))(images, up, down)
        expected = np.stack([imresize(image.astype(float), up / down) for image in images])
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_bicubic_is_mapped_and_differentiated():
    """It is linear: the gradient of its sum is where the sum's weight comes from."""
    images = jnp.asarray(np.random.default_rng(2).random((3, 8, 12, 2)))
    mapped = jax.vmap(lambda image: bicubic(image[None], down=4)[0])(images)
    np.testing.assert_allclose(mapped, bicubic(images, down=4), atol=1e-15)
    weight = jax.grad(lambda x: bicubic(x, down=4).sum())(images)
    np.testing.assert_allclose((weight * images).sum(), mapped.sum(), rtol=1e-12)


@pytest.mark.parametrize("shape, down", [((8, 8, 3), 4), ((1, 6, 8, 3), 4), ((1, 8, 6, 3), 4)])
def test_bicubic_refuses_sides_that_do_not_divide(shape, down):
    with pytest.raises(ValueError, match="got"):
        bicubic(jnp.zeros(shape), down=down)


@pytest.mark.parametrize("size", [(7, 9), (30, 41), (23, 40), (9, 60)])
def test_rows_are_those_of_the_whole(size):
    image = np.random.default_rng(0).random((23, 31, 3), dtype=np.float32)
    rows = Resized(image, size, crop=(size[0] - 1, size[1] - 2))
    whole = imresize(image, size=size)[:-1, :-2]
    assert rows.shape == whole.shape
    for first in range(0, len(whole), 4):
        np.testing.assert_array_equal(rows[first : first + 4], whole[first : first + 4])
    numbers = (65535 * image).astype(np.uint16)
    scaled = Resized(numbers, size, factor=1 / 65535)[2:5]
    np.testing.assert_allclose(scaled, imresize(numbers / 65535, size=size)[2:5], atol=1e-12)
