"""Arrays beyond what memory should hold, in files without a name that end with the process."""

import contextlib
import errno
import mmap
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from hcflow_jax.errors import UserError

HELD = 2**27
"""Bytes of the largest array that is kept in memory: a result of 6,700×6,700 pixels."""

_STRIP_BYTES = 2**24
_FULL = errno.ENOSPC, errno.EFBIG, errno.EDQUOT


def empty(shape: tuple[int, ...], dtype, folder: str | Path | None = None) -> np.ndarray:
    """`numpy.empty(shape, dtype)`; of more than HELD bytes an array in a file in `folder`.

    The system writes to disk what `release` is called for, or when memory runs short.

    Args:
      folder: where there is room; None stands for the system's folder of temporary files.

    Raises:
      UserError: there is no room.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= HELD:
        return np.empty(shape, dtype)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            _reserve(file, size, shutil.disk_usage(folder or tempfile.gettempdir()).free)
            return np.memmap(file, dtype, "w+", shape=shape)
    except OSError as error:
        raise UserError(
            f"no room in {folder or tempfile.gettempdir()} for {size / 1e9:.1f} GB on the way "
            f"({error.strerror}); free space, or name a folder that has it by -o"
        ) from error


def _reserve(file, size, free):
    """OSError where a disk is full, on which writing to the array would end the process later."""
    if size > free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except AttributeError:  # Windows and macOS have none
        return
    except OSError as error:
        if error.errno in _FULL:  # others tell that the file system knows no reservation
            raise


def fill(target: np.ndarray, source) -> None:
    """target[:] = source, a few rows at a time, so that neither is in memory."""
    rows = max(1, _STRIP_BYTES // max(target[:1].nbytes, 1))
    for top in range(0, len(target), rows):
        target[top : top + rows] = source[top : top + rows]
        release(target)
        release(source)


def release(array) -> None:
    """Lets go of the memory of an array in a file; does nothing to others. Its values stay."""
    held = getattr(array, "_mmap", None)
    if held is not None and hasattr(mmap, "MADV_DONTNEED"):
        with contextlib.suppress(OSError, ValueError):
            held.madvise(mmap.MADV_DONTNEED)
