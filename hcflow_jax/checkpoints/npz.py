"""Files of plain arrays, .npz: what they hold is known before memory is taken for it."""

import dataclasses
import math
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from hcflow_jax.errors import UserError, first_line


class FileError(UserError):
    """A file that cannot be read as plain arrays; the message is one line for the user."""


@dataclasses.dataclass(frozen=True)
class Header:
    """Shape and type of an array in a file."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_npz(
    path: Path, check: Callable[[dict[str, Header]], Collection[str] | None]
) -> dict[str, np.ndarray]:
    """{name: array} of a file; nothing is unpickled.

    Args:
      check: called with {name: Header} of all arrays before one is read; raises for what does not
        fit, and returns the names of those to read, or None for all.

    FileError when it is no such file; a UserError that `check` raises is passed on.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            names = check({name: _header(archive, info) for name, info in members.items()})
            wanted = members if names is None else names
            return {name: _array(archive, members[name]) for name in wanted}
    except UserError:
        raise
    except FileNotFoundError as error:
        raise FileError(f"{path} does not exist; check the name") from error
    except Exception as error:
        raise FileError(
            f"{path} is not a readable .npz of plain arrays: {first_line(error)}"
        ) from error


def _header(archive, info):
    """The Header of an array, of which no more is read."""
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):  # others have headers of any length, which plain arrays do not need
            raise ValueError(f"{info.filename} has version {version} of .npy")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        header = Header(shape, dtype)
        if not dtype.hasobject and header.size != info.file_size - stream.tell():
            raise ValueError(f"{info.filename} is not as long as its shape {shape}")
        return header


def _array(archive, info):
    with archive.open(info) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)
