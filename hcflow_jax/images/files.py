"""Image files: reading the common formats, writing atomically."""

import contextlib
import dataclasses
import io
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Sequence
from concurrent import futures
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from hcflow_jax.errors import UserError
from hcflow_jax.paths import is_file, is_remote, located, reached

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
"""Suffixes that are written, and (with .gif) looked for in folders."""

_NO_ALPHA = ("JPEG", "BMP")
_SAVE_OPTIONS: dict[str, dict] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
    "TIFF": {"compression": "tiff_deflate"},
}


class ImageError(UserError):
    """An image that cannot be read or written; the message is one line for the user."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A decoded image file.

    Attributes:
      rgb: [H, W, 3] float32 in [0, 1]; grey files have three equal channels.
      alpha: [H, W] float32 in [0, 1], or None.
      grey: the file held no colour.
      info: the text chunks of a PNG, without XMP (it may repeat an orientation already applied).
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    grey: bool
    info: dict[str, str]


def read(path: str | Path) -> Picture:
    """The first frame of an image file, upright by its EXIF orientation.

    Grey, palette, CMYK, alpha and 16-bit grey files are all converted; 16-bit colour is read with
    the 8 bits per channel that Pillow gives. ImageError, one line naming the file and the remedy,
    when it is missing, empty, truncated, too large, or not an image.
    """
    path = located(path)
    if not is_remote(path):
        _check_file(path)
    try:
        with _opened(path) as image:
            if image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError
            image.load()
            text = getattr(image, "text", {})
            info = {k: str(v) for k, v in text.items() if k != "XML:com.adobe.xmp"}
            image = ImageOps.exif_transpose(image)
            return _as_picture(image, info)
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is not an image of a known format; convert it to PNG") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path} has too many pixels; crop it or make it smaller") from error
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist; check the name") from error
    except PermissionError as error:
        raise ImageError(f"{path} may not be read; change its permissions") from error
    except MemoryError:
        raise
    except Exception as error:  # broken files make Pillow raise anything, struct.error too
        raise ImageError(f"{path} is truncated or damaged ({error}); export it again") from error


def _check_file(path):
    """ImageError unless `path` is a file with contents."""
    if not os.path.exists(path):
        raise ImageError(f"{path} does not exist; check the name")
    if path.is_dir():
        raise ImageError(f"{path} is a folder; name an image file")
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty; export the image again")


def _opened(path):
    """Pillow's image of a file, downloaded first where that is in a bucket."""
    return Image.open(io.BytesIO(path.read_bytes()) if is_remote(path) else path)


def _as_picture(image, info):
    """The Picture of a Pillow image, with values from 0…255, 0…65535 or 0…1 brought to [0, 1]."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float64)
        top = 1.0 if image.mode == "F" else 65535.0
        if not np.all(np.isfinite(values)):
            raise ValueError("pixels that are not finite")
        if values.min() < 0 or values.max() > top:
            raise ValueError(f"pixels outside 0…{top:g}")
        grey = (values / top).astype(np.float32)
        return Picture(np.repeat(grey[..., None], 3, -1), None, True, info)
    grey = image.mode in ("1", "L", "LA", "La")
    alpha = None
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"), np.float32) / 255
        rgb, alpha = rgba[..., :3], rgba[..., 3]
    else:
        rgb = np.asarray(image.convert("RGB"), np.float32) / 255
    return Picture(np.ascontiguousarray(rgb), alpha, grey, info)


def read_uint8(path: str | Path) -> np.ndarray:
    """`read(path).rgb` as uint8 [H, W, 3], without the detour through floats where possible."""
    with contextlib.suppress(Exception), _opened(located(path)) as image:
        if image.mode in ("RGB", "L") and image.width * image.height <= Image.MAX_IMAGE_PIXELS:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    return np.rint(255 * read(path).rgb).astype(np.uint8)


def header_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of an image file, upright, without decoding it; ImageError as in `read`."""
    path = located(path)
    try:
        with _opened(path) as image:
            if image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError
            # PNG's own getexif decodes the whole picture first; TIFF sizes are upright already
            orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
            turned = orientation in (5, 6, 7, 8) and image.format != "TIFF"
            return (image.width, image.height) if turned else (image.height, image.width)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is empty or not an image of a known format; convert it to PNG"
        ) from error
    except PermissionError as error:
        raise ImageError(f"{path} may not be read; change its permissions") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path} has too many pixels; crop it") from error
    except Exception as error:  # broken files make Pillow raise anything
        raise ImageError(f"{path} is damaged ({error}); export it again") from error


def header_sizes(paths: Sequence[Path]) -> list[tuple[int, int] | ImageError]:
    """`header_size` of each file, or the ImageError that it raised."""

    def attempt(path):
        try:
            return header_size(path)
        except ImageError as error:
            return error

    with futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(attempt, paths))


def list_images(path: str | Path) -> list[Path]:
    """The file `path`, or the images directly in that folder, `2.png` before `10.png`.

    ImageError when it does not exist, or is a folder without images.
    """
    path = reached(path)
    if is_file(path):
        return [path]
    if not (path.is_dir() if is_remote(path) else os.path.isdir(path)):
        raise ImageError(f"{path} does not exist; check the name")
    found = [
        p
        for p in path.iterdir()
        if p.suffix.lower() in (*FORMATS, ".gif")
        and not p.name.startswith(".")
        and (is_remote(p) or p.is_file())  # asking a bucket takes a while
    ]
    if not found:
        raise ImageError(f"{path} holds no images; name another folder")
    return sorted(found, key=_natural_order)


def _natural_order(path):
    parts = re.split(r"(\d+)", path.name.lower())
    return [int(part) if part.isdecimal() else part for part in parts], path.name


def extend(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """[H, W, C] -> [height, width, C], padded by reflection (edge included) below and right."""
    pad = [(0, new - old) for new, old in zip((height, width), rgb.shape, strict=False)]
    return np.pad(rgb, [*pad, (0, 0)], mode="symmetric") if any(map(any, pad)) else rgb


def pad_reflect(rgb: np.ndarray, multiple: int) -> np.ndarray:
    """[H, W, C] with H and W extended to the next multiples of `multiple`."""
    return extend(rgb, *(side + -side % multiple for side in rgb.shape[:2]))


def _format(path):
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ImageError(
            f"{path}: cannot write {suffix or 'a file without a suffix'}; "
            f"use one of {', '.join(FORMATS)}"
        )
    return FORMATS[suffix]


def check_writable(path: str | Path, alpha: bool = False) -> None:
    """ImageError, with cause and remedy, where `write` would fail whatever the pixels.

    `alpha`: whether the image to write has transparency.
    """
    path = located(path)
    if is_remote(path):
        raise ImageError(f"pictures are not written to {path}; name a local file")
    if os.path.isdir(path):
        raise ImageError(f"{path} is a folder; name a file in it")
    if len(os.fsencode(path.name)) > 255:
        raise ImageError(f"{path}: the name is longer than 255 bytes; shorten it")
    if alpha and _format(path) in _NO_ALPHA:
        raise ImageError(f"{path}: {_format(path)} keeps no transparency; write a .png")
    _format(path)
    _check_folder(path)


def _check_folder(path):
    if not path.absolute().parent.is_dir():
        raise ImageError(f"{path.parent} is not a folder; create it to write {path.name}")
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise ImageError(
            f"cannot write to {path.absolute().parent} ({error.strerror}); name another folder"
        ) from error


def write_beside(path: str | Path, save: Callable) -> None:
    """Writes `path` atomically: save(file) to a temporary file beside it, which is then renamed.

    ImageError when that fails; `path` is then as it was.
    """
    path = Path(path)
    _check_folder(path)
    temporary = path.absolute().with_name(f".hcflow-{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            save(file)
        os.replace(temporary, path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"cannot write {path} ({reason}); free space or name another") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _check_arrays(path, rgb, alpha):
    if rgb.ndim != 3 or rgb.shape[-1] != 3 or 0 in rgb.shape:
        raise ImageError(f"{path}: pixels must be [H, W, 3], got shape {rgb.shape}")
    if not np.issubdtype(rgb.dtype, np.floating):
        raise ImageError(f"{path}: pixels must be floats in [0, 1], got {rgb.dtype}")
    if alpha is not None and alpha.shape != rgb.shape[:2]:
        raise ImageError(f"{path}: alpha is {alpha.shape}, the pixels {rgb.shape[:2]}; crop one")


def write(
    path: str | Path,
    rgb: np.ndarray,
    alpha: np.ndarray | None = None,
    grey: bool = False,
    info: dict[str, str] | None = None,
) -> None:
    """Writes ⌊255·clamp(rgb, 0, 1) + ½⌋ in the format of the suffix, atomically.

    Args:
      rgb: [H, W, 3]; alpha [H, W]; both in [0, 1].
      grey: one channel, the mean of the three.
      info: text chunks, for PNG.

    Raises:
      ImageError: unknown suffix, pixels that are not finite, alpha in a format without it, a
        folder that cannot be written to.
    """
    path = Path(path)
    check_writable(path, alpha is not None)
    kind = _format(path)
    _check_arrays(path, rgb, alpha)
    planes = rgb.mean(axis=-1, keepdims=True) if grey else rgb
    if alpha is not None:
        planes = np.concatenate([planes, alpha[..., None]], -1)
    if not np.all(np.isfinite(planes)):
        raise ImageError(f"{path}: the result has pixels that are not finite; nothing is written")
    values = np.floor(255 * np.clip(planes, 0, 1) + 0.5).astype(np.uint8)
    image = Image.fromarray(values.squeeze(-1) if values.shape[-1] == 1 else values)
    options = dict(_SAVE_OPTIONS.get(kind, {}))
    if kind == "PNG" and info:
        chunks = PngImagePlugin.PngInfo()
        for key, value in info.items():
            chunks.add_text(key, value)
        options["pnginfo"] = chunks
    write_beside(path, lambda file: image.save(file, kind, **options))
