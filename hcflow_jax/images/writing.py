"""Writing image files: whole or not at all."""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from hcflow_jax.images.reading import ImageError
from hcflow_jax.paths import is_remote, located

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
"""Suffixes that are written, and their formats."""

_NO_ALPHA = ("JPEG", "BMP")
_SAVE_OPTIONS: dict[str, dict] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
    "TIFF": {"compression": "tiff_deflate"},
}


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
    path = _checked_name(path)
    if alpha and _format(path) in _NO_ALPHA:
        raise ImageError(f"{path}: {_format(path)} keeps no transparency; write a .png")
    _format(path)
    _check_folder(path)


def check_place(path: str | Path) -> None:
    """ImageError, with cause and remedy, where `write_beside` would fail whatever it writes."""
    _check_folder(_checked_name(path))


def _checked_name(path):
    path = located(path)
    if is_remote(path):
        raise ImageError(f"results are not written to {path}; name a local file")
    if not path.name or os.path.isdir(path):
        raise ImageError(f"{path} is a folder; name a file in it")
    if len(os.fsencode(path.name)) > 255:
        raise ImageError(f"{path}: the name is longer than 255 bytes; shorten it")
    return path


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
