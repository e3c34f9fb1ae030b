"""Arguments of the commands: the parser, and the kinds of value that several of them take."""

import argparse
import math

from hcflow_jax.errors import UserError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are `UserError`s."""

    def error(self, message):
        raise UserError(f"{message}; see `{self.prog} --help`")


def temperature(text: str) -> float:
    """A temperature: a number from 0 up."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no temperature; give a number from 0 up")
    return value


def whole(least: int):
    """The parser of whole numbers from `least` to 2^31 − 1."""

    def parse(text):
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value < 2**31:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no whole number from {least} to 2^31 − 1"
            )
        return value

    return parse


def add_picture_command(commands, name: str, run, summary: str, output: str):
    """The parser of a command that reads pictures and writes one for each."""
    command = commands.add_parser(name, help=summary, description=summary)
    command.set_defaults(run=run)
    command.add_argument("inputs", nargs="+", metavar="IN", help="pictures, or folders of them")
    command.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help=f"a file, or for several inputs an existing folder (default: {output} beside IN)",
    )
    command.add_argument(
        "--checkpoint",
        metavar="PATH",
        help="a checkpoint directory, a training's workdir or a .npz/.pth of published weights "
        "(default: the small weights that ship with hcflow)",
    )
    command.add_argument(
        "--tile",
        type=whole(1),
        default=1024,
        metavar="PIXELS",
        help="side of the squares of the large picture that are worked on at once, 256 or more and "
        "a multiple of the scale; less takes less memory, the result is the same "
        "(default: %(default)s)",
    )
    return command


def add_sampling(command, default: float, why: str) -> None:
    """--temperature, `default` because of `why`, and --seed."""
    command.add_argument(
        "--temperature",
        type=temperature,
        default=default,
        metavar="T",
        help=f"spread of the latents, from 0 up (default: {default:g}, {why})",
    )
    command.add_argument(
        "--seed", type=whole(0), default=0, metavar="S", help="same seed, same picture"
    )
