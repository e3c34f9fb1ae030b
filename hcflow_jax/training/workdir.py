"""The folder of a training: checkpoints that it continues from, and the record of its losses.

checkpoints/STEP/   one orbax composite: config, parameters, averaged parameters, everything
                    else of the state, place in the data, key
log.jsonl           a line per logged step
tensorboard/        the same and pictures, where TensorFlow is installed
"""

import contextlib
import json
import math
import os
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as managers

from hcflow_jax import checkpoints, locks, paths
from hcflow_jax.checkpoints import (
    CONFIG,
    EMA,
    METRIC,
    PARAMS,
    PLACE,
    TRAINING,
    CheckpointError,
    earlier,
)
from hcflow_jax.errors import UserError
from hcflow_jax.images import write_beside
from hcflow_jax.training.steps import TrainState


def _split(state: TrainState):
    """The items of a state: what a model is made of, and the rest."""
    rest = {
        "opt_state": state.model.opt_state,
        "discriminator": state.discriminator,
        "skipped": state.skipped,
        "skipped_in_a_row": state.skipped_in_a_row,
    }
    items = {PARAMS: state.model.params, TRAINING: rest}
    return items | ({} if state.ema is None else {EMA: state.ema})


def _join(step, state: TrainState, items) -> TrainState:
    rest = dict(items[TRAINING])
    model = state.model.replace(params=items[PARAMS], opt_state=rest.pop("opt_state"))
    ema = items.get(EMA)
    return TrainState(step=np.int32(step), model=model, ema=ema, **rest)  # type: ignore[arg-type]


class Checkpoints:
    """Checkpoints of one training, written in the background, whole or not at all.

    Args:
      path: their folder.
      keep: how many of the latest stay; keep_every: those of every so many steps stay too, and
        so does the one with the best PSNR-Y.
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
        """The last finished step that is on the disk."""
        return max(checkpoints.finished_steps(self.path), default=None)

    def save(self, state: TrainState, config: dict, place: dict, psnr_y: float | None) -> None:
        """Starts writing a state of numpy arrays; CheckpointError when the last write failed.

        Args:
          config: of the training, as JSON has it; `place`: in the data, and the key.
          psnr_y: of a validation at this step.
        """
        trees = {name: ocp.args.StandardSave(tree) for name, tree in _split(state).items()}
        texts = {CONFIG: ocp.args.JsonSave(config), PLACE: ocp.args.JsonSave(place)}
        metrics = None if psnr_y is None else {METRIC: psnr_y}
        try:
            self._manager.save(
                int(state.step), args=ocp.args.Composite(**trees, **texts), metrics=metrics
            )
        except Exception as error:  # the background write's own error comes out here
            raise self._unwritable(error) from error

    def read(self, step: int) -> tuple[dict, dict]:
        """(config, place) of a finished step."""
        items = {name: ocp.args.JsonRestore() for name in (CONFIG, PLACE)}
        found = self._restore(step, items)
        return found[CONFIG], found[PLACE]

    def restore(self, step: int, state: TrainState) -> TrainState:
        """The state saved at `step`, as numpy arrays; `state` has its shapes and types."""
        empty = jax.tree.map(lambda s: np.empty(s.shape, s.dtype), _split(state))
        old = [name for name in (PARAMS, EMA) if name in empty and self._is_earlier(step, name)]
        empty |= {name: earlier.renamed(empty[name], earlier.EARLIER) for name in old}
        items = {name: ocp.args.StandardRestore(tree) for name, tree in empty.items()}
        found = dict(self._restore(step, items))
        found |= {name: earlier.renamed(found[name], earlier.TODAY) for name in old}
        return _join(step, state, found)

    def _is_earlier(self, step, name):
        with contextlib.suppress(Exception):  # what is damaged is named by what restores it
            return earlier.bears_earlier_names(paths.absolute(self.path) / str(step) / name)
        return False

    def _restore(self, step, items):
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:
            raise CheckpointError(
                f"{self.path}/{step} is damaged, move it away to continue from an earlier step, or "
                f"is of another version of hcflow, continue with that: "
                f"{checkpoints.first_line(error)}"
            ) from error

    def wait(self) -> None:
        """Until everything is on the disk; CheckpointError when it could not be written."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Waits, then ends the writing threads."""
        self.wait()
        self._manager.close()

    def abandon(self) -> None:
        """Ends the writing threads, whatever came before; nothing to do after `close`."""
        with contextlib.suppress(Exception):
            self._manager.close()


class Record:
    """`log.jsonl`: one JSON object per logged step, in order, none twice.

    Opening it for a training that continues after step `first` drops what a broken off one wrote
    after that step. In a bucket, where nothing is appended to, every line writes it anew.
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
        """Ends it."""
        if self._file is not None:
            self._file.close()


def _step(line: bytes) -> float:
    """The step of a line, infinite when the line was cut off."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf
    return step if isinstance(step, int) else math.inf


@contextlib.contextmanager
def locked(workdir: Path):
    """Holds the workdir's lock; yields False where there are none, as in buckets.

    UserError where another training holds it, or it cannot be taken.
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
