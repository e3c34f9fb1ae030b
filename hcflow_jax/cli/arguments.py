"""Arguments of the commands: the parser, and the types and options that several of them share."""

import argparse
import itertools
import os
import re
import sys

from hcflow_jax.errors import UserError, nearest

DTYPES = ("float32", "tensorfloat32", "bfloat16")
"""The choices of a model's field `dtype`: `hcflow --help` need not wait for JAX."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are `UserError`s, and that knows what may have been meant."""

    def error(self, message):
        if found := re.match(r"argument (?:\S+/)?(--\S+): expected one argument", message):
            message += f" (one that begins with a - is given as {found[1]}=-…)"
        raise UserError(f"{message}; see `{self.prog} --help`")

    @property
    def options(self) -> list[str]:
        """All spellings of its options."""
        return list(self._option_string_actions)

    @property
    def commands(self) -> "dict[str, Parser]":
        """{name: parser} of its commands."""
        found = [action.choices for action in self._actions if action.nargs == argparse.PARSER]
        return dict(found[0]) if found else {}

    def parse_known_args(self, args=None, namespace=None):
        """As `ArgumentParser` has it, but nothing may be left over."""
        words = itertools.takewhile("--".__ne__, sys.argv[1:] if args is None else args)
        for word in words:  # behind "--" they are no options
            known = word == "-" or word in self.options
            if word.startswith("-") and not known and os.path.isfile(word):
                raise UserError(f"{word} begins like an option; name the file ./{word}")
        namespace, unknown = super().parse_known_args(args, namespace)
        for word in unknown:
            if word.startswith("-"):
                option = word.partition("=")[0]
                near = nearest(option, self.options)
                remedy = f"did you mean {near}?" if near else f"see `{self.prog} --help`"
                raise UserError(f"`{self.prog}` has no option {option}; {remedy}")
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return namespace, unknown


def temperature(text: str) -> float:
    """The temperature that `text` is; ArgumentTypeError for what `check_temperature` refuses."""
    from hcflow_jax import sampling

    try:
        value = float(text)
        sampling.check_temperature(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a temperature; give a number from 0 to {sampling.MAX_TEMPERATURE:g}"
        ) from error
    return value


def temperatures(text: str) -> list[float]:
    """The temperatures of "0,0.5,0.9", each once."""
    return list(dict.fromkeys(temperature(part) for part in text.split(",")))


def whole_number(least: int, most: int | None = None):
    """The type of an argument that is a whole number from `least` to `most`, or to 2^31 − 1."""

    def parse(text):
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= (most or 2**31 - 1):
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number from {least} to {most or '2^31 − 1'}"
            )
        return value

    return parse


def amount(text: str) -> int:
    """Bytes of "4G", "800M" or "1.5GB", in powers of 1000."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([MG])B?", text.strip(), re.IGNORECASE)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of memory; give 4G or 800M")
    return int(float(found[1]) * {"M": 10**6, "G": 10**9}[found[2].upper()])


def region(text: str) -> tuple[int, int, int, int]:
    """(x, y, width, height); ArgumentTypeError unless `text` is four whole numbers."""
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not x,y,w,h; give four whole numbers of pixels, such as 40,30,100,80"
        ) from error
    return x, y, width, height


def add_picture_command(commands, name: str, run, summary: str, label: str, formats: bool = True):
    """Adds, and returns, the parser of a command that reads pictures and writes one for each.

    Args:
      label: at the end of names of results.
      formats: there are --format and --quality of all formats.
    """
    command = commands.add_parser(name, help=summary, description=summary)
    command.set_defaults(run=run)
    apart = "results of hcflow"
    if name == "restore":
        apart += " other than small pictures, and what these were made of,"
    add_inputs(command, f", or - for standard input; of folders, {apart} are left out")
    _add_output(command, label)
    if formats:
        _add_format(command)
    command.add_argument(
        "--frames",
        choices=("first", "all"),
        default="first",
        help="of an animation, or a TIFF of several pages: the first picture, or all of them, "
        "numbered OUT_frame0001, OUT_frame0002, … (default: first)",
    )
    command.add_argument(
        "--bits",
        type=int,
        choices=(8, 16),
        help="of each channel; 16 for PNG and TIFF alone (default: 16 where IN has more than 8)",
    )
    command.add_argument(
        "--strip",
        action="store_true",
        help="leave EXIF (where it was taken, and with what), XMP and text out of the result; the "
        "colour profile stays",
    )
    add_checkpoint(command)
    add_dtype(command)
    add_tile(command, automatic=True)
    command.add_argument(
        "--batch",
        type=_number_or_auto,
        default="auto",
        metavar="N",
        help="tiles that each device computes at a time, also of several pictures; more fill a GPU "
        "and take more of its memory, the result is the same (default: auto, which is 1 on CPUs, "
        "and elsewhere what the device's memory holds, up to 16)",
    )
    command.add_argument(
        "--memory",
        type=amount,
        metavar="SIZE",
        help="what --tile auto and --batch auto keep within, such as 4G or 800M (default: half "
        "of what is free)",
    )
    add_max_pixels(command)
    return command


def _add_output(command, label):
    """Adds what says where results go."""
    command.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="a file, whose suffix says the format; a folder, which several inputs need (a name "
        "without a suffix or with a slash at its end; it is made where there is none); or - for "
        "standard output. Earlier results of hcflow are replaced; any other file that is there is "
        f"kept, and the command refused (default: IN_{label}.png beside IN)",
    )
    command.add_argument(
        "--suffix",
        metavar="TEXT",
        help=f"what is put behind the name of IN to name its result (default: _{label})",
    )
    command.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave out pictures whose results are there, to continue an interrupted folder",
    )


def _add_format(command):
    """Adds --format and --quality."""
    command.add_argument(
        "--format",
        choices=("png", "jpg", "webp", "avif", "tif"),
        help="of results, where -o is no file (default: png)",
    )
    command.add_argument(
        "--quality",
        type=whole_number(1, 100),
        metavar="Q",
        help="of JPEG (default: 95), AVIF (default: 90) and WebP (default: without loss), 1 to 100",
    )


def add_inputs(command, more: str = "") -> None:
    """Adds IN, one or several, and --recursive; `more` ends the help of IN."""
    text = f"pictures, or folders of them{more}"
    command.add_argument("inputs", nargs="+", metavar="IN", help=text)
    command.add_argument(
        "--recursive",
        action="store_true",
        help="take the pictures in folders of the folder too; results lie in such folders again",
    )


def add_checkpoint(command, several: bool = False) -> None:
    """Adds --checkpoint; `several` makes it a list, of one for each time it is given."""
    text = (
        "a checkpoint directory, a training's workdir or a .npz/.pth of published weights "
        "(default: the small weights that ship with hcflow)"
    )
    if several:
        text += ", also by the name shipped; may be given several times, to compare them"
        command.add_argument("--checkpoint", metavar="PATH", action="append", default=[], help=text)
    else:
        command.add_argument("--checkpoint", metavar="PATH", help=text)


def add_dtype(command) -> None:
    """Adds --dtype."""
    command.add_argument(
        "--dtype",
        choices=DTYPES,
        help="how the networks inside the flow are computed: float32, the most exact; "
        "tensorfloat32, faster on GPUs and TPUs, and float32 on CPUs; bfloat16, the least exact "
        "(default: as the checkpoint was trained)",
    )


def add_task(command) -> None:
    """Adds --task."""
    command.add_argument(
        "--task",
        choices=("sr", "rescaling"),
        help="which of the shipped weights (default: sr); of --checkpoint, the task it must have",
    )


def add_noise(command) -> None:
    """Adds --quant and --seed, of the dequantisation noise."""
    command.add_argument(
        "--quant",
        type=whole_number(1),
        metavar="Q",
        help="the dequantisation noise is 1/Q wide (default: as the checkpoint was trained, else "
        "64, and 256 for ×8)",
    )
    add_seed(command, "of the noise (default: 0)")


def add_seed(command, text: str) -> None:
    """Adds --seed, with the help `text`."""
    command.add_argument("-s", "--seed", type=whole_number(0), default=0, metavar="S", help=text)


def _number_or_auto(text):
    """A whole number from 1, or "auto"."""
    return text if text == "auto" else whole_number(1)(text)


def add_tile(command, automatic: bool = False) -> None:
    """Adds --tile; `automatic` makes "auto" its default."""
    choice = "; auto is 1024, or 768, 512 or 256 where memory is short" if automatic else ""
    command.add_argument(
        "--tile",
        type=_number_or_auto if automatic else whole_number(1),
        default="auto" if automatic else 1024,
        metavar="PIXELS",
        help="side of the tiles, squares of the large picture that are computed at a time, 256 or "
        "more and a multiple of the scale; a smaller one takes less memory, the result is the same"
        f"{choice} (default: %(default)s)",
    )


def add_refine(command, more: str) -> None:
    """Adds --refine, of which help says `more`."""
    command.add_argument(
        "--refine",
        type=whole_number(0, 100),
        default=0,
        metavar="N",
        help=f"steps of a search for small pictures of which more is restored, up to 100 ({more})",
    )


def add_max_pixels(command, default: int = 100_000_000) -> None:
    """Adds --max-pixels."""
    command.add_argument(
        "--max-pixels",
        type=whole_number(1),
        default=default,
        metavar="N",
        help="refuse larger pictures, which may be made to exhaust the memory (default: "
        "%(default)s)",
    )


def add_sampling(command, default: float, why: str) -> None:
    """Adds --temperature, whose `default` the text `why` explains, --seed and --no-check."""
    command.add_argument(
        "-t",
        "--temperature",
        type=temperature,
        default=default,
        metavar="T",
        help=f"standard deviation of the latents, from 0 to 2 (default: {default:g}, {why})",
    )
    add_seed(command, "same seed, same picture")
    command.add_argument(
        "--no-check",
        action="store_true",
        help="write what the network gives even where it does not match the input, instead of "
        "drawing that again at a lower temperature",
    )
