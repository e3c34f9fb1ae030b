"""Errors that a user can correct, and text as a terminal may show it."""

import contextlib
import difflib
import errno
import sys
from collections.abc import Iterable

LINE = 2000
"""Characters of the longest line that is shown."""


def shown(text: object, most: int = LINE) -> str:
    """`text` (a name, a path, what a file says) as one line of `most` characters, safe to print.

    Runs of white space, line breaks included, become a space; every other character that is not
    printable (control characters, what turns the direction of writing, bytes of file names that
    are no text) its Python escape, such as \\x1b; and of a longer line the middle becomes "…".
    """
    line = " ".join(str(text).split())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    if len(line) <= most:
        return line
    end = most // 3
    return f"{line[: most - end - 1]}…{line[-end:]}"


def counted(number: int, what: str) -> str:
    """ "1 picture", "2 pictures"."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that is most like `word`, for "did you mean"; None: none is like it."""
    found = difflib.get_close_matches(word.lower(), known, 1, 0.7)
    return found[0] if found else None


class UserError(ValueError):
    """Bad input, configuration, data or checkpoint; the message is one line that names the remedy.

    The message is kept as `shown` shows it, so that names of files in it are harmless. The command
    line prints it and exits with 2. Any other exception is a bug and keeps its traceback.
    """

    def __init__(self, message: str):
        super().__init__(shown(message))


@contextlib.contextmanager
def needing(extra: str):
    """A context for imports that need the extra `extra`; UserError names a missing module.

    Errors about modules of Python itself, absent on some systems, and of this package are kept.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        top = (error.name or "").partition(".")[0]
        if top in ("", "hcflow_jax") or top in sys.stdlib_module_names:
            raise
        raise UserError(f"this needs {top}; pip install 'hcflow_jax[{extra}]'") from error


def first_line(error: Exception) -> str:
    """The first line of an error's message, of 200 characters at most, or its type."""
    return str(error).strip().split("\n")[0][:200] or type(error).__name__


_OF_THE_SYSTEM = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.EPIPE, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
}
"""Errors of the system that are no fault of this program: full disks, permissions, limits."""


def one_line(error: Exception) -> str | None:
    """The one line that the user reads, or None where `error` is a bug."""
    out_of_memory = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
    if out_of_memory and not isinstance(error, UserError):
        return "out of memory; use a smaller picture, tile or batch"
    system = isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM
    return shown(error) if system or isinstance(error, UserError) else None
