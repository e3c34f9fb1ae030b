"""Opening training data of any kind."""

import re

from hcflow_jax import paths
from hcflow_jax.data.folder import FolderSource
from hcflow_jax.data.prepared import METADATA, BuiltSource, TfdsSource, installed, metadata
from hcflow_jax.data.source import CACHE_BYTES, Source
from hcflow_jax.errors import UserError


def open_source(
    path: str,
    tfds: str,
    split: str,
    scale: int,
    cache_bytes: int = CACHE_BYTES,
    recursive: bool = False,
) -> Source:
    """The training pairs of a folder of images, a prepared set's folder, or a TFDS data set.

    Args:
      path: a folder of images, or what `hcflow data build` made; or empty.
      tfds: name of a TFDS data set, "name", "name/config" or "name/config:version"; or empty.
      split: "train", or for TFDS data sets also parts such as "train[:50%]".
      scale: HR sides / LR sides.
      cache_bytes: size of the cache of decoded images, per process.
      recursive: take the images in folders of a folder of images too.

    Raises:
      UserError: not exactly one of path and tfds is given, or it does not exist, is not prepared,
        has no such split or another scale. ImageError names files that are not images.
    """
    if bool(path) == bool(tfds):
        raise UserError(
            "training data: give one of --config.data.path=DIR and --config.data.tfds=NAME, "
            f"{'not both' if path else 'both are empty'}"
        )
    if tfds:
        return TfdsSource(installed(tfds), split, scale, cache_bytes)
    folder = _prepared_in(paths.reached(path))
    if folder is None:
        if split != "train":
            raise UserError(
                f"{path} is a folder of images, which has no split {split!r}; "
                "set --config.data.split=train"
            )
        return FolderSource(path, scale, cache_bytes, recursive)
    built = METADATA in metadata(folder)
    return (BuiltSource if built else TfdsSource)(folder, split, scale, cache_bytes)


def _prepared_in(path):
    """`path`, or its newest version subfolder, if a TFDS data set is there; else None."""
    versions = [child for child in path.glob("[0-9]*.[0-9]*.[0-9]*") if child.is_dir()]
    versions.sort(key=lambda child: [int(part) for part in re.findall(r"\d+", child.name)])
    for folder in (path, *reversed(versions)):
        if (folder / "dataset_info.json").is_file():
            return folder
    return None
