"""The configuration of a training: a frozen dataclass for every section.

A field has a default, a check, a help text, and a flag whether it may change when a training is
resumed. The ml_collections config that a file of `configs/` fills in is made from these classes
and parsed back into them; `hcflow train --help` prints them.
"""

import dataclasses
import json
import shlex
import textwrap
from typing import Any

import ml_collections

from hcflow_jax import fields
from hcflow_jax.errors import UserError
from hcflow_jax.model import HCFlow, build_model
from hcflow_jax.training import naming, schedules
from hcflow_jax.training.sections import Data, Discriminator, RescalingLoss, SRLoss, Train, Valid


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The sections that an iteration depends on; a discriminator where loss.gan_weight > 0."""

    model: HCFlow
    loss: SRLoss | RescalingLoss
    train: Train = Train()
    discriminator: Discriminator | None = None

    @property
    def schedule(self) -> schedules.Schedule:
        """The learning rate by iteration, from 1."""
        return make_schedule(self.train, self.train.learning_rate)

    @property
    def discriminator_schedule(self) -> schedules.Schedule:
        """The discriminator's learning rate by iteration, from 1."""
        return make_schedule(self.train, self.discriminator.learning_rate)

    @property
    def adversarial(self) -> bool:
        """Whether there is a discriminator."""
        return isinstance(self.loss, SRLoss) and self.loss.gan_weight > 0

    @property
    def perceptual(self) -> bool:
        """Whether features of images are compared."""
        return isinstance(self.loss, SRLoss) and self.loss.perceptual_weight > 0


@dataclasses.dataclass(frozen=True)
class Config(Recipe):
    """All sections of a training."""

    data: Data = Data()
    valid: Valid = Valid()
    init_from: str = ""


INIT_FROM = fields.Rule("checkpoint or workdir to start from", free=True)


def make_schedule(train: Train, base: float) -> schedules.Schedule:
    """train.schedule with initial learning rate `base`, its fractions converted to steps."""

    def steps(fractions):
        return [round(f * train.steps) for f in fractions]

    restarts, weights = steps(train.restarts), train.restart_weights
    if train.schedule == "cosine":
        return schedules.cosine(base, steps(train.periods), restarts, weights, train.least_rate)
    return schedules.multistep(base, steps(train.milestones), train.gamma, restarts, weights)


def sections(task: str) -> dict[str, type]:
    """{name: class} of the sections of a config of `task`; `init_from` is beside them."""
    if task == "rescaling":
        by_task: dict[str, type] = {"loss": RescalingLoss}
    else:
        by_task = {"loss": SRLoss, "discriminator": Discriminator}
    return {"model": HCFlow, "data": Data, "valid": Valid, **by_task, "train": Train}


def field_names() -> list[str]:
    """ "section.field" of all fields, of configs of either task."""
    named = [
        f"{name}.{field}"
        for task in ("sr", "rescaling")
        for name, section in sections(task).items()
        for field in fields.rules(section)
    ]
    return ["init_from", *dict.fromkeys(named)]


def defaults(task: str) -> ml_collections.ConfigDict:
    """A config of `task` with every field at its default, to be filled in and locked."""
    config = ml_collections.ConfigDict({"init_from": ""})
    for name, section in sections(task).items():
        one_type = name != "model"  # whose fields may be one value, or one per level
        config[name] = ml_collections.ConfigDict(fields.values(section()), type_safe=one_type)
    config.model.task = task
    return config


def parse(config: ml_collections.ConfigDict) -> Config:
    """`config` as dataclasses, checked; UserError naming the first field that is wrong."""
    found = config.to_dict()
    model = build_model(_section(found, "model", {"task"}))
    if model.step is not None:
        raise UserError("model.step is a function, which no config keeps; train by a loop of yours")
    parts: dict[str, Any] = {}
    for name, section in sections(model.task).items():
        if name != "model":
            names = fields.rules(section).keys()
            values = _section(found, name, names)
            if unknown := sorted(values.keys() - names):
                raise UserError(naming.unknown(f"{name}.{unknown[0]}", field_names()))
            parts[name] = section(**{name: _tuple(value) for name, value in values.items()})
            fields.check(parts[name], f"{name}.")
    parsed = Config(model=model, init_from=found.get("init_from") or "", **parts)
    _check_together(parsed)
    return parsed


def _tuple(value):
    return tuple(value) if isinstance(value, list) else value


def _section(config, name, needed):
    """config[name]; UserError when it, or one of the `needed` fields, is missing."""
    section = config.get(name)
    if not isinstance(section, dict):
        raise UserError(f"the config has no section {name}; start from one of configs/")
    if missing := [field for field in needed if field not in section]:
        raise UserError(f"the config has no field {name}.{missing[0]}; start from one of configs/")
    return section


def _check_together(config: Config) -> None:
    """UserError where fields that are valid by themselves contradict one another."""
    train, loss, patch = config.train, config.loss, config.data.patch_size
    if any(round(period * train.steps) < 1 for period in train.periods):
        raise UserError(f"train.periods must be a step or longer each, got {train.periods}")
    if not config.valid.temperatures:
        raise UserError("valid.temperatures is (); set --config.valid.temperatures=(0.0,)")
    make_schedule(train, train.learning_rate)
    if not (config.data.path or config.data.tfds):
        raise UserError(
            "no training data; give a folder of images by --config.data.path=DIR, or an installed "
            "data set by --config.data.tfds=NAME"
        )
    if isinstance(loss, RescalingLoss):
        _check_jpeg(loss)
        return
    weights = [getattr(loss, name) for name in fields.rules(loss) if name.endswith("_weight")]
    if not any(weights):
        raise UserError("every loss has weight 0; set --config.loss.nll_weight")
    if config.adversarial and config.discriminator.kind == "vgg" and patch % 32:
        raise UserError(
            f"the vgg discriminator needs patches of a multiple of 32 pixels, not {patch}; set "
            "--config.data.patch_size or --config.discriminator.kind=patchgan"
        )


def _check_jpeg(loss):
    if loss.jpeg_share > 1:
        raise UserError(f"loss.jpeg_share is {loss.jpeg_share:g}; set it to a share, from 0 to 1")
    found = loss.jpeg_qualities
    if len(found) != 2 or found[0] > found[1]:
        raise UserError(f"loss.jpeg_qualities must be the lowest and the highest, got {found}")


def check_start(config: Config) -> None:
    """UserError where a new training needs a checkpoint to start from and has none."""
    fine_tuning = ("pixel_weight", "perceptual_weight", "gan_weight")
    if not config.init_from and any(getattr(config.loss, name, 0) for name in fine_tuning):
        raise UserError(
            "this recipe starts from a trained model; give its checkpoint or workdir by "
            "--config.init_from=PATH"
        )


def as_json(config: Config) -> dict:
    """The config as a checkpoint keeps it: {section: {field: value}}, tuples as lists."""
    text = json.dumps({name: _plain(getattr(config, name)) for name in _names(config)})
    return json.loads(text)


def _names(config):
    return ["init_from", *sections(config.model.task)]


def _plain(section):
    return fields.values(section) if dataclasses.is_dataclass(section) else section


def flat(tree: dict, prefix: str = ""):
    """Yields ("section.field", value) of nested dictionaries."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


EARLIER_VALUES = {"loss.dequantization": "published"}
"""{field: what earlier versions did, where that is not its default}."""


def check_resumable(saved: dict, config: Config, workdir) -> None:
    """UserError naming the first field that was changed and may not be when resuming."""
    task = config.model.task
    rules = {
        f"{section}.{name}": rule
        for section, kind in sections(task).items()
        for name, rule in fields.rules(kind).items()
    } | {"init_from": INIT_FROM}
    before = {naming.EARLIER.get(name, name): value for name, value in flat(saved)}
    initial = dict(flat(json.loads(json.dumps(defaults(task).to_dict()))))
    for name, now in flat(as_json(config)):
        then = before.get(name, EARLIER_VALUES.get(name, initial[name]))
        if then != now and not rules[name].free:
            flag = shlex.quote(f"--config.{name}={_tuple(then)}".replace(", ", ","))
            raise UserError(
                f"{workdir} was trained with {name} {then}, the config says {now}; set {flag}, "
                "or name another --workdir "
                f"(--config.init_from={workdir} starts from its weights)"
            )


def check_same_model(found: HCFlow, model: HCFlow, path) -> None:
    """UserError naming the first field in which a checkpoint's model differs from the config's."""
    for name, rule in fields.rules(HCFlow).items():
        old, new = getattr(found, name), getattr(model, name)
        if old != new and not rule.free:
            raise UserError(
                f"{path} holds a model with {name} {old}, the config says {new}; start from "
                "a checkpoint of the same model, or change the config"
            )


def help_text() -> str:
    """The flag, default and meaning of every field, for `hcflow train --help`."""
    lines = []
    for task in ("sr", "rescaling"):
        for name, section in sections(task).items():
            if task == "sr" or name == "loss":
                lines += ["", f"{name}: {section.__doc__.splitlines()[0]}"]
                lines += [_help_line(name, f) for f in dataclasses.fields(section) if f.metadata]
    return "\n".join(lines)


def _help_line(section, entry):
    rule = entry.metadata["rule"]
    choices = f" ({', '.join(map(str, rule.choices))})" if rule.choices else ""
    flag = f"  --config.{section}.{entry.name}={entry.default}"
    lines = textwrap.wrap(rule.help + choices, 100 - 42)
    first = [f"{flag:<41} {lines.pop(0)}"] if len(flag) < 42 else [flag]
    return "\n".join(first + [" " * 42 + line for line in lines])
