"""PNG files with texts that are larger than Pillow reads: read without these."""

import io
import os
import struct
import zlib
from typing import BinaryIO

from PIL import Image
from PIL.PngImagePlugin import MAX_TEXT_CHUNK, MAX_TEXT_MEMORY

from hcflow_jax.errors import shown

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


class _Shortened(io.BytesIO):
    """A PNG in memory, and the `note` about the texts that it has no more."""

    note = ""


def readable(file: BinaryIO) -> BinaryIO:
    """`file`; of a PNG with texts that Pillow would refuse, a copy without these, `file` closed.

    Those are compressed ones of more than MAX_TEXT_CHUNK (1 MB), and what follows when all
    together have more than MAX_TEXT_MEMORY (64 MB).
    """
    if file.read(8) == _SIGNATURE and (found := _refused(file)):
        with file:
            short = _Shortened(_without(file, [place for place, _ in found]))
        names = ", ".join(dict.fromkeys(shown(name, 80) for _, name in found))
        short.note = f"its text {names} is left out; texts of up to 1 MB, 64 MB together, are read"
        return short
    file.seek(0)
    return file


def note(image: Image.Image) -> str | None:
    """What to tell of texts that `readable` left out of an opened, not yet decoded, image."""
    return getattr(getattr(image, "fp", None), "note", None)


def _refused(file):
    """[((start, end), name)] of the chunks of a PNG, behind its signature, to be left out."""
    found, total, start = [], 0, 8
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        end = start + length + 12
        if kind in _TEXTS:
            name, size = _measure(kind, file.read(length))
            if size is None or total + size > MAX_TEXT_MEMORY:
                found.append(((start, end), name.decode("latin-1")))
            else:
                total += size
        file.seek(end)
        start = end
    return found


def _measure(kind, data):
    """(name, bytes) of a text; None of a compressed one that has more than MAX_TEXT_CHUNK."""
    name, _, rest = data.partition(b"\0")
    packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] != b"\0")
    if kind == b"iTXt":
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    if not packed:
        return name, len(rest)
    unpacking = zlib.decompressobj()
    try:
        size = len(unpacking.decompress(rest[1:] if kind == b"zTXt" else rest, MAX_TEXT_CHUNK))
    except zlib.error:
        return name, 0
    return name, None if unpacking.unconsumed_tail else size


def _without(file, places):
    """The bytes of a file without those at `places`, [(start, end)] in order."""
    size = file.seek(0, os.SEEK_END)
    starts = [0, *(end for _, end in places)]
    ends = [*(start for start, _ in places), size]
    parts = []
    for start, end in zip(starts, ends, strict=True):
        file.seek(start)
        parts.append(file.read(max(end - start, 0)))
    return b"".join(parts)
