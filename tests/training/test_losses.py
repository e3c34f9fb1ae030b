import math

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hcflow_jax.training import losses

RNG = np.random.default_rng(0)
TERMS = losses.LikelihoodTerms(
    log_det=jnp.array([10.0, 20.0]),
    log_prior=jnp.array([[-1.0, -2.0], [-3.0, -4.0]]),
    log_lr=jnp.array([5.0, 7.0]),
    log_quant=math.log(64),
    pixels=12,
    channels=3,
)


def test_published_nll_counts_pixels_and_the_lr_term():
    objective = np.array([10 - 4 + 5, 20 - 6 + 7]) - math.log(64) * 12
    np.testing.assert_allclose(losses.nll(TERMS), -objective.mean() / (math.log(2) * 12))


def test_bits_per_dim_counts_dimensions_and_leaves_the_lr_term_apart():
    objective = np.array([10 - 4, 20 - 6]) - math.log(64) * 36
    np.testing.assert_allclose(losses.bits_per_dim(TERMS), -objective.mean() / (math.log(2) * 36))
    np.testing.assert_allclose(losses.lr_bits_per_dim(TERMS), -6 / (math.log(2) * 36))


@given(st.floats(-2, 3))
def test_quantize_rounds_clamps_and_passes_gradients(value):
    rounded, gradient = jax.value_and_grad(losses.quantize)(jnp.float64(value))
    np.testing.assert_allclose(rounded, np.round(255 * np.clip(value, 0, 1)) / 255, atol=1e-12)
    assert gradient == 1


class Halver:
    """Stands in for a model: LR = every second pixel + 0.6, one latent, exact inverse."""

    def encode(self, params, hr):
        class Encoding:
            lr = hr[:, ::2, ::2] + 0.6
            latents = (2.0 * jnp.ones((1, 2, 2, 3)),)

        return Encoding

    def decode(self, params, lr, latents):
        return jnp.repeat(jnp.repeat(lr, 2, 1), 2, 2) + latents


def test_rescaling_terms():
    hr = jnp.full((1, 4, 4, 3), 0.5)
    terms = losses.rescaling_losses(Halver(), None, -0.25, hr, jnp.full((1, 2, 2, 3), 0.4))
    np.testing.assert_allclose(terms["lr"], 0.6**2)  # 1.1 clamped to 1
    np.testing.assert_allclose(terms["latents"], 4)
    np.testing.assert_allclose(terms["hr"], 0.25)
