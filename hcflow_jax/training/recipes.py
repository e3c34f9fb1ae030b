"""Recipes: what the files of `configs/` start from, their variants, and where the files are."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import ml_collections

from hcflow_jax.errors import UserError
from hcflow_jax.training.config import defaults

PUBLISHED = (
    ("sr_x4", "hcflow"),
    ("sr_x4", "plus"),
    ("sr_x4", "plusplus"),
    ("sr_x8", "hcflow"),
    ("sr_x8", "plus"),
    ("sr_x8", "plusplus"),
    ("rescaling_x4", "hcflow"),
)
"""(recipe, variant) of the seven trainings of the paper."""

SIZES = ("tiny", "smoke")
"""Small networks: one to train on a CPU, one to see that everything runs."""

_PACKAGE = Path(__file__).parents[1]
_IN_CLONE = (_PACKAGE.parent / "setup.cfg").is_file()
FOLDER = (_PACKAGE.parent if _IN_CLONE else _PACKAGE) / "configs"
"""Where their files are."""


def names() -> list[str]:
    """The recipes of the package."""
    return sorted(file.stem for file in FOLDER.glob("[a-z]*.py"))


def find(config: str) -> str:
    """ "FILE.py:tiny" of "sr_x4:tiny": the name of a recipe replaced by its file.

    UserError when there is no such recipe; a file's name is returned as it is.
    """
    name, colon, variant = config.partition(":")
    if name.endswith(".py"):
        return config
    if (file := FOLDER / f"{name}.py").is_file():
        return f"{file}{colon}{variant}"
    raise UserError(
        f"there is no recipe {name!r}, only {', '.join(names())}; or name a file, --config=FILE.py"
    )


def load(config: str) -> ml_collections.ConfigDict:
    """The config that `--config=` would give for "sr_x4", "sr_x4:tiny" or "FILE.py:tiny"."""
    file, variant = re.fullmatch(r"(.*\.py)(?::(.*))?", find(config)).groups()
    spec = spec_from_file_location(Path(file).stem, file)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*[variant] if variant else [])


def parse(variant: str, variants: tuple[str, ...]) -> tuple[str, str]:
    """("plus", "tiny") of "plus-tiny"; a size without variant is of variants[0].

    UserError listing the known ones when either part is unknown.
    """
    name, _, size = variant.partition("-")
    if name in SIZES and not size:
        name, size = variants[0], name
    if name not in variants or size not in ("", *SIZES):
        known = [*variants, *SIZES, *(f"{v}-{s}" for v in variants[1:] for s in SIZES)]
        raise UserError(f"unknown variant {variant!r}; known: {', '.join(known)}")
    return name, size


def sr() -> ml_collections.ConfigDict:
    """The defaults of super-resolution: maximum likelihood."""
    return defaults("sr")


def plus(config: ml_collections.ConfigDict, name: str) -> None:
    """Changes maximum likelihood to the losses of HCFlow+ ("plus") or HCFlow++ ("plusplus")."""
    config.loss.nll_weight = 2e-3
    config.loss.pixel_weight = 1.0
    config.train.steps = 50_000
    config.train.milestones = (0.4, 0.8)
    config.train.learning_rate = 5e-5
    if name == "plusplus":
        config.loss.perceptual_weight = 0.05
        config.loss.gan_weight = 0.5
        config.train.learning_rate = 1.25e-5


def rescaling() -> ml_collections.ConfigDict:
    """The defaults of rescaling."""
    config = defaults("rescaling")
    config.model.squeeze = "haar"
    config.model.coupling = "shift"
    config.model.permutation = "none"
    config.model.net = "dense_block"
    config.valid.temperatures = (0.0, 1.0)
    return config


def jpeg(config: ml_collections.ConfigDict) -> None:
    """Changes rescaling so that three of four LR images pass a JPEG before they are restored."""
    config.loss.jpeg_share = 0.75


def shrink(config: ml_collections.ConfigDict, size: str) -> None:
    """Changes a recipe to a small network and a short training; `size` is one of SIZES."""
    sr_task = config.model.task == "sr"
    levels = len(config.model.steps)
    model, train = config.model, config.train
    model.blocks = (1, 1)
    if size == "tiny":
        model.steps = (8,) * levels
        model.conditional_steps = (4 if sr_task else 2,) * levels
        model.hidden = 24 if sr_task else 8
        model.conditional_hidden = model.features = 24 if sr_task else 16
        model.growth = 12 if sr_task else 8
        train.batch_size = 8
        train.steps = 9_000 if sr_task else 12_000
        train.learning_rate *= 2
        train.save_every = config.valid.every = 500
        train.keep_every = 5000
        config.data.patch_size = 64 if sr_task else 48
    else:
        model.steps = (2 if sr_task else 3,) * levels
        model.conditional_steps = (1,) * levels
        model.hidden = model.conditional_hidden = model.features = 4
        model.growth = 2
        train.batch_size = 4
        train.steps = 4
        train.log_every = train.save_every = config.valid.every = train.keep_every = 2
        config.data.patch_size = config.valid.size = 32
        config.valid.count = config.valid.samples = 2
    if sr_task:
        config.discriminator.features = 16 if size == "tiny" else 4
        config.discriminator.first_steps = 500 if size == "tiny" else 2
        if size == "smoke":
            config.loss.perceptual_weight = 0.0  # its weights are a download
