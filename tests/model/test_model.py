"""Whole models with random weights in float64: any depth, both tasks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcflow_jax import HCFlow, build_model
from hcflow_jax.kernels.dense import RDBS
from hcflow_jax.model.networks import Conv, DenseBlock, FeatureTrunk
from hcflow_jax.model.prior import gaussian_logp
from hcflow_jax.training import losses
from tests.platforms import accelerator, tolerance
from tests.support import assert_reached, randomized
from tests.tiny import FIELDS, SIZES, bent


def _model(task="sr", **fields):
    return build_model(FIELDS[task] | fields)


ONE = {"features": 2, "hidden": 6, "conditional_hidden": 6}
TABLE = {
    "x2": _model(steps=(3,), conditional_steps=(1,)),
    "x4": _model(),
    "x8_grey": _model(steps=(1, 2, 1), conditional_steps=(0, 1, 1), image_channels=1, **ONE),
    "x16": _model(steps=(1, 1, 1, 1), conditional_steps=(1, 0, 1, 0), **ONE),
    "rescaling_odd": _model("rescaling", steps=(1, 4)),
    "deep_where_small": _model(
        blocks=((1, 1), (1, 2)), features=(2, 3), growth=(2, 3), hidden=(6, 4)
    ),
    "own_steps": _model(step=bent),
}
ON_EVERY_PYTHON = ("x2", "x4", "x8_grey", "rescaling_odd")
"""The other rows differ from these in what hardly depends on versions."""

rows = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in ON_EVERY_PYTHON))
        for name in TABLE
    ],
)


class Case:
    """A row with random float64 weights and its jitted methods."""

    def __init__(self, name):
        self.model = TABLE[name]
        shapes = jax.eval_shape(self.model.init_params, jax.random.key(0))
        self.params = randomized(shapes)
        self.encode = jax.jit(self.model.encode)
        self.decode = jax.jit(self.model.decode)

    def image(self, seed=0, batch=2):
        side = self.model.scale
        shape = (batch, side, 2 * side, self.model.image_channels)
        return jnp.asarray(np.random.default_rng(seed).random(shape))

    def latents(self, seed=0, batch=2):
        rng = np.random.default_rng(seed)
        lr = jnp.asarray(rng.random((batch, 1, 2, self.model.image_channels)))
        shapes = self.model.latent_shapes(lr.shape)
        return lr, [jnp.asarray(rng.standard_normal(shape)) for shape in shapes]


case = functools.cache(Case)


@rows
def test_round_trip_from_both_ends(name):
    row = case(name)
    hr = row.image()
    encoding = row.encode(row.params, hr)
    back = row.decode(row.params, encoding.lr, encoding.latents)
    np.testing.assert_allclose(back, hr, rtol=0, atol=1e-9)
    lr, latents = row.latents()
    again = row.encode(row.params, row.decode(row.params, lr, latents))
    np.testing.assert_allclose(again.lr, lr, rtol=0, atol=1e-9)
    for a, b in zip(again.latents, latents, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


@accelerator
@pytest.mark.parametrize("task", ["sr", "rescaling"])
def test_round_trips_in_float32(task):
    model = _model(task)
    params = randomized(jax.eval_shape(model.init_params, jax.random.key(0)), dtype=np.float32)
    hr = np.random.default_rng(0).random((2, 16, 24, 3), np.float32)
    encoding = jax.jit(model.encode)(params, hr)
    for weights in (params, model.prepare(params)):
        back = jax.jit(model.decode)(weights, encoding.lr, encoding.latents)
        np.testing.assert_allclose(back, hr, rtol=0, atol=tolerance("round trip"))


@rows
def test_likelihood_is_the_change_of_variables(name):
    """log p(hr) = Σ log N(latents; 0, 1) + log|det ∂(lr, latents)/∂hr|, by the whole Jacobian."""
    row = case(name)
    hr = row.image(batch=1)

    @jax.jit
    def flat(v):
        encoding = row.model.encode(row.params, v.reshape(hr.shape))
        return jnp.concatenate([encoding.lr.ravel(), *(e.ravel() for e in encoding.latents)])

    encoding = row.encode(row.params, hr)
    log_det = jnp.linalg.slogdet(jax.jacrev(flat)(hr.ravel()))[1]
    expected = sum(gaussian_logp(latent)[0] for latent in encoding.latents) + log_det
    found = encoding.log_det[0] + encoding.log_prior[:, 0].sum()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


@rows
def test_batch_elements_are_independent(name):
    row = case(name)
    hr = row.image()
    a, b = row.encode(row.params, hr), row.encode(row.params, hr.at[1].add(0.1))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = (v.T if v.ndim == 2 else v for v in (x, y))
        np.testing.assert_allclose(x[0], y[0], rtol=0, atol=1e-12)


@rows
def test_gradient_reaches_every_parameter(name):
    row = case(name)
    hr = row.image()
    lr = hr[:, :: row.model.scale, :: row.model.scale]

    def objective(params):
        if row.model.task == "sr":
            return losses.nll(losses.likelihood(row.model, params, hr, lr, 64))
        latents = row.model.draw_latents(jax.random.key(0), lr, 1.0)
        return sum(losses.rescaling_losses(row.model, params, latents, hr, lr).values())

    assert_reached(jax.jit(jax.grad(objective))(row.params))


@pytest.mark.parametrize("name", ["x4", "rescaling_odd"])
def test_jit_and_preparation_change_nothing(name):
    row = case(name)
    lr, latents = row.latents()
    quick = row.decode(row.params, lr, latents)
    np.testing.assert_allclose(row.model.decode(row.params, lr, latents), quick, rtol=0, atol=1e-12)
    for a, b in zip(
        jax.tree.leaves(row.model.encode(row.params, quick)),
        jax.tree.leaves(row.encode(row.params, quick)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11)
    prepared = row.model.prepare(row.params)
    np.testing.assert_allclose(row.decode(prepared, lr, latents), quick, rtol=0, atol=1e-9)
    encoding = row.encode(prepared, quick)
    np.testing.assert_allclose(encoding.lr, lr, rtol=0, atol=1e-9)


def test_sampling_follows_key_and_temperature():
    row = case("x4")
    lr, _ = row.latents()
    sample = jax.jit(row.model.sample)
    one, two = jax.random.key(1), jax.random.key(2)
    a = sample(row.params, one, lr, 0.8)
    assert a.shape == (2, 4, 8, 3) and a.min() >= 0 and a.max() <= 1
    np.testing.assert_array_equal(a, sample(row.params, one, lr, 0.8))
    assert np.any(a != sample(row.params, two, lr, 0.8))
    np.testing.assert_array_equal(
        sample(row.params, one, lr, 0.0), sample(row.params, two, lr, 0.0)
    )
    latents = row.model.draw_latents(one, lr, 0.8)
    expected = jnp.clip(row.decode(row.params, lr, latents), 0, 1)
    np.testing.assert_allclose(a, expected, atol=1e-12)


def test_samples_of_one_image_are_those_of_its_copies():
    row = case("x4")
    lr, key = row.latents()[0][:1], jax.random.key(1)
    found = jax.jit(row.model.sample, static_argnums=4)(row.params, key, lr, 0.8, 2)
    copies = jnp.repeat(lr, 2, axis=0)
    latents = row.model.draw_latents(key, copies, 0.8)
    expected = jnp.clip(row.decode(row.params, copies, latents), 0, 1)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    with pytest.raises(ValueError, match="2 samples can be of one LR image, got 3"):
        row.model.sample(row.params, key, jnp.repeat(lr, 3, axis=0), 0.8, 2)


@pytest.mark.slow
def test_init_normalises_what_reaches_the_actnorms():
    model = TABLE["x4"]
    hr = jnp.asarray(np.random.default_rng(0).random((4, 16, 16, 3)), jnp.float32)
    params = model.init(jax.random.key(0), hr)
    z, _ = model.levels[0].squeeze.forward({}, hr)
    first = jax.tree.map(lambda v: v[0], params["level0"]["flow"]["turns"]["affine"])
    z = (z + first["actnorm"]["bias"]) * jnp.exp(first["actnorm"]["logs"])
    np.testing.assert_allclose(z.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(z.std((0, 1, 2)), 1, atol=1e-3)
    encoding = jax.jit(model.encode)(params, hr)
    for latent in encoding.latents:
        assert 0.2 < float(latent.std()) < 5
    assert np.all(np.isfinite(encoding.log_det))


@pytest.mark.slow
def test_init_reaches_steps_of_ones_own():
    model = TABLE["own_steps"]
    hr = jnp.asarray(np.random.default_rng(0).random((4, 16, 16, 3)), jnp.float32)
    params = model.init(jax.random.key(0), hr)
    z, _ = model.levels[0].squeeze.forward({}, hr)
    chain = model.levels[0].flow
    z, _ = chain.forward(params["level0"]["flow"], z)
    np.testing.assert_allclose(z.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(z.std((0, 1, 2)), 1, atol=1e-3)
    for level in params.values():
        for steps in (level["flow"], level["conditional"]):
            assert np.all(steps["turns"]["affine"]["norm"]["logs"] != 0)


def test_steps_of_ones_own_are_asked_for_every_step():
    asked = []

    def own(step, channels, cond_channels):
        asked.append((channels, cond_channels))
        return step

    plain, model = TABLE["x4"], _model(step=own)
    shapes = [jax.eval_shape(m.init_params, jax.random.key(0)) for m in (plain, model)]
    assert shapes[0] == shapes[1] and asked == [(12, 0), (6, 8), (24, 0), (21, 8)]
    assert hash(model) == hash(_model(step=own)) and model != plain


def test_parameters_stay_float32_when_convolutions_are_not():
    model = dataclasses.replace(case("x4").model, dtype="bfloat16")
    hr = jax.ShapeDtypeStruct((2, 8, 8, model.image_channels), jnp.float32)
    params = jax.eval_shape(model.init_params, jax.random.key(0))
    fitted = jax.eval_shape(model.data_init, params, hr)
    assert {x.dtype for x in jax.tree.leaves(fitted)} == {jnp.dtype("float32")}


@pytest.mark.slow
def test_data_init_of_shares_is_that_of_the_whole_batch():
    row = case("x4")
    hr = row.image(batch=4)
    init = functools.partial(row.model.data_init, axis_name="data")
    mapped = jax.vmap(init, in_axes=(None, 0), axis_name="data")
    shares = jax.jit(mapped)(row.params, hr.reshape(2, 2, *hr.shape[1:]))
    whole = jax.jit(row.model.data_init)(row.params, hr)
    alone = jax.jit(row.model.data_init)(row.params, hr[:2])
    changed = False
    for share, expected, part in zip(*map(jax.tree.leaves, (shares, whole, alone)), strict=True):
        np.testing.assert_allclose(share, np.stack([expected] * 2), rtol=0, atol=1e-9)
        changed |= bool(np.any(expected != part))
    assert changed


def _encode(model, params, hr):
    return model.encode(params, hr)


def _decode(model, params, hr):
    lr = hr[:, ::4, ::4]
    return model.decode(params, lr, model.draw_latents(jax.random.key(0), lr, 1.0))


def _gradient(model, params, hr):
    lr = hr[:, ::4, ::4]
    return jax.grad(lambda p: losses.nll(losses.likelihood(model, p, hr, lr, 64)))(params)


@pytest.mark.parametrize("function", [_encode, _decode, _gradient])
def test_programs_do_not_grow_with_the_number_of_steps_or_blocks(function):
    """Counts stay distinct within a model, or equal scans would share their helpers."""

    def size(unconditional, conditional, blocks):
        model = _model(
            steps=(unconditional + conditional,) * 2,
            conditional_steps=(conditional,) * 2,
            blocks=blocks,
        )
        params = jax.eval_shape(model.init_params, jax.random.key(0))
        hr = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
        program = jax.jit(functools.partial(function, model)).lower(params, hr)
        return len(program.as_text().splitlines())

    assert size(13, 11, (9, 10)) == size(7, 5, (6, 8))


@pytest.mark.parametrize("height, width", [(6, 8), (8, 10), (3, 3)])
def test_sizes_that_do_not_divide_are_refused(height, width):
    row = case("x4")
    with pytest.raises(ValueError, match=f"divide by 4, got {height}×{width}"):
        row.model.encode(row.params, jnp.zeros((1, height, width, 3)))


def test_wrong_channels_and_latents_are_refused():
    row = case("x4")
    with pytest.raises(ValueError, match=r"\[B, H, W, 3\]"):
        row.model.encode(row.params, jnp.zeros((1, 8, 8, 1)))
    with pytest.raises(ValueError, match=r"\[B, h, w, 3\]"):
        row.model.decode(row.params, jnp.zeros((1, 2, 2, 1)), [])
    lr, latents = row.latents()
    with pytest.raises(ValueError, match="needs latents"):
        row.model.decode(row.params, lr, latents[:1])


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"depth": 3}, "unknown model field 'depth'"),
        ({"task": "denoise"}, "task must be one of sr, rescaling, got 'denoise'"),
        ({"hidden": 0}, "hidden must hold whole numbers of at least 1"),
        ({"hidden": 2.5}, "got .2.5"),
        ({"steps": (2,)}, "one entry per level"),
        ({"steps": (), "conditional_steps": ()}, "one entry per level"),
        ({"steps": (2, -1)}, "steps must hold whole numbers of at least 0"),
        ({"steps": 2}, "steps must hold whole numbers"),
        ({"steps": (0, 0)}, "exceed"),
        ({"blocks": (1, 1, 1)}, "two trunks"),
        ({"blocks": ((1, 1), (1, 0))}, "blocks"),
        ({"blocks": ((1, 1),)}, "one per level"),
        ({"features": (2, 3, 4)}, "one per level"),
        ({"growth": (2, 0)}, "growth"),
        ({"step": "mine.step"}, "step must be a function .* got 'mine.step'"),
    ],
)
def test_bad_fields_are_named(fields, words):
    with pytest.raises(ValueError, match=words):
        build_model(SIZES | fields)


def test_defaults_are_the_published_x4_network():
    assert build_model({}) == HCFlow()
    assert build_model({"steps": [26, 26]}).scale == 4


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("blocks", [(1, 3), (2, 1)])
def test_two_trunks_in_one_scan_are_rrdbs_in_a_row(blocks, remat):
    """Features and gradients, against RRDBs applied one after the other."""
    trunk, rng = FeatureTrunk(blocks, 4, 2, both=True, remat=remat), np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, 3, 5, 3)))
    shapes = jax.eval_shape(trunk.init, jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda s: jnp.asarray(0.3 * rng.standard_normal(s.shape)), shapes)
    weights = jnp.asarray(rng.standard_normal((2, 3, 5, 8)))

    def one_by_one(params, x):
        conv, features = Conv(4), []
        f0 = y = conv.apply({"params": params["conv_first"]}, x)
        for i in range(sum(blocks)):
            z = y
            for j in range(RDBS):
                own = jax.tree.map(lambda leaf, i=i, j=j: leaf[i, j], params["RRDB_trunks"]["RDB"])
                z = z + 0.2 * DenseBlock(2, 4).apply({"params": own}, z)
            y = y + 0.2 * z
            features.append(y)
        f2 = conv.apply({"params": params["trunk_conv1"]}, y) + f0
        return jnp.concatenate([features[blocks[0] - 1], f2], -1)

    def scanned(params, x):
        return trunk.apply({"params": params}, x)

    results = [
        jax.jit(jax.value_and_grad(lambda *args, f=f: jnp.sum(weights * f(*args)), (0, 1)))(
            params, x
        )
        for f in (scanned, one_by_one)
    ]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), *results)
