"""HR files and the LR files that belong to them, by name."""

from collections.abc import Sequence
from pathlib import Path

from hcflow_jax import images
from hcflow_jax.data.messages import listed

Pair = tuple[Path, Path | None]
"""An HR file, and its LR file or None."""


def partners(hr: Sequence[Path], lr: Sequence[Path], scale: int) -> tuple[list[Pair], list[Path]]:
    """([every HR file with the LR file of its name, or of that name and `x{scale}`], the rest).

    Suffixes of files do not matter. ImageError when two HR or two LR files have one name.
    """
    by_name, left = _by_stem(hr), _by_stem(lr)
    pairs = [
        (path, left.pop(stem, None) or left.pop(f"{stem}x{scale}", None))
        for stem, path in by_name.items()
    ]
    return pairs, list(left.values())


def find_pairs(hr_dir: Path, lr_dir: Path | None, scale: int) -> list[Pair]:
    """The HR files of a folder, each with its LR file, as `partners` finds it.

    ImageError when a folder has no images, two of one name, or images without a partner.
    """
    if lr_dir is None:
        return [(path, None) for path in images_in(hr_dir)]
    pairs, left = partners(images_in(hr_dir), images_in(lr_dir), scale)
    unpaired = [f"{path} has no partner in {lr_dir}" for path, partner in pairs if partner is None]
    unpaired += [f"{path} has no partner in {hr_dir}" for path in left]
    if unpaired:
        raise images.ImageError(f"{listed(unpaired)}; remove it or add the partner")
    return pairs


def images_in(folder: Path) -> list[Path]:
    """The images directly in a folder, as `images.list_images`; ImageError where it is none."""
    if not folder.is_dir():
        raise images.ImageError(f"{folder} is not a folder; name a folder of images")
    return images.list_images(folder)


def _by_stem(files):
    found = {}
    for path in files:
        if path.stem in found:
            raise images.ImageError(
                f"{found[path.stem]} and {path.name} have the same name; rename one"
            )
        found[path.stem] = path
    return found
