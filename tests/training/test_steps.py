"""The pure iteration: clipping, skipping, accumulation, averages, noise, memory and precision."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from hcflow_jax.images import jpeg
from hcflow_jax.training import losses, objectives, optimizer, steps
from hcflow_jax.training.config import Recipe
from hcflow_jax.training.sections import Discriminator, RescalingLoss, SRLoss, Train
from tests.platforms import accelerator
from tests.support import randomized
from tests.tiny import ONE_LEVEL

MODEL = ONE_LEVEL["sr"]
TRAIN = Train(learning_rate=1e-3, steps=10, milestones=(0.5,))


def _batch(rows=4, seed=0, dtype=np.float64):
    hr = np.random.default_rng(seed).random((rows, 8, 8, 3))
    return {"hr": hr.astype(dtype), "lr": hr[:, ::2, ::2].astype(dtype)}


@pytest.fixture(scope="module")
def params():
    return randomized(jax.eval_shape(MODEL.init_params, jax.random.key(0)))


def _everything():
    return Recipe(
        MODEL,
        SRLoss(pixel_weight=1.0, gan_weight=0.5),
        dataclasses.replace(TRAIN, ema=0.9),
        Discriminator("patchgan", features=4, layers=1, learning_rate=1e-3),
    )


@pytest.fixture(scope="module")
def everything(params):
    """(step, state) of a recipe with every kind of update."""
    recipe = _everything()
    state = steps.create_state(recipe, params, jax.random.key(1), 8)
    state = jax.tree.map(lambda x: x.astype(float) if x.dtype == np.float32 else x, state)
    return jax.jit(partial(steps.train_step, recipe)), state


@accelerator
def test_an_iteration_moves_everything_and_the_average_a_tenth(everything):
    step, state = everything
    new, metrics = step(state, _batch(), jax.random.key(0))
    assert int(new.step) == 1 and int(new.skipped) == 0
    names = ("nll", "pixel", "gan", "d_real", "d_fake", "learning_rate")
    assert {*names, "loss/looks", "gradient_norm/discriminator"} <= metrics.keys()
    for old, after in ((state.model, new.model), (state.discriminator, new.discriminator)):
        moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), old, after)
        assert all(jax.tree.leaves(moved)), moved
    tenth = jax.tree.map(lambda old, now: 0.9 * old + 0.1 * now, state.ema, new.model.params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-9), new.ema, tenth)


def test_an_iteration_draws_its_own_noise_and_has_its_own_rates(everything):
    """Iterations count from 1: the fifth is the first at half the rate."""
    step, state = everything
    losses, rates = set(), []
    for done in (2, 3, 4):
        before = state.replace(step=jnp.int32(done))
        after, metrics = step(before, _batch(), jax.random.key(0))
        losses.add(float(metrics["nll"]))
        moves = jax.tree.map(
            lambda a, b: np.abs(a - b).max(),
            before.discriminator.params,
            after.discriminator.params,
        )
        rates.append((float(metrics["learning_rate"]), max(jax.tree.leaves(moves))))
    assert len(losses) == 3
    expected = [(1e-3, 1e-3), (1e-3, 1e-3), (5e-4, 5e-4)]
    np.testing.assert_allclose(rates, expected, rtol=1e-3)  # Adam's first step is the rate


@pytest.mark.parametrize("where", ["hr", "lr"])
def test_what_is_not_finite_changes_nothing_and_is_counted(everything, where):
    step, state = everything
    broken = _batch()
    broken[where] = np.where(np.arange(4)[:, None, None, None] == 2, np.nan, broken[where])
    after, metrics = step(state, broken, jax.random.key(0))
    after, metrics = step(after, broken, jax.random.key(0))
    assert (int(after.step), int(after.skipped), int(metrics["skipped_in_a_row"])) == (2, 2, 2)
    for name in ("model", "discriminator", "ema"):
        kept = getattr(state, name), getattr(after, name)
        jax.tree.map(np.testing.assert_array_equal, *kept)
    good, metrics = step(after, _batch(), jax.random.key(0))
    assert (int(good.skipped), int(metrics["skipped_in_a_row"])) == (2, 0)


def test_a_later_update_that_is_not_finite_undoes_those_before(everything):
    step, state = everything
    nan = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), state.discriminator.params)
    state = state.replace(discriminator=state.discriminator.replace(params=nan))
    after, metrics = step(state, _batch(), jax.random.key(0))
    assert np.isfinite(metrics["nll"]) and int(after.skipped) == 1
    for name in ("model", "discriminator", "ema"):
        jax.tree.map(np.testing.assert_array_equal, getattr(state, name), getattr(after, name))


def test_the_first_steps_of_a_gan_train_the_discriminator_alone(everything):
    _, state = everything
    step = jax.jit(partial(steps.train_step, _everything(), only_discriminator=True))
    new, metrics = step(state, _batch(), jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, state.model, new.model)
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), state.discriminator, new.discriminator)
    assert all(jax.tree.leaves(moved)) and "nll" not in metrics


def test_updates_are_clipped_adam_steps():
    state = optimizer.new_learner({"w": jnp.zeros(4), "b": jnp.zeros(())})
    gradient = jnp.array([0.0, 30.0, -1e-3, 1.0, -5.0])
    updates, opt_state = optimizer.OPTIMIZER.update(gradient, state.opt_state)
    clipped = np.clip(gradient, -5, 5)
    np.testing.assert_allclose(updates, np.sign(clipped), atol=1e-4)
    np.testing.assert_allclose(opt_state[2].mu, 0.1 * clipped, rtol=1e-6)
    many = optimizer.OPTIMIZER.update(
        jnp.full(10_000, 5.0), optimizer.new_learner(jnp.zeros(10_000)).opt_state
    )
    np.testing.assert_allclose(many[1][2].mu, 0.1 * 100 / 10_000**0.5, rtol=1e-6)


@pytest.mark.parametrize("largest", [1e-3, 1.0, 1e3])
def test_descending_is_the_optimizers_step(largest):
    rng = np.random.default_rng(0)
    params = {"w": rng.standard_normal((300, 70)), "b": rng.standard_normal(3)}
    state = optimizer.new_learner(jax.tree.map(jnp.asarray, params)).opt_state
    ours, theirs = (params, state), (params, state)
    for _ in range(3):
        gradient = jnp.asarray(largest * rng.standard_normal(21_003))
        updates, new = optimizer.OPTIMIZER.update(gradient, theirs[1])
        flat, unravel = ravel_pytree(theirs[0])
        theirs = unravel(flat - 0.01 * updates), new
        ours = optimizer.descend(ours[0], gradient, ours[1], 0.01, jnp.array(True))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), ours, theirs)
    still = optimizer.descend(*ours[:1], gradient, ours[1], 0.01, jnp.array(False))
    jax.tree.map(np.testing.assert_array_equal, ours, still)


def test_the_update_takes_no_memory_but_its_own():
    params = {str(i): jnp.ones((5, 2000), jnp.float32) for i in range(10)}
    arguments = params, jnp.ones(100_000, jnp.float32), optimizer.new_learner(params).opt_state
    update = jax.jit(partial(optimizer.descend, learning_rate=0.01), donate_argnums=(0, 2))
    planned = update.lower(*arguments, finite=jnp.array(True)).compile().memory_analysis()
    assert planned.temp_size_in_bytes < 1.1 * 4 * 100_000


@pytest.mark.parametrize("task", ["sr", "rescaling"])
def test_noise_belongs_to_an_image_and_not_to_its_device(task):
    loss = SRLoss(gan_weight=1.0) if task == "sr" else RescalingLoss()
    recipe = Recipe(ONE_LEVEL[task], loss)
    draw = jax.jit(partial(objectives.draw_noise, recipe))
    whole = draw(jax.random.key(3), _batch())
    parts = [
        draw(jax.random.key(3), {k: v[i : i + 2] for k, v in _batch().items()}, i) for i in (0, 2)
    ]
    joined = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    jax.tree.map(np.testing.assert_array_equal, whole, joined)
    latents = whole["latents"][0]
    assert np.any(latents[0] != latents[1])
    if task == "sr":
        noise = whole["dequantization"]
        assert -0.5 / 64 <= noise.min() < -0.4 / 64 and 0.4 / 64 < noise.max() < 0.5 / 64


@pytest.mark.slow
def test_a_share_of_the_small_pictures_are_jpegs():
    loss = RescalingLoss(jpeg_share=0.75, jpeg_qualities=(60, 62))
    recipe = Recipe(ONE_LEVEL["rescaling"], loss)
    rows = {name: np.repeat(x[:1], 400, 0) for name, x in _batch().items()}
    drawn = jax.jit(partial(objectives.draw_noise, recipe))(jax.random.key(3), rows)
    assert set(np.unique(drawn["quality"])) == {0, 60, 61, 62}
    assert 0.68 < np.mean(drawn["quality"] > 0) < 0.82 and 0.4 < np.mean(drawn["halved"]) < 0.6
    images = np.random.default_rng(0).random((3, 16, 16, 3))
    qualities, halved = np.array([0, 80, 80]), np.array([True, False, True])
    found = losses.as_jpegs(images, qualities, halved)
    expected = [losses.quantize(images[0])]
    expected += [jpeg.compress(images[1:2], 80, "4:4:4")[0], jpeg.compress(images[2:], 80)[0]]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_small_pictures_pass_a_jpeg_before_they_are_restored():
    model = ONE_LEVEL["rescaling"]
    params = randomized(jax.eval_shape(model.init_params, jax.random.key(0)))
    recipe = Recipe(model, RescalingLoss(jpeg_share=1.0))
    batch = objectives.draw_noise(recipe, jax.random.key(0), _batch(2))

    def restored(params, batch):
        small = jnp.clip(model.encode(params, batch["hr"]).lr, 0, 1)
        saved = losses.as_jpegs(small, batch["quality"], batch["halved"])
        error = jnp.clip(model.decode(params, saved, batch["latents"]), 0, 1) - batch["hr"]
        return jnp.mean(jnp.abs(error))

    objective = jax.value_and_grad(partial(objectives._rescaling, recipe), has_aux=True)
    (_, (terms, _)), gradients = jax.jit(objective)(params, batch)
    np.testing.assert_allclose(terms["hr"], jax.jit(restored)(params, batch), rtol=1e-9)
    found = ravel_pytree(gradients)[0]
    assert np.all(np.isfinite(found)) and np.any(found)


def _loss(model, params, batch):
    recipe = Recipe(model, SRLoss())
    noise = objectives.draw_noise(recipe, jax.random.key(0), batch)
    return objectives._nll(recipe, params, noise)


@pytest.mark.slow
def test_accumulated_gradients_are_those_of_the_whole_batch(params):
    loss = partial(_loss_given, MODEL)
    batch = objectives.draw_noise(Recipe(MODEL, SRLoss()), jax.random.key(0), _batch())
    both = [
        jax.jit(partial(optimizer._value_and_grad, loss, micro_batches=count))(params, batch)
        for count in (1, 4)
    ]
    close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    jax.tree.map(close, *both)


def _loss_given(model, params, batch):
    return objectives._nll(Recipe(model, SRLoss()), params, batch)


@pytest.fixture(scope="module")
def plain(params):
    """The likelihood's value, metrics and gradient."""
    loss = jax.value_and_grad(partial(_loss, MODEL), has_aux=True)
    return jax.jit(loss)(params, _batch())


@pytest.mark.slow
def test_rematerialisation_changes_nothing_but_memory(params, plain):
    model = dataclasses.replace(MODEL, remat=True)
    loss = jax.jit(jax.value_and_grad(partial(_loss, model), has_aux=True))
    again = loss(params, _batch())
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9), plain, again)
    large = {k: np.zeros((1, 8 * v.shape[1], 8 * v.shape[2], 3)) for k, v in _batch().items()}
    stored = []
    for remat in (False, True):
        deep = dataclasses.replace(MODEL, steps=(30,), remat=remat)
        shapes = jax.eval_shape(deep.init_params, jax.random.key(0))
        grad = jax.jit(jax.grad(partial(_loss, deep), has_aux=True))
        stored.append(grad.lower(shapes, large).compile().memory_analysis().temp_size_in_bytes)
    assert stored[1] < 0.7 * stored[0], stored


@pytest.mark.slow
def test_memory_of_reversible_steps_does_not_grow_with_their_number():
    large = {k: np.zeros((1, 8 * v.shape[1], 8 * v.shape[2], 3)) for k, v in _batch().items()}

    def temporaries(steps, conditional, **saving):
        model = dataclasses.replace(
            MODEL, steps=(steps,), conditional_steps=(conditional,), **saving
        )
        shapes = jax.eval_shape(model.init_params, jax.random.key(0))
        weights = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
        grad = jax.jit(jax.grad(partial(_loss, model), has_aux=True))
        plan = grad.lower(shapes, large).compile().memory_analysis()
        return plan.temp_size_in_bytes - 3 * weights  # gradients, and copies of the weights

    for few, many in (((4, 1), (34, 1)), ((4, 3), (34, 33))):
        assert temporaries(*many, reversible=True) < 1.1 * temporaries(*few, reversible=True)
        assert temporaries(*many) > 1.5 * temporaries(*few)


def test_bfloat16_computes_convolutions_alone(params, plain):
    model = dataclasses.replace(MODEL, dtype="bfloat16")
    single = jax.tree.map(lambda x: x.astype(jnp.float32), params)
    batch = _batch(dtype=np.float32)
    loss = jax.jit(jax.value_and_grad(partial(_loss, model), has_aux=True))
    (value, _), gradients = loss(single, batch)
    np.testing.assert_allclose(value, plain[0][0], rtol=0.02)
    assert {x.dtype for x in jax.tree.leaves(gradients)} == {jnp.dtype("float32")}
    encoding = jax.eval_shape(model.encode, single, batch["hr"])
    assert {x.dtype for x in jax.tree.leaves(encoding)} == {jnp.dtype("float32")}
    plainly = dataclasses.replace(model, kernels="plain")  # of which only the flow has dots
    text = jax.jit(plainly.encode).lower(single, batch["hr"]).as_text()
    products = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    assert products and all("bf16" in line for line in products)
    dots = [line for line in text.splitlines() if "dot_general" in line]
    assert dots and all("HIGHEST" in line and "bf16" not in line for line in dots)


@pytest.mark.parametrize("kind", losses.GAN_TYPES)
def test_adversarial_losses_have_their_formulas(kind):
    real, fake = np.array([[0.3], [-1.2]]), np.array([[0.7], [2.0]])

    def bce(x, target):
        p = 1 / (1 + np.exp(-x))
        return np.mean(-target * np.log(p) - (1 - target) * np.log(1 - p))

    r, f = real - fake.mean(), fake - real.mean()
    expected = {
        "gan": (bce(real, 1) + bce(fake, 0), bce(fake, 1)),
        "lsgan": (np.mean((real - 1) ** 2) + np.mean(fake**2), np.mean((fake - 1) ** 2)),
        "wgan": (fake.mean() - real.mean(), -fake.mean()),
        "ragan": ((bce(r, 1) + bce(f, 0)) / 2, (bce(r, 0) + bce(f, 1)) / 2),
    }[kind]
    total, on_real, on_fake = losses.discriminator_losses(kind, real, fake)
    found = total, losses.generator_loss(kind, real, fake)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    half = 2 if kind == "ragan" else 1
    np.testing.assert_allclose((on_real + on_fake) / half, total, rtol=1e-6)


def test_distances():
    a, b = jnp.array([1.0, 2.0]), jnp.array([0.0, 5.0])
    assert losses.distance(a, b, "l1") == 2 and losses.distance(a, b, "l2") == 5
