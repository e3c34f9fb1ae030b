"""Figures of latents: of known arrays, of noise, and of pictures together."""

import numpy as np
import pytest

from hcflow_jax.evaluation import histograms, latents


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _values(found):
    return {name: figure.value for name, figure in found.items()}


def test_figures_are_those_of_numpy(rng):
    x = rng.gamma(2.0, 2.0, (5, 7, 3)) - 1
    found = _values(latents.figures(latents.sums(x)))
    away = x - x.mean()

    def correlation(a, b):
        return np.corrcoef(a.ravel(), b.ravel())[0, 1]

    expected = {
        "mean": x.mean(),
        "std": x.std(),
        "kurtosis": np.mean(away**4) / np.mean(away**2) ** 2 - 3,
        "right": correlation(x[:, :-1], x[:, 1:]),
        "below": correlation(x[:-1], x[1:]),
        "channels": correlation(x[..., :-1], x[..., 1:]),
        "beyond_3": np.mean(np.abs(x) > 3),
    }
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-11, err_msg=name)


def test_figures_of_a_plain_array_are_exact():
    """±1 in columns: two values, each other's opposite to the right and equal below."""
    x = np.tile([1.0, -1.0], (4, 3))[..., None]
    found = _values(latents.figures(latents.sums(x)))
    assert (found["mean"], found["std"], found["kurtosis"]) == (0, 1, -2)
    assert found["beyond_3"] == 0 and found["channels"] is None
    np.testing.assert_allclose([found["right"], found["below"]], [-1, 1])


def test_white_noise_is_within_what_is_expected_of_it(rng):
    """Of 200 arrays: figures scatter about `expected` by `deviation`."""
    drawn = [latents.figures(latents.sums(rng.standard_normal((30, 40, 5)))) for _ in range(200)]
    for name, figure in drawn[0].items():
        away = np.array([f[name].value - figure.expected for f in drawn]) / figure.deviation
        assert abs(away.mean()) < 0.3 and 0.8 < away.std() < 1.2, name


def test_smooth_latents_are_told_from_noise(rng):
    x = np.cumsum(rng.standard_normal((40, 40, 2)), axis=1)
    right = latents.figures(latents.sums(x))["right"]
    assert right.value > 50 * right.deviation > 0


def test_sums_of_parts_add(rng):
    x = rng.standard_normal((6, 8, 3))
    parts = latents.sums(x[..., :1]) + latents.sums(x[..., 1:])
    whole = latents.sums(x)
    for name in ("powers", "beyond", "right", "below", "histogram"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 1), (4, 1, 2)])
def test_what_has_no_neighbours_or_no_spread_has_no_figure(shape):
    found = _values(latents.figures(latents.sums(np.full(shape, 2.0, np.float32))))
    assert (found["mean"], found["std"]) == (2, 0)
    assert [found[n] for n in ("kurtosis", "right", "below", "channels")] == [None] * 4


def _columns_of(picture, colour):
    """How high the colour stands in each column of a panel."""
    return np.all(np.abs(picture - np.array(colour) / 255) < 0.02, -1).sum(0)


@pytest.mark.parametrize("std", [1.0, 4.0])
def test_histograms_are_as_wide_as_the_latents(rng, std):
    """Half the highest bar stands at ±1.18 standard deviations, as in a Gaussian."""
    level = latents.sums(std * rng.standard_normal((200, 200, 4)))
    picture = histograms.draw([level])
    linear = picture[: len(picture) // 2, : histograms.LEFT + histograms.WIDTH]
    heights = _columns_of(linear[histograms.TOP :], histograms.BARS)
    reach = 5 if std == 1 else 12
    width = np.count_nonzero(heights > heights.max() / 2) * 2 * reach / histograms.WIDTH
    assert width == pytest.approx(2 * 1.18 * std, rel=0.15)
    curve = _columns_of(linear[histograms.TOP :], histograms.CURVE)
    assert np.argmin(np.abs(np.cumsum(curve) - curve.sum() / 2)) == pytest.approx(
        histograms.LEFT + histograms.WIDTH / 2, abs=5
    )


def test_every_level_has_its_panels(rng):
    levels = [latents.sums(rng.standard_normal((4, 4, 3))) for _ in range(3)]
    one, three = histograms.draw(levels[:1]), histograms.draw(levels)
    assert three.shape == (one.shape[0], 3 * one.shape[1], 3)
    assert 0 <= three.min() < 0.5 < three.max() == 1
