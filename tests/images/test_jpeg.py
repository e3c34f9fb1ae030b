"""JPEG as a function of JAX against Pillow's encoder and decoder."""

import io
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from hcflow_jax.images import jpeg, read_uint8

PHOTOGRAPH = read_uint8(resources.files("hcflow_jax") / "assets" / "chelsea.png")[:120, 100:260]
COMPRESS = jax.jit(jpeg.compress, static_argnums=2)
QUALITIES = (30, 50, 70, 90, 95)


def _saved(values, quality, subsampling):
    file = io.BytesIO()
    options = {"quality": quality, "subsampling": jpeg.SUBSAMPLINGS.index(subsampling) * 2}
    Image.fromarray(values).save(file, "JPEG", **options)
    return np.asarray(Image.open(file)).astype(int)


def _levels(images, *args):
    return np.asarray(jnp.rint(255 * COMPRESS(jnp.asarray(images), *args))).astype(int)


@pytest.mark.parametrize("subsampling", jpeg.SUBSAMPLINGS)
def test_photographs_are_as_pillow_saves_and_opens_them(subsampling):
    """But for single values, of which sums in float32 fall on the other side of a half."""
    rgb = PHOTOGRAPH
    images = np.repeat(np.float32(rgb / 255)[None], len(QUALITIES), 0)
    found = _levels(images, np.array(QUALITIES), subsampling)
    for quality, values in zip(QUALITIES, found, strict=True):
        difference = np.abs(values - _saved(rgb, quality, subsampling))
        assert difference.mean() < 0.001, quality
    loss = [np.abs(values - rgb).mean() for values in found]
    assert loss == sorted(loss, reverse=True) and loss[-1] > 0.5


@pytest.mark.parametrize("subsampling", jpeg.SUBSAMPLINGS)
@pytest.mark.parametrize("height, width", [(1, 1), (15, 18), (33, 20)])
def test_edges_of_any_size_are_filled_as_pillow_does(height, width, subsampling):
    part = PHOTOGRAPH[50 : 50 + height, 30 : 30 + width]
    for quality in (20, 95):
        found = _levels(np.float32(part / 255)[None], quality, subsampling)[0]
        assert np.abs(found - _saved(part, quality, subsampling)).mean() < 0.1


@pytest.mark.parametrize("subsampling", jpeg.SUBSAMPLINGS)
def test_gradients_are_those_without_rounding(monkeypatch, subsampling):
    """Of a picture whose values stay inside 0…255, so that nothing is clamped."""
    rng = np.random.default_rng(0)
    images = jnp.asarray(0.3 + 0.4 * rng.random((1, 20, 19, 3)))
    weights = jnp.asarray(rng.standard_normal(images.shape))

    def objective(images):
        return jnp.sum(weights * jpeg.compress(images, 90, subsampling))

    found = jax.jit(jax.grad(objective))(images)
    for name in ("_rounded", "_quantised"):
        monkeypatch.setattr(jpeg, name, lambda x: x)
    monkeypatch.setattr(jpeg.jnp, "floor", lambda x: x)
    smooth = jax.jit(lambda images: objective(images))
    expected = jax.jit(jax.grad(smooth))(images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    step = 1e-6 * rng.standard_normal(images.shape)
    change = (smooth(images + step) - smooth(images - step)) / 2
    np.testing.assert_allclose(change, jnp.sum(found * step), rtol=1e-5)
    assert np.all(np.isfinite(found)) and np.abs(found).max() > 0.1


def test_gradients_are_finite_where_values_are_clamped():
    images = jnp.asarray(np.random.default_rng(0).choice([-0.2, 0.0, 1.0, 1.3], (2, 9, 8, 3)))
    qualities = np.array([10, 80])
    found = jax.jit(jax.grad(lambda x: jnp.sum(jnp.square(COMPRESS(x, qualities)))))(images)
    assert np.all(np.isfinite(found)) and np.any(found)


def test_tables_are_those_that_pillow_writes():
    for quality in (1, 25, 49, 50, 75, 100):
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
        written = Image.open(file).quantization
        found = np.asarray(jpeg.tables(quality))
        for i in (0, 1):
            np.testing.assert_array_equal(found[i].ravel(), written[i])


def test_what_cannot_be_compressed():
    with pytest.raises(ValueError, match="4:1:1"):
        jpeg.compress(jnp.zeros((1, 8, 8, 3)), 90, "4:1:1")
    with pytest.raises(ValueError, match=r"\[B, H, W, 3\]"):
        jpeg.compress(jnp.zeros((8, 8, 3)), 90)
