"""Paths on this machine, and in Google's buckets: gs://BUCKET/….

The first are `pathlib.Path`s, the others `etils.epath.Path`s, which have the same methods. epath
would do for both, but it takes a local /gs/… for a bucket and 0.15 s to import.
"""

import importlib.util
import os
import re
from pathlib import Path

from hcflow_jax.errors import UserError

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_READER = "gcsfs"
"""The package by which epath, and orbax by what it installs, read buckets."""


def located(name: str | os.PathLike) -> Path:
    """The path that a user wrote; UserError for what nothing here can read."""
    text = re.sub(r"^gs:/+", "gs://", os.fspath(name))  # pathlib.Path takes a slash away
    scheme = _SCHEME.match(text)
    if scheme is None:
        return Path(name)
    if scheme[1] != "gs":
        raise UserError(f"{text}: {scheme[1]}:// is not known; give a local path or gs://BUCKET/…")
    if importlib.util.find_spec(_READER) is None:
        raise UserError(f"{text} needs {_READER}; pip install 'hcflow_jax[gcs]'")
    os.environ.setdefault("EPATH_USE_TF", "0")  # else epath prefers TensorFlow, slow to import
    from etils import epath

    return epath.Path(text)


def reached(name: str | os.PathLike) -> Path:
    """`located`; UserError also for a bucket that does not answer."""
    path = located(name)
    if is_remote(path):
        try:
            path.exists()
        except Exception as error:  # of whichever package reads it
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(
                f"cannot reach {path}: {reason}; check its name and your credentials"
            ) from error
    return path


def local(name: str | os.PathLike, remedy: str) -> Path:
    """A path on this machine; UserError, which ends with `remedy`, for another."""
    path = located(name)
    if is_remote(path):
        raise UserError(f"{path} is not on this machine; {remedy}")
    return path


def is_remote(path: str | os.PathLike) -> bool:
    """Whether it is in a bucket."""
    return os.fspath(path).startswith("gs://")


def absolute(path: Path) -> Path:
    """`path.absolute()`, which of a path in a bucket would make a local one."""
    return path if is_remote(path) else path.absolute()


def normal(path: str | os.PathLike) -> str:
    """`os.path.abspath` of a local path; one in a bucket as it is."""
    return os.fspath(path) if is_remote(path) else os.path.abspath(path)


def is_file(path: Path) -> bool:
    """Whether there is such a file; False too where a folder may not be looked into."""
    return path.is_file() if is_remote(path) else os.path.isfile(path)


def is_taken(path: Path) -> bool:
    """Whether anything has this name, a link that leads nowhere included."""
    return path.exists() if is_remote(path) else os.path.lexists(path)
