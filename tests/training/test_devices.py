"""The same batch on one, two and eight devices, on several processes, and for other platforms."""

import os
import socket
import subprocess
import sys
from functools import partial

import jax
import numpy as np
import pytest

from hcflow_jax import checkpoints
from hcflow_jax.training import parallel, recipes, steps
from tests.command import config, log, photographs, recipe, saved, start

EIGHT_DEVICES = """
import sys
import jax
import numpy as np
from tests.training import test_devices
jax.config.update("jax_enable_x64", True)
np.savez(sys.argv[1], **test_devices.eight())
"""
TOLERANCE = 1e-9
"""Of an array's largest value, in float64; in float32 Adam's first steps follow rounding errors."""


def _small():
    found = config("sr_x4", "plusplus-smoke")
    found.model.update({"steps": (2,), "conditional_steps": (1,)})
    found.discriminator.update({"kind": "patchgan", "layers": 1})
    found.loss.update({"gan_type": "ragan", "pixel_weight": 0.0})
    return recipe(found)


def eight():
    """Arrays after two iterations of one global batch: {"WAY/array": values}."""
    recipe = _small()
    rng = np.random.default_rng(0)
    hr = rng.random((8, 16, 16, 3))
    batch = {"hr": hr, "lr": hr[:, ::2, ::2]}
    params = jax.jit(recipe.model.init_params)(jax.random.key(0, impl="unsafe_rbg"))
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    found, state = {}, None
    for devices in (1, 2, 8):
        chosen = jax.devices()[:devices]
        copy = jax.pmap(lambda tree, _: tree, axis_name="data", in_axes=(None, 0), devices=chosen)
        split = jax.tree.map(lambda x, n=devices: x.reshape(n, -1, *x.shape[1:]), batch)
        init = jax.pmap(
            partial(recipe.model.data_init, axis_name="data"), axis_name="data", devices=chosen
        )
        fitted = parallel.fetch(init(copy(params, np.zeros(devices)), split["hr"]))
        _keep(found, f"init{devices}", fitted)
        if state is None:  # the first fit, so that the iterations start equal
            fitted = jax.tree.map(_spread, fitted)
            state = steps.create_state(recipe, fitted, jax.random.key(1), 16)
            state = jax.tree.map(_double, state)
        own = copy(state, np.zeros(devices))
        step = parallel.pmap_step(partial(steps.train_step, recipe), chosen)
        for _ in range(2):
            own, metrics = step(own, split, jax.random.key(2), copy({}, np.zeros(devices)))
        _keep(found, f"step{devices}", parallel.fetch((own, metrics)))
    step = parallel.shard_map_step(partial(steps.train_step, recipe))
    own = state
    for _ in range(2):
        own, metrics = step(own, batch, jax.random.key(2), {})
    _keep(found, "shard_map", jax.tree.map(np.asarray, (own, metrics)))
    return found


def _double(x):
    return np.asarray(x, np.float64 if x.dtype == np.float32 else x.dtype)


def _spread(x):
    """Zero-initialised convolutions away from zero, so that every gradient counts."""
    if x.ndim < 2 or np.any(x):
        return x
    return np.random.default_rng(x.size).normal(0, 0.05, x.shape).astype(x.dtype)


def _keep(found, name, tree):
    for path, x in jax.tree_util.tree_leaves_with_path(tree):
        found[f"{name}/{jax.tree_util.keystr(path)}"] = x


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """What `eight` returns, from a process with eight simulated devices."""
    path = tmp_path_factory.mktemp("devices") / "arrays.npz"
    flags = os.environ["XLA_FLAGS"].replace("device_count=2", "device_count=8")
    subprocess.run(
        [sys.executable, "-c", EIGHT_DEVICES, str(path)],
        env=os.environ | {"XLA_FLAGS": flags},
        check=True,
    )
    return np.load(path)


@pytest.mark.parametrize(
    "way, reference",
    [
        ("init2", "init1"),
        ("init8", "init1"),
        ("step2", "step1"),
        ("step8", "step1"),
        ("shard_map", "step8"),
    ],
)
def test_however_a_batch_is_spread_the_numbers_are_the_same(arrays, way, reference):
    names = [n.removeprefix(f"{reference}/") for n in arrays.files if n.startswith(f"{reference}/")]
    assert len(names) > 30
    for name in names:
        found, expected = arrays[f"{way}/{name}"], arrays[f"{reference}/{name}"]
        atol = TOLERANCE * np.abs(expected).max() + 1e-12
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=name)


def _port():
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]


def test_two_processes_train_as_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photographs("photos")
    photographs("others", count=3, seed=1)
    flags = ("--config.train.steps=2", "--config.valid.path=others", "--config.valid.samples=2")
    flags += ("--config.train.learning_rate=1e-6",)
    four = os.environ["XLA_FLAGS"].replace("device_count=2", "device_count=4")
    one = start("one", *flags, environment={"XLA_FLAGS": four})
    assert one.wait(120) == 0, one.stdout.read()
    shared = (*flags, f"--coordinator=localhost:{_port()}", "--processes=2")
    both = [start("two", *shared, f"--process={i}") for i in (0, 1)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "4 × cpu (cpu) of 2 processes" in said[0] and "training" not in said[1]
    for ours, theirs in zip(log("two"), log("one"), strict=True):
        assert ours.keys() == theirs.keys()
        np.testing.assert_allclose(list(ours.values()), list(theirs.values()), 1e-4, 1e-4)
    jax.tree.map(_assert_close, saved("two", 2), saved("one", 2))
    assert (tmp_path / "two/checkpoints/2/hashes").is_dir()
    checkpoints.load_model("two")  # compares


def _assert_close(found, expected):
    """Adam's moments show the gradients; a step moves parameters by at most the rate, 1e-6."""
    atol = 1e-4 * np.abs(expected).max() + 5e-6
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_processes_that_differ_are_told_in_what(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    gather = lambda mine: np.stack([mine, mine + [0, 1]])  # noqa: E731
    monkeypatch.setattr(parallel.multihost_utils, "process_allgather", gather)
    with pytest.raises(ValueError, match="differ in their config"):
        parallel.check_agreement({"their data": "a", "their config": "b"})


@pytest.mark.parametrize(
    "name, variant, saving",
    [(*page, False) for page in recipes.PUBLISHED]
    + [("sr_x8", "hcflow", True), ("rescaling_x4", "hcflow", True)],
)
def test_full_size_recipes_lower_for_gpus_and_tpus(name, variant, saving):
    with jax.enable_x64(False):
        found = config(name, variant)
        found.model.update(remat=saving, reversible=saving)
        training = recipe(found)
        state, batch, vgg = steps.abstract_arguments(training, 4, 160)
        key = jax.eval_shape(lambda: jax.random.key(0))
        step = parallel.shard_map_step(partial(steps.train_step, training))
        exported = jax.export.export(step, platforms=["cuda", "tpu"])(state, batch, key, vgg)
    assert exported.platforms == ("cuda", "tpu") and exported.nr_devices == 2
    assert "all_reduce" in exported.mlir_module()
    assert [x.shape for x in exported.out_avals[: len(jax.tree.leaves(state))]] == [
        x.shape for x in jax.tree.leaves(state)
    ]
