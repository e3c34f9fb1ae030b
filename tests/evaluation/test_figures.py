"""Figures of results against what they are made of."""

import jax.numpy as jnp
import numpy as np
import pytest

from hcflow_jax.evaluation import figures
from hcflow_jax.images import metrics
from hcflow_jax.images.resize import imresize


def _images(side=48):
    rng = np.random.default_rng(0)
    hr = imresize(rng.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8), 4)
    result = np.clip(hr + rng.integers(-9, 10, hr.shape), 0, 255).astype(np.uint8)
    return result, hr, imresize(hr, 0.25)


class Distance:
    """Stands for LPIPS: mean absolute differences."""

    def map(self, a, b):
        return jnp.abs(jnp.asarray(a, float) - b).mean(-1) / 255

    def __call__(self, a, b):
        return self.map(a, b).mean((1, 2))


def test_fidelity_is_the_papers_protocol():
    result, hr, lr = _images()
    found = figures.fidelity(result, hr, lr, 4, Distance())
    shrunk = imresize(result, 0.25)
    inner = (slice(4, -4),) * 2
    expected = {
        "psnr": metrics.psnr(result[inner], hr[inner]),
        "psnr_y": metrics.psnr(metrics.luma(result[inner]), metrics.luma(hr[inner])),
        "ssim": metrics.ssim(result[inner], hr[inner]),
        "ssim_y": metrics.ssim(metrics.luma(result[inner]), metrics.luma(hr[inner])),
        "lr_psnr": metrics.psnr(shrunk, lr),
        "lr_psnr_y": metrics.psnr(metrics.luma(shrunk), metrics.luma(lr)),
        "lr_ssim": metrics.ssim(shrunk, lr),
        "lr_ssim_y": metrics.ssim(metrics.luma(shrunk), metrics.luma(lr)),
        "lpips": np.abs(result.astype(float) - hr).mean() / 255,
    }
    assert found == pytest.approx(expected, rel=1e-6) and set(found) < set(figures.FIGURES)


def test_exact_results_count_a_finite_number_of_decibels():
    _, hr, lr = _images()
    found = figures.fidelity(hr, hr, lr, 4)
    assert (found["psnr"], found["lr_psnr"], found["ssim"]) == (100, 100, pytest.approx(1))


def test_a_small_lr_image_has_no_ssim():
    result, hr, lr = _images(40)
    found = figures.fidelity(result, hr, lr, 4)
    assert "lr_psnr" in found and "lr_ssim" not in found


def test_diversity_is_the_deviation_and_the_share_that_places_gain():
    hr = np.zeros((2, 2, 3), np.uint8)
    first, second = hr.copy(), hr.copy()
    first[0], second[1] = 20, 30  # the best of both is exact everywhere
    found = figures.diversity([first, second], hr, Distance())
    deviation = (20 / 2**0.5 + 30 / 2**0.5) / 2
    assert found == pytest.approx({"diversity": deviation, "space_diversity": 100})
    third = hr + np.uint8(10)
    found = figures.diversity([first, third], hr, Distance())  # means 10, 10; bests 10, 0
    assert found["space_diversity"] == pytest.approx(50)
    assert figures.diversity([first, first], hr) == {"diversity": 0}
    with pytest.raises(ValueError, match="several samples, got 1"):
        figures.diversity([first], hr)


def test_interpolation_gives_flat_images_their_colour_and_the_size():
    lr = np.full((5, 7, 3), (10, 128, 250), np.uint8)
    for image in figures.interpolated(lr, 4).values():
        assert image.shape == (20, 28, 3) and image.dtype == np.uint8
        assert np.all(image == lr[0, 0])


def test_means_are_over_the_rows_that_have_a_figure():
    rows = [{"psnr": 1.0, "lpips": 0.5}, {"psnr": 3.0}]
    assert figures.mean(rows) == {"psnr": 2, "lpips": 0.5}
