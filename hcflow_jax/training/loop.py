"""A training: opening and checking its parts, resuming, and the loop."""

import contextlib
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path

import jax
import ml_collections
import numpy as np

from hcflow_jax import checkpoints, devices, paths
from hcflow_jax.data import pipeline
from hcflow_jax.errors import UserError, counted, shown
from hcflow_jax.images import ImageError
from hcflow_jax.training import config as configuration
from hcflow_jax.training import determinism, inputs, memory, perceptual, seeds, steps
from hcflow_jax.training.config import Config
from hcflow_jax.training.initial import initial_state, start_key
from hcflow_jax.training.preemption import Preemption, Stopped
from hcflow_jax.training.reporting import Profiler, Report, conclude, say
from hcflow_jax.training.workdir import Checkpoints, locked, write_text

_POLL_S = 0.2
"""Time from one look for a signal to the next, where a batch is awaited."""


class Training:
    """One training: its model, data and validation, opened and checked, and its loop.

    Args are those of `train`; UserError as there.
    """

    def __init__(self, config: Config, workdir: Path, alone: bool = False):
        self.config, self.model, self.workdir = config, config.model, workdir
        if config.train.profile and paths.is_remote(workdir):
            raise UserError(
                f"a profile cannot be written to {workdir}; name a local --workdir, or set "
                "--config.train.profile=0"
            )
        if not checkpoints.finished_steps(workdir / "checkpoints"):
            configuration.check_start(config)
        train = config.train
        devices.check_batch(train.batch_size, train.accumulate)
        self.alone, self.progress = alone, None
        self.spread = devices.spread(train.parallel)
        self.vgg = {}
        if config.perceptual:
            self.vgg = perceptual.load(config.loss.vgg, config.loss.vgg_sha256)
        self.source = inputs.open_source(config.data, self.model.scale)
        self.data_seed = seeds.number(train.seed, "data")
        self.data = self._patches()
        self.validation = inputs.open_validation(config)
        self.measured_on = self.validation.fingerprint(train.seed) if self.validation else ""

    def _patches(self):
        return pipeline.patches(
            self.source,
            self.model.scale,
            self.config.data.patch_size,
            self.config.data.rotate,
            self.config.train.batch_size,
            self.data_seed,
            jax.process_index(),
            jax.process_count(),
        )

    @contextlib.contextmanager
    def opened(self):
        """A context in which the workdir exists and is locked, and its checkpoints are open.

        Locked first: opening checkpoints removes unfinished ones, which may be another training's.
        """
        try:
            self.workdir.mkdir(parents=True, exist_ok=True)
        except Exception as error:  # of whichever package reads buckets
            reason = getattr(error, "strerror", None) or checkpoints.first_line(error)
            raise UserError(
                f"cannot create {self.workdir}: {reason}; name another --workdir"
            ) from error
        with contextlib.ExitStack() as stack:
            if jax.process_index() == 0 and not stack.enter_context(locked(self.workdir)):
                say(f"{shown(self.workdir)} cannot be locked: let no other training write to it")
            train, path = self.config.train, self.workdir / "checkpoints"
            self.checkpoints = Checkpoints(path, train.keep, train.keep_every)
            stack.callback(self.checkpoints.abandon)
            yield

    def check(self, poll: Callable[[], None]) -> None:
        """Decodes the training images, and compares the last checkpoint with config and data.

        Args:
          poll: called again and again; what it raises ends the check.
        """
        step, config = self.checkpoints.latest(), self.config
        if step is not None:
            saved, progress = self.checkpoints.read(step)
            self.progress = progress
            configuration.check_resumable(saved, config, self.workdir)
            self.data_seed = progress.get("data_seed", config.train.seed)  # as earlier versions
            self.data = self._patches()
        inputs.examine(config, self.source, self.workdir, poll)
        if step is None:
            return
        inputs.check_same(config, self.source, self.progress, self.workdir)
        if (before := saved["train"]["steps"]) != config.train.steps:
            say(
                f"train.steps was {before}, is {config.train.steps}: the schedule's fractions "
                "count the new steps"
            )
        if self.validation and (others := self.checkpoints.of_other_sets(self.measured_on)):
            say(
                f"scores up to step {max(others)} are of other validation images or settings: "
                "they are not compared with new ones"
            )

    def start(self) -> tuple[steps.TrainState, jax.Array, int]:
        """(state, key, index of the next batch) of the latest checkpoint, or initial ones."""
        if self.progress is None:
            state = initial_state(self.config, self.data[0])
            return state, start_key(self.config), 0
        shapes, _, _ = steps.abstract_arguments(self.config, 1, self.config.data.patch_size)
        state = self.checkpoints.restore(self.checkpoints.latest(), shapes)
        key = jax.random.wrap_key_data(np.array(self.progress["rng"], np.uint32))
        return state, key, self.progress["next_batch"]

    def introduce(self) -> None:
        """Prints model, data, devices and starting point; writes parameters.txt, config.json."""
        config, step, workdir = self.config, self.checkpoints.latest(), self.workdir
        params = jax.eval_shape(self.model.init_params, jax.random.key(0))
        parameters = sum(x.size for x in jax.tree.leaves(params)) / 1e6
        origin = f"from {shown(config.init_from)}" if config.init_from else "from scratch"
        origin = origin if step is None else f"resuming from step {step}"
        say(f"training {self.model.task} ×{self.model.scale}, {parameters:.2f} M parameters")
        say(f"data: {shown(repr(self.source))}, patches of {config.data.patch_size}")
        say(f"devices: {devices.described()}{memory.described()}")
        say(f"{origin}, to step {config.train.steps}; workdir {shown(workdir)}")
        if step is None and self.model.task == "sr" and not config.init_from:
            say("bits_per_dim starts in the thousands: the LR image begins far from lr ± e⁻⁶")
        if self.validation is None:
            say("no validation images (--config.valid.path=DIR): the latest checkpoint is used")
        if jax.process_index() == 0:
            from clu import parameter_overview

            overview = parameter_overview.get_parameter_overview(params, include_stats=False)
            write_text(workdir, "parameters.txt", overview)
            write_text(workdir, "config.json", json.dumps(configuration.as_json(config), indent=2))

    def check_agreement(self, state: steps.TrainState) -> None:
        """UserError where step, data or config differ between the processes of this training."""
        config = configuration.as_json(self.config)
        devices.check_agreement(
            {
                "the step they continue from, share one --workdir": str(int(state.step)),
                "their data": self.source.fingerprint,
                "their config": json.dumps(
                    {name: config[name] for name in ("model", "train", "loss")}
                ),
            }
        )

    def save(self, state, key, psnr_y=None) -> None:
        """Starts writing a checkpoint of a replicated state."""
        progress = {
            "contents": self.source.fingerprint,
            "data_seed": self.data_seed,
            "next_batch": int(self.spread.fetch(state.step)),
            "rng": np.asarray(jax.random.key_data(key)).tolist(),
        }
        config = configuration.as_json(self.config)
        state = self.spread.fetch(state)
        self.checkpoints.save(state, config, progress, psnr_y, self.measured_on)

    def validate(self, state, report: Report, poll: Callable[[], None]) -> float | None:
        """Validates, reports, and returns PSNR-Y at the first temperature.

        None where `poll`, called again and again, raised Stopped.
        """
        figures = self._measure(self.validation, "valid", state, report, poll)
        return None if figures is None else figures[self.validation.metric]

    def show(self, state, report: Report, poll: Callable[[], None]) -> None:
        """Draws samples of training images, where there are no validation images, if they are seen.

        `poll` as for `validate`; the preemption is noticed by the loop.
        """
        if report.draws and jax.process_count() == 1 and self._shown is not None:
            self._measure(self._shown, "training", state, report, poll)

    @functools.cached_property
    def _shown(self):
        return inputs.open_shown(self.config, self.source)

    def _measure(self, validation, name, state, report, poll):
        """The figures of `validation`, reported under `name`; None where it was stopped."""
        params = state.model.params if state.ema is None else state.ema
        try:
            figures, pictures = validation(params, self.config.train.seed, poll)
        except Stopped:
            return None
        step = int(self.spread.fetch(state.step))
        report.validation(step, figures, pictures, name)
        report.pause(step)
        return figures

    def _programs(self):
        """run(i, state, …) -> (state, metrics): iteration i, its program compiled at first use.

        The first iterations of an adversarial recipe have another program than the later ones.
        """
        warm_up = self.config.discriminator.first_steps if self.config.adversarial else 0
        compiled = {}

        def run(i, *arguments):
            only = i <= warm_up
            if only not in compiled:
                say("compiling; takes minutes for full-size networks")
                step = functools.partial(steps.train_step, self.config, only_discriminator=only)
                mapped = self.spread.step(step)
                if jax.process_count() == 1:  # ahead of time, pmap mistakes a process's shard
                    if self.alone:
                        memory.release()
                    mapped = memory.compiled(mapped.lower(*arguments), self.alone)
                compiled[only] = mapped
            return compiled[only](*arguments)

        return run

    def run(self, state: steps.TrainState, key, next_batch: int, preemption: Preemption):
        """Trains a replicated state up to the last step or a stop; saves and returns it."""
        config, train = self.config, self.config.train
        first, last = int(self.spread.fetch(state.step)), train.steps
        pixels = train.batch_size * config.data.patch_size**2
        values = configuration.as_json(config)
        report = Report(self.workdir, first, last, pixels, values, train.tensorboard)
        vgg = self.spread.replicate(self.vgg)
        profiler = Profiler(self.workdir / "profile", first + 10, train.profile)
        iterate, streak = self._programs(), None
        name, workers = repr(self.source), config.data.workers
        prefetch = pipeline.iterate(self.data, next_batch, workers, name)
        with contextlib.closing(report), contextlib.closing(profiler), prefetch as batches:
            if first and self.lacks_score(first):
                with self._saving(state, key):
                    psnr_y = self.validate(state, report, preemption.check)
                if psnr_y is not None and jax.process_index() == 0:
                    self.checkpoints.add_score(first, psnr_y, self.measured_on)
            for i in range(first + 1, last + 1):
                if i == first + 1 and preemption.requested:
                    break
                profiler.before(i)
                with report.waiting(), self._saving(state, key):
                    batch = self._next(batches, preemption)
                if batch is None:
                    self._save_new(state, key)
                    break
                state, figures = iterate(i, state, self.spread.shard(batch), key, vgg)
                self._check_streak(i - 1, streak)
                streak = figures["skipped_in_a_row"]
                if i % train.log_every == 0 or i in (1, last):
                    with self._saving(state, key):
                        report.step(i, {k: float(v) for k, v in self.spread.fetch(figures).items()})
                if self.validation is None and self._picture_due(i):
                    with self._saving(state, key):
                        self.show(state, report, preemption.check)
                stop, due = preemption.due(i), self._validation_due(i)
                if stop or due or i % train.save_every == 0 or i == last:
                    finite = self._check_streak(i, streak)
                    psnr_y = None
                    if due and not stop:
                        with self._saving(state, key):
                            psnr_y = self.validate(state, report, preemption.check)
                        stop = psnr_y is None
                    if finite or stop or i == last:  # saving skipped steps would replace others
                        self.save(state, key, psnr_y)
                if stop:
                    break
        return self.spread.fetch(state)

    def lacks_score(self, step: int) -> bool:
        """Whether the checkpoint of `step` is to be validated and was not."""
        return self._validation_due(step) and not self.checkpoints.has_score(step)

    def _validation_due(self, step):
        return self.validation is not None and self._picture_due(step)

    def _picture_due(self, step):
        return step % self.config.valid.every == 0 or step == self.config.train.steps

    def _next(self, batches, preemption):
        """The next batch, or None where a stop is asked for before it is there."""
        limit = self.config.data.timeout
        due = time.monotonic() + limit
        while (batch := batches.get(_POLL_S)) is None:
            if preemption.asked():
                return None
            if time.monotonic() > due:
                raise batches.late(limit)
        return batch

    @contextlib.contextmanager
    def _saving(self, state, key):
        """A context whose UserErrors are raised after the state is saved, and say so."""
        try:
            yield
        except UserError as error:
            if jax.process_count() > 1 or not self._save_new(state, key):
                raise
            again = "the same command continues"
            if isinstance(error, ImageError):
                again += ", with --config.data.changed=accept when that is done"
            step = int(self.spread.fetch(state.step))
            raise UserError(f"{error}; step {step} is saved: {again}") from error

    def _save_new(self, state, key):
        """Saves the state, unless it is the last one saved or no step was done; whether it is."""
        self.checkpoints.wait()
        done = int(self.spread.fetch(state.step))
        if done > (self.checkpoints.latest() or 0):
            self.save(state, key)
            self.checkpoints.wait()
        return done > 0

    def _check_streak(self, step, streak):
        """Whether `step` was finite; UserError when it ends too many skipped steps in a row."""
        skipped = 0 if streak is None else int(self.spread.fetch(streak))
        if skipped < self.config.train.max_skipped:
            return skipped == 0
        self.checkpoints.close()
        kept = self.checkpoints.latest()
        remedy = "start again with a lower --config.train.learning_rate"
        if kept is not None:
            remedy = (
                f"step {kept} is saved; start from it with --workdir=NEW "
                f"--config.init_from={self.workdir} and a lower --config.train.learning_rate"
            )
        raise UserError(
            f"{skipped} steps in a row up to step {step} met values that are not finite, training "
            f"stopped; {remedy}, or look at the data"
        )


def train(
    config: Config | ml_collections.ConfigDict, workdir: str | Path, alone: bool = False
) -> Path:
    """Trains by `config`, resuming from the latest checkpoint in `workdir`; returns the workdir.

    Args:
      alone: this process uses JAX for nothing else, so that its caches may be cleared to save
        memory.

    Raises:
      UserError (ImageError, CheckpointError): what the user can correct, in one line; checkpoints
        are left as they are.
    """
    workdir = paths.reached(workdir)
    checkpoints.check_name(paths.absolute(workdir))
    config = config if isinstance(config, Config) else configuration.parse(config)
    if config.train.deterministic:
        determinism.check()
    with Preemption().watched() as preemption, contextlib.ExitStack() as stack:
        training = Training(config, workdir, alone)
        stack.enter_context(training.opened())
        try:
            training.check(preemption.check)
        except Stopped:
            say("stopped while the data were checked; the same command continues")
            return workdir
        training.introduce()
        state, key, next_batch = training.start()
        training.check_agreement(state)
        before = int(state.step)
        if before < config.train.steps or training.lacks_score(before):
            state = training.spread.replicate(state)  # frees the host's copy
            state = training.run(state, key, next_batch, preemption)
        else:
            say(f"finished before: {counted(before, 'step')} done (more by --config.train.steps=N)")
        training.checkpoints.wait()
        conclude(training, int(state.step), int(state.skipped))
        training.checkpoints.close()
    return workdir
