"""Which steps of a training are finished, and which is the best: read, and nothing but read."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from hcflow_jax import checkpoints
from hcflow_jax.errors import UserError
from hcflow_jax.model.dequantization import without_noise_mean
from tests.platforms import accelerator
from tests.support import randomized
from tests.tiny import ONE_LEVEL, SR, bent


@pytest.fixture
def workdir(tmp_path, capfd):
    """Steps 1, 2 and 10 with scores but 10, an unfinished one, and what is no step at all."""
    folder = tmp_path / "checkpoints"
    with ocp.CheckpointManager(
        folder, options=ocp.CheckpointManagerOptions(best_fn=checkpoints.score)
    ) as manager:
        for step, score in {1: 30.0, 2: 20.0, 10: None}.items():
            metrics = None if score is None else {"psnr_y": score}
            manager.save(step, args=ocp.args.JsonSave({"step": step}), metrics=metrics)
    (folder / "11.orbax-checkpoint-tmp").mkdir()
    (folder / "12").write_text("no folder")
    (folder / "notes").mkdir()
    capfd.readouterr()
    return tmp_path


def _contents(folder):
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


def test_steps_and_scores_are_read_without_a_trace(workdir, capfd):
    before = _contents(workdir)
    assert checkpoints.finished_steps(workdir / "checkpoints") == [1, 2, 10]
    assert checkpoints.best(workdir) == workdir / "checkpoints/1"
    assert _contents(workdir) == before
    assert capfd.readouterr() == ("", "")


def test_without_scores_the_latest_is_the_best(workdir):
    for path in workdir.glob("checkpoints/*/metrics/metrics"):
        path.unlink()
    assert checkpoints.best(workdir) == workdir / "checkpoints/10"


def test_nothing_is_made_where_there_is_nothing(tmp_path):
    assert checkpoints.finished_steps(tmp_path / "checkpoints") == []
    assert checkpoints.best(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{", json.dumps({"ssim": 1.0}), "[]"])
def test_damaged_scores_are_named(workdir, text):
    (workdir / "checkpoints/2/metrics/metrics").write_text(text)
    with pytest.raises(checkpoints.CheckpointError, match="checkpoints/2/.* is a damaged score"):
        checkpoints.best(workdir)


@pytest.mark.parametrize("name", ["a [1]", "a\\b", "[1]/a", "[", "a\\/b/c"])
def test_names_that_orbax_takes_for_patterns_are_refused(tmp_path, name):
    """It would write a checkpoint that nothing can read."""
    with pytest.raises(checkpoints.CheckpointError, match="name another place"):
        checkpoints.save_model(tmp_path / name, ONE_LEVEL["sr"], {})
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def params():
    return jax.jit(ONE_LEVEL["sr"].init_params)(jax.random.key(0))


@accelerator
@pytest.mark.parametrize("task", ["sr", "rescaling"])
def test_arrays_of_the_device_come_back_to_the_bit(tmp_path, task):
    model = ONE_LEVEL[task]
    shapes = jax.eval_shape(model.init_params, jax.random.key(0))
    params = jax.device_put(randomized(shapes, dtype=np.float32))
    checkpoints.save_model(tmp_path / "saved", model, params)
    found, again = checkpoints.load_model(tmp_path / "saved")
    assert found == model
    jax.tree.map(np.testing.assert_array_equal, again, params)


ODD = [*" *?{}#%&$!~'\"`;:|<>()^=+@,]\x7f\t\n", "é", "日", "\U0001f600", "..a", "a.", "%20", "${x}"]


@pytest.mark.parametrize("name", [*(f"a{c}b" for c in ODD), "-a", "--", " a ", "*", "".join(ODD)])
def test_other_odd_names_are_kept(tmp_path, params, name):
    """Of the checkpoint and of the folder that it is in."""
    path = tmp_path / name / name
    path.parent.mkdir()
    checkpoints.save_model(path, ONE_LEVEL["sr"], params)
    found, again = checkpoints.load_model(path)
    assert found == ONE_LEVEL["sr"] and [p.name for p in path.parent.iterdir()] == [name]
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_the_best_is_the_best_of_the_validation_set_that_was_measured_last():
    scores = [("a", 30.0), ("b", 20.0), ("a", 30.0), ("b", 10.0), (None, 50.0), ("b", 15.0)]
    found = {
        step: {"psnr_y": score} | ({} if of is None else {"measured_on": of})
        for step, (of, score) in enumerate(scores)
    }
    assert checkpoints.best_of_each_set(found) == {"a": 2, "b": 1, "": 4}


def test_scores_of_other_validation_sets_are_not_compared(workdir):
    for step, of in {1: "a", 2: "b", 10: "b"}.items():
        path = workdir / f"checkpoints/{step}/metrics/metrics"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"psnr_y": 100.0 - step, "measured_on": of}))
    assert checkpoints.best(workdir).name == "2"


def test_a_bug_in_the_model_is_not_told_as_damage(tmp_path, monkeypatch):
    shapes = jax.eval_shape(SR.init_params, jax.random.key(0))
    checkpoints.save_model(tmp_path / "c", SR, randomized(shapes, dtype=np.float32))

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(type(SR), "init_params", broken)
    with pytest.raises(ZeroDivisionError):
        checkpoints.load_model(tmp_path / "c")


def test_reasons_are_short():
    assert checkpoints.first_line(ValueError("x" * 5000)) == "x" * 200


def test_steps_of_ones_own_are_given_again(tmp_path):
    """The checkpoint names their function, and runs nothing."""
    model = dataclasses.replace(ONE_LEVEL["sr"], step=bent)
    params = randomized(jax.eval_shape(model.init_params, jax.random.key(0)), dtype=np.float32)
    checkpoints.save_model(tmp_path / "own", model, params)
    found, arrays = checkpoints.load_model(tmp_path / "own", step=bent)
    assert found == model
    jax.tree.map(np.testing.assert_array_equal, arrays, params)
    with pytest.raises(checkpoints.CheckpointError, match=r"tests\.tiny\.bent;.*load\(path, step="):
        checkpoints.load_model(tmp_path / "own")
    with pytest.raises(UserError, match="built-in flow steps"):
        checkpoints.to_published(model, params)
    with pytest.raises(ValueError, match="ActNorm"):
        without_noise_mean(model, params, 64)


def test_steps_of_ones_own_are_not_put_into_other_models(tmp_path, params):
    checkpoints.save_model(tmp_path / "plain", ONE_LEVEL["sr"], params)
    shipped = Path(checkpoints.__file__).parents[1] / "assets/sr_x4.npz"
    for path in (tmp_path / "plain", shipped):
        with pytest.raises(checkpoints.CheckpointError, match="leave out step"):
            checkpoints.load_model(path, step=bent)
