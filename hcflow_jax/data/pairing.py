"""HR files and the LR files that belong to them, by name."""

import os
from collections.abc import Sequence
from pathlib import Path

from hcflow_jax import images
from hcflow_jax.data.messages import listed

Pair = tuple[Path, Path | None]
"""An HR file, and its LR file or None."""


def partners(
    hr: Sequence[Path],
    lr: Sequence[Path],
    scale: int,
    folders: tuple[Path, Path] | None = None,
) -> tuple[list[Pair], list[Path]]:
    """([every HR file with the LR file of its name, or of that name and `x{scale}`], the rest).

    Suffixes of files do not matter. With `folders`, of HR and LR files, names begin at these.
    ImageError when two HR or two LR files have one name.
    """
    hr_dir, lr_dir = folders or (None, None)
    by_name, left = _by_stem(hr, hr_dir), _by_stem(lr, lr_dir)
    pairs = [
        (path, left.pop(stem, None) or left.pop(f"{stem}x{scale}", None))
        for stem, path in by_name.items()
    ]
    return pairs, list(left.values())


def find_pairs(
    hr_dir: Path, lr_dir: Path | None, scale: int, recursive: bool = False
) -> list[Pair]:
    """The HR files of a folder, each with its LR file, as `partners` finds it.

    `recursive`: those in folders of theirs too, where partners lie in folders of the same name.

    ImageError when a folder has no images, two of one name, or images without a partner.
    """
    if lr_dir is None:
        return [(path, None) for path in images_in(hr_dir, recursive)]
    pairs, left = partners(
        images_in(hr_dir, recursive), images_in(lr_dir, recursive), scale, (hr_dir, lr_dir)
    )
    unpaired = [f"{path} has no partner in {lr_dir}" for path, partner in pairs if partner is None]
    unpaired += [f"{path} has no partner in {hr_dir}" for path in left]
    if unpaired:
        raise images.ImageError(f"{listed(unpaired)}; remove it or add the partner")
    return pairs


def images_in(folder: Path, recursive: bool = False) -> list[Path]:
    """The images of a folder, as `images.list_images`; ImageError where it is none."""
    if not folder.is_dir():
        raise images.ImageError(f"{folder} is not a folder; name a folder of images")
    return images.list_images(folder, recursive)


def _by_stem(files, folder):
    found = {}
    for path in files:
        name = path.relative_to(folder) if folder else Path(path.name)
        stem = os.fspath(name.with_suffix(""))
        if stem in found:
            raise images.ImageError(f"{found[stem]} and {path.name} have the same name; rename one")
        found[stem] = path
    return found
