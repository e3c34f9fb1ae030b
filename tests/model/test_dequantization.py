"""Dequantisation noise, and flows of images with its mean as flows of images without."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcflow_jax.model import dequantization
from tests.support import randomized
from tests.tiny import SR

QUANT = 4  # the mean is 1/8
FIRST_STEPS = {
    "one": {"steps": (2, 2)},
    "several, of Haar": {"steps": (3, 2), "squeeze": "haar"},
    "half a turn": {"steps": (2, 2), "coupling": "shift"},
}


def test_q_without_a_say_is_that_of_the_recipe():
    assert [dequantization.recipe_quant(scale) for scale in (2, 4, 8, 16)] == [64, 64, 256, 64]


@pytest.mark.parametrize("kind, mean", [("centred", 0.0), ("published", 0.5)])
def test_noise_is_uniform_one_level_wide(kind, mean):
    noise = QUANT * dequantization.noise(kind, jax.random.key(0), (10000,), jnp.float64, QUANT)
    assert mean - 0.5 <= noise.min() < mean - 0.49 and mean + 0.49 < noise.max() < mean + 0.5
    np.testing.assert_allclose([noise.mean(), noise.std()], [mean, 12**-0.5], atol=0.01)


@pytest.mark.parametrize("case", FIRST_STEPS)
def test_without_the_mean_samples_are_darker_and_likelihoods_those_of_brighter_images(case):
    model = dataclasses.replace(SR, **FIRST_STEPS[case])
    params = randomized(jax.eval_shape(model.init_params, jax.random.key(0)))
    centred = dequantization.without_noise_mean(model, params, QUANT)
    rng = np.random.default_rng(0)
    lr = jnp.asarray(rng.uniform(size=(1, 2, 2, 3)))
    latents = [jnp.asarray(rng.standard_normal(s)) for s in model.latent_shapes(lr.shape)]
    decode, encode = jax.jit(model.decode), jax.jit(model.encode)
    brighter, darker = (decode(p, lr, latents) for p in (params, centred))
    np.testing.assert_allclose(darker, brighter - 0.5 / QUANT, atol=1e-10)
    found, expected = encode(centred, darker), encode(params, brighter)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), found, expected)


def test_without_an_unconditional_step_there_is_no_bias_to_move():
    model = dataclasses.replace(SR, steps=(1, 2))
    with pytest.raises(ValueError, match="no unconditional step"):
        dequantization.without_noise_mean(model, {}, QUANT)
