"""Reading image files: one way for pictures of the command line, data sets and training."""

import contextlib
import dataclasses
import io
import os
import re
import struct
from collections.abc import Iterator, Sequence
from concurrent import futures
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from hcflow_jax.errors import UserError
from hcflow_jax.images.transparency import spread
from hcflow_jax.paths import is_file, is_remote, located, reached

KINDS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
"""Formats that are opened, whatever a file is called; Pillow knows more, some of which start
programs."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif")
"""Names that are looked for in folders."""

MAX_PIXELS = 100_000_000
"""Pixels of the largest picture that is read, unless a caller allows more."""

_XMP = "XML:com.adobe.xmp"
_ABOUT_THE_PICTURE = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # chunks of a PNG


class ImageError(UserError):
    """An image that cannot be read or written; the message is one line for the user."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A decoded image file.

    Attributes:
      rgb: [H, W, 3] float32 in [0, 1]; where alpha is 0, as `transparency.spread` makes it.
      alpha: [H, W] float32 in [0, 1], or None.
      grey: every pixel has three equal channels, however the file stores them.
      info: the text chunks of a PNG, without XMP (it may repeat an orientation already applied).
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    grey: bool
    info: dict[str, str]


def read(path: str | Path, max_pixels: int | None = None) -> Picture:
    """The first frame of an image file, upright by its EXIF orientation.

    Grey, palette, CMYK, alpha and 16-bit grey files are all converted; 16-bit colour is read with
    the 8 bits per channel that Pillow gives, floats of one channel in [0, 1] as they are.

    Args:
      max_pixels: as `opened` takes it.

    Raises:
      ImageError: one line naming the file and the remedy, when it is missing, empty, truncated,
        too large, or not an image.
    """
    with opened(path, max_pixels) as image:
        image.load()
        text = getattr(image, "text", {})
        info = {key: str(value) for key, value in text.items() if key != _XMP}
        return _as_picture(ImageOps.exif_transpose(image), info)


def read_uint8(path: str | Path | bytes, max_pixels: int | None = None) -> np.ndarray:
    """`read(path).rgb` as uint8 [H, W, 3]; most files without the detour through floats."""
    with opened(path, max_pixels) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("RGB", "L") and not upright.has_transparency_data:
            return np.array(upright.convert("RGB"))
        return np.rint(255 * _as_picture(upright, {}).rgb).astype(np.uint8)


def header_size(path: str | Path | bytes, max_pixels: int | None = None) -> tuple[int, int]:
    """(height, width) of what `read` gives, of most files without decoding them."""
    with opened(path, max_pixels) as image:
        if image.format == "PNG" and _tells_more_after_pixels(path):
            image.load()
        # PNG's own getexif always decodes the picture first; TIFF sizes are upright already
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
        turned = orientation in (5, 6, 7, 8) and image.format != "TIFF"
        return (image.width, image.height) if turned else (image.height, image.width)


def header_sizes(paths: Sequence[Path]) -> list[tuple[int, int] | ImageError]:
    """`header_size` of each file, or the ImageError that it raised."""

    def attempt(path):
        try:
            return header_size(path)
        except ImageError as error:
            return error

    with futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(attempt, paths))


@contextlib.contextmanager
def opened(path: str | Path | bytes, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """Yields Pillow's image of a file, or of its bytes, opened as one of KINDS and not decoded.

    Args:
      max_pixels: allow pictures of so many pixels, which the message about larger ones then calls
        --max-pixels; None stands for MAX_PIXELS. More than twice Pillow's own limit raises that.

    Raises:
      ImageError: naming the file and the remedy, whatever goes wrong in the context too.
    """
    path, limit = path if isinstance(path, bytes) else located(path), max_pixels or MAX_PIXELS
    name = "the picture" if isinstance(path, bytes) else path
    try:
        if max_pixels:
            _allow(max_pixels)
        with _stream(path) as file, Image.open(file, formats=KINDS) as image:
            if (pixels := image.width * image.height) > limit:
                raise Image.DecompressionBombError(f"{pixels:,}")
            yield image
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} {_unknown(path)}") from error
    except Image.DecompressionBombError as error:
        remedy = "allow more by --max-pixels" if max_pixels else "crop it or make it smaller"
        count = f"{error}, more than" if str(error)[0].isdigit() else "more than"
        raise ImageError(f"{name} has {count} {limit:,} pixels; {remedy}") from error
    except _RangeError as error:
        raise ImageError(f"{name} has {error}; scale them, or convert it to 8 bits") from error
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist; check the name") from error
    except PermissionError as error:
        raise ImageError(f"{name} may not be read; change its permissions") from error
    except Exception as error:  # broken files make Pillow raise anything, struct.error too
        raise ImageError(f"{name} is truncated or damaged ({error}); export it again") from error


class _RangeError(ValueError):
    """Pixels that do not mean an intensity."""


def _allow(pixels):
    """Raises Pillow's limit, which is one for the process, to `pixels` where it is lower."""
    if Image.MAX_IMAGE_PIXELS is not None and pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = pixels


def _stream(path):
    """A file with contents, open for reading; one in a bucket is downloaded."""
    if isinstance(path, bytes):
        return io.BytesIO(path)
    if is_remote(path):
        data = path.read_bytes()
        size = len(data)
    else:
        if os.path.isdir(path):
            raise ImageError(f"{path} is a folder; name an image file")
        size = os.path.getsize(path)
    if size == 0:
        raise ImageError(f"{path} is empty; export the image again")
    return io.BytesIO(data) if is_remote(path) else open(path, "rb")


def _unknown(path):
    """What is wrong with a file that Pillow does not know, and the remedy."""
    with contextlib.suppress(Exception), _stream(path) as file:
        head = file.read(8)
        if head[:4] in (b"II*\0", b"MM\0*"):
            tags = TiffImagePlugin.ImageFileDirectory_v2(head)
            file.seek(tags.next)
            tags.load(file)
            bits = tags[TiffImagePlugin.BITSPERSAMPLE]
            floats = tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0] == 3
            return (
                f"is a TIFF with {len(bits)} channels of {bits[0]}-bit "
                f"{'floats' if floats else 'integers'}, which are not read; convert it to 8 bits"
            )
    return f"is not an image of a known format ({', '.join(KINDS)}); convert it to PNG"


def _tells_more_after_pixels(path):
    """Whether a PNG has chunks behind its pixels in which an orientation may be."""
    with _stream(path if isinstance(path, bytes) else located(path)) as file:
        file.seek(8)
        pixels = False
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            pixels = pixels or kind == b"IDAT"
            if pixels and kind in _ABOUT_THE_PICTURE:
                return True
            file.seek(length + 4, os.SEEK_CUR)
    return False


def _as_picture(image, info):
    """The Picture of a Pillow image, with values from 0…255, 0…65535 or 0…1 brought to [0, 1]."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float64)
        top = 1.0 if image.mode == "F" else 65535.0
        if not np.all(np.isfinite(values)):
            raise _RangeError("pixels that are not finite")
        if values.min() < 0 or values.max() > top:
            raise _RangeError(f"pixels outside 0…{top:g}")
        grey = (values / top).astype(np.float32)
        return Picture(np.repeat(grey[..., None], 3, -1), None, True, info)
    alpha = None
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"), np.float32) / 255
        alpha = rgba[..., 3]
        rgb = spread(rgba[..., :3], alpha)
    else:
        rgb = np.asarray(image.convert("RGB"), np.float32) / 255
    return Picture(rgb, alpha, bool(np.all(rgb == rgb[..., :1])), info)


def list_images(path: str | Path) -> list[Path]:
    """The file `path`, or the images directly in that folder, `2.png` before `10.png`.

    ImageError when it does not exist, or is a folder without images.
    """
    path = reached(path)
    if is_file(path):
        return [path]
    if not (path.is_dir() if is_remote(path) else os.path.isdir(path)):
        there = not is_remote(path) and os.path.exists(path)
        what = "is neither a file nor a folder" if there else "does not exist"
        raise ImageError(f"{path} {what}; check the name")
    found = [
        p
        for p in path.iterdir()
        if p.suffix.lower() in SUFFIXES
        and not p.name.startswith(".")
        and (is_remote(p) or p.is_file())  # asking a bucket takes a while
    ]
    if not found:
        raise ImageError(f"{path} holds no images; name another folder")
    return sorted(found, key=_natural_order)


def _natural_order(path):
    parts = re.split(r"(\d+)", path.name.lower())
    return [int(part) if part.isdecimal() else part for part in parts], path.name
