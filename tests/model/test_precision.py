"""Every product says its precision: float32 in the flow, what `dtype` asks for in the networks."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import rounding
from experiments.counting import inner
from hcflow_jax import build_model
from hcflow_jax.evaluation import lpips
from hcflow_jax.images.resize import bicubic
from hcflow_jax.training import losses, steps
from tests.command import config, recipe
from tests.support import randomized
from tests.tiny import ONE_LEVEL

HIGHEST, HIGH = jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGH
PRECISION = {"float32": HIGHEST, "tensorfloat32": HIGH, "bfloat16": HIGH}
"""Of the networks' products, by `dtype`. Products of bfloat16 have no other."""

CONVOLUTION, MATRIX = "conv_general_dilated", "dot_general"
KEY = jax.random.key(0)


def _precisions(function, *arguments):
    """{(primitive, precision of both operands)} of all products of a traced function."""
    found = set()

    def visit(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name in (CONVOLUTION, MATRIX):
                found.add((equation.primitive.name, equation.params["precision"]))
            for sub in inner(equation):
                visit(sub)

    visit(jax.make_jaxpr(function)(*arguments).jaxpr)
    return found


PLATFORMS = ("cuda", "tpu")


def _written(function, *arguments):
    """{(operation, precisions as they are written)} in one program for GPUs and TPUs."""
    lowered = jax.jit(function).trace(*arguments).lower(lowering_platforms=PLATFORMS)
    found = set()
    for line in lowered.as_text().splitlines():
        if operation := re.search(
            r"stablehlo\.(convolution|dot_general|dot|select_and_sc\w+)", line
        ):
            found.add((operation[1], *re.findall(r"\b(DEFAULT|HIGHEST|HIGH)\b", line)))
    return found


def _flow(task, dtype, kernels="plain", **changes):
    """(gradient of all losses of a small model, shapes of its arguments)."""
    model = dataclasses.replace(ONE_LEVEL[task], dtype=dtype, kernels=kernels, **changes)
    hr = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)

    def objective(params, hr):
        lr = bicubic(hr, down=2)
        if task == "sr":
            hr = model.decode(params, lr, model.draw_latents(KEY, lr, 0.5))
            return losses.nll(losses.likelihood(model, params, hr, lr, 64))
        latents = model.draw_latents(KEY, lr, 1.0)
        return sum(losses.rescaling_losses(model, params, latents, hr, lr).values())

    return jax.value_and_grad(objective, (0, 1)), jax.eval_shape(model.init_params, KEY), hr


flows = pytest.mark.parametrize("task", ["sr", "rescaling"])
dtypes = pytest.mark.parametrize("dtype", PRECISION)


@dtypes
@flows
def test_the_flow_is_float32_and_its_networks_are_what_dtype_says(task, dtype):
    """Convolutions are the networks', matrix products the flow's; gradients are among them."""
    networks, flow = PRECISION[dtype], HIGHEST
    expected = {(CONVOLUTION, (networks, networks)), (MATRIX, (flow, flow))}
    assert _precisions(*_flow(task, dtype)) == expected


@dtypes
def test_memory_saving_gradients_have_the_same_precisions(dtype):
    networks = PRECISION[dtype]
    expected = {(CONVOLUTION, (networks, networks)), (MATRIX, (HIGHEST, HIGHEST))}
    assert _precisions(*_flow("sr", dtype, remat=True, reversible=True)) == expected


@flows
def test_kernels_for_cpus_are_of_full_precision(task):
    found = _precisions(*_flow(task, "tensorfloat32", kernels="auto"))
    assert {precision for _, precision in found} == {(HIGHEST, HIGHEST)}


@flows
def test_programs_for_gpus_and_tpus_leave_nothing_to_them(task):
    """Nor do the determinants and inverses that are decomposed there."""
    with jax.enable_x64(False):
        found = _written(*_flow(task, "tensorfloat32"))
    assert found == {("convolution", "HIGH", "HIGH"), ("dot_general", "HIGHEST", "HIGHEST")}


@pytest.mark.parametrize("dtype", ["float32", "tensorfloat32"])
def test_networks_of_losses_are_as_precise_as_the_flows(dtype):
    """Discriminator and VGG19 too, and nothing is there that GPUs cannot repeat to the bit.

    XLA refuses select-and-scatter, a gradient of pooling, where programs must be deterministic.
    """
    found = config("sr_x4", "plusplus-smoke")
    found.model.update(steps=(1,), conditional_steps=(0,), dtype=dtype, kernels="plain")
    found.loss.perceptual_weight = 0.1
    parsed = recipe(found)
    with jax.enable_x64(False):
        state, batch, vgg = steps.abstract_arguments(parsed, 2, 32)
        step = functools.partial(steps.train_step, parsed)
        written = _written(step, state, batch, KEY, vgg)
    networks = (PRECISION[dtype].name,) * 2
    flow = ("dot_general", "HIGHEST", "HIGHEST")
    assert written == {("convolution", *networks), ("dot_general", *networks), flow}


def test_metrics_and_resizing_are_float32():
    images = jnp.ones((1, 32, 32, 3))
    assert {p for _, p in _precisions(functools.partial(bicubic, down=4), images)} == {
        (HIGHEST, HIGHEST)
    }
    found = _precisions(lambda a, b: lpips.load("alexnet").map(a, b), images, images)
    assert {name for name, _ in found} == {CONVOLUTION, MATRIX}
    assert {p for _, p in found} == {(HIGHEST, HIGHEST)}


def test_rounding_is_that_of_the_formats():
    """To nearest, ties to even; jnp's bfloat16 rounds alike."""
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    found = rounding.nearest(jnp.asarray(x), "bfloat16")
    np.testing.assert_array_equal(found, jnp.asarray(x, jnp.bfloat16).astype(jnp.float32))
    tie = np.float32([1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-11 + 2**-20])
    expected = np.float32([1, 1 + 2**-9, 1 + 2**-10])
    found = rounding.nearest(jnp.asarray(tie), "tensorfloat32")
    np.testing.assert_array_equal(found, expected)


def test_rounded_networks_change_the_flow_and_leave_it_invertible():
    """Both directions compute a network alike, so that its rounding cancels in a round trip."""
    sizes = {"steps": (4,), "conditional_steps": (2,), "blocks": (1, 1), "features": 8}
    widths = {"growth": 4, "hidden": 8, "conditional_hidden": 8}
    model = build_model(sizes | widths | {"kernels": "plain"})
    params = randomized(jax.eval_shape(model.init_params, KEY), dtype=np.float32)
    hr = np.random.default_rng(0).random((1, 16, 16, 3), np.float32)

    def measured(products):
        def there_and_back(params, hr):
            encoding = model.encode(params, hr)
            return encoding.log_det[0], model.decode(params, encoding.lr, encoding.latents)

        with rounding.rounded(products):
            log_det, back = jax.jit(there_and_back)(params, hr)
        np.testing.assert_allclose(back, hr, rtol=0, atol=1e-5)
        return float(log_det)

    exact = measured(rounding.plain)
    ways = rounding.in_three_passes, rounding.of("tensorfloat32"), rounding.of("bfloat16")
    three_passes, tensorfloat32, bfloat16 = (abs(measured(way) - exact) for way in ways)
    assert three_passes < tensorfloat32 / 4 < bfloat16 / 16
