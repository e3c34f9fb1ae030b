from pathlib import Path

import numpy as np
import pytest

from hcflow_jax import metrics
from tests.reference import recipe

REFERENCE = np.load(Path(__file__).parent / "reference/modules.npz")[
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


def test_equal_images_are_infinitely_close():
    a, _ = _pair()
    assert metrics.psnr(a, a) == float("inf")


def test_nonsense_is_refused():
    a, _ = _pair()
    with pytest.raises(ValueError, match="compared"):
        metrics.psnr(a, a[1:])
    with pytest.raises(ValueError, match="leaves nothing"):
        metrics.psnr(a, a, 18)


def test_to_uint8_rounds_half_up_and_clamps():
    values = np.array([-1, 0, 0.5 / 255, 1, 2])
    np.testing.assert_array_equal(metrics.to_uint8(values), [0, 0, 1, 255, 255])
