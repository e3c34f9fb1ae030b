"""Folders of pictures below the root that the app was started with; nothing else is reached."""

import os
import threading
import time
from pathlib import Path

from hcflow_jax.errors import UserError, shown
from hcflow_jax.images.formats import SUFFIXES

MOST, DEPTH = 500, 4
"""Folders that are listed, and how far below the root they are looked for."""

_FRESH = 10.0
"""Seconds for which names that were found are given again: below "/" looking takes long."""


def inside(root: Path | None, name: str) -> Path:
    """The folder `name`, relative to the root; UserError unless it is there and below it.

    Links are followed first, so that none leads out.
    """
    if root is None:
        raise UserError("no folder can be evaluated; start the app with --root DIR")
    try:
        path = (root / name).resolve()
        found = is_inside(root, path) and path.is_dir()
    except (OSError, ValueError, RuntimeError):  # names too long, null characters, circles of links
        found = False
    if not found:
        raise UserError(f"{shown(name, 80)!r} is no folder below the root; choose a listed one")
    return path


def is_inside(root: Path, path: Path) -> bool:
    """Whether a file or folder, its links followed, is the root or below it."""
    return path.resolve().is_relative_to(root.resolve())


class Listing:
    """The folders below a root, looked for by one request at a time, and again after a while."""

    def __init__(self, root: Path | None):
        self._root, self._lock = root, threading.Lock()
        self._found: list[str] = []
        self._until = -1.0

    def names(self) -> list[str]:
        """As `listed` gives them."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._found = listed(self._root)
                self._until = time.monotonic() + _FRESH
            return self._found


def listed(root: Path | None) -> list[str]:
    """Names of folders with pictures, relative to the root, which is "."; without links.

    Names that are no UTF-8, which no page can be told, are left out with what is below them.
    """
    found: list[str] = []
    if root is None:
        return found
    for folder, below, files in os.walk(root):
        relative = Path(folder).relative_to(root)
        below[:] = sorted(name for name in below if not name.startswith(".") and _is_text(name))
        if len(relative.parts) >= DEPTH:
            below.clear()
        if any(Path(name).suffix.lower() in SUFFIXES for name in files):
            found.append(str(relative))
        if len(found) >= MOST:
            break
    return found


def _is_text(name):
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
