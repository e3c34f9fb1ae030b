"""What the published networks cost, counted: arithmetic, memory, size of programs."""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, NamedSharding
from jax.sharding import PartitionSpec as P

from experiments.counting import equations, flops, reduced_bytes
from hcflow_jax import build_model
from hcflow_jax.training import memory, recipes, steps
from tests.command import recipe as parsed

CONFIGS = Path(__file__).parents[2] / "configs"


def _config(name, **changes):
    config = recipes.load(f"{name}:hcflow").unlock()
    config.model.update(changes)
    return config


def _image(side, batch=1):
    return jax.ShapeDtypeStruct((batch, side, side, 3), jnp.float32)


def _params(model):
    return jax.eval_shape(model.init_params, jax.random.key(0))


def _decode(model, params, lr):
    shapes = model.latent_shapes(lr.shape)
    return model.decode(params, lr, [jnp.zeros(shape, lr.dtype) for shape in shapes])


def _count(function, *arguments):
    return flops(jax.make_jaxpr(function)(*arguments).jaxpr)


def _placed(mesh, spec, tree):
    """Shapes of arrays that lie on `mesh` as `spec` says: where `shard_map` expects them."""
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


@pytest.mark.parametrize("name, giga", [("sr_x4", 184.3), ("sr_x8", 146.7), ("rescaling_x4", 0)])
def test_arithmetic(name, giga):
    config = _config(name, kernels="plain")
    model = build_model(config.model)
    params, lr = _params(model), _image(160 // model.scale)
    decode = _count(partial(_decode, model), params, lr)
    encode = _count(model.encode, params, _image(160))
    assert decode == pytest.approx(encode, rel=1e-3)
    if giga:
        assert decode == pytest.approx(1e9 * giga, rel=2e-3)
    recipe = parsed(config)
    state, batch, vgg = steps.abstract_arguments(recipe, 1, 160)
    key = jax.eval_shape(lambda: jax.random.key(0))
    step = _count(partial(steps.train_step, recipe), state, batch, key, vgg)
    passes = 1 if model.task == "sr" else 2
    assert step < 3.01 * passes * encode


def test_samples_of_one_image_share_work():
    """The features of the deepest level, a sixth of the ×4 network's arithmetic."""
    model = build_model(_config("sr_x4", kernels="plain").model)
    key = jax.eval_shape(lambda: jax.random.key(0))

    def work(samples):
        draw = partial(model.sample, temperature=0.8, samples=samples)
        return _count(draw, _params(model), key, _image(40))

    assert work(4) < 0.87 * 4 * work(1)


def test_work_of_a_device_does_not_depend_on_their_number():
    """Its arithmetic, and what it communicates: the gradient and a few figures, once."""
    config = _config("sr_x8", kernels="plain")
    model = build_model(config.model)
    recipe = parsed(config)
    key = jax.eval_shape(lambda: jax.random.key(0))

    def of_one(devices):
        state, batch, vgg = steps.abstract_arguments(recipe, 2 * devices, 160)
        mesh, specs = AbstractMesh((devices,), ("data",)), (P(), P("data"), P(), P())
        step = jax.shard_map(
            partial(steps.train_step, recipe, axis_name="data"),
            mesh=mesh,
            in_specs=specs,
            out_specs=P(),
            check_vma=False,
        )
        arguments = map(partial(_placed, mesh), specs, (state, batch, key, vgg))
        jaxpr = jax.make_jaxpr(step)(*arguments).jaxpr
        return flops(jaxpr), reduced_bytes(jaxpr)

    (alone, _), (shared, communicated) = of_one(1), of_one(8)
    assert alone == shared
    gradient = sum(4 * x.size for x in jax.tree.leaves(_params(model)))
    assert gradient < communicated < gradient + 100


def test_programs_do_not_grow_with_depth():
    model = build_model(_config("sr_x4").model)

    def size(**changes):
        changed = dataclasses.replace(model, **changes)
        traced = jax.make_jaxpr(partial(_decode, changed))(_params(changed), _image(16))
        return equations(traced.jaxpr)

    plain = size()
    for depth in ({"steps": (52, 52)}, {"conditional_steps": (26, 26), "steps": (39, 39)}):
        assert size(**depth) == plain
    assert size(blocks=(28, 28)) == plain


@pytest.mark.parametrize("unroll, bodies", [(1, 1), (3, 3), (True, 8)])
def test_the_size_of_a_program_counts_what_is_unrolled(unroll, bodies):
    def turns(x):
        turn = lambda x, _: (jnp.tanh(x @ x) + 1, None)  # noqa: E731
        return jax.lax.scan(turn, x, length=8, unroll=unroll)[0]

    jaxpr = jax.make_jaxpr(turns)(jnp.eye(2)).jaxpr
    assert equations(jaxpr, ["dot_general"]) == bodies
    assert equations(jaxpr) == 1 + 3 * bodies


@pytest.mark.slow
def test_training_programs_stay_small():
    """The longest one, of rescaling: the time and the memory of its compilation go with it.

    And its temporaries, which arrays that wait for their loop from the start would add to.
    """
    config = _config("rescaling_x4", remat=True, reversible=True)
    recipe = parsed(config)
    state, batch, vgg = steps.abstract_arguments(recipe, 1, 160)
    key = jax.eval_shape(lambda: jax.random.key(0))
    step = partial(steps.train_step, recipe)
    jaxpr = jax.make_jaxpr(step)(state, batch, key, vgg).jaxpr
    assert equations(jaxpr, ["conv_general_dilated", "dot_general"]) < 470
    assert equations(jaxpr) < 14_200
    lowered = jax.jit(step, donate_argnums=0).lower(state, batch, key, vgg)
    options = memory.compiler_options("cpu") | {"xla_backend_optimization_level": 0}
    compiled = lowered.compile(compiler_options=options)
    assert compiled.memory_analysis().temp_size_in_bytes < 96e6


def test_temporary_memory_of_sampling():
    model = build_model(_config("sr_x4").model)
    params = _params(model)

    def temporaries(side):
        compiled = jax.jit(partial(_decode, model)).lower(params, _image(side)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    small, large = temporaries(64), temporaries(128)
    assert small < 72 * 2**20
    assert large < 4.1 * small
