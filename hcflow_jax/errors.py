"""Errors that a user can correct."""

import contextlib
import sys


class UserError(ValueError):
    """Bad input, configuration, data or checkpoint; the message is one line that names the remedy.

    The command line prints it and exits with 2. Any other exception is a bug and keeps its
    traceback.
    """


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
