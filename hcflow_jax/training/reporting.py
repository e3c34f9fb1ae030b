"""Reports of a training: console, log.jsonl, and TensorBoard where it is installed."""

import contextlib
import os
import shlex
import time
from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np

from hcflow_jax import checkpoints
from hcflow_jax.errors import counted, shown
from hcflow_jax.evaluation.figures import FIGURES
from hcflow_jax.training.config import flat
from hcflow_jax.training.workdir import Record

WIDTH = 100
"""Characters that a line of figures has at most."""

PRINTED = ("psnr_y", "ssim_y", "lpips", "lr_psnr", "diversity")
"""Figures of a validation that go to the console; log.jsonl has all."""


FEW_STEPS = 1000
"""Below which networks that start from scratch give pictures that nobody wants."""


def say(line: str) -> None:
    """Prints a line, from the first process only."""
    if jax.process_index() == 0:
        print(line, flush=True)


def _wrapped(parts: Iterable[str]) -> str:
    """`parts` with two spaces between, broken before WIDTH; the lines after the first indented."""
    lines: list[str] = []
    for part in filter(None, parts):
        if lines and len(lines[-1]) + 2 + len(part) <= WIDTH:
            lines[-1] += f"  {part}"
        else:
            lines.append(f"  {part}" if lines else part)
    return "\n".join(lines)


def _table(figures: dict[str, float]):
    """Yields the lines of a validation's figures: those of the whole, then one per row."""
    kinds = dict.fromkeys(name.partition("@")[2] for name in figures)
    whole = [f"{name} {value:.4g}" for name, value in figures.items() if "@" not in name]
    if whole:
        yield _wrapped(whole)
    for kind in sorted(
        filter(None, kinds), key=lambda kind: ("jpeg" in kind, kind[0] != "b", kind)
    ):
        shown = {name: figures.get(f"{name}@{kind}") for name in PRINTED}
        texts = [
            f"{FIGURES[name].title} {value:.{FIGURES[name].decimals}f}"
            for name, value in shown.items()
            if value is not None
        ]
        yield _wrapped([f"T = {kind}" if kind[0].isdigit() else kind, *texts])


def _tensorboard(folder: Path):
    """clu's writer of event files, or None where TensorFlow is not installed."""
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    try:
        from clu import metric_writers
    except ImportError:
        return None
    return metric_writers.AsyncWriter(metric_writers.SummaryWriter(os.fspath(folder)))


def _plain(value):
    return value if isinstance(value, bool | int | float | str) else str(value)


class Report:
    """Writes the figures of a training, on the first process only.

    Args:
      workdir: where log.jsonl and tensorboard/ are.
      first: the step that the training continues from.
      steps: its last step.
      pixels: HR pixels per step, of all devices.
      config: of the training, for TensorBoard's table of hyperparameters.
      board: whether to write for TensorBoard.
    """

    def __init__(
        self, workdir: Path, first: int, steps: int, pixels: int, config: dict, board: bool = True
    ):
        self._first, self._steps, self._pixels = first, steps, pixels
        self._last_step, self._since, self._waited = first, time.monotonic(), 0.0
        self._record = self._board = None
        if jax.process_index() == 0:
            self._record = Record(workdir / "log.jsonl", first)
            self._board = _tensorboard(workdir / "tensorboard") if board else None
            if board and self._board is None:
                say("no TensorBoard files: pip install 'hcflow_jax[tensorboard]' for them")
            elif board and first == 0:
                self._draw("write_hparams", {k: _plain(v) for k, v in flat(config)})

    @contextlib.contextmanager
    def waiting(self):
        """A context whose time counts as waiting for data."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    def pause(self, step: int) -> None:
        """Restarts the clock at the end of `step`: the time since the last line is not training."""
        self._last_step, self._since, self._waited = step, time.monotonic(), 0.0

    def step(self, step: int, values: dict[str, float]) -> None:
        """Writes the losses of a step, with speed, share of data wait and time left."""
        elapsed = max(time.monotonic() - self._since, 1e-9)
        shown = [f"{k} {v:.4g}" for k, v in values.items() if v or "skipped" not in k]
        if self._last_step == self._first:
            self._write(step, values)
            say(_wrapped([f"step {step}", *shown, f"({elapsed:.0f} s with compilation)"]))
        else:
            per_second, waited = (step - self._last_step) / elapsed, self._waited / elapsed
            pixels = per_second * self._pixels
            speed = {"steps_per_second": per_second, "pixels_per_second": pixels}
            self._write(step, values | speed | {"data_wait": waited})
            minutes, seconds = divmod(int((self._steps - step) / per_second), 60)
            left = f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d} left"
            pace = (f"{per_second:.2f} steps/s", f"{pixels / 1e6:.3g} Mpixel/s")
            say(_wrapped([f"step {step}", *shown, *pace, f"data wait {waited:.0%}", left]))
        self._last_step, self._since, self._waited = step, time.monotonic(), 0.0

    def validation(
        self, step: int, figures: dict[str, float], pictures: dict, name: str = "valid"
    ) -> None:
        """Writes the figures and pictures of a validation, of images that `name` says."""
        self._write(step, {f"{name}/{k}": v for k, v in figures.items()})
        self._draw(
            "write_images", step, {f"{name}/{k}": _rgb(x)[None] for k, x in pictures.items()}
        )
        self._draw("flush")
        title = "validation" if name == "valid" else "of training images"
        say("\n".join([f"step {step}  {title}", *(f"  {line}" for line in _table(figures))]))

    @property
    def draws(self) -> bool:
        """Whether pictures go to TensorBoard."""
        return self._board is not None

    def _write(self, step, values):
        if self._record is not None:
            self._record.write(step, values)
        self._draw("write_scalars", step, values)

    def _draw(self, method, *arguments):
        """Calls a method of TensorBoard's writer, if there is one; gives it up where it fails."""
        if self._board is None:
            return
        try:
            getattr(self._board, method)(*arguments)
        except Exception as error:  # of a thread, and of whichever kind TensorFlow raises
            self._board = None
            reason = " ".join(str(error.__cause__ or error).split())[:200]
            say(f"TensorBoard files are written no more: {reason}")

    def close(self) -> None:
        """Flushes and closes the files."""
        if self._record is not None:
            self._record.close()
        self._draw("close")


class Profiler:
    """JAX's trace of `count` steps from step `first` on."""

    def __init__(self, folder, first, count):
        self._folder, self._first, self._stop, self._on = folder, first, first + count, False

    def before(self, step: int) -> None:
        """To be called before each step."""
        if self._first < self._stop and step == self._first:
            jax.profiler.start_trace(str(self._folder))
            self._on = True
        if step == self._stop:
            self.close()

    def close(self) -> None:
        """Ends the trace where one is being recorded."""
        if self._on:
            jax.profiler.stop_trace()
            say(f"profile in {shown(self._folder)}; look at it with TensorBoard or xprof")
        self._on = False


def _rgb(picture: np.ndarray) -> np.ndarray:
    return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, -1)


def conclude(training, step: int, skipped: int) -> None:
    """Says how a training ended, and what comes next."""
    model, workdir = training.model, training.workdir
    if skipped:
        say(f"{counted(skipped, 'step')} met values that are not finite and changed nothing")
    if step == 0:
        say("stopped before the first step, there is nothing to save")
    elif step < training.config.train.steps or training.lacks_score(step):
        say(f"stopped at step {step}, saved; the same command continues")
    else:
        command = f"upscale --scale={model.scale}" if model.task == "sr" else "downscale"
        say(f"done; the checkpoint to use is {shown(checkpoints.best(workdir))}")
        say(f"try it: hcflow {command} --checkpoint={shown(shlex.quote(str(workdir)))} PICTURE")
        if step < FEW_STEPS and not training.config.init_from:
            seen = {"sr": "bicubic interpolation, where it fails", "rescaling": "false colours"}
            expected = seen[training.model.task]
            say(f"{counted(step, 'step')} teach next to nothing: expect {expected}")
