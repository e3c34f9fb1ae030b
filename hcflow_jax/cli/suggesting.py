"""What a user may have meant by a command or an option that there is not."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from hcflow_jax.errors import UserError, nearest


def check_command(argv: Sequence[str], commands: dict[str, list[str]], options: list[str]) -> None:
    """UserError, saying what may have been meant, where `argv` begins with no command.

    That is a command of a similar name, or `upscale`, where pictures or folders are named or its
    options given.

    Args:
      argv: the arguments, one or more.
      commands: {name: its options}.
      options: what may stand in place of a command, such as --version.
    """
    first = argv[0]
    if first in commands or (len(first) > 1 and any(o.startswith(first) for o in options)):
        return
    if first.partition("=")[0] in commands["upscale"] or _is_picture(first):
        meant = ["hcflow", "upscale", *argv]
    elif option := first.startswith("-") and nearest(first, options):
        meant = ["hcflow", option]
    elif name := nearest(first.lstrip("-"), commands):
        meant = ["hcflow", name, *argv[1:]]
    elif any(map(_is_picture, argv)):
        meant = ["hcflow", "upscale", *argv[1:]]
    else:
        raise UserError(f"{first!r} is no command; `hcflow --help` lists them")
    raise UserError(f"{first!r} is no command; did you mean `{shlex.join(meant)}`?")


def _is_picture(word):
    """Whether a word of a command line names a picture or a folder."""
    from hcflow_jax.images.formats import SUFFIXES

    return Path(word).suffix.lower() in SUFFIXES or os.path.isdir(word)
