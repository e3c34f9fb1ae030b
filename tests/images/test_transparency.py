"""Colours under transparency."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hcflow_jax.images import transparency


def test_hidden_pixels_take_the_colour_of_the_smallest_square_that_shows_something():
    rgb = np.zeros((4, 4, 3), np.float32)
    alpha = np.zeros((4, 4), np.float32)
    rgb[0, 0], alpha[0, 0] = [1, 0, 0], 0.25
    rgb[1, 1], alpha[1, 1] = [0, 1, 0], 0.75
    rgb[3, 0], alpha[3, 0] = [0, 0, 1], 1
    spread = transparency.spread(rgb, alpha)
    np.testing.assert_array_equal(spread[alpha > 0], rgb[alpha > 0])
    np.testing.assert_allclose(spread[0, 1], [0.25, 0.75, 0])
    np.testing.assert_allclose(spread[2, 1], [0, 0, 1])
    np.testing.assert_allclose(spread[0, 3], [0.125, 0.375, 0.5])


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_visible_colours_stay_and_hidden_ones_have_no_influence(height, width, seed):
    rng = np.random.default_rng(seed)
    rgb, other = rng.random((2, height, width, 3), np.float32)
    alpha = rng.random((height, width), np.float32) * rng.integers(0, 2, (height, width))
    hidden = alpha == 0
    spread = transparency.spread(rgb, alpha)
    np.testing.assert_array_equal(spread[~hidden], rgb[~hidden])
    again = transparency.spread(np.where(hidden[..., None], other, rgb), alpha)
    np.testing.assert_array_equal(again, spread)
    if not hidden.all():
        shown = rgb[~hidden]
        assert np.all(spread <= shown.max(0) + 1e-6) and np.all(spread >= shown.min(0) - 1e-6)
