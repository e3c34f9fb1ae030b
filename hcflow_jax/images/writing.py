"""Writing image files: whole or not at all."""

import contextlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin, features

from hcflow_jax.images import colour, encoding, metadata
from hcflow_jax.images.formats import FORMATS, Format
from hcflow_jax.images.reading import ImageError
from hcflow_jax.paths import is_remote, located

_JPEG_SEGMENT = 65_500  # bytes that EXIF or XMP may have there, about


class StandardOutput:
    """The place of a result that goes to standard output, in the format of `suffix`."""

    def __init__(self, suffix: str):
        self.suffix = suffix

    def __str__(self) -> str:
        return "standard output"

    def take(self, save: Callable) -> None:
        """Sends what save(file) writes, once it is whole; OSError where nothing more is taken."""
        with tempfile.TemporaryFile() as file:  # large results need not fit the memory
            save(file)
            file.seek(0)
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()


def _format(path) -> Format:
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ImageError(
            f"{path}: cannot write {suffix or 'a file without a suffix'}; "
            f"use one of {', '.join(FORMATS)}"
        )
    return FORMATS[suffix]


def check_writable(
    path: str | Path | StandardOutput,
    alpha: bool = False,
    size: tuple[int, int] | None = None,
    bits: int | None = None,
    profile: bytes | None = None,
) -> None:
    """ImageError, with cause and remedy, where `write` would fail whatever the pixels.

    Args:
      alpha: whether the image to write has transparency.
      size: its height and width, where they are known.
      bits: those per channel, where they are known.
      profile: its colour profile, where it is known.
    """
    path = _checked_name(path)
    kind = _format(path)
    if kind.name == "AVIF" and not features.check("avif"):
        raise ImageError(f"{path}: this Pillow cannot write AVIF; pip install -U pillow")
    if alpha and not kind.alpha:
        raise ImageError(f"{path}: {kind.name} keeps no transparency; write a .png")
    if bits == 16 and not kind.deep:
        raise ImageError(f"{path}: {kind.name} keeps no 16 bits; write a .png or .tif")
    if profile and kind.profile is not None and len(profile) > kind.profile:
        raise ImageError(f"{path}: {kind.name} keeps no colour profile over 1 MB; write a .tif")
    if size is not None:
        _check_size(path, kind, *size, bytes=(3 + alpha) * (bits or 8) // 8)
    _check_folder(path)


def check_place(path: str | Path) -> None:
    """ImageError, with cause and remedy, where `write_beside` would fail whatever it writes."""
    _check_folder(_checked_name(path))


def _checked_name(path):
    if isinstance(path, StandardOutput):
        return path
    path = located(path)
    if is_remote(path):
        raise ImageError(f"results are not written to {path}; name a local file")
    if not path.name or os.path.isdir(path):
        raise ImageError(f"{path} is a folder; name a file in it")
    if len(os.fsencode(path.name)) > 255:
        raise ImageError(f"{path}: the name is longer than 255 bytes; shorten it")
    return path


def _check_size(path, kind, height, width, bytes):
    if kind.side is not None and max(height, width) > kind.side:
        raise ImageError(
            f"{path} would be {width}×{height}, and {kind.name} holds {kind.side:,} pixels a side; "
            "write a .png or .tif"
        )
    if kind.size is not None and bytes * height * width > kind.size:
        raise ImageError(
            f"{path} would be {width}×{height}, more than {kind.name} holds; write a .png"
        )


def _check_folder(path):
    if isinstance(path, StandardOutput):
        return
    if not path.absolute().parent.is_dir():
        raise ImageError(f"{path.parent} is not a folder; create it to write {path.name}")
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise ImageError(
            f"cannot write to {path.absolute().parent} ({error.strerror}); name another folder"
        ) from error


def result_bits(path: str | Path | StandardOutput, found: int, asked: int | None = None) -> int:
    """8 or 16: what was asked for, else as many as were found where the format keeps them."""
    return asked or (found if _format(_place(path)).deep else 8)


def write_beside(path: str | Path | StandardOutput, save: Callable) -> None:
    """Writes `path` atomically: save(file) to a temporary file beside it, which is then renamed.

    ImageError when that fails; `path` is then as it was.
    """
    path = _place(path)
    _check_folder(path)
    try:
        if isinstance(path, StandardOutput):
            path.take(save)
        else:
            _replace(path, save)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"cannot write {path} ({reason}); free space or name another") from error


def _place(path):
    return path if isinstance(path, StandardOutput) else Path(path)


def _replace(path, save):
    temporary = path.absolute().with_name(f".hcflow-{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            save(file)
        os.replace(temporary, path)
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
    path: str | Path | StandardOutput,
    rgb: np.ndarray,
    alpha: np.ndarray | None = None,
    grey: bool = False,
    info: dict[str, str] | None = None,
    bits: int = 8,
    profile: bytes | None = None,
    exif: bytes = b"",
    xmp: bytes = b"",
    quality: int | None = None,
) -> None:
    """Writes ⌊(2^bits − 1)·clamp(rgb, 0, 1) + ½⌋ in the format of the suffix, atomically.

    Args:
      rgb: [H, W, 3], as networks give it; alpha [H, W]; both in [0, 1].
      grey: one channel, the mean of the three.
      info: text chunks, for PNG.
      bits: 8, or 16 for PNG and TIFF.
      profile: of the picture that networks were given by `colour.for_network`. The file has it and
        values coded by it, or is in sRGB without it where the format cannot keep it.
      exif, xmp: as a `Picture` has them; sizes in EXIF are set. BMP keeps neither, and JPEG none
        that is longer than 64 KB.
      quality: 1 to 100, of JPEG, WebP and AVIF; the default is 95, without loss, and 90.

    Raises:
      ImageError: unknown suffix, pixels that are not finite, alpha, 16 bits, a size, a profile's or
        a quality that the format has not, a folder that cannot be written to.
    """
    path = _place(path)
    _check_arrays(path, rgb, alpha)
    check_writable(path, alpha is not None, rgb.shape[:2], bits, profile)
    check_quality(path, quality)
    kind = _format(path)
    values, profile = _coded(path, kind, rgb, alpha, grey, bits, profile)
    height, width = rgb.shape[:2]
    with_size = metadata.sized(exif, width, height) if exif else None
    if kind.name == "TIFF":
        write_beside(path, lambda file: encoding.write_tiff(file, values, profile, with_size, xmp))
        return
    packed = with_size.tobytes() if with_size else b""
    if kind.name == "PNG":
        chunks = _chunks(info or {}, xmp)
        if bits == 16:
            write_beside(
                path, lambda file: encoding.write_png16(file, values, profile, packed, chunks)
            )
            return
        options = {"pnginfo": chunks, "exif": packed, "icc_profile": profile}
    else:
        kept = [part if _fits(kind, part) else b"" for part in (packed, xmp)]
        options = {"exif": kept[0], "xmp": kept[1], "icc_profile": profile}
        options |= _compression(kind, quality)
    image = Image.fromarray(values.squeeze(-1) if values.shape[-1] == 1 else values)
    given = {key: value for key, value in options.items() if value}
    write_beside(path, lambda file: image.save(file, kind.name, **given))


def check_quality(path: str | Path | StandardOutput, quality: int | None) -> None:
    """ImageError where a quality is given of a format that has none."""
    kind = _format(_place(path))
    if quality is not None and kind.lossy is None:
        raise ImageError(f"{path}: {kind.name} loses nothing; leave out --quality")


def _compression(kind, quality):
    """Pillow's options of a format at a quality; its own where that is None."""
    return kind.options if quality is None else kind.options | kind.lossy | {"quality": quality}


def _fits(kind, part):
    return kind.name not in ("JPEG", "BMP") or (kind.name == "JPEG" and len(part) < _JPEG_SEGMENT)


def _chunks(info, xmp):
    chunks = PngImagePlugin.PngInfo()
    for key, value in info.items():
        chunks.add_text(key, value)
    if xmp:
        chunks.add_itxt("XML:com.adobe.xmp", xmp.decode(errors="replace"))
    return chunks


def _coded(path, kind, rgb, alpha, grey, bits, profile):
    """(uint8 or uint16 [H, W, C] as `kind` stores them, the profile they go with or None)."""
    space = colour.space(profile) if profile else None
    if space == "GRAY" and not (grey and space in kind.spaces):
        profile = None  # what networks take and give of grey is sRGB
    one = grey and (profile is None or space == "GRAY")
    planes = colour.from_network(rgb.mean(axis=-1, keepdims=True) if one else rgb, profile)
    if alpha is not None:
        if one and bits == 16 and kind.name == "TIFF":
            planes = np.repeat(planes, 3, axis=-1)  # as 16-bit grey and alpha few programs read it
        planes = np.concatenate([planes, alpha[..., None]], -1)
    if not np.all(np.isfinite(planes)):
        raise ImageError(f"{path}: the result has pixels that are not finite; nothing is written")
    top = 2**bits - 1
    values = np.floor(top * np.clip(planes, 0, 1) + 0.5).astype(
        np.uint8 if bits == 8 else np.uint16
    )
    if profile and space not in kind.spaces:
        values = np.asarray(colour.converted(Image.fromarray(values), profile))
        profile = None
    return values, profile
