"""Kernels for CPUs and plain JAX are the same functions, in values and gradients."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcflow_jax.kernels import Arithmetic, convolution, dense
from hcflow_jax.training.losses import likelihood, nll
from tests.platforms import accelerator, tolerance
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


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
@pytest.mark.parametrize("task", ["sr", "rescaling"])
def test_other_platforms_get_plain_kernels(monkeypatch, task, platform):
    """Their programs are those of plain JAX to the letter."""
    model, params = _case(task)

    def lowered(**changes):
        gradient = jax.grad(partial(_value, dataclasses.replace(model, **changes)))
        platforms = ("cuda" if platform == "gpu" else platform,)
        return jax.jit(gradient).trace(params, HR).lower(lowering_platforms=platforms).as_text()

    on_cpus = lowered()
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    assert lowered() == lowered(kernels="plain") != on_cpus


@accelerator
def test_kernels_for_cpus_are_plain_jax_wherever_they_run():
    """In float32, values and gradients, of every form that a convolution takes."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    def gradients(function, *arguments):
        return jax.jit(jax.value_and_grad(lambda *a: jnp.sum(jnp.sin(function(*a))), (0, 1)))(
            *arguments
        )

    block = [draw(3, 3, 6 + 4 * i, 4) / 8 for i in range(2)], [draw(4)] * 2
    for fast, plain, arguments in (
        (convolution.conv2d, convolution.plain, (draw(2, 5, 8, 20), draw(3, 3, 20, 200) / 20)),
        (convolution.conv2d, convolution.plain, (draw(2, 5, 8, 20), draw(3, 3, 20, 6) / 20)),
        (convolution.conv2d, convolution.plain, (draw(2, 5, 8, 20), draw(1, 1, 20, 6) / 4)),
        (dense.dense_convolutions, dense.plain_dense_convolutions, (draw(2, 5, 8, 6), *block)),
    ):
        found, expected = (gradients(function, *arguments) for function in (fast, plain))
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            atol = tolerance("kernels") * max(1, np.abs(b).max())
            np.testing.assert_allclose(a, b, rtol=0, atol=atol)


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
