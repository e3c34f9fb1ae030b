"""Results of `hcflow upscale`, `downscale` and `restore`: how files say so, and who asks them.

A PNG says it in a text chunk, a small JPEG in its comment, others in EXIF's Software. A BMP has no
place for either: one beside the picture that it was made of is known by its name.
"""

import contextlib
import re
from collections.abc import Iterable
from concurrent import futures
from pathlib import Path

from PIL import ExifTags, Image

from hcflow_jax.images import metadata
from hcflow_jax.images.metadata import PREFIX
from hcflow_jax.images.reading import ImageError, opened, stream
from hcflow_jax.paths import is_remote

COMMANDS = ("upscale", "downscale", "restore")
_MADE_BY = f"{PREFIX}made_by"
_SOFTWARE = ExifTags.Base.Software
_ANY = 2**62  # pixels: of results may be many, and nothing is decoded here
_NAME = re.compile(
    r"(?P<source>.+)_(?:(?P<upscale>x\d+(?:\.\d+)?)|(?P<downscale>lr)|(?P<restore>restored))"
    r"(?:_frame\d+)?(?:_\d+)?"
)


def marked(command: str, png: bool, info: dict[str, str], exif: bytes) -> dict:
    """{"info", "exif"} of a result, with the name of the command that made it.

    Args:
      png: whether it is a PNG.
      info, exif: what it holds besides; another Software in EXIF is replaced.
    """
    if png:
        return {"info": info | {_MADE_BY: command}, "exif": exif}
    signed = Image.Exif()
    signed.load(exif)
    signed[_SOFTWARE] = f"hcflow {command}"
    return {"info": info, "exif": signed.tobytes()}


def made_by(path: Path) -> str | None:
    """The command of COMMANDS by which a file says it was made; None of all others."""
    try:
        with stream(path) as file:
            if file.read(4) == b"GIF8":
                return None  # is never written, and may take memory when it is opened
        with _any_size(), opened(path, _ANY) as image:
            said = _said(image)
    except (ImageError, OSError):
        return None
    return said if said in COMMANDS else None


@contextlib.contextmanager
def _any_size():
    """Without Pillow's limit, which is one for the process."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _said(image):
    if texts := metadata.early_text(image):
        return texts.get(_MADE_BY, "downscale")  # which alone wrote texts before there was this one
    exif = Image.Image.getexif(image)  # PNG's own decodes the picture
    signed = re.fullmatch(r"hcflow (\w+)", str(exif.get(_SOFTWARE, "")))
    return signed and signed[1]


def results(paths: Iterable[Path]) -> dict[Path, str]:
    """{file: the command that made it} of those that are results of this program."""
    paths = list(paths)
    begins = set().union(*map(_beginnings, paths))

    def find(path):
        if is_remote(path):
            return None  # results are never written there, and it would be downloaded
        if path.suffix.lower() != ".bmp":
            return made_by(path)
        named = _NAME.fullmatch(path.stem)
        known = named and (path.parent, named["source"]) in begins
        return next(command for command in COMMANDS if named[command]) if known else None

    with _any_size(), futures.ThreadPoolExecutor(8) as pool:
        found = dict(zip(paths, pool.map(find, paths), strict=True))
    return {path: command for path, command in found.items() if command}


def _beginnings(path):
    """(folder, what names of the results of a picture there begin with)."""
    return {
        (path.parent, path.stem),
        (path.parent, path.stem + path.suffix.replace(".", "_")),  # where stems are alike
    }
