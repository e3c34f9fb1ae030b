"""Where results go: their names beside their pictures or in a folder, or standard output."""

import os
import sys
from collections import Counter
from pathlib import Path

from hcflow_jax.cli.sources import STANDARD, resolved
from hcflow_jax.errors import UserError


def place(args, several):
    """(what -o names, or None; whether it is a folder).

    UserError where it is none that is needed for `several` results, or options contradict it.
    """
    from hcflow_jax import images

    if args.suffix and set(args.suffix) & set("/\\\0"):
        raise UserError(f"--suffix {args.suffix} is no end of a name; leave out slashes")
    if args.output is None:
        return None, False
    if not args.output:
        raise UserError("-o is empty; name a file or a folder")
    output = Path(args.output)
    if args.output == STANDARD:
        _check_standard_output(args, several)
        output = images.StandardOutput(f".{args.format or 'png'}")
    elif several or output.is_dir() or args.output.endswith(os.sep) or not output.suffix:
        _check_folder(output)
        return output, True
    elif args.format is not None:
        raise UserError(f"-o {output} says the format; leave out --format {args.format}")
    if args.suffix is not None:
        raise UserError(f"-o {args.output} is the whole name; leave out --suffix {args.suffix}")
    return output, False


def _check_standard_output(args, several):
    if several or getattr(args, "samples", 1) > 1 or args.frames == "all":
        raise UserError(f"-o {STANDARD}, standard output, takes one picture; name a folder by -o")
    if sys.stdout is None or sys.stdout.isatty():
        raise UserError(f"-o {STANDARD} is standard output, a terminal; send it on, as in > a.png")


def _check_folder(path):
    from hcflow_jax import images

    if path.suffix.lower() in images.FORMATS and not path.is_dir():
        raise UserError(f"{path} is named as a picture, and results need a folder; name another -o")
    if os.path.lexists(path) and not path.is_dir():
        raise UserError(f"{path} is no folder; name another -o")


def results(args, inputs, label, folder):
    """The path of the result of each of `inputs`, {picture: where it is below IN}.

    They are beside the pictures, or, where that is not None, in a folder, below it as pictures are
    below IN. Results of pictures that differ in their suffix alone keep it: a_jpg_x4.png and
    a_png_x4.png.
    """
    stems = Counter((path.parent, path.stem) for path in inputs)
    end = f"{f'_{label}' if args.suffix is None else args.suffix}.{args.format or 'png'}"

    def result(path, below):
        alike = stems[path.parent, path.stem] > 1
        name = f"{path.stem}{path.suffix.replace('.', '_') if alike else ''}{end}"
        return path.with_name(name) if folder is None else folder / below / name

    return [result(path, below) for path, below in inputs.items()]


def numbered(target, samples, frame=None, frames=1):
    """The paths of `samples` results of one picture, a frame of `frames`, from 0, or None."""
    if frame is None and samples == 1:
        return [target]
    digits = max(4, len(str(frames)))
    stem = target.stem if frame is None else f"{target.stem}_frame{frame + 1:0{digits}}"
    ends = [""] if samples == 1 else [f"_{i + 1}" for i in range(samples)]
    return [target.with_name(f"{stem}{end}{target.suffix}") for end in ends]


def exists(target):
    """Whether there is a result already; never in standard output."""
    return isinstance(target, Path) and target.exists()


def is_result(target, command):
    """Whether a result of `command` is there; a BMP, which cannot say so, is taken for one."""
    from hcflow_jax.images import own

    return exists(target) and (target.suffix.lower() == ".bmp" or own.made_by(target) == command)


def check_replaceable(target, command):
    """UserError where a file is there that does not say that `command` made it."""
    from hcflow_jax.images import own

    if not (exists(target) and target.is_file()) or (maker := own.made_by(target)) == command:
        return
    what = "is there, and nothing in it says that hcflow made it"
    if maker is not None:
        what = f"is a result of `hcflow {maker}`"
    raise UserError(f"{target} {what}; remove it or name another -o")


def identity(target):
    """What is equal of two names of one file."""
    return resolved(target) if isinstance(target, (str, Path)) else target


def check_apart(target, option, others):
    """UserError where the file `target` of an option is one of `others`, of which some are None."""
    if identity(target) in {identity(path) for path in others if path is not None}:
        raise UserError(f"{option} {target} would overwrite what is read there; name another file")
