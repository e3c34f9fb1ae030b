"""The pictures of a folder."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from hcflow_jax.images.formats import SUFFIXES
from hcflow_jax.images.reading import ImageError
from hcflow_jax.paths import is_file, is_remote, reached


def list_images(path: str | Path, recursive: bool = False) -> list[Path]:
    """The file `path`, or the images in that folder, `2.png` before `10.png`.

    Args:
      recursive: those of its folders too, folder after folder; hidden folders and links to folders
        are left out.

    ImageError when it does not exist, or is a folder without images.
    """
    path = reached(path)
    if is_file(path):
        return [path]
    if not (path.is_dir() if is_remote(path) else os.path.isdir(path)):
        there = not is_remote(path) and os.path.exists(path)
        what = "is neither a file nor a folder" if there else "does not exist"
        raise ImageError(f"{path} {what}; check the name")
    folders = _folders(path) if recursive else [path]
    found = [image for folder in folders for image in _images_in(folder)]
    if not found:
        raise ImageError(f"{path} holds no images; name another folder")
    return found


def _folders(path) -> Iterator[Path]:
    """`path` and the folders in it, at any depth, each before its own."""
    yield path
    inside = (child for child in path.iterdir() if not child.name.startswith("."))
    for child in sorted(inside, key=_natural_order):
        if child.is_dir() and (is_remote(child) or not child.is_symlink()):
            yield from _folders(child)


def _images_in(folder) -> list[Path]:
    found = [
        p
        for p in folder.iterdir()
        if p.suffix.lower() in SUFFIXES
        and not p.name.startswith(".")
        and (is_remote(p) or p.is_file())  # asking a bucket takes a while
    ]
    return sorted(found, key=_natural_order)


def _natural_order(path):
    parts = re.split(r"(\d+)", path.name.lower())
    return [int(part) if part.isdecimal() else part for part in parts], path.name
