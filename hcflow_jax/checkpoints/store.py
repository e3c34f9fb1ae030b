"""Checkpoints: orbax directories that include their model's config."""

import contextlib
import json
import math
import os
import re
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import jax.numpy as jnp

from hcflow_jax import fields, paths
from hcflow_jax.checkpoints import earlier, hashes, published, weights
from hcflow_jax.checkpoints.weights import CheckpointError
from hcflow_jax.errors import UserError, first_line, shown
from hcflow_jax.model import HCFlow, StepHook, build_model
from hcflow_jax.model.dequantization import without_noise_mean

CONFIG, PARAMS, EMA, TRAINING, PROGRESS = "config", "params", "ema", "training", "place"
"""Items of a training's checkpoint; one of a model alone has the config and the parameters."""

STEP = "step"
"""In a model's config: the name of the function of its own flow steps, where it has some."""

METRIC = "psnr_y"
"""The metric that selects the best checkpoint of a training."""

MEASURED_ON = "measured_on"
"""Beside the metric: the fingerprint of the validation, without which scores do not compare."""


def model_config(model: HCFlow) -> dict:
    """{field: value} of the model, as JSON values, from which `build_model` makes it again.

    Of flow steps of one's own the name of the function alone: reading a checkpoint runs nothing.
    """
    config = json.loads(json.dumps(fields.values(model)))
    return config if model.step is None else config | {STEP: _name(model.step)}


def _name(function):
    module, name = (getattr(function, key, "") for key in ("__module__", "__qualname__"))
    return f"{module}.{name}" if name else repr(function)


def check_name(path: Path) -> None:
    """CheckpointError where orbax, which looks for what it wrote by patterns, would not find it."""
    if re.search(r"\[" if os.name == "nt" else r"[\[\\]", os.fspath(path)):
        raise CheckpointError(
            f"{path}: checkpoints cannot be kept below a name with [ or \\; name another place"
        )


def save_model(path: str | Path, model: HCFlow, params) -> None:
    """Writes an orbax checkpoint of `params` with the model's config; atomic.

    CheckpointError when `path` exists, cannot be written, or has a name that orbax does not bear.
    """
    import orbax.checkpoint as ocp

    path = paths.absolute(paths.reached(path))
    if paths.is_taken(path):
        raise CheckpointError(f"{path} exists; name a new directory")
    check_name(path)
    items = to_save({PARAMS: params}, {CONFIG: {"model": model_config(model)}})
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            checkpointer.save(path, items)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from error


def to_save(trees: dict, texts: dict):
    """What orbax takes to write {item: tree of arrays}, {item: JSON value} and their hashes."""
    import orbax.checkpoint as ocp

    records = {item: hashes.of_arrays(tree) for item, tree in trees.items()}
    records |= {item: hashes.of_json(value) for item, value in texts.items()}
    written = {item: ocp.args.StandardSave(tree) for item, tree in trees.items()}
    texts = texts | {hashes.HASHES: records}
    written |= {item: ocp.args.JsonSave(value) for item, value in texts.items()}
    return ocp.args.Composite(**written)


def restore(path: Path, trees: dict, texts: Iterable[str] = ()) -> dict:
    """{item: tree of numpy arrays, or JSON value} of a checkpoint, compared with their hashes.

    Args:
      trees: {item: tree of the shapes and types to return}.
      texts: the items that are JSON.

    CheckpointError when anything is damaged or not what was written. What earlier versions wrote
    has no hashes and is not compared; their names of parameters become today's.
    """
    import orbax.checkpoint as ocp

    with _damage_named(path), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:

        def read(items):
            return checkpointer.restore(paths.absolute(path), ocp.args.Composite(**items))

        named = [item for item in (PARAMS, EMA) if item in trees]
        old = [item for item in named if earlier.has_earlier_names(paths.absolute(path) / item)]
        trees = trees | {item: earlier.renamed(trees[item], earlier.EARLIER) for item in old}
        written, hashed = {}, (path / hashes.HASHES).is_dir()
        if hashed:
            written = read({hashes.HASHES: ocp.args.JsonRestore()})[hashes.HASHES]
        targets = {item: hashes.as_written(t, written.get(item, {})) for item, t in trees.items()}
        items = {item: ocp.args.StandardRestore(target) for item, target in targets.items()}
        found = dict(read(items | {item: ocp.args.JsonRestore() for item in texts}))
        if hashed:
            hashes.check({item: found[item] for item in trees}, hashes.of_arrays, written)
            hashes.check({item: found[item] for item in texts}, hashes.of_json, written)
    for item, tree in trees.items():
        found[item] = jax.tree.map(lambda x, s: x.astype(s.dtype, copy=False), found[item], tree)
    return found | {item: earlier.renamed(found[item], earlier.TODAY) for item in old}


def load_model(
    path: str | Path,
    as_trained: bool = False,
    say: Callable[[str], None] = lambda line: None,
    step: StepHook | None = None,
) -> tuple[HCFlow, dict]:
    """(model, params) of a checkpoint directory, a training's workdir or published weights.

    Of a workdir, the checkpoint with the best PSNR-Y, else the latest, with averaged parameters
    where there are some. Published weights are a `.npz`, or, where torch or safetensors are
    installed, one of their files; nothing is unpickled.

    Args:
      as_trained: leave the mean of published dequantisation noise in what a training's checkpoint
        samples (`model.dequantization.without_noise_mean`).
      say: called with a line for the user where a file holds averaged weights beside others, or
        that mean is taken off.
      step: the function of the model's own flow steps, where it was saved with one.

    CheckpointError, naming the path and the remedy, when `path` is none of these, is damaged, or
    holds other values than were written.
    """
    path = paths.absolute(paths.reached(path))
    if not path.exists():
        raise CheckpointError(
            f"{path} does not exist; name a checkpoint, a workdir, a .npz or a .pth"
        )
    if path.is_dir():
        return _load_directory(_checkpoint_in(path), as_trained, say, step)
    if step is not None:
        raise CheckpointError(f"{path} {_NO_STEP}")
    try:
        return published.from_torch(weights.read_weights(path, published.check_shapes, say))
    except CheckpointError:
        raise
    except UserError as error:
        raise CheckpointError(f"{path} is not an HCFlow checkpoint: {error}") from error


def finished_steps(folder: Path) -> list[int]:
    """The steps of the complete checkpoints in a training's folder of them, in order."""
    from orbax.checkpoint.path import step

    return sorted(found.step for found in step.standard_name_format().find_all(folder))


def score(metrics: dict) -> float:
    """The PSNR-Y of a checkpoint, the higher the better."""
    return metrics[METRIC]


def new_score(psnr_y: float, measured_on: str) -> dict:
    """What is written beside a checkpoint of its validation, hashed; `measured_on` says which."""
    values = {METRIC: psnr_y, MEASURED_ON: measured_on}
    return values | {hashes.HASHES: hashes.of_json(values)[""]}


def scores(folder: Path) -> dict[int, dict]:
    """{step: its score} of the checkpoints in a training's folder that have one, in order.

    CheckpointError when one is damaged. Those of earlier versions have no hash.
    """
    found = {}
    for step in finished_steps(folder):
        file = folder / str(step) / "metrics" / "metrics"
        if file.exists():
            found[step] = _read_score(file)
    return found


def _read_score(file):
    try:
        values = json.loads(file.read_text())
        written = values.pop(hashes.HASHES, None)
        if not math.isfinite(score(values)):
            raise ValueError("it is no number")
        if written not in (None, hashes.of_json(values)[""]):
            raise ValueError("it is not what was written")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        forget = f"rm -r {shlex.quote(os.fspath(file.parent))}"
        raise CheckpointError(
            f"{file} is a damaged score ({first_line(error)}); `{forget}` forgets it"
        ) from error
    return values


def best(workdir: Path) -> Path | None:
    """The checkpoint of a training with the highest PSNR-Y, else the latest; None without one.

    Of scores from several validation sets, those of the latest one count. CheckpointError when a
    score is damaged.
    """
    folder = workdir / "checkpoints"
    found = scores(folder)
    if not found:
        step = max(finished_steps(folder), default=None)
    else:
        step = best_of_each_set(found)[found[max(found)].get(MEASURED_ON, "")]
    return None if step is None else folder / str(step)


def best_of_each_set(found: dict[int, dict]) -> dict[str, int]:
    """{fingerprint of a validation: its step with the highest score, the last of equals}.

    Args:
      found: {step: its metrics}, with the step measured last at the end.
    """
    best: dict[str, int] = {}
    for step, metrics in found.items():
        value, of = score(metrics), metrics.get(MEASURED_ON, "")
        if of not in best or value >= score(found[best[of]]):
            best[of] = step
    return best


def _checkpoint_in(path: Path) -> Path:
    """The best checkpoint of a training's workdir, or the directory itself."""
    if not (path / "checkpoints").is_dir():
        return path
    checkpoint = best(path)
    if checkpoint is None:
        raise CheckpointError(f"{path} holds no finished checkpoint yet; train longer")
    return checkpoint


def noise(path: str | Path) -> tuple[str, int] | None:
    """(kind, q) of the dequantisation noise that a checkpoint says it was trained with, or None.

    `model.dequantization` has the kinds. A training of rescaling has none; files of weights and
    converted checkpoints do not say.
    """
    path = paths.absolute(paths.reached(path))
    if not path.is_dir():
        return None
    return _noise_of(restore(_checkpoint_in(path), {}, [CONFIG])[CONFIG].get("loss", {}))


def _noise_of(loss):
    """(kind, q) of the noise of a training with the section `loss`; None without noise."""
    return (loss.get("dequantization", "published"), loss["quant"]) if "quant" in loss else None


_NO_STEP = "holds a model without flow steps of your own; leave out step"


def _with_step(found, step, path):
    """The model of the fields `found`, with the function `step` where it was saved with one."""
    name = found.get(STEP)
    if name and step is None:
        raise CheckpointError(
            f"{path} holds a model whose flow steps are made by the function {name}; load it from "
            "Python, by hcflow_jax.load(path, step=the function)"
        )
    if step is not None and not name:
        raise CheckpointError(f"{path} {_NO_STEP}")
    return build_model({**found, STEP: step})


def _load_directory(path, as_trained, say, step):
    if not (path / CONFIG).is_dir() or not (path / PARAMS).is_dir():
        raise CheckpointError(
            f"{path} is not a checkpoint; make one with `hcflow convert` or `hcflow train`"
        )
    config = restore(path, {}, [CONFIG])[CONFIG]
    model = _with_step(model_fields(config, path), step, path)
    item = EMA if (path / EMA).is_dir() else PARAMS
    shapes = jax.eval_shape(model.init_params, jax.random.key(0))
    params = jax.tree.map(jnp.asarray, restore(path, {item: shapes})[item])
    corrected = params if as_trained else unbiased(model, params, config.get("loss", {}))
    if corrected is not params:
        say(
            f"{shown(path)}: the mean of its training's noise is taken off (--as-trained leaves it)"
        )
    return model, corrected


def unbiased(model: HCFlow, params, loss: dict):
    """`params` without the mean of U(0, 1)/q, where a training with the section `loss` leaves it.

    That is maximum likelihood alone: a loss that compares samples with images takes it away. A
    model without an unconditional step in its first level keeps it.
    """
    kind, quant = _noise_of(loss) or ("centred", 1)
    compared = any(loss.get(f"{x}_weight", loss.get(x, 0)) for x in ("pixel", "perceptual", "gan"))
    if kind == "published" and not compared and model.steps[0] > model.conditional_steps[0]:
        return without_noise_mean(model, params, quant)
    return params


@contextlib.contextmanager
def _damage_named(path):
    """What is raised inside becomes a CheckpointError, which tells what to do without `path`."""
    try:
        yield
    except hashes.MismatchError as error:
        raise CheckpointError(
            f"{path} is damaged: {error} is not what was written; {_remedy(path)}"
        ) from error
    except Exception as error:
        raise CheckpointError(
            f"{path} is damaged or of another version of hcflow: {first_line(error)}; "
            f"{_remedy(path)}"
        ) from error


def _remedy(path):
    """How to do without a checkpoint: of a training, by going back to the step before."""
    if path.parent.name != "checkpoints" or not path.name.isdecimal():
        return "copy or convert it again"
    move = "gcloud storage mv" if paths.is_remote(path) else "mv"
    aside = path.parent.parent / f"damaged-{path.name}"
    command = f"{move} {shlex.quote(os.fspath(path))} {shlex.quote(os.fspath(aside))}"
    others = [step for step in finished_steps(path.parent) if str(step) != path.name]
    if not others:
        return f"`{command}` puts it aside; no other step is saved"
    before = max((step for step in others if step < int(path.name)), default=max(others))
    return f"`{command}` puts it aside; step {before} is saved as {path.parent / str(before)}"


def model_fields(config, path: Path) -> dict:
    """The model's fields in a checkpoint's config; CheckpointError when they are not HCFlow's."""
    found = config.get("model") if isinstance(config, dict) else None
    known = {*fields.rules(HCFlow), STEP}
    if not isinstance(found, dict) or not {"task", "steps"} <= found.keys() <= known:
        raise CheckpointError(
            f"{path} does not say which model it holds; convert or train it again"
        )
    return found
