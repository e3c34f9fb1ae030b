import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcflow_jax.images.resize import imresize
from hcflow_jax.model import likelihood
from tests.support import randomized
from tests.tiny import ONE_LEVEL

RNG = np.random.default_rng(0)
TERMS = likelihood.LikelihoodTerms(
    log_det=jnp.array([10.0, 20.0]),
    log_prior=jnp.array([[-1.0, -2.0], [-3.0, -4.0]]),
    log_lr=jnp.array([5.0, 7.0]),
    log_lr_raw=jnp.array([1.0, 3.0]),
    log_quant=math.log(64),
    pixels=12,
    channels=3,
)


def test_published_nll_counts_pixels_and_the_lr_term():
    objective = np.array([10 - 4 + 5, 20 - 6 + 7]) - math.log(64) * 12
    np.testing.assert_allclose(likelihood.nll(TERMS), -objective.mean() / (math.log(2) * 12))


def test_bits_per_dim_are_those_of_8_bit_values():
    """Values k/255 with noise up to 1/255, all equally likely, lie in [0, 256/255]."""
    log_density = -TERMS.pixels * TERMS.channels * math.log(256 / 255)
    zero = jnp.zeros(1)
    uniform = TERMS.replace(
        log_det=jnp.array([log_density]), log_prior=zero[None], log_lr=zero, log_lr_raw=zero
    )
    np.testing.assert_allclose(likelihood.bits_per_dim(uniform), 8)
    np.testing.assert_allclose(likelihood.lr_bits_per_dim(TERMS), -2 / (math.log(2) * 36))


@pytest.mark.slow
@pytest.mark.parametrize("quant, brightness", [(64, 1.0), (256, 100.0)])
def test_bits_per_dim_of_a_linear_flow_are_those_of_its_gaussian(quant, brightness):
    """Its images are linear in LR image and latents, so that their density is known."""
    fields = {"steps": (2,), "conditional_steps": (1,), "permutation": "conv1x1"}
    model = dataclasses.replace(ONE_LEVEL["sr"], **fields)
    hr, lr = jax.random.uniform(jax.random.key(0), (1, 2, 2, 3)), jnp.full((1, 1, 1, 3), 0.4)
    params = jax.tree.map(jnp.float64, model.init(jax.random.key(1), hr))
    norm = params["level0"]["flow"]["turns"]["affine"]["actnorm"]
    norm["logs"] = norm["logs"] + math.log(brightness)
    shapes = [lr.shape, *model.latent_shapes(lr.shape)]
    cuts = np.cumsum([math.prod(shape) for shape in shapes])

    def image(parts):
        standard, *latents = (
            x.reshape(s) for x, s in zip(jnp.split(parts, cuts[:-1]), shapes, strict=True)
        )
        return model.decode(params, lr + math.exp(-6) * standard, latents).ravel()

    zero = jnp.zeros(cuts[-1])
    factor, away = jax.jit(jax.jacobian(image))(zero), hr.ravel() - image(zero)
    log_density = -0.5 * np.sum(np.linalg.solve(factor, away) ** 2)
    log_density -= np.linalg.slogdet(factor)[1] + 0.5 * 12 * math.log(2 * math.pi)
    terms = jax.jit(likelihood.likelihood, static_argnums=(0, 4))(model, params, hr, lr, quant)
    found = likelihood.bits_per_dim(terms)
    np.testing.assert_allclose(found, math.log2(255) - log_density / (12 * math.log(2)), rtol=1e-9)
    np.testing.assert_allclose(model.log_prob(params, hr, lr), [log_density], rtol=1e-9)


@pytest.fixture(scope="module", params=["sr", "rescaling"])
def case(request):
    """(model, random float64 params, HR images, log_prob of them and their bicubic LR images)."""
    model = ONE_LEVEL[request.param]
    params = randomized(jax.eval_shape(model.init_params, jax.random.key(0)))
    hr = jnp.asarray(RNG.random((2, 6, 4, 3)))
    lr = np.stack([imresize(np.asarray(image), 1 / 2) for image in hr])
    terms = jax.jit(likelihood.likelihood, static_argnums=(0, 4))(model, params, hr, lr, 64)
    return model, params, hr, terms.log_det + sum(terms.log_prior) + terms.log_lr_raw


def test_log_prob_sums_the_terms_for_the_bicubic_lr(case):
    model, params, hr, expected = case
    found = jax.jit(model.log_prob)(params, hr)
    assert found.shape == (2,) and found.dtype == jnp.float64
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_log_prob_is_mapped_and_differentiated(case):
    model, params, hr, expected = case

    def one(image):
        return model.log_prob(params, image[None])[0]

    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(one)))(hr)
    np.testing.assert_allclose(values, expected, rtol=1e-9)
    step = 1e-6 * jnp.sign(gradients)
    log_prob = jax.jit(model.log_prob)
    rise = log_prob(params, hr + step) - log_prob(params, hr - step)
    np.testing.assert_allclose(rise, 2e-6 * jnp.abs(gradients).sum((1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("shape", [(2, 1, 1, 3), (1, 3, 2, 3), (2, 3, 2, 1)])
def test_lr_images_of_another_size_are_refused_not_repeated(case, shape):
    model, params, hr, _ = case
    with pytest.raises(ValueError, match="LR image must be .2, 3, 2, 3"):
        jax.eval_shape(model.log_prob, params, hr, jnp.zeros(shape))


@given(st.floats(-2, 3))
def test_quantize_rounds_clamps_and_passes_gradients(value):
    rounded, gradient = jax.value_and_grad(likelihood.quantize)(jnp.float64(value))
    np.testing.assert_allclose(rounded, np.round(255 * np.clip(value, 0, 1)) / 255, atol=1e-12)
    assert gradient == 1
