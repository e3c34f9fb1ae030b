"""The images of a training: opened, checked, and compared with those that it began with."""

from collections.abc import Callable
from pathlib import Path

from hcflow_jax import data, devices
from hcflow_jax.data import Source, contents
from hcflow_jax.errors import UserError, shown
from hcflow_jax.evaluation import lpips
from hcflow_jax.images import metrics
from hcflow_jax.training.config import Config
from hcflow_jax.training.reporting import say
from hcflow_jax.training.validation import Validation, centre_crops

CHECKED = "data.json"
"""File of a workdir: which files of the training data were decoded, and their hashes."""

SHOWN = 4
"""Training images of which pictures are drawn where there are no validation images."""


def open_source(section, scale: int) -> Source:
    """The source of a section of the config, data or valid."""
    split = section.split or ("train" if section.path else "validation")
    return data.open_source(section.path, section.tfds, split, scale, recursive=section.recursive)


def open_validation(config: Config) -> Validation | None:
    """The validation of a config, or None without images; UserError where one is too small."""
    valid, scale = config.valid, config.model.scale
    if not (valid.path or valid.tfds):
        return None
    source, least = open_source(valid, scale), _least_side(scale)
    pairs = centre_crops(source, valid.count, valid.size)
    for index, pair in enumerate(pairs):
        height, width, _ = pair["hr"].shape
        if min(height, width) < least:
            raise UserError(
                f"{source.name(index)} leaves {width}×{height} pixels to validate on, SSIM "
                f"needs {least}; set --config.valid.size higher or remove it"
            )
    judge = lpips.load() if valid.lpips else None
    if judge and any(min(pair["hr"].shape[:2]) < lpips.LEAST_SIDE["alexnet"] for pair in pairs):
        raise UserError(
            f"LPIPS needs sides of {lpips.LEAST_SIDE['alexnet']} pixels; set --config.valid.size "
            "higher or --config.valid.lpips=False"
        )
    spread, loss = devices.spread(config.train.parallel), config.loss
    return Validation(config.model, pairs, valid.temperatures, valid.samples, loss, judge, spread)


def _least_side(scale):
    return metrics.SSIM_WINDOW + 2 * scale


def open_shown(config: Config, source: Source) -> Validation | None:
    """A validation of the middles of some training images, for pictures where there are no others.

    None where patches are too small to be measured.
    """
    size, scale = config.data.patch_size, config.model.scale
    if size < _least_side(scale):
        return None
    pairs = centre_crops(source, SHOWN, size)
    temperatures, spread = config.valid.temperatures, devices.spread(config.train.parallel)
    return Validation(config.model, pairs, temperatures, 1, config.loss, spread=spread)


def examine(config: Config, source: Source, workdir: Path, poll: Callable[[], None]) -> None:
    """Decodes all training images and hashes their files, once for a workdir.

    Args:
      poll: called again and again; what it raises ends the work.

    Raises:
      ImageError: naming the images that are damaged or smaller than a patch.
    """
    patch = config.data.patch_size // config.model.scale
    source.examine(contents.Known(workdir / CHECKED), config.data.check, patch, poll)


def check_same(config: Config, source: Source, progress: dict, workdir: Path) -> None:
    """UserError where the data are not those of the last checkpoint, unless that is accepted."""
    before = progress.get("contents")
    if before is None:
        say(
            f"{shown(workdir)} is of an earlier version: whether its data are the same is not known"
        )
    elif before != source.fingerprint and config.data.changed == "accept":
        say("the training data have changed, and are accepted by --config.data.changed=accept")
    elif before != source.fingerprint:
        raise UserError(
            f"the training data are not those that {workdir} was trained on; restore them, go on "
            "with the present ones by --config.data.changed=accept, or name another --workdir"
        )
