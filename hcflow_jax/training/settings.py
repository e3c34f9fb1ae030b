"""The config of a training: refused at the door when it makes no sense, compared on resume."""

import dataclasses
import json
import math

from hcflow_jax.checkpoints import CheckpointError, model_config
from hcflow_jax.model import EXECUTION, HCFlow, build_model
from hcflow_jax.training import losses, parallel

_FIELDS = {
    "data": ("path", "tfds", "split", "patch_size", "rotate", "workers"),
    "valid": ("path", "tfds", "split", "count", "size", "every", "temperatures", "samples"),
    "train": (
        *("batch_size", "accumulate", "steps", "learning_rate", "schedule", "milestones", "gamma"),
        *("restarts", "restart_weights", "periods", "least_rate", "ema", "seed", "log_every"),
        *("save_every", "keep", "keep_every", "max_skipped", "tensorboard", "profile"),
    ),
}
_LOSS = {
    "sr": (
        *("quant", "nll", "pixel", "pixel_norm", "perceptual", "perceptual_norm", "vgg"),
        *("vgg_sha256", "gan", "gan_type", "temperature"),
    ),
    "rescaling": ("lr", "latents", "hr"),
}
_DISCRIMINATOR = ("kind", "features", "layers", "learning_rate", "first_steps")

_CHOICES = {
    "train.schedule": ("multistep", "cosine"),
    "loss.pixel_norm": ("l1", "l2"),
    "loss.perceptual_norm": ("l1", "l2"),
    "loss.gan_type": losses.GAN_TYPES,
    "discriminator.kind": ("vgg", "patchgan"),
}
_LEAST = {
    **{f"train.{name}": 1 for name in ("batch_size", "accumulate", "steps", "log_every")},
    **{f"train.{name}": 1 for name in ("save_every", "keep", "keep_every", "max_skipped")},
    **{
        "train.least_rate": 0,
        "data.patch_size": 1,
        "data.workers": 0,
        "loss.quant": 1,
        "train.profile": 0,
    },
    **{"valid.count": 1, "valid.size": 0, "valid.every": 1, "valid.samples": 1},
    **{f"loss.{name}": 0 for name in ("nll", "pixel", "perceptual", "gan", "temperature")},
    **{f"loss.{name}": 0 for name in ("lr", "latents", "hr")},
    **{"discriminator.features": 1, "discriminator.layers": 0, "discriminator.first_steps": 0},
}
_POSITIVE = ("train.learning_rate", "discriminator.learning_rate", "train.gamma")

FREE = (
    *("init_from", "data.path", "data.tfds", "data.split", "data.workers", "train.steps"),
    *("train.log_every", "train.save_every", "train.keep", "train.keep_every"),
    *("train.max_skipped", "train.tensorboard", "train.profile", "loss.vgg", "loss.vgg_sha256"),
    *(f"model.{name}" for name in EXECUTION),
)
"""Fields that a training may change when it continues; all of `valid` too."""


def _section(config, name, needed):
    """config[name]; ValueError when it, or one of the `needed` fields, is missing."""
    if name not in (config or {}):
        raise ValueError(f"the config has no field {name}; start from one of configs/")
    for field in needed:
        if field not in config[name]:
            raise ValueError(f"the config has no field {name}.{field}; start from one of configs/")
    return config[name]


def _get(config, name):
    """The value of the field "section.name", None where the config has none."""
    section, field = name.split(".")
    return config[section][field] if section in config and field in config[section] else None


def _check_values(config):
    for name, choices in _CHOICES.items():
        value = _get(config, name)
        if value is not None and value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    for name, least in _LEAST.items():
        value = _get(config, name)
        if value is not None and not (math.isfinite(value) and value >= least):
            raise ValueError(f"{name} must be at least {least}, got {value}; set --config.{name}")
    for name in _POSITIVE:
        value = _get(config, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a positive number, got {value}; set --config.{name}")


def _check_numbers(name, values):
    for value in values:
        if not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be numbers from 0 up, got {values}; set --config.{name}")


def _check_train(config):
    train = config.train
    if not 0 <= train.seed < 2**31 - 3:
        raise ValueError(f"train.seed must be from 0 to 2^31 − 4, got {train.seed}")
    if not 0 <= train.ema < 1:
        raise ValueError(f"train.ema must be from 0 to below 1, got {train.ema}")
    for name in ("milestones", "restarts", "restart_weights", "periods"):
        _check_numbers(f"train.{name}", train[name])
    if any(round(period * train.steps) < 1 for period in train.periods):
        raise ValueError(f"train.periods must be a step or longer each, got {train.periods}")
    if not config.valid.temperatures:
        raise ValueError("valid.temperatures is (); set --config.valid.temperatures=(0.0,)")
    _check_numbers("valid.temperatures", config.valid.temperatures)
    parallel.check_batch(train.batch_size, train.accumulate)


def _check_losses(config, model):
    if model.task == "rescaling":
        return
    loss, patch = config.loss, config.data.patch_size
    if not any((loss.nll, loss.pixel, loss.perceptual, loss.gan)):
        raise ValueError("every loss has weight 0; set --config.loss.nll")
    if loss.gan and config.discriminator.kind == "vgg" and patch % 32:
        raise ValueError(
            f"the vgg discriminator needs patches of a multiple of 32 pixels, not {patch}; set "
            "--config.data.patch_size or --config.discriminator.kind=patchgan"
        )


def check_start(config) -> None:
    """ValueError where a training that starts anew needs a checkpoint to start from."""
    loss = config.loss
    later = any(loss.get(name) for name in ("pixel", "perceptual", "gan"))
    if later and not config.init_from:
        raise ValueError(
            "this recipe starts from a trained model; give its checkpoint or workdir by "
            "--config.init_from=PATH"
        )


def check(config) -> HCFlow:
    """The config's model; ValueError naming the first field that is missing or makes no sense."""
    model = build_model(_section(config, "model", ()))
    for name, needed in _FIELDS.items():
        _section(config, name, needed)
    _section(config, "loss", _LOSS[model.task])
    if model.task == "sr":
        _section(config, "discriminator", _DISCRIMINATOR)
    if "init_from" not in config:
        raise ValueError("the config has no field init_from; start from one of configs/")
    _check_values(config)
    _check_train(config)
    _check_losses(config, model)
    if not (config.data.path or config.data.tfds):
        raise ValueError(
            "no training data; give a folder of images by --config.data.path=DIR, or an installed "
            "data set by --config.data.tfds=NAME"
        )
    return model


def as_json(config, model: HCFlow) -> dict:
    """The config as a checkpoint keeps it, with every field of the model."""
    return json.loads(json.dumps(config.to_dict())) | {"model": model_config(model)}


def fields(tree: dict, prefix: str = ""):
    """Yields ("section.field", value) of nested dictionaries."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from fields(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def check_resumable(saved: dict, config, workdir) -> None:
    """CheckpointError naming the first field that may not change when a training continues."""
    model = build_model(config.model)
    before, now = dict(fields(saved)), dict(fields(as_json(config, model)))
    names = before.keys() | now.keys()
    for name in sorted(names, key=lambda name: (not name.startswith("model."), name)):
        if name in FREE or name.startswith("valid."):
            continue
        if before.get(name) != now.get(name):
            raise CheckpointError(
                f"{workdir} was trained with {name} {before.get(name)}, the config says "
                f"{now.get(name)}; name another --workdir (--config.init_from={workdir} starts "
                "from its weights)"
            )


def check_same_model(found: HCFlow, model: HCFlow, path) -> None:
    """CheckpointError naming a field in which a checkpoint's model is another than the config's."""
    for field in dataclasses.fields(HCFlow):
        old, new = getattr(found, field.name), getattr(model, field.name)
        if old != new and field.name not in EXECUTION:
            raise CheckpointError(
                f"{path} holds a model with {field.name} {old}, the config says {new}; start from "
                "a checkpoint of the same model, or change the config"
            )
