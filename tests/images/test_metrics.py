from pathlib import Path

import numpy as np
import pytest

from hcflow_jax.images import metrics
from tests.reference import recipe

REFERENCE = np.load(Path(__file__).parents[1] / "reference/modules.npz")[
    "metrics/psnr_ssim_psnrY_ssimY"
]


def _pair():
    a = np.round(255 * recipe.smooth_image("metrics/a", 40, 36)).transpose(1, 2, 0)
    b = np.round(np.clip(a + 8 * recipe.normal("metrics/noise", (40, 36, 3)), 0, 255))
    return a.astype(np.uint8), b.astype(np.uint8)


@pytest.mark.parametrize("row, border", [(0, 0), (1, 4)])
def test_psnr_equals_the_protocol(row, border):
    a, b = _pair()
    np.testing.assert_allclose(metrics.psnr(a, b, border), REFERENCE[row, 0], rtol=1e-6)
    np.testing.assert_allclose(metrics.psnr_y(a, b, border), REFERENCE[row, 2], rtol=1e-6)


@pytest.mark.parametrize("row, border", [(0, 0), (1, 4)])
def test_ssim_equals_the_protocol(row, border):
    a, b = _pair()
    np.testing.assert_allclose(metrics.ssim(a, b, border), REFERENCE[row, 1], rtol=1e-6)
    np.testing.assert_allclose(metrics.ssim_y(a, b, border), REFERENCE[row, 3], rtol=1e-6)
    np.testing.assert_allclose(metrics.ssim(a, a, border), 1, rtol=1e-12)


def test_diversity_is_the_unbiased_deviation_between_samples():
    samples = np.array([[[[10, 0, 0]]], [[[14, 0, 6]]]], np.uint8)
    np.testing.assert_allclose(metrics.diversity(samples), (8**0.5 + 0 + 18**0.5) / 3)


def test_equal_images_are_infinitely_close():
    a, _ = _pair()
    assert metrics.psnr(a, a) == float("inf")


def test_nonsense_is_refused():
    a, _ = _pair()
    with pytest.raises(ValueError, match="compared"):
        metrics.psnr(a, a[1:])
    with pytest.raises(ValueError, match="leaves nothing"):
        metrics.psnr(a, a, 18)
    with pytest.raises(ValueError, match="11×11 .* 4×8"):
        metrics.ssim(a, a, 16)


def test_to_uint8_rounds_half_up_and_clamps():
    values = np.array([-1, 0, 0.5 / 255, 1, 2])
    np.testing.assert_array_equal(metrics.to_uint8(values), [0, 0, 1, 255, 255])


def test_the_deviation_of_samples_is_numpys():
    samples = np.random.default_rng(0).integers(0, 256, (7, 5, 6, 3), dtype=np.uint8)
    found = metrics.deviation(list(samples))
    np.testing.assert_allclose(found, samples.astype(float).std(0, ddof=1), rtol=1e-12)
    np.testing.assert_array_equal(metrics.deviation([samples[0]] * 3), 0)
