"""The same batch on one, two and eight devices, on several processes, and for other platforms."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from functools import partial

import jax
import numpy as np
import pytest

from hcflow_jax import checkpoints, devices
from hcflow_jax.training import recipes, steps
from tests.command import ONE_LEVEL, arguments, config, log, photographs, recipe, saved, start
from tests.platforms import simulated

EIGHT_DEVICES = """
import sys
import time
import jax
import numpy as np
from tests.training import test_devices
jax.config.update("jax_enable_x64", True)
np.savez(sys.argv[1], **test_devices.eight(), **test_devices.compiled())
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
    for way, count in (("pmap", 1), ("pmap", 8), ("jit", 8)):
        spread = devices.spread(way, jax.devices()[:count])
        init = spread.mapped(partial(recipe.model.data_init, axis_name=devices.AXIS))
        fitted = init(spread.replicate(params), spread.stacked(hr))
        fitted = jax.tree.map(lambda x: devices.local_shards(x)[0], fitted)
        _keep(found, f"{way} init {count}", fitted)
        if state is None:  # the first fit, so that the iterations start equal
            fitted = jax.tree.map(_spread, fitted)
            state = steps.create_state(recipe, fitted, jax.random.key(1), 16)
            state = jax.tree.map(_double, state)
        own, vgg = spread.replicate(state), spread.replicate({})
        step = spread.step(partial(steps.train_step, recipe))
        for _ in range(2):
            own, metrics = step(own, spread.shard(batch), jax.random.key(2), vgg)
        _keep(found, f"{way} step {count}", spread.fetch((own, metrics)))
    return found


COLLECTIVE = re.compile(r" = (.*?) (all-\w+|reduce-scatter|ragged-\S+|collective-\w+)(?:-start)?\(")


COMPILED = {"sr_x4": "pmap", "rescaling_x4": "jit"}


def compiled():
    """Of iterations compiled for eight devices: collectives, bytes of the state and reused ones."""
    found = {}
    for name, way in COMPILED.items():
        training = recipe(config(name, "smoke"))
        state, batch, vgg = steps.abstract_arguments(training, 8, 32)
        key, arguments = jax.eval_shape(lambda: jax.random.key(0)), (state, batch, vgg)
        if way == "pmap":  # arrays have an axis of the devices
            arguments = _on_each(state), _split(batch), _on_each(vgg)
        whole, parts, weights = arguments
        step = devices.spread(way).step(partial(steps.train_step, training))
        program = step.lower(whole, parts, key, weights).compile()
        found[f"{name}/collectives"] = COLLECTIVE.findall(program.as_text())
        found[f"{name}/reused"] = program.memory_analysis().alias_size_in_bytes
        for what, tree in (("state", state), ("parameters", state.model.params)):
            found[f"{name}/{what}"] = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
    return found


def _on_each(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((8, *x.shape), x.dtype), tree)


def _split(batch):
    split = lambda shape: (8, shape[0] // 8, *shape[1:])  # noqa: E731
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(split(x.shape), x.dtype), batch)


@pytest.mark.parametrize("name", COMPILED)
def test_one_sum_of_the_gradients_is_all_that_devices_exchange(arrays, name):
    ((shapes, operation),) = arrays[f"{name}/collectives"]
    sizes = [np.prod([int(side) for side in text.split(",") if side], dtype=int)
             for text in re.findall(r"f32\[([\d,]*)\]", shapes)]  # fmt: skip
    assert operation == "all-reduce"
    assert 0 < 4 * sum(sizes) - arrays[f"{name}/parameters"] <= 4 * 8  # and a few figures


@pytest.mark.parametrize("name", COMPILED)
def test_the_state_is_updated_in_place(arrays, name):
    assert arrays[f"{name}/reused"] == arrays[f"{name}/state"] > 0


def _dispatched(way, recipe):
    """(calls of functions to dispatch a compiled iteration, arrays of its state).

    The program only adds 1 to the state: what is inside a program is no work of the host.
    """
    spread = devices.spread(way)
    zeros = partial(jax.tree.map, lambda x: np.zeros(x.shape, x.dtype))
    state, batch, vgg = zeros(steps.abstract_arguments(recipe, 2 * jax.device_count(), 32))

    def step(state, batch, rng, vgg, axis_name):
        loss = jax.random.uniform(rng) + batch["hr"].mean() + batch["lr"].mean()
        return jax.tree.map(lambda x: x + 1, state), {"loss": jax.lax.pmean(loss, axis_name)}

    state, key, vgg = spread.replicate(state), jax.random.key(0), spread.replicate(vgg)
    program = spread.step(step).lower(state, spread.shard(batch), key, vgg).compile()
    counts, before = [], sys.getprofile()
    for _ in range(6):  # JAX keeps at first what it knows of the arguments
        counts.append(Counter())
        sys.setprofile(lambda frame, event, argument: counts[-1].update([event]))
        try:
            state, _ = program(state, spread.shard(batch), key, vgg)
        finally:
            sys.setprofile(before)
    return min(count["call"] + count["c_call"] for count in counts), len(jax.tree.leaves(state))


@pytest.mark.parametrize("way", devices.WAYS)
def test_the_host_does_no_more_for_a_larger_model(way):
    """The depth that was published has as many arrays as the least, as copies are stacked.

    Levels add arrays, none of which Python looks at: two calls for each would be found, although
    JAX's caches make up to 42 calls more or less.
    """

    def dispatched(levels, steps, blocks):
        found = config("sr_x4", "smoke")
        found.model.update(
            {
                "steps": (steps,) * levels,
                "conditional_steps": (steps // 2,) * levels,
                "blocks": (blocks, blocks),
            }
        )
        return _dispatched(way, recipe(found))

    least, arrays = dispatched(2, 2, 1)
    deep, as_many = dispatched(2, 26, 7)
    wide, more = dispatched(4, 2, 1)
    assert as_many == arrays and more > arrays + 80
    assert least > 50 and max(deep, wide) < least + (more - arrays)


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
    subprocess.run(
        [sys.executable, "-c", EIGHT_DEVICES, str(path)],
        env=os.environ | simulated(8),
        check=True,
    )
    return np.load(path)


@pytest.mark.parametrize(
    "way, reference",
    [
        ("pmap init 8", "pmap init 1"),
        ("pmap step 8", "pmap step 1"),
        ("jit init 8", "pmap init 8"),
        ("jit step 8", "pmap step 8"),
    ],
)
def test_however_a_batch_is_spread_the_numbers_are_the_same(arrays, way, reference):
    names = [n.removeprefix(f"{reference}/") for n in arrays.files if n.startswith(f"{reference}/")]
    assert len(names) > 30
    for name in names:
        found, expected = arrays[f"{way}/{name}"], arrays[f"{reference}/{name}"]
        bound = 0 if way.startswith("jit") else TOLERANCE
        atol = bound * np.abs(expected).max() + 1e-12
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=name)


def _port():
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]


def _started(workdir, processes, count, *flags):
    """What each of `processes` said, with `count` devices, that trained together; all succeed."""
    shared = flags
    if processes > 1:
        shared += (f"--coordinator=localhost:{_port()}", f"--processes={processes}")
    running = [
        start(workdir, *shared, f"--process={i}", environment=simulated(count))
        for i in range(processes)
    ]
    said = [process.communicate(timeout=900)[0] for process in running]
    assert [process.returncode for process in running] == [0] * processes, said
    return said


@pytest.mark.slow
def test_processes_train_as_one(tmp_path, monkeypatch):
    """Four of two devices, then two of four, by jit, as one of eight."""
    monkeypatch.chdir(tmp_path)
    photographs("photos")
    photographs("others", count=3, seed=1)
    flags = ("--config.valid.path=others", "--config.valid.samples=2")
    flags += ("--config.train.learning_rate=1e-6", "--config.train.gamma=1.0")
    flags += ("--config.train.batch_size=8",)
    last = "--config.train.steps=4"
    _started("one", 1, 8, *flags, last)
    said = _started("many", 4, 2, *flags, "--config.train.steps=2")
    assert "8 × cpu (cpu) of 4 processes" in said[0]
    assert not any("training" in words for words in said[1:])
    jax.tree.map(_assert_close, saved("many", 2), saved("one", 2))
    said = _started("many", 2, 4, *flags, last, "--config.train.parallel=jit")
    assert "resuming from step 2" in said[0] and "8 × cpu (cpu) of 2 processes" in said[0]
    for ours, theirs in zip(log("many"), log("one"), strict=True):
        assert ours.keys() == theirs.keys()
        np.testing.assert_allclose(list(ours.values()), list(theirs.values()), 1e-4, 1e-4)
    jax.tree.map(_assert_close, saved("many", 4), saved("one", 4))
    assert (tmp_path / "many/checkpoints/4/hashes").is_dir()
    checkpoints.load_model("many")  # compares


def _assert_close(found, expected):
    """Adam's moments show the gradients; a step moves parameters by at most the rate, 1e-6."""
    atol = 1e-4 * np.abs(expected).max() + 5e-6
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_processes_that_differ_are_told_in_what(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    gather = lambda mine: np.stack([mine, mine + [0, 1]])  # noqa: E731
    monkeypatch.setattr(devices.multihost_utils, "process_allgather", gather)
    with pytest.raises(ValueError, match="differ in their config"):
        devices.check_agreement({"their data": "a", "their config": "b"})


@pytest.mark.parametrize(
    "name, variant, saving",
    [(*page, False) for page in recipes.PUBLISHED]
    + [("sr_x8", "hcflow", True), ("rescaling_x4", "hcflow", True)],
)
def test_full_size_recipes_lower_for_gpus_and_tpus(name, variant, saving):
    with jax.enable_x64(False):
        found = config(name, variant)
        found.model.update(remat=saving, reversible=saving, kernels="plain")
        training = recipe(found)
        state, batch, vgg = steps.abstract_arguments(training, 4, 160)
        key = jax.eval_shape(lambda: jax.random.key(0))
        step = devices.spread("jit").step(partial(steps.train_step, training))
        exported = jax.export.export(step, platforms=["cuda", "tpu"])(state, batch, key, vgg)
    assert exported.platforms == ("cuda", "tpu") and exported.nr_devices == 2
    assert "all_reduce" in exported.mlir_module()
    assert [x.shape for x in exported.out_avals[: len(jax.tree.leaves(state))]] == [
        x.shape for x in jax.tree.leaves(state)
    ]


IMPATIENT = """
import sys
from hcflow_jax import cli
from hcflow_jax.errors import UserError
from hcflow_jax.training import loop, peers
peers.INTERVAL_S, peers.SILENCE_S = 0.5, 4.0
if sys.argv.pop(1) == "failed" and sys.argv[-1] == "--process=1":
    class Failing(loop.Training):
        def save(self, state, *rest):
            raise UserError("this disk is full")
    loop.Training = Failing
sys.exit(cli.main(sys.argv[1:]))
"""


@contextlib.contextmanager
def _endless(how):
    """Two processes that train together in `run`; "failed" is the one that cannot save."""
    photographs("photos")
    flags = [*ONE_LEVEL, "--config.train.steps=1000000", "--config.train.log_every=1000000"]
    flags += ["--config.train.save_every=2", f"--coordinator=localhost:{_port()}", "--processes=2"]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", IMPATIENT, how, *arguments("run", *flags, f"--process={i}")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in (0, 1)
    ]
    try:
        yield running
    finally:
        for process in running:
            process.kill()


def _await_checkpoint(running):
    while not os.path.isdir("run/checkpoints/2"):
        assert running[0].poll() is None
        time.sleep(0.2)


@pytest.mark.slow
def test_when_one_process_is_preempted_all_save_and_stop(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with _endless("preempted") as running:
        _await_checkpoint(running)
        running[1].terminate()
        said = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    last = max(checkpoints.finished_steps(tmp_path / "run/checkpoints"))
    assert f"stopped at step {last}, saved" in "".join(said[0])
    assert (tmp_path / f"run/checkpoints/{last}/hashes").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "failed"])
def test_a_process_that_ends_ends_the_others(tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    with _endless(how) as running:
        if how == "killed":
            _await_checkpoint(running)
            running[1].kill()
        said = [process.communicate(timeout=120)[1] for process in running]
    assert "hcflow: " in said[0], said
    (line,) = [line for line in said[0].splitlines() if line.startswith("hcflow: ")]
    told = {"killed": "process 1 was not heard of for", "failed": "process 1 failed, see what it"}
    assert told[how] in line and "start all again" in line
    assert "Traceback" not in "".join(said) and "Check failure" not in "".join(said)
    assert running[0].returncode == 3
    if how == "failed":
        assert running[1].returncode == 2 and "hcflow: this disk is full" in said[1]
