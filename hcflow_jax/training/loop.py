"""A training: opening and checking its parts, resuming, and the loop."""

import contextlib
import functools
import json
from pathlib import Path

import jax
import ml_collections
import numpy as np

from hcflow_jax import checkpoints, data, paths
from hcflow_jax.data import pipeline
from hcflow_jax.errors import UserError
from hcflow_jax.images import metrics
from hcflow_jax.training import config as configuration
from hcflow_jax.training import memory, objectives, parallel, perceptual, steps
from hcflow_jax.training.config import Config
from hcflow_jax.training.preemption import Preemption
from hcflow_jax.training.reporting import Report, say
from hcflow_jax.training.validation import Validation, centre_crops
from hcflow_jax.training.workdir import Checkpoints, locked


def _source(section, scale):
    """The source of a section of the config, data or valid."""
    split = section.split or ("train" if section.path else "validation")
    return data.open_source(section.path, section.tfds, split, scale)


def _key(config) -> jax.Array:
    """The key of all random numbers in iterations."""
    return jax.random.key(config.train.seed + 1)


def _initial_params(config, batch):
    """Initial parameters: those of `init_from`, or new ones with ActNorms set from the batch."""
    model = config.model
    if config.init_from:
        published = getattr(config.loss, "dequantization", "") == "published"
        initial_model, params = checkpoints.load_model(config.init_from, as_trained=published)
        configuration.check_same_model(initial_model, model, config.init_from)
        return jax.tree.map(np.asarray, params)
    key = jax.random.key(config.train.seed, impl="unsafe_rbg")  # faster to compile
    params = parallel.replicate(jax.jit(model.init_params)(key))
    noise_key = jax.random.fold_in(_key(config), 0)  # that of the first iteration
    first_row = jax.process_index() * len(batch["hr"])
    noisy = jax.jit(functools.partial(objectives.draw_noise, config))(noise_key, batch, first_row)
    hr = batch["hr"] + np.asarray(noisy.get("dequantization", 0), batch["hr"].dtype)
    return parallel.fetch(parallel.pmap_data_init(model)(params, parallel.shard(hr)))


def initial_state(config: Config, batch) -> steps.TrainState:
    """The state before the first step, as numpy arrays; `batch` is this process's first one."""
    params = _initial_params(config, batch)
    key = jax.random.key(config.train.seed + 2)
    return jax.tree.map(np.asarray, steps.create_state(config, params, key, config.data.patch_size))


def _resumed(checkpoints, config, step, fingerprint):
    """(state, key, progress) saved at `step`; UserError when config or data do not match."""
    saved, progress = checkpoints.read(step)
    configuration.check_resumable(saved, config, checkpoints.path.parent)
    if saved["train"]["steps"] != config.train.steps:
        say(
            f"train.steps was {saved['train']['steps']}, is {config.train.steps}: the schedule's "
            "fractions count the new steps"
        )
    if progress["data"] != fingerprint:
        raise UserError(
            f"the training data are not those that {checkpoints.path.parent} was trained on; "
            "restore them, or name another --workdir and give this one by --config.init_from"
        )
    shapes, _, _ = steps.abstract_arguments(config, 1, config.data.patch_size)
    key = jax.random.wrap_key_data(np.array(progress["rng"], np.uint32))
    return checkpoints.restore(step, shapes), key, progress


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
        parallel.check_batch(train.batch_size, train.accumulate)
        self.alone, self.validated = alone, True
        self.vgg = {}
        if config.perceptual:
            self.vgg = perceptual.load(config.loss.vgg, config.loss.vgg_sha256)
        self.source = _source(config.data, self.model.scale)
        self.data = pipeline.patches(
            self.source,
            self.model.scale,
            config.data.patch_size,
            config.data.rotate,
            train.batch_size,
            train.seed,
            jax.process_index(),
            jax.process_count(),
        )
        self.validation = self._validation()

    @contextlib.contextmanager
    def opened(self):
        """A context in which the workdir exists and is locked, and its checkpoints are open.

        Locked first: opening checkpoints removes unfinished ones, which may be another training's.
        """
        checkpoints.check_name(paths.absolute(self.workdir))
        try:
            self.workdir.mkdir(parents=True, exist_ok=True)
        except Exception as error:  # of whichever package reads buckets
            reason = getattr(error, "strerror", None) or checkpoints.first_line(error)
            raise UserError(
                f"cannot create {self.workdir}: {reason}; name another --workdir"
            ) from error
        with contextlib.ExitStack() as stack:
            if jax.process_index() == 0 and not stack.enter_context(locked(self.workdir)):
                say(f"{self.workdir} cannot be locked: let no other training write to it")
            train, path = self.config.train, self.workdir / "checkpoints"
            self.checkpoints = Checkpoints(path, train.keep, train.keep_every)
            stack.callback(self.checkpoints.abandon)
            yield

    def _validation(self):
        valid = self.config.valid
        if not (valid.path or valid.tfds):
            return None
        source, least = _source(valid, self.model.scale), metrics.SSIM_WINDOW + 2 * self.model.scale
        pairs = centre_crops(source, valid.count, valid.size)
        for index, pair in enumerate(pairs):
            height, width, _ = pair["hr"].shape
            if min(height, width) < least:
                raise UserError(
                    f"{source.name(index)} leaves {width}×{height} pixels to validate on, SSIM "
                    f"needs {least}; set --config.valid.size higher or remove it"
                )
        loss = self.config.loss
        return Validation(self.model, pairs, valid.temperatures, valid.samples, loss)

    def start(self) -> tuple[steps.TrainState, jax.Array, int]:
        """(state, key, index of the next batch) of the latest checkpoint, or initial ones."""
        step = self.checkpoints.latest()
        if step is not None:
            state, key, progress = _resumed(
                self.checkpoints, self.config, step, self.source.fingerprint
            )
            self.validated = progress["validated"]
            return state, key, progress["next_batch"]
        state = initial_state(self.config, self.data[0])
        return state, _key(self.config), 0

    def introduce(self) -> None:
        """Prints model, data, devices and starting point; writes parameters.txt."""
        config, step, workdir = self.config, self.checkpoints.latest(), self.workdir
        params = jax.eval_shape(self.model.init_params, jax.random.key(0))
        parameters = sum(x.size for x in jax.tree.leaves(params)) / 1e6
        origin = f"from {config.init_from}" if config.init_from else "from scratch"
        origin = origin if step is None else f"resuming from step {step}"
        processes = jax.process_count()
        hosts = f" of {processes} processes" if processes > 1 else ""
        device = jax.devices()[0]
        say(f"training {self.model.task} ×{self.model.scale}, {parameters:.2f} M parameters")
        say(f"data: {self.source!r}, patches of {config.data.patch_size}")
        say(f"devices: {jax.device_count()} × {device.platform} ({device.device_kind}){hosts}")
        say(f"{origin}, to step {config.train.steps}; workdir {workdir}")
        if self.validation is None:
            say("no validation images (--config.valid.path=DIR): the latest checkpoint is used")
        if jax.process_index() == 0:
            from clu import parameter_overview

            overview = parameter_overview.get_parameter_overview(params, include_stats=False)
            self._write_overview(overview + "\n")

    def _write_overview(self, text):
        """The first file that a training writes; UserError when, as in buckets, that fails now."""
        try:
            (self.workdir / "parameters.txt").write_text(text)
        except Exception as error:  # of whichever package writes to buckets
            reason = getattr(error, "strerror", None) or checkpoints.first_line(error)
            raise UserError(
                f"cannot write to {self.workdir}: {reason}; name another --workdir"
            ) from error

    def check_agreement(self, state: steps.TrainState) -> None:
        """UserError where step, data or config differ between the processes of this training."""
        config = configuration.as_json(self.config)
        parallel.check_agreement(
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
            "validated": psnr_y is not None,
            "data": self.source.fingerprint,
            "next_batch": int(parallel.fetch(state.step)),
            "rng": np.asarray(jax.random.key_data(key)).tolist(),
        }
        config = configuration.as_json(self.config)
        self.checkpoints.save(parallel.fetch(state), config, progress, psnr_y)

    def validate(self, state, report: Report) -> float:
        """Validates, reports, and returns PSNR-Y at the first temperature."""
        params = state.model.params if state.ema is None else state.ema
        figures, pictures = self.validation(params, self.config.train.seed)
        step = int(parallel.fetch(state.step))
        report.validation(step, figures, pictures)
        report.pause(step)
        return figures[f"psnr_y@{self.config.valid.temperatures[0]:g}"]

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
                mapped = parallel.pmap_step(step)
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
        first, last = int(parallel.fetch(state.step)), train.steps
        pixels = train.batch_size * config.data.patch_size**2
        values = configuration.as_json(config)
        report = Report(self.workdir, first, last, pixels, values, train.tensorboard)
        vgg = parallel.replicate(self.vgg)
        profiler = _Profiler(self.workdir / "profile", first + 10, train.profile)
        iterate, streak = self._programs(), None
        prefetch = pipeline.iterate(self.data, next_batch, config.data.workers)
        with contextlib.closing(report), contextlib.closing(profiler), prefetch as batches:
            if first and self._validation_due(first) and not self.validated:
                self.validate(state, report)
            for i in range(first + 1, last + 1):
                if i == first + 1 and preemption.requested:
                    break
                profiler.before(i)
                with report.waiting():
                    batch = parallel.shard(self._next(batches, state, key))
                state, figures = iterate(i, state, batch, key, vgg)
                self._check_streak(i - 1, streak)
                streak = figures["skipped_in_a_row"]
                if i % train.log_every == 0 or i in (1, last):
                    report.step(i, {k: float(v) for k, v in parallel.fetch(figures).items()})
                stop, due = preemption.due(i), self._validation_due(i)
                if stop or due or i % train.save_every == 0 or i == last:
                    finite = self._check_streak(i, streak)
                    psnr_y = self.validate(state, report) if due and not stop else None
                    if finite or stop or i == last:  # saving skipped steps would replace others
                        self.save(state, key, psnr_y)
                if stop:
                    break
        return parallel.fetch(state)

    def _validation_due(self, step):
        every = self.config.valid.every
        return self.validation and (step % every == 0 or step == self.config.train.steps)

    def _next(self, batches, state, key):
        """The next batch; saves the state before raising the UserError of a damaged image."""
        try:
            return next(batches)
        except UserError:
            done = int(parallel.fetch(state.step))
            if jax.process_count() == 1 and done > (self.checkpoints.latest() or 0):
                self.save(state, key)
                self.checkpoints.wait()
            raise

    def _check_streak(self, step, streak):
        """Whether `step` was finite; UserError when it ends too many skipped steps in a row."""
        skipped = 0 if streak is None else int(parallel.fetch(streak))
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


class _Profiler:
    """JAX's trace of `count` steps from step `first` on."""

    def __init__(self, folder, first, count):
        self._folder, self._first, self._stop, self._on = folder, first, first + count, False

    def before(self, step):
        if self._first < self._stop and step == self._first:
            jax.profiler.start_trace(str(self._folder))
            self._on = True
        if step == self._stop:
            self.close()

    def close(self):
        if self._on:
            jax.profiler.stop_trace()
            say(f"profile in {self._folder}; look at it with TensorBoard or xprof")
        self._on = False


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
    config = config if isinstance(config, Config) else configuration.parse(config)
    with Preemption().watched() as preemption, contextlib.ExitStack() as stack:
        training = Training(config, workdir, alone)
        stack.enter_context(training.opened())
        training.introduce()
        state, key, next_batch = training.start()
        training.check_agreement(state)
        if int(state.step) < config.train.steps:
            state = parallel.replicate(state)  # frees the host's copy
            state = training.run(state, key, next_batch, preemption)
        training.checkpoints.close()
    step, skipped = int(state.step), int(state.skipped)
    if skipped:
        say(f"{skipped} steps met values that are not finite and changed nothing")
    if step < config.train.steps:
        say(f"stopped at step {step}, saved; the same command continues")
        return workdir
    model = config.model
    command = f"upscale --scale={model.scale}" if model.task == "sr" else "downscale"
    say(f"done; the checkpoint to use is {checkpoints.best(workdir)}")
    say(f"try it: hcflow {command} --checkpoint={workdir} PICTURE")
    return workdir
