"""Checkpoints: orbax directories that include their model's config."""

import contextlib
import dataclasses
import json
import os
import re
from pathlib import Path

import numpy as np

from hcflow_jax import paths
from hcflow_jax.checkpoints import earlier, published
from hcflow_jax.errors import UserError, needing
from hcflow_jax.model import HCFlow, build_model

CONFIG, PARAMS, EMA, TRAINING, PROGRESS = "config", "params", "ema", "training", "place"
"""Items of a training's checkpoint; one of a model alone has the config and the parameters."""

METRIC = "psnr_y"
"""The metric that selects the best checkpoint of a training."""


class CheckpointError(UserError):
    """A checkpoint that cannot be read or written; the message is one line for the user."""


def model_config(model: HCFlow) -> dict:
    """{field: value} of the model, as JSON values, from which `build_model` makes it again."""
    return json.loads(json.dumps(dataclasses.asdict(model)))


def check_name(path: Path) -> None:
    """CheckpointError where orbax, which looks for what it wrote by patterns, would not find it."""
    if re.search(r"\[" if os.name == "nt" else r"[\[\\]", os.fspath(path)):
        raise CheckpointError(
            f"{path}: checkpoints cannot be kept below a name with [ or \\; rename it"
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
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            checkpointer.save(
                path,
                ocp.args.Composite(
                    **{
                        CONFIG: ocp.args.JsonSave({"model": model_config(model)}),
                        PARAMS: ocp.args.StandardSave(params),
                    }
                ),
            )
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from error


def load_model(path: str | Path) -> tuple[HCFlow, dict]:
    """(model, params) of a checkpoint directory, a training's workdir or published weights.

    Of a workdir, the checkpoint with the best PSNR-Y, else the latest, with averaged parameters
    where there are some. Published weights are a `.npz`, or a `.pth` where torch is installed;
    nothing is unpickled. CheckpointError, naming the path and the remedy, when `path` is none of
    these or is damaged.
    """
    path = paths.absolute(paths.reached(path))
    if not path.exists():
        raise CheckpointError(
            f"{path} does not exist; name a checkpoint, a workdir, a .npz or a .pth"
        )
    if path.is_dir():
        return _load_directory(_checkpoint_in(path))
    try:
        return published.from_torch(read_weights(path))
    except CheckpointError:
        raise
    except UserError as error:
        raise CheckpointError(f"{path} is not an HCFlow checkpoint: {error}") from error


def abstract(function, *args):
    """Shapes, types and one-device sharding of function(*args): the target of orbax's restore."""
    import jax

    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding),
        jax.eval_shape(function, *args),
    )


def finished_steps(folder: Path) -> list[int]:
    """The steps of the complete checkpoints in a training's folder of them, in order."""
    from orbax.checkpoint.path import step

    return sorted(found.step for found in step.standard_name_format().find_all(folder))


def score(metrics: dict) -> float:
    """The PSNR-Y of a checkpoint, the higher the better."""
    return metrics[METRIC]


def best(workdir: Path) -> Path | None:
    """The checkpoint of a training with the highest PSNR-Y, else the latest; None without one.

    Writes nothing. CheckpointError when the scores are damaged.
    """
    import orbax.checkpoint as ocp

    folder = workdir / "checkpoints"
    # Without `create` orbax writes nothing; for `read_only` it would print a warning.
    options = ocp.CheckpointManagerOptions(
        best_fn=score, create=False, save_root_metadata=False, enable_async_checkpointing=False
    )
    try:
        with ocp.CheckpointManager(paths.absolute(folder), options=options) as manager:
            step = manager.best_step()
            step = manager.latest_step() if step is None else step
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder}: the scores of a step are damaged, move it away: {first_line(error)}"
        ) from error
    return None if step is None else folder / str(step)


def _checkpoint_in(path: Path) -> Path:
    """The best checkpoint of a training's workdir, or the directory itself."""
    if not (path / "checkpoints").is_dir():
        return path
    checkpoint = best(path)
    if checkpoint is None:
        raise CheckpointError(f"{path} holds no finished checkpoint yet; train longer")
    return checkpoint


def _load_directory(path):
    import jax
    import orbax.checkpoint as ocp

    if not (path / CONFIG).is_dir() or not (path / PARAMS).is_dir():
        raise CheckpointError(
            f"{path} is not a checkpoint; make one with `hcflow convert` or `hcflow train`"
        )
    with _damage_named(path), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        items = ocp.args.Composite(**{CONFIG: ocp.args.JsonRestore()})
        config = checkpointer.restore(path, items)[CONFIG]
    model = build_model(model_fields(config, path))
    target = abstract(model.init_params, jax.random.key(0))
    item = EMA if (path / EMA).is_dir() else PARAMS
    with _damage_named(path), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        old = earlier.has_earlier_names(path / item)
        target = earlier.renamed(target, earlier.EARLIER) if old else target
        items = ocp.args.Composite(**{item: ocp.args.StandardRestore(target)})
        params = checkpointer.restore(path, items)[item]
    return model, earlier.renamed(params, earlier.TODAY) if old else params


@contextlib.contextmanager
def _damage_named(path):
    """What orbax raises inside becomes a CheckpointError."""
    try:
        yield
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be restored, it is damaged or of another version of hcflow: "
            f"{first_line(error)}"
        ) from error


def model_fields(config, path: Path) -> dict:
    """The model's fields in a checkpoint's config; CheckpointError when they are not HCFlow's."""
    fields = config.get("model") if isinstance(config, dict) else None
    known = {field.name for field in dataclasses.fields(HCFlow)}
    if not isinstance(fields, dict) or not {"task", "steps"} <= fields.keys() <= known:
        raise CheckpointError(
            f"{path} does not say which model it holds; convert or train it again"
        )
    return fields


def first_line(error: Exception) -> str:
    """The first line of an error's message, of 200 characters at most, or its type."""
    return str(error).strip().split("\n")[0][:200] or type(error).__name__


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """{name: array} of a `.npz`, or of a `.pth` by torch with `weights_only=True`.

    CheckpointError when the file is neither or is damaged.
    """
    if path.suffix.lower() == ".npz":
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except Exception as error:
            reason = first_line(error)
            raise CheckpointError(
                f"{path} is not a readable .npz of plain arrays: {reason}"
            ) from error
    if path.suffix.lower() in (".pth", ".pt"):
        return _read_torch(path)
    raise CheckpointError(f"{path} is not a checkpoint; give a directory, a .npz or a .pth file")


def _read_torch(path):
    with needing("convert"):
        import torch
    try:
        with path.open("rb") as file:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = first_line(error)
        raise CheckpointError(f"{path} holds more than weights, or is damaged: {reason}") from error
    for key in ("state_dict", "params", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) and not value.is_complex()
        for name, value in loaded.items()
    ):
        raise CheckpointError(f"{path} holds no state dict of named tensors of real numbers")
    return {name: value.detach().to_dense().float().numpy() for name, value in loaded.items()}
