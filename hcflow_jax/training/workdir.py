"""The workdir of a training: checkpoints to resume from, and the log of its losses.

checkpoints/STEP/   one orbax composite: config, parameters, averaged parameters, the remaining
                    state, position in the data and random key
log.jsonl           a line per logged step
tensorboard/        the same and pictures, where TensorFlow is installed
"""

import contextlib
import json
import math
import os
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as managers

from hcflow_jax import checkpoints, locks, paths
from hcflow_jax.checkpoints import (
    CONFIG,
    EMA,
    METRIC,
    PARAMS,
    PROGRESS,
    TRAINING,
    CheckpointError,
)
from hcflow_jax.errors import UserError
from hcflow_jax.images import write_beside
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
    model = state.model.replace(params=items[PARAMS], opt_state=training.pop("opt_state"))
    ema = items.get(EMA)
    return TrainState(step=np.int32(step), model=model, ema=ema, **training)  # type: ignore[arg-type]


class Checkpoints:
    """Checkpoints of one training, written atomically and in the background.

    Args:
      path: their folder.
      keep: number of latest ones kept, besides the one with the best PSNR-Y.
      keep_every: those at multiples of so many steps are kept for good.
    """

    def __init__(self, path: Path, keep: int, keep_every: int):
        self.path = path
        policies = [
            managers.LatestN(keep),
            managers.EveryNSteps(keep_every),
            managers.BestN(
                get_metric_fn=checkpoints.score, n=1, keep_checkpoints_without_metrics=False
            ),
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
        reason = getattr(error, "strerror", None) or checkpoints.first_line(error)
        latest = self.latest()
        kept = "nothing was saved before" if latest is None else f"step {latest} is kept"
        return CheckpointError(f"cannot write a checkpoint to {self.path}: {reason}; {kept}")

    def latest(self) -> int | None:
        """The last step with a complete checkpoint, or None."""
        return max(checkpoints.finished_steps(self.path), default=None)

    def save(self, state: TrainState, config: dict, progress: dict, psnr_y: float | None) -> None:
        """Starts writing a state of numpy arrays; CheckpointError when the last write failed.

        Args:
          config: of the training, as JSON values.
          progress: position in the data and random key, as JSON values.
          psnr_y: of a validation at this step, or None.
        """
        items = checkpoints.to_save(_split(state), {CONFIG: config, PROGRESS: progress})
        metrics = None if psnr_y is None else {METRIC: psnr_y}
        try:
            self._manager.save(int(state.step), args=items, metrics=metrics)
        except Exception as error:  # that of the last write in the background
            raise self._unwritable(error) from error

    def read(self, step: int) -> tuple[dict, dict]:
        """(config, progress) as saved at `step`."""
        found = checkpoints.restore(self.path / str(step), {}, [CONFIG, PROGRESS])
        return found[CONFIG], found[PROGRESS]

    def restore(self, step: int, state: TrainState) -> TrainState:
        """The state saved at `step`, as numpy arrays; `state` has its shapes and types."""
        return _join(step, state, checkpoints.restore(self.path / str(step), _split(state)))

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


class Record:
    """Writes `log.jsonl`: one JSON object per logged step, in order.

    Opening it for a training that resumes at step `first` drops the lines of later steps. A file
    in a bucket, which cannot be appended to, is rewritten for every line.
    """

    def __init__(self, path: Path, first: int):
        text = kept = b""
        if path.exists():
            text = path.read_bytes()
            lines = [line for line in text.splitlines() if _step(line) <= first]
            kept = b"".join(line + b"\n" for line in lines)
        self._file = None
        if paths.is_remote(path):
            self._path, self._text = path, kept.decode()
            return
        if kept != text:
            write_beside(path, lambda file: file.write(kept))
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115

    def write(self, step: int, values: dict[str, float]) -> None:
        """Appends a line; a value that is not finite becomes null."""
        clean = {k: v if math.isfinite(v) else None for k, v in values.items()}
        line = json.dumps({"step": step} | clean) + "\n"
        if self._file is None:
            self._text += line
            self._path.write_text(self._text)
            return
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()


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
                f"cannot lock {workdir}/.lock: {error.strerror}; remove it, or name another "
                "--workdir"
            ) from error
        yield held
