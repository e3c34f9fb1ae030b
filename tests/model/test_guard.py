"""Guards: exact for every ranges, without effect inside them, bounded outside."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from hcflow_jax import build_model, fit_guard, from_torch, losses, to_published
from hcflow_jax.model.prior import gaussian_logp
from tests.support import randomized
from tests.tiny import FIELDS, ONE_LEVEL

TASKS = pytest.mark.parametrize("task", FIELDS)


def guarded(task):
    """A model whose random ranges are narrow, or empty: nearly everything is clamped."""
    model = build_model(FIELDS[task] | {"guard": True})
    return model, randomized(jax.eval_shape(model.init_params, jax.random.key(0)))


def photographs(seed=0, side=8):
    return jnp.asarray(np.random.default_rng(seed).random((2, side, side, 3)))


@TASKS
def test_guarded_flow_is_an_exact_bijection(task):
    model, params = guarded(task)
    hr = photographs()
    encoding = jax.jit(model.encode)(params, hr)
    back = jax.jit(model.decode)(params, encoding.lr, encoding.latents)
    np.testing.assert_allclose(back, hr, rtol=0, atol=1e-9)


@TASKS
def test_guarded_likelihood_is_the_change_of_variables(task):
    model, params = guarded(task)
    hr = photographs(side=4)[:1]

    @jax.jit
    def flat(v):
        encoding = model.encode(params, v.reshape(hr.shape))
        return jnp.concatenate([encoding.lr.ravel(), *(e.ravel() for e in encoding.latents)])

    encoding = jax.jit(model.encode)(params, hr)
    log_det = jnp.linalg.slogdet(jax.jacrev(flat)(hr.ravel()))[1]
    expected = sum(gaussian_logp(latent)[0] for latent in encoding.latents) + log_det
    found = encoding.log_det[0] + encoding.log_prior[:, 0].sum()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


@TASKS
def test_fitted_guard_leaves_its_images_alone_and_holds_others(task):
    model = build_model(FIELDS[task])
    params = randomized(jax.eval_shape(model.init_params, jax.random.key(0)))
    known, strange = photographs(), 1e3 * photographs(1)
    own, with_ranges = fit_guard(model, params, [known[:1], known[1:]], margin=1e-3)
    plain, held = jax.jit(model.encode), jax.jit(own.encode)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12),
        plain(params, known),
        held(with_ranges, known),
    )
    a, b = (f(p, strange).log_prior for f, p in ((plain, params), (held, with_ranges)))
    assert not np.allclose(a, b)
    encoding = held(with_ranges, strange)
    back = jax.jit(own.decode)(with_ranges, encoding.lr, encoding.latents)
    np.testing.assert_allclose(back, strange, rtol=0, atol=1e-7)


@TASKS
def test_margin_is_a_share_of_the_width(task):
    model = build_model(FIELDS[task])
    params = randomized(jax.eval_shape(model.init_params, jax.random.key(0)))
    tight, wide = (
        flatten_dict(fit_guard(model, params, [photographs()], margin)[1]) for margin in (0.0, 0.5)
    )
    for path in (path for path in tight if "guard" in path and path[-1] == "low"):
        low, high = path, (*path[:-1], "high")
        width = tight[high] - tight[low]
        np.testing.assert_allclose(tight[low] - wide[low], width / 2, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(wide[high] - tight[high], width / 2, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@TASKS
def test_ranges_are_not_trained_and_start_without_effect(task):
    model = build_model(FIELDS[task] | {"guard": True})
    plain = build_model(FIELDS[task])
    fresh, hr = model.init_params(jax.random.key(0)), photographs()
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.jit(model.encode)(fresh, hr.astype(jnp.float32)),
        jax.jit(plain.encode)(plain.init_params(jax.random.key(0)), hr.astype(jnp.float32)),
    )

    smaller = dataclasses.replace(ONE_LEVEL[task], guard=True)
    params = randomized(jax.eval_shape(smaller.init_params, jax.random.key(0)))

    def objective(params):
        return losses.nll(losses.likelihood(smaller, params, hr, hr[:, ::2, ::2], 64))

    for path, gradient in flatten_dict(jax.jit(jax.grad(objective))(params)).items():
        if "guard" in path:
            assert not np.any(gradient), path


@TASKS
def test_ranges_travel_under_names_of_their_own(task):
    model, params = guarded(task)
    found, again = from_torch(to_published(model, params))
    assert found == model
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), again, params)


def test_no_images_are_refused():
    model = build_model(FIELDS["sr"])
    with pytest.raises(ValueError, match="got none"):
        fit_guard(model, model.init_params(jax.random.key(0)), [])


@pytest.mark.slow
def test_a_level_without_conditional_steps_is_fitted_and_saved():
    fields = FIELDS["rescaling"] | {"conditional_steps": (0,) * len(FIELDS["rescaling"]["steps"])}
    model = build_model(fields)
    params = randomized(jax.eval_shape(model.init_params, jax.random.key(0)))
    hr = photographs()
    found, fitted = fit_guard(model, params, [hr])
    assert jax.tree.structure(fitted) == jax.tree.structure(
        jax.eval_shape(found.init_params, jax.random.key(0))
    )
    again, loaded = from_torch(to_published(found, fitted))
    np.testing.assert_allclose(again.encode(loaded, hr).lr, model.encode(params, hr).lr, atol=1e-6)
