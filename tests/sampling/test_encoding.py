"""Encoded pictures: windows that agree, and pictures that come back."""

import jax
import numpy as np
import pytest

from hcflow_jax import sampling
from hcflow_jax.sampling import encoding
from tests.support import randomized
from tests.tiny import RESCALING, SR


@pytest.mark.slow
@pytest.mark.parametrize("task", ["sr", "rescaling"])
def test_windows_of_the_shipped_networks_agree(task):
    """With the whole picture's encoding, as the overlap covers all that they see."""
    model, params = sampling.load(task=task)
    rows, columns = np.mgrid[:30, :601]
    hr = 0.5 + 0.4 * np.stack([np.sin(rows / 5), np.cos(columns / 3), np.sin(columns * rows)], -1)
    hr = np.float32(np.round(255 * hr) / 255)
    whole, tiled = (encoding.encode_picture(model, params, hr, tile) for tile in (1024, 512))
    assert [x.shape for x in whole.latents] == [(16, 302, 6), (8, 151, 21)]
    for one, other in zip((whole.lr, *whole.latents), (tiled.lr, *tiled.latents), strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-4 * np.abs(one).max())
    again = encoding.decode_picture(model, params, tiled, 512)
    assert again.shape == (30, 601, 3)
    assert encoding.changed_values(hr, again) == (0, 0)
    np.testing.assert_allclose(again, hr, rtol=0, atol=1e-3)


@pytest.mark.parametrize("model", [SR, RESCALING], ids=["sr", "rescaling"])
def test_pictures_of_several_sizes_come_back_in_order(model):
    shapes = jax.eval_shape(model.init_params, jax.random.key(0))
    params = randomized(shapes, dtype=np.float32)
    rng = np.random.default_rng(0)
    pictures = [rng.random((*size, 3), dtype=np.float32) for size in [(8, 12), (5, 9), (8, 12)]]
    found = list(encoding.encode_all(model, params, pictures))
    assert [e.size for e in found] == [(8, 12), (5, 9), (8, 12)]
    assert [e.lr.shape for e in found] == [(2, 3, 3)] * 3
    for one, third in zip(found[0].latents, found[2].latents, strict=True):
        assert one.shape == third.shape and np.abs(one - third).max() > 0.1
    again = encoding.decode_all(model, params, found)
    for hr, back in zip(pictures, again, strict=True):
        np.testing.assert_allclose(back, hr, atol=1e-4)


def test_space_to_depth_and_back():
    array = np.arange(6 * 8 * 5).reshape(6, 8, 5)
    packed = encoding._packed(array, 2)
    assert packed.shape == (3, 4, 20)
    assert set(packed[1, 2]) == set(array[2:4, 4:6].ravel())
    np.testing.assert_array_equal(encoding._unpacked(packed[None], 2)[0], array)


def test_changes_are_counted_in_8_bits():
    rgb = np.full((2, 2, 3), 0.5, np.float32)
    again = rgb.copy()
    again[0, 0] = [0.5019, 0.51, 0.5 + 3 / 255]  # the first within the same level
    assert encoding.changed_values(rgb, rgb + 0.0009) == (0, 0)
    assert encoding.changed_values(rgb, again) == (2, 3)
    again[1, 1, 0] = np.nan
    assert encoding.changed_values(rgb, again) == (3, 255)
