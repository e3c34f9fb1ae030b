"""Kernels for CPUs and plain JAX are the same functions, in values and gradients."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcflow_jax.kernels import Arithmetic, dense
from hcflow_jax.training.losses import likelihood, nll
from tests.support import randomized
from tests.tiny import ONE_LEVEL

HR = np.random.default_rng(0).random((2, 8, 12, 3))
close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-11)


def _case(task, **changes):
    model = dataclasses.replace(ONE_LEVEL[task], blocks=(1, 2), **changes)
    return model, randomized(jax.eval_shape(model.init_params, jax.random.key(0)))


def _value(model, params, hr):
    return nll(likelihood(model, params, hr, hr[:, ::2, ::2], 64))


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("task", ["sr", "rescaling"])
def test_plain_kernels_give_the_same_values_and_gradients(task, remat):
    model, params = _case(task, remat=remat)
    plain = dataclasses.replace(model, kernels="plain")
    found, expected = (
        jax.jit(jax.value_and_grad(partial(_value, m), (0, 1)))(params, HR) for m in (model, plain)
    )
    jax.tree.map(close, found, expected)


@pytest.mark.parametrize("task", ["sr", "rescaling"])
def test_plain_kernels_have_forward_mode_and_others_say_they_have_not(task):
    model, params = _case(task)
    direction = np.random.default_rng(1).standard_normal(HR.shape)
    with pytest.raises(TypeError, match="custom_vjp|jvp"):
        jax.jvp(partial(_value, model, params), (HR,), (direction,))
    plain = partial(_value, dataclasses.replace(model, kernels="plain"), params)
    _, along = jax.jit(lambda hr, d: jax.jvp(plain, (hr,), (d,)))(HR, direction)
    close(along, jnp.vdot(jax.jit(jax.grad(plain))(HR), direction))


def test_other_platforms_get_plain_kernels(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    monkeypatch.setattr(dense, "rrdbs", None)
    model, params = _case("sr")
    assert jnp.isfinite(jax.jit(partial(_value, model))(params, HR))


def test_half_precision_is_the_same_choice():
    model, params = _case("sr", dtype="bfloat16")
    params, hr = jax.tree.map(np.float32, (params, HR))
    values = [
        float(jax.jit(partial(_value, m))(params, hr))
        for m in (model, dataclasses.replace(model, kernels="plain"))
    ]
    assert abs(values[0] - values[1]) < 0.02 * abs(values[1])


@pytest.mark.parametrize("kernels", ["auto", "plain"])
def test_types_are_those_of_the_inputs_unless_one_is_asked_for(kernels):
    x, kernel = jnp.ones((1, 4, 4, 2), jnp.float32), jnp.ones((3, 3, 2, 3), jnp.float32)
    assert Arithmetic(None, kernels).conv2d(x, kernel).dtype == jnp.float32
    assert Arithmetic(jnp.bfloat16, kernels).conv2d(x, kernel).dtype == jnp.bfloat16
