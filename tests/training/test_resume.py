"""Trainings that are killed, preempted or out of disk space, and go on as if nothing had been."""

import errno
import json
import logging
import os
import random
import resource
import shutil
import signal
import subprocess
import time

import filelock
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcflow_jax import checkpoints
from hcflow_jax.errors import UserError
from hcflow_jax.training import optimizer, steps
from hcflow_jax.training.workdir import Checkpoints, Record, locked
from tests.command import log, photographs, saved, start

KILLS = 6
FLAGS = (
    "--config.train.steps=60",
    "--config.train.save_every=3",
    "--config.train.log_every=1",
    "--config.train.keep_every=1000",
)


def _kill(process, workdir, attempt):
    """SIGKILL some steps on; on even attempts while a checkpoint is being written."""
    finished = max(checkpoints.finished_steps(workdir / "checkpoints"), default=0)
    after = finished + random.Random(attempt).choice((0, 3, 6))
    for line in process.stdout:
        if line.startswith("step") and int(line.split()[1]) > after:
            break
    limit = time.monotonic() + (10 if attempt % 2 == 0 else random.Random(attempt).uniform(0, 0.2))
    while time.monotonic() < limit and process.poll() is None:
        if attempt % 2 == 0 and list((workdir / "checkpoints").glob("*tmp*")):
            break
        time.sleep(0.001)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_killed_again_and_again_it_ends_as_if_undisturbed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photographs("photos")
    whole = start("whole", *FLAGS)
    assert whole.communicate() and whole.returncode == 0
    unfinished = 0
    for attempt in range(KILLS):
        assert _kill(start("parts", *FLAGS), tmp_path / "parts", attempt)
        unfinished += bool(list((tmp_path / "parts/checkpoints").glob("*tmp*")))
    assert unfinished, "no kill met a checkpoint that was being written"
    rest = start("parts", *FLAGS)
    assert "resuming from step" in rest.communicate()[0] and rest.returncode == 0
    assert not list((tmp_path / "parts/checkpoints").glob("*tmp*"))
    assert log("parts") == log("whole")
    jax.tree.map(np.testing.assert_array_equal, saved("parts", 60), saved("whole", 60))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_and_says_so(tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    photographs("photos")
    process = start("run", "--config.train.steps=1000000", "--config.train.save_every=1000000")
    for line in process.stdout:
        if line.startswith("step 2 "):
            break
    process.send_signal(number)
    since = time.monotonic()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "saved; the same command continues" in out
    assert time.monotonic() - since < 20
    (step,) = checkpoints.finished_steps(tmp_path / "run/checkpoints")
    assert f"stopped at step {step}" in out


def _state(value=0.0):
    own = optimizer.new_learner({"w": jnp.full(4, value)})
    zero = np.int32(0)
    state = steps.TrainState(zero, own, None, None, zero, zero)
    return jax.tree.map(np.asarray, state)


def test_statistics_that_earlier_versions_kept_of_a_discriminator_are_left_out(tmp_path):
    state = _state(1.0)
    state = state.replace(discriminator=optimizer.new_learner({"k": np.full(2, 3.0)}))
    written = Checkpoints(tmp_path / "c", keep=1, keep_every=100)
    with_statistics = dict(vars(state.discriminator), batch_stats={"bn1": {"mean": np.ones(3)}})
    written.save(state.replace(step=np.int32(2), discriminator=with_statistics), {}, PLACE, None)
    written.close()
    again = Checkpoints(tmp_path / "c", keep=1, keep_every=100)
    found = again.restore(2, state).discriminator
    assert isinstance(found, optimizer.Learner)
    np.testing.assert_array_equal(found.params["k"], [3.0, 3.0])


PLACE = {"data": "", "next_batch": 0, "rng": [0, 0]}


def _save(folder, step, value=0.0, psnr_y=None, measured_on=""):
    folder.save(_state(value).replace(step=np.int32(step)), {}, PLACE, psnr_y, measured_on)


def test_the_last_every_mth_and_the_best_stay(tmp_path):
    written = Checkpoints(tmp_path / "c", keep=2, keep_every=10)
    scores = {3: 30.0, 4: 20.0, 10: 10.0, 12: None, 13: 25.0, 14: None}
    for step, score in scores.items():
        _save(written, step, psnr_y=score)
    written.close()
    assert sorted(checkpoints.finished_steps(tmp_path / "c")) == [3, 10, 13, 14]


def test_a_save_without_a_score_warns_of_nothing(tmp_path, caplog):
    logger = logging.getLogger("absl")
    logger.addHandler(caplog.handler)
    try:
        written = Checkpoints(tmp_path / "c", keep=1, keep_every=100)
        _save(written, 1)
        written.close()
    finally:
        logger.removeHandler(caplog.handler)
    assert "metric" not in caplog.text


def test_the_best_of_every_validation_set_stays(tmp_path):
    written = Checkpoints(tmp_path / "checkpoints", keep=1, keep_every=100)
    for step, (of, score) in enumerate([("a", 30.0), ("a", 40.0), ("b", 9.0), ("b", 8.0)], 1):
        _save(written, step, psnr_y=score, measured_on=of)
    written.wait()
    assert written.of_other_sets("b") == [2]
    assert [written.has_score(step) for step in (2, 5)] == [True, False]
    _save(written, 5)
    written.wait()
    written.add_score(5, 8.5, "b")
    assert written.has_score(5)
    written.close()
    assert checkpoints.finished_steps(tmp_path / "checkpoints") == [2, 3, 5]
    assert checkpoints.best(tmp_path).name == "3"


def test_the_best_stays_the_best_when_scores_fall_and_the_folder_is_opened_again(tmp_path):
    folder = tmp_path / "checkpoints"
    for scores in ({1: 30.0, 2: 20.0}, {3: 10.0, 4: 5.0}):
        written = Checkpoints(folder, keep=1, keep_every=100)
        for step, score in scores.items():
            _save(written, step, psnr_y=score)
        written.close()
    assert sorted(checkpoints.finished_steps(folder)) == [1, 4]
    assert checkpoints.best(tmp_path).name == "1"


def test_two_trainings_do_not_share_a_workdir(tmp_path):
    refused = pytest.raises(UserError, match="another training runs in")
    with locked(tmp_path), refused, locked(tmp_path):
        pass
    with locked(tmp_path) as held:
        assert held


@pytest.mark.slow
def test_the_second_of_two_trainings_touches_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photographs("photos")
    first = start("run", "--config.train.steps=1000000", "--config.train.save_every=2")
    for line in first.stdout:
        if line.startswith("step 4 "):
            break
    half = tmp_path / "run/checkpoints/1000000.orbax-checkpoint-tmp"  # as if being written
    half.mkdir()
    second = start("run", "--config.train.steps=6")  # ends, should it not be refused
    out, _ = second.communicate()
    refusal = "hcflow: another training runs in run; wait for it, or name another --workdir\n"
    assert second.returncode == 2 and out.endswith(refusal)
    assert half.is_dir()
    half.rmdir()
    first.send_signal(signal.SIGTERM)
    out, _ = first.communicate()
    assert first.returncode == 0
    step = max(checkpoints.finished_steps(tmp_path / "run/checkpoints"))
    assert f"stopped at step {step}, saved" in out
    assert saved("run", step).keys() == {"params", "training"}


@pytest.mark.parametrize("there", [True, False])
def test_a_lock_that_is_a_link_is_refused(tmp_path, there):
    if there:
        (tmp_path / "mine").write_text("kept")
    (tmp_path / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="cannot lock .*/.lock"), locked(tmp_path):
        pass
    assert (tmp_path / "mine").exists() == there and (not there or _text(tmp_path) == "kept")


@pytest.mark.parametrize("there", [True, False])
def test_a_log_that_is_a_link_is_refused(tmp_path, there):
    if there:
        (tmp_path / "mine").write_text("kept")
    (tmp_path / "log.jsonl").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match=r"log\.jsonl is a symbolic link"):
        Record(tmp_path / "log.jsonl", 0)
    assert (tmp_path / "mine").exists() == there and (not there or _text(tmp_path) == "kept")


def _text(folder):
    return (folder / "mine").read_text()


def test_files_of_a_workdir_have_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        written = Checkpoints(tmp_path / "c", keep=1, keep_every=100)
        _save(written, 1, psnr_y=1.0)
        written.close()
        record = Record(tmp_path / "log.jsonl", 0)
        record.close()
    finally:
        os.umask(before)
    found = [path for path in (tmp_path / "c").rglob("*") if path.is_dir()]
    assert {path.stat().st_mode & 0o777 for path in found} == {0o750}
    assert (tmp_path / "log.jsonl").stat().st_mode & 0o777 == 0o640


def test_a_log_that_cannot_be_written_is_one_line(tmp_path):
    record = Record(tmp_path / "log.jsonl", 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))
    try:
        with pytest.raises(UserError, match=r"cannot write .*log\.jsonl: File too large; free"):
            record.write(1, {"nll": 0.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    record.close()


def test_a_disk_without_place_for_a_checkpoint_is_told_before_orbax_writes(tmp_path, monkeypatch):
    written = Checkpoints(tmp_path / "c", keep=2, keep_every=100)
    _save(written, 1)
    written.wait()
    size = sum(path.stat().st_size for path in (tmp_path / "c/1").rglob("*"))
    free = type("Usage", (), {"total": 10**9, "free": size - 1})
    monkeypatch.setattr("shutil.disk_usage", lambda path: free)
    with pytest.raises(checkpoints.CheckpointError, match=r"it takes .* MB, .* free; step 1 is k"):
        _save(written, 2)
    free.total = 0
    _save(written, 2)
    written.close()
    assert checkpoints.finished_steps(tmp_path / "c") == [1, 2]


def test_a_file_system_without_locks_is_put_up_with(tmp_path, monkeypatch):
    def unknown(self):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "_acquire", unknown)
    with locked(tmp_path) as held:
        assert not held


def test_a_full_disk_is_reported_and_what_was_saved_stays(tmp_path):
    written = Checkpoints(tmp_path / "c", keep=2, keep_every=100)
    _save(written, 1, 1.0)
    written.wait()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))
    try:
        with pytest.raises(checkpoints.CheckpointError, match="cannot write .*step 1 is kept"):
            _save(written, 2, 2.0)
            written.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    again = Checkpoints(tmp_path / "c", keep=2, keep_every=100)
    assert again.latest() == 1
    np.testing.assert_array_equal(again.restore(1, _state()).model.params["w"], np.ones(4))


def test_a_state_that_is_not_what_was_saved_is_put_aside_by_the_command_told(tmp_path):
    written = Checkpoints(tmp_path / "c r/checkpoints", keep=3, keep_every=100)
    for step in (1, 2, 3):
        _save(written, step, float(step))
    written.close()
    steps = tmp_path / "c r/checkpoints"
    shutil.rmtree(steps / "3/params")
    shutil.copytree(steps / "1/params", steps / "3/params")
    with pytest.raises(
        checkpoints.CheckpointError, match="params/w is not what was .* step 2 is"
    ) as e:
        written.restore(3, _state())
    assert written.read(3)[1] == PLACE
    subprocess.run(str(e.value).split("`")[1], shell=True, check=True)
    again = Checkpoints(steps, keep=3, keep_every=100)
    assert again.latest() == 2
    np.testing.assert_array_equal(again.restore(2, _state()).model.params["w"], np.full(4, 2))


def test_the_record_forgets_what_a_broken_run_wrote_after_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 12.5)
    path = tmp_path / "log.jsonl"
    record = Record(path, 0)
    for step in (1, 2, 3):
        record.write(step, {"nll": float("nan") if step == 2 else 0.1})
    record.close()
    with open(path, "a") as file:
        file.write('null\n{"step": "2"}\n{"step": 4, "nl')
    record = Record(path, 2)
    record.write(3, {"nll": 0.25})
    record.close()
    kept = (0.1, None, 0.25)
    lines = [{"step": i, "time": 12.5, "nll": nll} for i, nll in enumerate(kept, 1)]
    assert [json.loads(line) for line in path.read_text().splitlines()] == lines
