"""Training through the command line and the pure step."""

import json
import os
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from hcflow_jax import checkpoint, cli, parallel, steps, train
from tests.support import REFERENCE
from tests.tiny import FIELDS, RESCALING, SR

CONFIG = """
import ml_collections

def get_config(task="sr"):
    model = {fields}[task]
    return ml_collections.ConfigDict(dict(
        model=model,
        data=dict(path="photos", patch_size=16, rotate=True),
        train=dict(batch_size=4, steps=4, learning_rate=1e-3, halve_at=(0.5,), quant=64, seed=0,
                   log_every=2, save_every=2),
    )).lock()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs("photos")
    rng = np.random.default_rng(0)
    for i in range(2):
        array = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(array).save(f"photos/{i}.png")
    text = CONFIG.format(fields=FIELDS)
    (tmp_path / "c.py").write_text(text)
    (tmp_path / "lame.py").write_text(text.replace("quant=64, ", ""))
    (tmp_path / "empty.py").write_text(text.replace("model=model", "modle=model"))
    (tmp_path / "wrong.py").write_text(text.replace("model=model", "model=zap"))
    return tmp_path


def _train(workdir, *flags, task="sr"):
    return cli.main(["train", f"--config=c.py:{task}", f"--workdir={workdir}", *flags])


def _log(workdir):
    with open(f"{workdir}/log.jsonl") as file:
        return [json.loads(line) for line in file]


def test_training_resumes_exactly_and_is_a_checkpoint(folder, capsys):
    assert _train("whole") == 0
    assert "step 4 " in capsys.readouterr().out
    assert _train("parts", "--config.train.steps=2", "--config.train.halve_at=(1.0,)") == 0
    assert _train("parts") == 0
    assert "from step 2 to 4" in capsys.readouterr().out
    model, whole = checkpoint.load_model("whole")
    assert model == SR
    jax.tree.map(np.testing.assert_array_equal, whole, checkpoint.load_model("parts")[1])
    assert _log("whole")[-1] == _log("parts")[-1]
    assert _train("parts") == 0
    assert _train("parts", task="rescaling") == 2
    assert "another --workdir" in capsys.readouterr().err


def test_rescaling_trains_on_two_devices_and_names_a_damaged_checkpoint(folder, capsys):
    assert _train("run", "--config.train.steps=2", task="rescaling") == 0
    assert "2 cpu device(s)" in capsys.readouterr().out
    assert checkpoint.load_model("run")[0] == RESCALING
    assert np.isfinite(_log("run")[-1]["loss"])
    (folder / "run/checkpoints/2/training").rename(folder / "away")
    before = sorted(os.listdir("run/checkpoints"))
    assert _train("run", task="rescaling") == 2
    error = capsys.readouterr().err
    assert "damaged" in error and error.count("\n") == 1
    assert sorted(os.listdir("run/checkpoints")) == before


def test_halvings_follow_the_recorded_schedule():
    recorded = np.load(REFERENCE / "modules.npz")["schedule/multistep"]
    fields = {"steps": 100, "learning_rate": 2.5e-4, "halve_at": (0.2, 0.5, 0.5, 0.7)}
    schedule = train.make_schedule(SimpleNamespace(**fields))
    np.testing.assert_allclose([schedule(i) for i in range(100)], recorded, rtol=1e-6)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--config=absent.py", "--workdir=w"], ("absent.py",)),
        (["--config=c.py:nonsense", "--workdir=w"], ("nonsense",)),
        (["--config=c.py", "--workdir=w", "--config.train.zap=1"], ("zap",)),
        (["--config=c.py", "--workdir=w", "--config.train.steps=x"], ("x",)),
        (["--config=c.py"], ("--workdir",)),
        (["--workdir=w"], ("--config",)),
        (["--config=c.py", "--workdir=w", "--config.data.path="], ("--config.data.path",)),
        (["--config=c.py", "--workdir=w", "--config.data.path=zz"], ("zz",)),
        (["--config=c.py", "--workdir=w", "--config.data.patch_size=64"], ("64",)),
        (["--config=c.py", "--workdir=w", "--config.model.hidden=0"], ("hidden", "0")),
        *(
            (["--config=c.py", "--workdir=w", f"--config.{field}={value}"], (field, value))
            for field, value in (
                ("train.steps", "0"),
                ("train.save_every", "0"),
                ("train.log_every", "0"),
                ("train.batch_size", "-2"),
                ("train.quant", "0"),
                ("train.learning_rate", "nan"),
                ("data.patch_size", "0"),
            )
        ),
        (["--config=lame.py", "--workdir=w"], ("train.quant", "configs/")),
        (["--config=empty.py", "--workdir=w"], ("model", "configs/")),
        (["--config=wrong.py", "--workdir=w"], ("zap",)),
        (["--config=c.py", "--workdir=photos/0.png"], ("photos/0.png",)),
        (["extra"], ("extra",)),
    ],
)
def test_bad_arguments(folder, capsys, flags, words):
    assert cli.main(["train", *flags]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(word in error for word in words), error
    assert not os.path.exists("w")


def _quadratic(params, rng, batch):
    value = jnp.sum(jnp.square(params["w"] - jnp.mean(batch["hr"])))
    return value, {"w": params["w"][0]}


def test_a_step_clips_and_descends():
    tx = steps.optimizer(0.1)
    state = steps.create_state({"w": jnp.array([3.0, -2.0])}, tx)
    step = jax.jit(partial(steps.train_step, _quadratic, tx))
    losses = []
    for _ in range(60):
        state, metrics = step(state, {"hr": jnp.ones((1, 2, 2, 1))}, jax.random.key(0))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.05 * losses[0] and int(state.step) == 60
    np.testing.assert_allclose(float(metrics["gradient_norm"]) ** 2, 4 * losses[-1], rtol=1e-5)


def test_two_devices_take_the_step_of_one_with_the_whole_batch():
    tx = steps.optimizer(0.1)
    state = steps.create_state({"w": jnp.array([3.0, -2.0])}, tx)
    batch = {"hr": jnp.asarray(np.random.default_rng(0).random((4, 2, 2, 1)))}

    def loss(params, rng, batch):
        error = batch["hr"][..., 0, 0] * params["w"][0] - params["w"][1]
        return jnp.mean(jnp.square(error)), {}

    one, metrics = jax.jit(partial(steps.train_step, loss, tx))(state, batch, jax.random.key(0))
    step = parallel.pmap_step(partial(steps.train_step, loss, tx))
    both, shared = step(parallel.replicate(state), parallel.shard(batch), jax.random.key(0))
    assert jax.local_device_count() == 2
    np.testing.assert_allclose(shared["loss"], [metrics["loss"]] * 2, rtol=1e-12)
    np.testing.assert_allclose(shared["gradient_norm"], [metrics["gradient_norm"]] * 2, rtol=1e-12)
    np.testing.assert_allclose(both.params["w"], [one.params["w"]] * 2, rtol=1e-12)


def test_a_step_that_is_not_finite_changes_nothing_but_the_count():
    tx = steps.optimizer(0.1)
    state = steps.create_state({"w": jnp.array([3.0, -2.0])}, tx)
    step = jax.jit(partial(steps.train_step, _quadratic, tx))
    after, _ = step(state, {"hr": jnp.full((1, 2, 2, 1), jnp.nan)}, jax.random.key(0))
    assert int(after.skipped) == 1 and int(after.step) == 1
    for old, new in ((state.params, after.params), (state.opt_state, after.opt_state)):
        jax.tree.map(np.testing.assert_array_equal, old, new)


def test_a_batch_that_does_not_divide_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 3)
    with pytest.raises(ValueError, match="batch of 4 .* 3 devices"):
        parallel.shard({"hr": np.zeros((4, 2, 2, 3))})
