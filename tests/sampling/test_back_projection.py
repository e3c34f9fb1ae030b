"""Back-projection against MATLAB's bicubic, and through whole pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcflow_jax import sampling
from hcflow_jax.images import metrics
from hcflow_jax.images.resize import imresize
from hcflow_jax.sampling.back_projection import back_projected
from tests.support import randomized
from tests.tiny import SR

RNG = np.random.default_rng(0)
LR = imresize(RNG.uniform(0.2, 0.8, (12, 14, 3)), 2)
HR = np.clip(imresize(LR, 4) + RNG.normal(0, 0.1, (96, 112, 3)), -0.1, 1.1)


def test_a_step_adds_what_the_lr_image_lacks():
    clamped = np.clip(HR, 0, 1)
    expected = clamped + imresize(LR - imresize(clamped, 0.25), 4)
    found = back_projected(jnp.asarray(LR[None]), jnp.asarray(HR[None]), 1)[0]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    twice = back_projected(jnp.asarray(LR[None]), found[None], 1)
    np.testing.assert_allclose(back_projected(LR[None], HR[None], 2), twice, atol=1e-12)


def test_every_step_brings_the_result_nearer_to_its_lr_image():
    def departure(steps):
        found = np.clip(
            back_projected(jnp.asarray(LR[None]), jnp.asarray(HR[None]), steps)[0], 0, 1
        )
        return np.abs(imresize(found, 0.25) - LR).max()

    found = [departure(steps) for steps in range(4)]
    assert found[1] < 0.5 * found[0] and found[2] < 0.5 * found[1] and found[3] < found[2]


def test_what_is_not_finite_stays_so_and_spoils_nothing_else():
    hr = HR.copy()
    hr[40, 50, 1] = np.inf
    found = np.asarray(back_projected(jnp.asarray(LR[None]), jnp.asarray(hr[None]), 2)[0])
    assert np.argwhere(np.isnan(found)).tolist() == [[40, 50, 1]]


@pytest.mark.slow
@pytest.mark.parametrize("tile", [256, 512])
def test_pictures_of_several_windows_shrink_to_their_input(tile):
    shapes = jax.eval_shape(SR.init_params, jax.random.key(0))
    params = SR.prepare(randomized(shapes, dtype=np.float32))
    lr = imresize(RNG.uniform(0.3, 0.7, (10, 25, 3)), 4).astype(np.float32)
    raw = sampling.sample(SR, params, lr, 0.0, tile=tile, check=False)
    found = sampling.sample(SR, params, lr, 0.0, tile=tile, check=False, back_project=2)
    decibels = [metrics.psnr(255 * imresize(x, 0.25), 255 * lr) for x in (raw, found)]
    assert decibels[1] > decibels[0] + 6
    expected = back_projected(jnp.asarray(lr[None]), jnp.asarray(raw[None]), 2)[0]
    inside = (slice(32, -32),) * 2  # squares are extended where the picture ends
    np.testing.assert_allclose(found[inside], np.clip(expected, 0, 1)[inside], atol=1e-4)
