"""Training: `hcflow train --config=configs/x.py:variant --workdir=DIR`."""

import functools
import json
import math
import time
from pathlib import Path

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp

from hcflow_jax import checkpoint, parallel, steps
from hcflow_jax.data import folder
from hcflow_jax.model import HCFlow, build_model

USAGE = """usage: hcflow train --config=FILE.py[:VARIANT] --workdir=DIR [--config.FIELD=VALUE …]

Trains on a folder of images and continues where DIR left off.

  --config      configs/sr_x4.py, configs/sr_x8.py or configs/rescaling_x4.py; the variant tiny
                trains the small network that ships with hcflow
  --workdir     folder of checkpoints and log.jsonl; give it to --checkpoint later
  --config.data.path=DIR          the images
  --config.data.patch_size=N      side of the training patches, in pixels
  --config.train.steps=N          iterations
  --config.train.batch_size=N     patches per iteration, over all devices
  --config.train.learning_rate=X  every other field of the config likewise

example:
  hcflow train --config=configs/sr_x4.py:tiny --workdir=runs/sr --config.data.path=photos/
"""


def make_schedule(train) -> optax.Schedule:
    """train.learning_rate, halved from iteration round(f·train.steps) on, f in train.halve_at.

    Iterations count from 1; optax asks for the rate of iteration i with count i − 1.
    """
    boundaries: dict[int, float] = {}
    for fraction in train.halve_at:
        step = round(fraction * train.steps) - 1
        boundaries[step] = 0.5 * boundaries.get(step, 1.0)
    return optax.piecewise_constant_schedule(train.learning_rate, boundaries)


def make_loss(model: HCFlow, train) -> steps.Loss:
    """The objective of the model's task."""
    if model.task == "sr":
        return steps.sr_loss(model, train.quant)
    return steps.rescaling_loss(model)


class Checkpoints:
    """The checkpoints of a workdir: model config and parameters, and what resuming needs."""

    def __init__(self, workdir: Path, model: HCFlow, tx: optax.GradientTransformation):
        self.path = workdir / "checkpoints"
        self._model, self._tx = model, tx
        options = ocp.CheckpointManagerOptions(max_to_keep=2, cleanup_tmp_directories=True)
        self._manager = ocp.CheckpointManager(self.path.absolute(), options=options)

    def save(self, state: steps.TrainState) -> None:
        """Starts writing `state` (one device's) in the background."""
        training = {"opt_state": state.opt_state, "skipped": state.skipped}
        config = {"model": checkpoint.model_config(self._model)}
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                **{
                    checkpoint.CONFIG: ocp.args.JsonSave(config),
                    checkpoint.PARAMS: ocp.args.StandardSave(state.params),
                    checkpoint.TRAINING: ocp.args.StandardSave(training),
                }
            ),
        )

    def restore(self) -> steps.TrainState | None:
        """The latest saved state, None when there is none.

        CheckpointError when the workdir holds a training of another model.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        self._check_model(step)

        def fresh(rng):
            return steps.create_state(self._model.init_params(rng), self._tx)

        state = checkpoint.abstract(fresh, jax.random.key(0))
        training = {"opt_state": state.opt_state, "skipped": state.skipped}
        restored = self._read(
            step,
            {
                checkpoint.PARAMS: ocp.args.StandardRestore(state.params),
                checkpoint.TRAINING: ocp.args.StandardRestore(training),
            },
        )
        return steps.TrainState(
            step=np.int32(step),
            params=restored[checkpoint.PARAMS],
            **restored[checkpoint.TRAINING],
        )

    def _check_model(self, step):
        config = self._read(step, {checkpoint.CONFIG: ocp.args.JsonRestore()})[checkpoint.CONFIG]
        found = checkpoint.model_fields(config, self.path)
        for field, value in checkpoint.model_config(self._model).items():
            if found.get(field) != value:
                raise checkpoint.CheckpointError(
                    f"{self.path} holds a model with {field} {found.get(field)}, the config says "
                    f"{value}; name another --workdir"
                )

    def _read(self, step, items):
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:
            raise checkpoint.CheckpointError(
                f"{self.path}/{step} is damaged, move it away to continue from an earlier step: "
                f"{checkpoint.first_line(error)}"
            ) from error

    def close(self) -> None:
        """Waits for what is being written."""
        self._manager.wait_until_finished()
        self._manager.close()


def _report(record, rate, remaining):
    shown = "  ".join(f"{k} {v:.4g}" for k, v in record.items() if k != "step")
    minutes, seconds = divmod(int(remaining), 60)
    _say(f"step {record['step']}  {shown}  {rate:.2f} steps/s  {minutes}:{seconds:02d} left")


def _say(line):
    print(line, flush=True)


def initial_state(model: HCFlow, tx, first_batch, seed: int) -> steps.TrainState:
    """Fresh parameters, ActNorms set from the batch that `parallel.shard` has split."""
    params = jax.jit(model.init_params)(jax.random.key(seed))
    params = parallel.pmap_data_init(model)(params, first_batch["hr"])
    return steps.create_state(parallel.unreplicate(params), tx)


def train(config, workdir: str | Path) -> Path:
    """Trains `config.model` on the folder `config.data.path`; continues what `workdir` holds.

    Logs to the console and to `workdir/log.jsonl`; checkpoints every `config.train.save_every`
    steps and at the end. Returns the folder of checkpoints. ValueError (ImageError,
    CheckpointError), one line each, for what the user can put right.
    """
    model = build_model(_section(config, "model", ()))
    _check(config, model)
    workdir, settings = Path(workdir), config.train
    if not config.data.path:
        raise ValueError("no training data; give a folder of images by --config.data.path=DIR")
    data = folder.patches(
        config.data.path,
        model.scale,
        config.data.patch_size,
        config.data.rotate,
        settings.batch_size,
        settings.seed,
    )
    tx = steps.optimizer(make_schedule(settings))
    workdir.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(workdir, model, tx)
    state = checkpoints.restore()
    if state is None:
        state = initial_state(model, tx, parallel.shard(data[0]), settings.seed)
    first = int(state.step)
    parameters = sum(x.size for x in jax.tree.leaves(state.params)) / 1e6
    _say(
        f"training {model.task} ×{model.scale}, {parameters:.2f} M parameters, on "
        f"{config.data.path}, with {jax.local_device_count()} {jax.default_backend()} device(s), "
        f"from step {first} to {settings.steps}"
    )
    state = _run(make_loss(model, settings), tx, state, data, settings, checkpoints, workdir)
    checkpoints.close()
    skipped = int(state.skipped)
    _say(f"done; {skipped} steps were not finite and skipped; checkpoints in {checkpoints.path}")
    return checkpoints.path


_COUNTS = ("batch_size", "steps", "log_every", "save_every")


def _section(config, name, fields):
    """config[name]; ValueError when it, or one of its `fields`, is missing."""
    if name not in (config or {}):
        raise ValueError(f"the config has no field {name}; start from one of configs/")
    for field in fields:
        if field not in config[name]:
            raise ValueError(f"the config has no field {name}.{field}; start from one of configs/")
    return config[name]


def _check(config, model):
    """ValueError naming the first field that is missing or makes no sense."""
    data = _section(config, "data", ("path", "patch_size", "rotate"))
    quant = ("quant",) if model.task == "sr" else ()
    fields = (*_COUNTS, *quant, "learning_rate", "halve_at", "seed")
    settings = _section(config, "train", fields)
    counts = {f"train.{name}": settings[name] for name in (*_COUNTS, *quant)}
    for name, value in (counts | {"data.patch_size": data.patch_size}).items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}; set --config.{name}")
    if not (math.isfinite(settings.learning_rate) and settings.learning_rate > 0):
        raise ValueError(
            f"train.learning_rate must be a positive number, got {settings.learning_rate}; "
            "set --config.train.learning_rate"
        )
    if not 0 <= settings.seed < 2**31 - 1:
        raise ValueError(f"train.seed must be from 0 to 2^31 − 2, got {settings.seed}")
    parallel.check_batch(settings.batch_size)


def _run(loss, tx, state, data, settings, checkpoints, workdir):
    first = int(state.step)
    if first >= settings.steps:
        return state
    step = parallel.pmap_step(functools.partial(steps.train_step, loss, tx))
    rng = jax.random.key(settings.seed + 1)
    state = parallel.replicate(state)
    batches = iter(data[first:].to_iter_dataset())
    since, at = time.time(), first
    with open(workdir / "log.jsonl", "a") as log:
        for i in range(first + 1, settings.steps + 1):
            state, metrics = step(state, parallel.shard(next(batches)), rng)
            if i % settings.log_every == 0 or i in (first + 1, settings.steps):
                record = {"step": i} | {k: float(v[0]) for k, v in metrics.items()}
                log.write(json.dumps(record) + "\n")
                log.flush()
                rate = (i - at) / (time.time() - since)
                _report(record, rate, (settings.steps - i) / rate)
                since, at = time.time(), i
            if i % settings.save_every == 0 or i == settings.steps:
                checkpoints.save(parallel.unreplicate(state))
    return parallel.unreplicate(state)


def main(argv: list[str]) -> None:
    """`hcflow train`'s command line; ValueError, one line, when it makes no sense."""
    from absl import flags
    from ml_collections import config_flags

    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config",
        None,
        "FILE.py:variant",
        flag_values=values,
        sys_argv=["hcflow", *argv],
    )
    flags.DEFINE_string("workdir", None, "folder of checkpoints and log", flag_values=values)
    flags.DEFINE_boolean("help", False, "show this", flag_values=values, short_name="h")
    try:
        rest = values(["hcflow", *argv])[2:]
        config = values.config
    except KeyError as error:
        raise ValueError(f"the config has no such field: {error}") from error
    except Exception as error:  # the config is a program: anything can come out of it
        reason = str(error).strip().split("\n")[-1].strip()
        raise ValueError(f"{reason}; see `hcflow train --help`") from error
    if values.help:
        print(USAGE)
        return
    if rest:
        raise ValueError(f"{rest[0]!r} is no flag; see `hcflow train --help`")
    for name in ("config", "workdir"):
        if values[name].value is None:
            raise ValueError(f"--{name}=… is missing; see `hcflow train --help`")
    train(config, values.workdir)
