"""Locks between processes."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

import filelock

_WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
"""Errors of network file systems without locks."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Holds the lock file `path`, which the system releases however the process ends.

    Yields whether it is held: False on a file system without locks.

    Raises:
      TimeoutError: another process holds it.
      OSError: it cannot be opened, or is a symbolic link.
    """
    lock = filelock.FileLock(path, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except TimeoutError:
        raise
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
    try:
        yield lock.is_locked
    finally:
        lock.release()
