"""The workdir of a training: checkpoints to resume from, and the log of its losses.

checkpoints/STEP/   one orbax composite: config, parameters, averaged parameters, the remaining
                    state, position in the data and random key
config.json         the config of the last start
log.jsonl           a line per logged step
data.json           which files of the training data were decoded, and their hashes
tensorboard/        the same and pictures, where TensorFlow is installed
"""

import contextlib
import json
import logging
import math
import os
import re
import shutil
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as managers

from hcflow_jax import checkpoints, locks, paths
from hcflow_jax.checkpoints import (
    CONFIG,
    EMA,
    MEASURED_ON,
    PARAMS,
    PROGRESS,
    TRAINING,
    CheckpointError,
    best_of_each_set,
    earlier,
)
from hcflow_jax.errors import UserError
from hcflow_jax.images import write_beside
from hcflow_jax.training.optimizer import Learner
from hcflow_jax.training.steps import TrainState


def _split(state: TrainState):
    """{item of a checkpoint: its part of the state}."""
    training = {
        "opt_state": state.model.opt_state,
        "discriminator": state.discriminator,
        "skipped": state.skipped,
        "skipped_in_a_row": state.skipped_in_a_row,
    }
    items = {PARAMS: state.model.params, TRAINING: training}
    return items | ({} if state.ema is None else {EMA: state.ema})


def _join(step, state: TrainState, items) -> TrainState:
    """The inverse of `_split`."""
    training = dict(items[TRAINING])
    if isinstance(adversary := training["discriminator"], dict):  # of an earlier version
        training["discriminator"] = Learner(adversary["params"], adversary["opt_state"])
    model = state.model.replace(params=items[PARAMS], opt_state=training.pop("opt_state"))
    ema = items.get(EMA)
    return TrainState(step=np.int32(step), model=model, ema=ema, **training)  # type: ignore[arg-type]


def _is_news(record):
    """False for what orbax warns of at every save without a score, which is nothing unusual."""
    return "`tracked_metric`" not in str(record.msg)


class _BestOfEachSet(managers.PreservationPolicy):
    """Keeps the checkpoint with the best score of every validation set."""

    def should_preserve(self, checkpoints, *, context):
        found = {info.step: info.metrics for info in checkpoints if info.metrics is not None}
        best = best_of_each_set(found).values()
        return [info.step in best for info in checkpoints]


class Checkpoints:
    """Checkpoints of one training, written atomically and in the background.

    Args:
      path: their folder.
      keep: number of latest ones kept, besides the one with the best PSNR-Y, of each validation
        set that there was.
      keep_every: those at multiples of so many steps are kept for good.
    """

    def __init__(self, path: Path, keep: int, keep_every: int):
        self.path = path
        logging.getLogger("absl").addFilter(_is_news)
        checkpoints.scores(path)  # orbax reads them too, and would fail in pages
        policies = [
            managers.LatestN(keep),
            managers.EveryNSteps(keep_every),
            _BestOfEachSet(),
        ]
        options = ocp.CheckpointManagerOptions(
            preservation_policy=managers.AnyPreservationPolicy(policies),
            best_fn=checkpoints.score,  # without it no metrics are written
            cleanup_tmp_directories=True,
        )
        try:
            self._manager = ocp.CheckpointManager(paths.absolute(path), options=options)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error):
        code = re.search(r"os_error_code='(\d+)'", str(error))  # of orbax's writers
        reason = os.strerror(int(code[1])) if code else getattr(error, "strerror", None)
        reason = reason or checkpoints.first_line(error)
        latest = self.latest()
        kept = "nothing was saved before" if latest is None else f"step {latest} is kept"
        return CheckpointError(f"cannot write a checkpoint to {self.path}: {reason}; {kept}")

    def latest(self) -> int | None:
        """The last step with a complete checkpoint, or None."""
        return max(checkpoints.finished_steps(self.path), default=None)

    def save(
        self,
        state: TrainState,
        config: dict,
        progress: dict,
        psnr_y: float | None,
        measured_on: str = "",
    ) -> None:
        """Starts writing a state of numpy arrays; CheckpointError when the last write failed.

        Args:
          config: of the training, as JSON values.
          progress: position in the data and random key, as JSON values.
          psnr_y: of a validation at this step, or None.
          measured_on: the fingerprint of that validation.
        """
        items = checkpoints.to_save(_split(state), {CONFIG: config, PROGRESS: progress})
        metrics = None if psnr_y is None else checkpoints.new_score(psnr_y, measured_on)
        self.wait()
        self._check_space(_split(state))
        try:
            self._manager.save(int(state.step), args=items, metrics=metrics)
        except Exception as error:  # that of the last write in the background
            raise self._unwritable(error) from error

    def _check_space(self, trees):
        """CheckpointError where the disk has no place for a checkpoint, which orbax says in pages.

        It takes what its arrays do, or the checkpoint before did.
        """
        if paths.is_remote(self.path):
            return
        needed, latest = sum(x.nbytes for x in jax.tree.leaves(trees)), self.latest()
        with contextlib.suppress(OSError):
            if latest is not None:
                files = (self.path / str(latest)).rglob("*")
                needed = max(needed, sum(_on_disk(file) for file in files))
            disk = shutil.disk_usage(self.path)
            if disk.total and disk.free < needed:  # the total is 0 where it is not known
                reason = f"it takes {needed / 1e6:.1f} MB, {disk.free / 1e6:.1f} MB are free"
                raise self._unwritable(reason)

    def has_score(self, step: int) -> bool:
        """Whether the checkpoint of `step` was validated."""
        return step in checkpoints.scores(self.path)

    def add_score(self, step: int, psnr_y: float, measured_on: str) -> None:
        """Writes the score of a checkpoint that has none; arguments as for `save`."""
        folder = self.path / str(step) / "metrics"
        data = json.dumps(checkpoints.new_score(psnr_y, measured_on)).encode()
        folder.mkdir(exist_ok=True)
        if paths.is_remote(folder):
            (folder / "metrics").write_bytes(data)
        else:
            write_beside(folder / "metrics", lambda file: file.write(data))
        self._manager.reload()

    def of_other_sets(self, fingerprint: str) -> list[int]:
        """The steps whose scores come from validations of another fingerprint."""
        scores = checkpoints.scores(self.path)
        return [step for step, found in scores.items() if found.get(MEASURED_ON) != fingerprint]

    def read(self, step: int) -> tuple[dict, dict]:
        """(config, progress) as saved at `step`."""
        found = checkpoints.restore(self.path / str(step), {}, [CONFIG, PROGRESS])
        return found[CONFIG], found[PROGRESS]

    def restore(self, step: int, state: TrainState) -> TrainState:
        """The state saved at `step`, as numpy arrays; `state` has its shapes and types."""
        trees = _split(state)
        if state.discriminator is not None and (old := self._statistics(step)):
            trees[TRAINING]["discriminator"] = dict(vars(state.discriminator), batch_stats=old)
        return _join(step, state, checkpoints.restore(self.path / str(step), trees))

    def _statistics(self, step):
        with contextlib.suppress(Exception):  # reading reports a damaged item
            return earlier.statistics(paths.absolute(self.path) / str(step) / TRAINING)
        return {}

    def wait(self) -> None:
        """Blocks until everything is written; CheckpointError when that failed."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Waits, then ends the writing threads."""
        self.wait()
        self._manager.close()

    def abandon(self) -> None:
        """Ends the writing threads after an error; does nothing after `close`."""
        with contextlib.suppress(Exception):
            self._manager.close()


def write_text(workdir: Path, name: str, text: str) -> None:
    """Writes a small file of a training; UserError when, as in buckets, that fails only now."""
    path, text = workdir / name, text + "\n"
    try:
        if paths.is_remote(path):
            path.write_text(text)
        else:
            write_beside(path, lambda file: file.write(text.encode()))
    except UserError:
        raise
    except Exception as error:  # of whichever package writes to buckets
        reason = getattr(error, "strerror", None) or checkpoints.first_line(error)
        raise UserError(f"cannot write to {workdir}: {reason}; name another --workdir") from error


class Record:
    """Writes `log.jsonl`: one JSON object per logged step, in order.

    Opening it for a training that resumes at step `first` drops the lines of later steps. A file
    in a bucket, which cannot be appended to, is rewritten for every line. UserError where the file
    is a symbolic link or cannot be written.
    """

    def __init__(self, path: Path, first: int):
        self._path, text, kept = path, b"", b""
        if not paths.is_remote(path) and path.is_symlink():
            raise UserError(f"{path} is a symbolic link, which is not followed; remove it")
        if path.exists():
            text = path.read_bytes()
            lines = [line for line in text.splitlines() if _step(line) <= first]
            kept = b"".join(line + b"\n" for line in lines)
        self._file = None
        if paths.is_remote(path):
            self._text = kept.decode()
            return
        if kept != text:
            write_beside(path, lambda file: file.write(kept))
        try:
            self._file = open(path, "a", encoding="utf-8", opener=_opener)  # noqa: SIM115
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error):
        return UserError(f"cannot write {self._path}: {error.strerror}; free space, or remove it")

    def write(self, step: int, values: dict[str, float]) -> None:
        """Appends a line with the time, in seconds since 1970; a value that is not finite is null.

        UserError where it cannot be written.
        """
        clean = {k: v if math.isfinite(v) else None for k, v in values.items()}
        line = json.dumps({"step": step, "time": round(time.time(), 3)} | clean) + "\n"
        if self._file is None:
            self._text += line
            self._path.write_text(self._text)
            return
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # of a line that could not be written, said already
                self._file.close()


def _on_disk(path):
    found = path.lstat()
    return getattr(found, "st_blocks", 0) * 512 or found.st_size


def _opener(path, flags):
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _step(line: bytes) -> float:
    """The step of a line, infinite when the line is incomplete."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf
    return step if isinstance(step, int) else math.inf


@contextlib.contextmanager
def locked(workdir: Path):
    """Holds the workdir's lock; yields False where there are no locks, as in buckets.

    UserError where another training holds it, or it cannot be acquired.
    """
    if paths.is_remote(workdir):
        yield False
        return
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(locks.locked(workdir / ".lock"))
        except TimeoutError as error:
            raise UserError(
                f"another training runs in {workdir}; wait for it, or name another --workdir"
            ) from error
        except OSError as error:
            raise UserError(
                f"cannot lock {workdir}/.lock: {error.strerror}; make it a plain file that you "
                "can write, or name another --workdir"
            ) from error
        yield held
