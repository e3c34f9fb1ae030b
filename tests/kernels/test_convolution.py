"""The convolutions against XLA's own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from experiments.counting import flops
from hcflow_jax.kernels import convolution
from hcflow_jax.kernels.convolution import conv2d
from hcflow_jax.kernels.dense import dense_convolutions, leaky_relu


def native(x, kernel):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def native_kernel_gradient(x, g, shape):
    return jax.linear_transpose(lambda k: native(x, k), jax.ShapeDtypeStruct(shape, x.dtype))(g)[0]


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("channels, outputs", [(3, 6), (20, 17), (6, 3)])
def test_values_and_gradients_are_xlas(size, channels, outputs):
    rng = np.random.default_rng(size)
    x = jnp.asarray(rng.standard_normal((2, 5, 4, channels)))
    kernel = jnp.asarray(rng.standard_normal((size, size, channels, outputs)))
    weight = jnp.asarray(rng.standard_normal((2, 5, 4, outputs)))

    def objective(convolve, x, kernel):
        return jnp.sum(weight * convolve(x, kernel) ** 2)

    np.testing.assert_allclose(conv2d(x, kernel), native(x, kernel), atol=1e-12)
    found = jax.grad(partial(objective, conv2d), (0, 1))(x, kernel)
    expected = jax.grad(partial(objective, native), (0, 1))(x, kernel)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


@pytest.mark.parametrize("band", [1, 20, 60, 10**6])  # rows, half an image, two images, all
@pytest.mark.parametrize("outputs", [2, 7])
def test_kernel_gradients_of_bands_add_up(monkeypatch, band, outputs):
    monkeypatch.setattr(convolution, "CACHE_BLOCK_PIXELS", band)
    rng = np.random.default_rng(0)
    x, g = (jnp.asarray(rng.standard_normal((4, 6, 5, n))) for n in (4, outputs))
    shape = (3, 3, 4, outputs)
    found = convolution._kernel_gradient_matmul(x, g, shape)
    expected = native_kernel_gradient(x, g, shape)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("channels, outputs", [(3, 6), (6, 3)])
def test_kernel_gradients_of_all_sizes_are_xlas(size, channels, outputs):
    rng = np.random.default_rng(size)
    x, g = (jnp.asarray(rng.standard_normal((2, 5, 4, n))) for n in (channels, outputs))
    shape = (size, size, channels, outputs)
    found = convolution._kernel_gradient_matmul(x, g, shape)
    np.testing.assert_allclose(found, native_kernel_gradient(x, g, shape), atol=1e-12)


@pytest.mark.parametrize("width", [1, 3, 4, 5, 10, 16])
@pytest.mark.parametrize("dtype, error", [("float64", 1e-13), ("float32", 5e-6)])
def test_halved_products_convolve(width, dtype, error):
    """Values, and gradients through them, for widths that four divides and others."""
    rng = np.random.default_rng(width)
    x, g = (jnp.asarray(rng.standard_normal((2, 5, width, n)), dtype) for n in (32, 64))
    kernel = jnp.asarray(rng.standard_normal((3, 3, 32, 64)), dtype)
    expected, pull = jax.vjp(native, x, kernel)
    found, pull_halved = jax.vjp(convolution._winograd, x, kernel)
    for a, b in zip((found, *pull_halved(g)), (expected, *pull(g)), strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=error * np.abs(b).max())


def test_products_are_halved_where_it_pays():
    """Not in half precision, nor of narrow images, few outputs and other kernels; of large images
    at fewer outputs.
    """

    def count(convolve, shape, kernel, dtype="float32"):
        arguments = (jax.ShapeDtypeStruct(s, dtype) for s in (shape, kernel))
        return flops(jax.make_jaxpr(convolve)(*arguments).jaxpr)

    def share(*arguments):
        return count(convolution._forward, *arguments) / count(native, *arguments)

    assert share((1, 40, 40, 32), (3, 3, 32, 160)) < 0.52
    assert share((1, 40, 40, 32), (3, 3, 32, 160), "bfloat16") > 1
    assert share((1, 40, 3, 32), (3, 3, 32, 160)) > 1
    assert share((1, 40, 40, 32), (3, 3, 32, 64)) > 1
    assert share((8, 40, 40, 32), (3, 3, 32, 64)) < 0.52
    assert share((8, 40, 40, 32), (3, 3, 32, 63)) > 1
    assert share((1, 40, 40, 32), (5, 5, 32, 160)) > 1


@pytest.fixture(params=[False, True], ids=["direct", "halved"])
def halved(request, monkeypatch):
    """Whether products are halved of however few channels."""
    if request.param:
        for name in ("VECTOR_CHANNELS", "WINOGRAD_MIN_OUTPUTS", "WINOGRAD_MIN_GRADIENT_CHANNELS"):
            monkeypatch.setattr(convolution, name, 0)
    jax.clear_caches()  # of programs traced the other way
    yield request.param
    jax.clear_caches()


@pytest.mark.parametrize("width", [3, 4, 5, 9])
@pytest.mark.parametrize("outputs", [2, 9])
def test_gradients_of_several_readers_are_their_own(width, outputs, halved):
    """They share what they need of the image, of which they read 4 of 6 channels."""
    rng = np.random.default_rng(0)
    x, g = (jnp.asarray(rng.standard_normal((2, 7, width, n))) for n in (6, outputs))
    kernel = jnp.asarray(rng.standard_normal((3, 3, 4, outputs)))
    expected = jax.vjp(native, x[..., :4], kernel)[1](g)
    for a, b in zip(convolution.shared_input_vjp(x)(kernel, g), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def concatenating(x, kernels, biases):
    """What `dense_convolutions` computes, as its formula says."""
    for kernel, bias in zip(kernels, biases, strict=True):
        y = native(x, kernel) + bias
        x = jnp.concatenate([x, leaky_relu(y)], -1)
    return y


def dense_case(outputs):
    """(x, kernels, biases, weights of the results)"""
    rng = np.random.default_rng(0)
    kernels = [jnp.asarray(rng.standard_normal((3, 3, 5 + 4 * i, 4))) for i in range(3)]
    kernels.append(jnp.asarray(rng.standard_normal((3, 3, 17, outputs))))
    biases = [jnp.asarray(rng.standard_normal(kernel.shape[-1])) for kernel in kernels]
    x, weight = (jnp.asarray(rng.standard_normal((2, 7, 6, n))) for n in (5, outputs))
    return x, kernels, biases, weight


def gradients(function, x, kernels, biases, weight):
    def objective(*arguments):
        return jnp.sum(weight * function(*arguments))

    return jax.tree.leaves(jax.grad(objective, (0, 1, 2))(x, kernels, biases))


@pytest.mark.parametrize("outputs", [2, 16])
def test_dense_convolutions_convolve_concatenations(outputs, halved):
    *arguments, _ = case = dense_case(outputs)
    expected = concatenating(*arguments)
    np.testing.assert_allclose(dense_convolutions(*arguments), expected, rtol=1e-9)
    found = gradients(dense_convolutions, *case)
    for a, b in zip(found, gradients(concatenating, *case), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_has_the_gradients_of_double(dtype):
    """But for roundings, which also put some results on the other side of zero."""
    x, kernels, biases, weight = dense_case(16)
    kernels = [kernel / 8 for kernel in kernels]
    half = jax.tree.map(lambda a: a.astype(dtype), (x, kernels)), biases, weight
    expected = gradients(concatenating, *jax.tree.map(jnp.float64, half[0]), biases, weight)
    (x, kernels), *rest = half
    found = gradients(dense_convolutions, x, kernels, *rest)
    for a, b in zip(found, expected, strict=True):
        error = np.linalg.norm(a.astype(b.dtype) - b) / np.linalg.norm(b)
        assert error < 4 * jnp.finfo(dtype).eps


def test_nothing_to_learn_from_gives_no_gradient():
    kernel = jnp.ones((3, 3, 3, 6))
    found = jax.grad(lambda k: conv2d(jnp.zeros((0, 4, 4, 3)), k).sum())(kernel)
    np.testing.assert_array_equal(found, jnp.zeros_like(kernel))


def test_the_slope_at_zero_is_that_of_negative_numbers():
    """As in PyTorch, and alike by automatic differentiation and by the dense block's own."""
    assert jax.grad(leaky_relu)(0.0) == 0.2
    x, kernels = jnp.zeros((1, 3, 3, 2)), [jnp.ones((3, 3, n, 2)) for n in (2, 4)]
    biases = [jnp.zeros(2)] * 2

    def plain(x):
        y = leaky_relu(native(x, kernels[0]) + biases[0])
        return native(jnp.concatenate([x, y], -1), kernels[1]).sum()

    found = jax.grad(lambda x: dense_convolutions(x, kernels, biases).sum())(x)
    np.testing.assert_allclose(found, jax.grad(plain)(x), rtol=1e-9)
