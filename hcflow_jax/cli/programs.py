"""Where compiled programs are kept: a folder of the user's own, since what is in it is executed."""

import contextlib
import glob
import os
import re
import stat
import sys
import tempfile
import warnings
from pathlib import Path

from hcflow_jax.errors import shown

_UNREADABLE = re.compile(r"Error reading persistent compilation cache entry for '(.+?)'")


@contextlib.contextmanager
def kept():
    """A context in which JAX keeps compiled programs, and damaged ones are replaced.

    JAX_COMPILATION_CACHE_DIR names the folder, and is then used as it is; otherwise it is
    `hcflow` in the user's cache folder, made with mode 0700. Where others may write to that, one
    line on stderr says so, and where this user may not, nothing is kept.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        _name_folder()
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    show = warnings.showwarning

    def replaced_or_shown(message, *args, **named):
        damaged = _UNREADABLE.match(str(message))
        if damaged is None or not _remove(folder, damaged[1]):
            show(message, *args, **named)

    warnings.showwarning = replaced_or_shown
    try:
        yield
    finally:
        warnings.showwarning = show


def _name_folder():
    """Sets JAX_COMPILATION_CACHE_DIR to a folder that can be written, by this user alone."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hcflow"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        place = _open_to_others(folder)
        if place is not None:
            own = "remove it, and it is made anew for you alone"
            remedy = own if place == folder else f"chmod o-w {place}"
            line = f"others may write to {place}, programs kept in {folder} are not used; {remedy}"
            print(f"hcflow: {shown(line)}", file=sys.stderr)
            return
        with tempfile.TemporaryFile(dir=folder):
            _remove_halves(folder)
    except (OSError, RuntimeError):
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(2**30))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")


def _open_to_others(folder):
    """`folder` where another user may write to it, or one above it that they may replace it in."""
    if not hasattr(os, "getuid"):
        return None
    own = folder.stat()
    if own.st_uid != os.getuid() or own.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return folder
    for parent in folder.resolve().parents:
        mode = parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return parent
    return None


def _remove(folder, program):
    """Whether entries of a program, whose names JAX begins with it, were there and are removed.

    After its warning JAX compiles the program, and writes an entry where there is none.
    """
    entries = list(Path(folder).glob(f"{glob.escape(program)}-*"))
    for entry in entries:
        entry.unlink(missing_ok=True)
    return bool(entries)


def _remove_halves(folder):
    """Removes entries without their time of use: one of them keeps JAX from writing any other."""
    for entry in folder.glob("*-cache"):
        if not entry.with_name(entry.name.removesuffix("-cache") + "-atime").exists():
            entry.unlink(missing_ok=True)
