"""`hcflow completion`: what a shell needs to complete commands, options and names of files."""

import contextlib

import shtab

from hcflow_jax.cli.arguments import Parser

FILES = ("IN", "OUT", "PATH", "FILE", "MAP", "HR_DIR")
FOLDERS = ("DIR", "LR_DIR", "REPORT_DIR")
"""What arguments that name files, or folders alone, are called in `--help`."""


def script(parser: Parser, shell: str) -> str:
    """The script that makes a shell complete the command of `parser`.

    Args:
      parser: of `hcflow`; it is changed.
      shell: "bash" or "zsh".
    """
    commands = parser.commands
    _add_training(commands["train"])
    for command in [parser, *commands.values(), *commands["data"].commands.values()]:
        for action in command._actions:
            if action.metavar in FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif action.metavar in FOLDERS:
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


def _add_training(train):
    """Adds the flags of `hcflow train`, which reads them by itself: of its fields where it can."""
    train.add_argument("--workdir", metavar="DIR", help="folder of checkpoints and log")
    names, fields = None, []
    with contextlib.suppress(ModuleNotFoundError):
        from hcflow_jax.training import recipes
        from hcflow_jax.training.config import field_names

        names, fields = recipes.names(), field_names()
    train.add_argument("--config", choices=names, help="a recipe, or FILE.py")
    for field in fields:
        train.add_argument(f"--config.{field}")
