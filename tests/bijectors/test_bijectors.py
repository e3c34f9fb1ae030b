"""One table of constructors; every property holds for every row."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcflow_jax import bijectors
from hcflow_jax.kernels import Arithmetic
from hcflow_jax.kernels.convolution import conv2d
from hcflow_jax.model.networks import FCN, DenseBlock
from hcflow_jax.model.prior import ConditionalGaussian
from tests.support import assert_reached, randomized
from tests.tiny import bent

C, U = 8, 3


def affine(channels=C, cond=0, net=FCN):
    split = channels // 2
    return bijectors.AffineCoupling(channels, split, net(3, 2 * (channels - split)), cond)


SHIFT = bijectors.ShiftCoupling(C, 3, DenseBlock(2, 3))
SHIFT_AFFINE = bijectors.AffineCoupling(C, 3, DenseBlock(2, 2 * (C - 3)))
STEP = bijectors.flow_step(affine())

TABLE = {
    "checkerboard": (bijectors.CheckerboardSqueeze(), 2, 0),
    "haar": (bijectors.HaarSqueeze(), 2, 0),
    "actnorm": (bijectors.ActNorm(C), C, 0),
    "conv1x1": (bijectors.InvertibleConv1x1(C), C, 0),
    "affine": (affine(), C, 0),
    "affine_dense": (affine(net=DenseBlock), C, 0),
    "affine_cond": (affine(cond=U), C, U),
    "affine_odd": (affine(channels=5), 5, 0),
    "shift_to_rest": (SHIFT_AFFINE, C, 0),
    "shift_to_lr": (SHIFT, C, 0),
    "step": (STEP, C, 0),
    "step_cond": (bijectors.flow_step(affine(cond=U)), C, U),
    "step_without_conv1x1": (bijectors.flow_step(SHIFT, permute=False), C, 0),
    "alternate_even": (bijectors.alternate({"affine": SHIFT_AFFINE, "shift": SHIFT}, 4), C, 0),
    "alternate_odd": (bijectors.alternate({"affine": SHIFT_AFFINE, "shift": SHIFT}, 3), C, 0),
    "alternate_conv1x1": (bijectors.alternate({"affine": STEP}, 3), C, 0),
    "repeat_cond": (bijectors.Repeat(affine(cond=U), 3), C, U),
    "repeat_reversible": (bijectors.Repeat(STEP, 3, reversible=True), C, 0),
    "chain": (bijectors.Chain((("squeeze", bijectors.HaarSqueeze()), ("step", STEP))), 2, 0),
    "nothing": (bijectors.alternate({"affine": STEP}, 0), C, 0),
    "prior": (ConditionalGaussian(C, U, False), C, U),
    "prior_bounded": (ConditionalGaussian(C, U, True), C, U),
}
rows = pytest.mark.parametrize("name", TABLE)
FIXED = ("checkerboard", "haar", "nothing")
trained_rows = pytest.mark.parametrize("name", [name for name in TABLE if name not in FIXED])
mixing_rows = pytest.mark.parametrize("name", ["conv1x1", "step", "step_cond", "alternate_conv1x1"])


class Case:
    """A row with random float64 weights and its jitted methods."""

    def __init__(self, name):
        self.bijector, self.channels, self.cond_channels = TABLE[name]
        self.params = randomized(jax.eval_shape(self.bijector.init, jax.random.key(0)))
        self.forward = jax.jit(self.bijector.forward)
        self.inverse = jax.jit(self.bijector.inverse)

    def inputs(self, seed=0, batch=2, height=4, width=2):
        rng = np.random.default_rng(seed)
        x = jnp.asarray(rng.standard_normal((batch, height, width, self.channels)))
        cond = jnp.asarray(rng.standard_normal((batch, height, width, self.cond_channels)))
        return x, cond if self.cond_channels else None


case = functools.cache(Case)


@rows
@given(
    seed=st.integers(0, 2**31),
    shape=st.sampled_from([(4, 2), (2, 6), (6, 8)]),
)
def test_round_trip_and_opposite_log_dets(name, seed, shape):
    row = case(name)
    x, cond = row.inputs(seed, 2, *shape)
    y, log_det = row.forward(row.params, x, cond)
    back, inverse_log_det = row.inverse(row.params, y, cond)
    assert log_det.shape == (2,) and log_det.dtype == y.dtype == jnp.float64
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-9)
    np.testing.assert_allclose(inverse_log_det, -log_det, rtol=0, atol=1e-9)


@rows
def test_log_det_is_that_of_the_jacobian(name):
    row = case(name)
    x, cond = row.inputs(batch=1)

    @jax.jit
    def flat(v):
        return row.bijector.forward(row.params, v.reshape(x.shape), cond)[0].ravel()

    expected = jnp.linalg.slogdet(jax.jacrev(flat)(x.ravel()))[1]
    log_det = row.forward(row.params, x, cond)[1]
    np.testing.assert_allclose(log_det[0], expected, rtol=0, atol=1e-8)


@rows
def test_jit_changes_nothing(name):
    row = case(name)
    x, cond = row.inputs()
    for method, jitted in (
        (row.bijector.forward, row.forward),
        (row.bijector.inverse, row.inverse),
    ):
        y = x if method == row.bijector.forward else row.forward(row.params, x, cond)[0]
        for plain, quick in zip(
            method(row.params, y, cond), jitted(row.params, y, cond), strict=True
        ):
            np.testing.assert_allclose(plain, quick, rtol=0, atol=1e-12)


@rows
def test_batch_elements_are_independent(name):
    row = case(name)
    x, cond = row.inputs()
    changed = x.at[1].add(1.0)
    other = None if cond is None else cond.at[1].add(1.0)
    for a, b in zip(
        row.forward(row.params, x, cond), row.forward(row.params, changed, other), strict=True
    ):
        np.testing.assert_allclose(a[0], b[0], rtol=0, atol=1e-12)
        assert a.ndim == 1 or np.any(a[1] != b[1])


@trained_rows
def test_gradient_reaches_every_parameter(name):
    row = case(name)
    x, cond = row.inputs()

    def objective(params):
        y, log_det = row.bijector.forward(params, x, cond)
        return jnp.sum(jnp.sin(jnp.arange(y.size).reshape(y.shape)) * y**2) + jnp.sum(log_det)

    stacked = isinstance(row.bijector, bijectors.Repeat)
    assert_reached(jax.jit(jax.grad(objective))(row.params), stacked)


@mixing_rows
def test_prepared_parameters_are_the_same_map(name):
    row = case(name)
    prepared = row.bijector.prepare(row.params)
    assert len(jax.tree.leaves(prepared)) == len(jax.tree.leaves(row.params)) + 2
    x, cond = row.inputs()
    for method in (row.forward, row.inverse):
        y = x if method is row.forward else row.forward(row.params, x, cond)[0]
        for a, b in zip(method(row.params, y, cond), method(prepared, y, cond), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


@given(seed=st.integers(0, 2**31), keep=st.integers(0, C))
def test_split_keeps_every_channel(seed, keep):
    x = jnp.asarray(np.random.default_rng(seed).standard_normal((2, 2, 2, C)))
    split = bijectors.ChannelSplit(keep)
    (y, rest), log_det = split.forward({}, x)
    assert y.shape[-1] == keep and rest.shape[-1] == C - keep
    np.testing.assert_array_equal(log_det, 0)
    np.testing.assert_array_equal(split.inverse({}, (y, rest))[0], x)


def test_a_split_of_another_width_is_refused():
    split = bijectors.ChannelSplit(3)
    with pytest.raises(ValueError, match="expected 3 kept channels, got 2"):
        split.inverse({}, (jnp.zeros((1, 2, 2, 2)), jnp.zeros((1, 2, 2, 5))))


@pytest.mark.parametrize("squeeze", [bijectors.CheckerboardSqueeze(), bijectors.HaarSqueeze()])
@pytest.mark.parametrize("height, width", [(3, 4), (4, 5), (1, 1)])
def test_odd_sizes_are_refused_by_name(squeeze, height, width):
    with pytest.raises(ValueError, match=f"{height}×{width}"):
        squeeze.forward({}, jnp.zeros((1, height, width, 3)))
    with pytest.raises(ValueError, match="divisible by 4, got 6"):
        squeeze.inverse({}, jnp.zeros((1, 2, 2, 6)))


def test_data_init_normalises_and_leaves_the_rest():
    row = case("step")
    x, _ = row.inputs(batch=8)
    params, y = row.bijector.data_init(row.params, x, fit=bijectors.fit_actnorm)
    np.testing.assert_array_equal(y, row.bijector.forward(params, x)[0])
    normal, _ = bijectors.ActNorm(C).forward(params["actnorm"], x)
    np.testing.assert_allclose(normal.mean((0, 1, 2)), 0, atol=1e-9)
    np.testing.assert_allclose(normal.std((0, 1, 2)), 1, atol=1e-4)
    same = {k: v for k, v in params["affine"]["f"]["conv1"].items() if k != "actnorm"}
    np.testing.assert_array_equal(same["kernel"], row.params["affine"]["f"]["conv1"]["kernel"])
    mixed, _ = row.bijector.parts[1][1].forward(params["permute"], normal)
    hidden = conv2d(mixed[..., : C // 2], same["kernel"])
    fitted = params["affine"]["f"]["conv1"]["actnorm"]
    hidden = (hidden + fitted["bias"]) * jnp.exp(fitted["logs"])
    np.testing.assert_allclose(hidden.mean((0, 1, 2)), 0, atol=1e-9)
    np.testing.assert_allclose(hidden.std((0, 1, 2)), 1, atol=1e-4)


def test_flat_channels_keep_their_scale_through_any_number_of_steps():
    """A batch with a constant channel, and hardly any noise in another, blows nothing up."""
    x = np.random.default_rng(0).standard_normal((2, 6, 4, C))
    x[..., 0], x[..., 1] = 0.3, 0.3 + 0.001 * x[..., 1]
    fitted = bijectors.fit_actnorm(jnp.asarray(x))
    np.testing.assert_array_equal(fitted["logs"][:2], 0)
    np.testing.assert_allclose(fitted["logs"][2:], -np.log(x[..., 2:].std((0, 1, 2)) + 1e-6))
    chain = bijectors.Repeat(bijectors.ActNorm(C), 9)
    params, _ = chain.data_init(
        chain.init(jax.random.key(0)), jnp.asarray(x), fit=bijectors.fit_actnorm
    )
    y, _ = chain.forward(params, jnp.ones((1, 1, 1, C)))
    assert float(jnp.abs(y).max()) < 2 * float(jnp.exp(fitted["logs"]).max())


def test_data_init_of_a_scan_is_that_of_its_steps_one_by_one():
    row = case("repeat_cond")
    x, cond = row.inputs(batch=4)
    stacked, y = row.bijector.data_init(row.params, x, cond, fit=bijectors.fit_actnorm)
    for i in range(3):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], row.params)
        one, x = row.bijector.bijector.data_init(one, x, cond, fit=bijectors.fit_actnorm)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(stacked), strict=True):
            np.testing.assert_allclose(a, b[i], atol=1e-12)
    np.testing.assert_allclose(x, y, atol=1e-12)


def test_statistics_are_those_of_all_devices():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 2, 3, 5, C)))
    fit = functools.partial(bijectors.fit_actnorm, axis_name="data")
    shares = jax.vmap(fit, axis_name="data")(x)
    whole = bijectors.fit_actnorm(x.reshape(8, 3, 5, C))
    for key in ("bias", "logs"):
        np.testing.assert_allclose(shares[key], np.tile(whole[key], (4, 1)), atol=1e-12)


def _gradients(stack, direction, params, x, u, weight):
    def objective(params, x, u):
        y, log_det = getattr(stack, direction)(params, x, u)
        return jnp.sum(weight * y**2) + jnp.sum(jnp.asarray([1.0, 3.0]) * log_det**2)

    return jax.jit(jax.grad(objective, (0, 1, 2)))(params, x, u)


def _stacks(bijector, times, cond=0):
    """(plain, reversible, params, x, u, weight)"""
    plain, reversible = (bijectors.Repeat(bijector, times, reversible=r) for r in (False, True))
    params = randomized(jax.eval_shape(plain.init, jax.random.key(0)))
    rng = np.random.default_rng(1)
    x, u, weight = (jnp.asarray(rng.standard_normal((2, 4, 2, n))) for n in (C, U, C))
    return plain, reversible, params, x, u if cond else None, weight


SHIFTS = bijectors.Chain((("0", SHIFT_AFFINE), ("1", SHIFT)))


@pytest.mark.parametrize(
    "bijector, times, cond",
    [
        (STEP, 3, 0),
        (bijectors.flow_step(affine(cond=U)), 3, U),
        (SHIFTS, 2, 0),
        (STEP, 0, 0),
        (bent(STEP, C, 0), 2, 0),
    ],
    ids=["step", "step_cond", "shifts", "no_steps", "own"],
)
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_gradients_of_a_reversible_stack_are_plain_ones(direction, bijector, times, cond):
    plain, reversible, *case = _stacks(bijector, times, cond)
    found, expected = (_gradients(stack, direction, *case) for stack in (reversible, plain))
    assert not times or max(float(jnp.abs(g).max()) for g in jax.tree.leaves(expected)) > 1e-3
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9), found, expected
    )


@pytest.mark.parametrize("dtype, error", [(None, 1e-4), ("bfloat16", 2e-2)])
def test_inputs_found_back_through_many_steps_are_good_enough(dtype, error):
    """In float32, and where networks compute in half precision, 26 steps deep."""
    net = FCN(16, C, Arithmetic(dtype))
    plain, reversible, *case = _stacks(
        bijectors.flow_step(bijectors.AffineCoupling(C, C // 2, net)), 26
    )
    case = jax.tree.map(jnp.float32, case)
    found, expected = (_gradients(stack, "inverse", *case) for stack in (reversible, plain))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=error * np.abs(b).max())
