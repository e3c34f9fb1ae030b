import jax.numpy as jnp
import numpy as np

from hcflow_jax.training import losses


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
