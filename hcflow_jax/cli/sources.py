"""The pictures that a command line names: files, those of folders, frames, standard input."""

import contextlib
import dataclasses
import os
import sys
from collections import Counter
from pathlib import Path

from hcflow_jax.errors import UserError, shown

STANDARD = "-"
"""What standard input and standard output are called."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A picture to be read.

    Attributes:
      file: its path, or what came from standard input.
      frame: its number in that file, from 0; None of the first, and only, one that is taken.
      alone: whether a file is refused of which it cannot be told whether it holds others.
    """

    file: Path | bytes
    frame: int | None = None
    alone: bool = False

    def __str__(self):
        name = "standard input" if isinstance(self.file, bytes) else str(self.file)
        return name if self.frame is None else f"{name}, frame {self.frame + 1}"


def read(source, max_pixels, choosing=False, **options):
    """`images.read` of a file or a `Source`, after a line on stderr for each of its notes.

    `choosing`: the command has --frames.
    """
    from hcflow_jax import images
    from hcflow_jax.images import reading

    source = source if isinstance(source, Source) else Source(source)
    if source.alone:
        images.frame_count(source.file, max_pixels)
    with _named(source):
        picture = images.read(source.file, max_pixels, source.frame, **options)
    for note in picture.notes:
        remedy = " (--frames all takes all)" if choosing and note == reading.ONLY_FIRST else ""
        print(f"{shown(source)}: {note}{remedy}", file=sys.stderr, flush=True)
    return picture


@contextlib.contextmanager
def _named(source):
    """A context in which errors about bytes name the source that they are from."""
    from hcflow_jax import images

    try:
        yield
    except images.ImageError as error:
        told = str(error)
        if not isinstance(source.file, bytes) or not told.startswith("the picture"):
            raise
        raise images.ImageError(f"{source}{told.removeprefix('the picture')}") from error


def is_standard(args):
    """Whether a command line names standard input; UserError where it names others beside it."""
    if STANDARD in args.inputs and len(args.inputs) > 1:
        raise UserError(f"{STANDARD}, standard input, is one picture; name it alone")
    return args.inputs == [STANDARD]


def standard_input(max_pixels):
    """What is in standard input, at most 64 MB and 8 bytes for each of `max_pixels`."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError(f"{STANDARD} is standard input; send it a picture, as in < photo.jpg")
    most = 8 * max_pixels + 2**26
    data = bytearray()
    while part := sys.stdin.buffer.read(2**20):
        data += part
        if len(data) > most:
            raise UserError(
                f"standard input has more than {most:,} bytes; allow more by --max-pixels"
            )
    if not data:
        raise UserError("standard input is empty; send it a picture, as in < photo.jpg")
    return bytes(data)


def listed(args, results=None, command=None):
    """{picture of a command line: the folder in which it is, from the IN that was named}.

    One that is named twice is there once. Of folders are left out, and counted on stderr, pictures
    in the folder `results` and, for a `command`, those that it is not for.
    """
    from hcflow_jax import images

    if not all(args.inputs):
        raise UserError("an input is empty; name a picture or a folder")
    found, apart = {}, {}
    for name in args.inputs:
        top, paths = Path(name), images.list_images(name, args.recursive)
        if paths == [top]:
            found.setdefault(resolved(top), (top, Path()))
            continue
        left_out = _left_out(top, paths, results, command, getattr(args, "force", False))
        for path in paths:
            if path in left_out:
                apart[resolved(path)] = left_out[path]
            else:
                found.setdefault(resolved(path), (path, path.parent.relative_to(top)))
    reasons = [reason for path, reason in apart.items() if path not in found]
    for (what, why), count in Counter(reasons).items():
        print(f"left out: {count} {what}{'s' * (count > 1)} {why}", file=sys.stderr, flush=True)
    if not found:
        raise UserError(f"{' and '.join(args.inputs)}: no picture is left; name those to take")
    return dict(found.values())


_RESULT = "result", "of hcflow (taken if named)"
_ORDINARY = "picture", "that `downscale` did not write (taken if named, or by --force)"


def _left_out(top, paths, results, command, force):
    """{picture of the folder `top`: (what it is, why a command does not take it)} of some.

    Results of this program are left out; but `restore` takes small pictures, and with `force` alone
    pictures that are no results.
    """
    from hcflow_jax.images import own

    why = ("picture", f"in {shown(results)}, where results go")
    below = {path: why for path in paths if results and _is_below(results, top, path)}
    if command is None:
        return below
    rest = [path for path in paths if path not in below]
    made_by = own.results(rest)
    wanted = "downscale" if command == "restore" else None
    apart = {path: _RESULT for path, maker in made_by.items() if maker != wanted}
    if command == "restore" and not force:
        apart |= {path: _ORDINARY for path in rest if path not in made_by}
    return below | apart


def _is_below(folder, top, path):
    """Whether `path` is in a folder, and that in the folder `top`."""
    folder = Path(resolved(folder))
    return Path(resolved(top)) in folder.parents and folder in Path(resolved(path)).parents


def resolved(path):
    """`path` with links followed; `Path.resolve` raises RuntimeError where they form a cycle."""
    return os.path.realpath(path)


def frames(file, which, max_pixels):
    """The `Source`s of a file or of bytes: the "first" picture in it, or "all"."""
    from hcflow_jax import images

    if which == "first":
        return [Source(file)]
    count = 1
    with contextlib.suppress(images.ImageError):  # `read` raises it, and the others are done
        count = images.frame_count(file, max_pixels)
    return [Source(file, alone=True)] if count == 1 else [Source(file, i) for i in range(count)]
