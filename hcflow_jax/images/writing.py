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

from hcflow_jax.images import coding, encoding, metadata, scratch
from hcflow_jax.images.formats import FORMATS, Format
from hcflow_jax.images.reading import ImageError
from hcflow_jax.images.resize import Resized
from hcflow_jax.paths import is_remote, located

_JPEG_SEGMENT = 65_500  # bytes that EXIF or XMP may have there, about


class StandardOutput:
    """The place of a result that goes to standard output, in the format of `suffix`."""

    parent = None  # the system's folder of temporary files

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
        check_size(path, size, alpha, bits)
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


def check_size(
    path: str | Path | StandardOutput,
    size: tuple[int, int],
    alpha: bool = False,
    bits: int | None = None,
) -> None:
    """ImageError, with the remedy, where the format holds no picture of that height and width."""
    kind, (height, width) = _format(_place(path)), size
    if kind.side is not None and max(size) > kind.side:
        raise ImageError(
            f"{path} would be {width}×{height}, and {kind.name} holds {kind.side:,} pixels a side; "
            "write a .png or .tif"
        )
    if kind.size is not None and (3 + alpha) * (bits or 8) // 8 * height * width > kind.size:
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


def result_coding(
    path: str | Path | StandardOutput, grey: bool, bits: int, profile: bytes | None
) -> coding.Coding:
    """How `write` codes the pixels of a result, of the same options."""
    return coding.coding(_format(_place(path)), grey, bits, profile)


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
    except ImageError:
        raise
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


def _check_arrays(path, rgb, alpha, code):
    channels = 3 if code is None else code.channels
    if len(rgb.shape) != 3 or rgb.shape[-1] != channels or 0 in rgb.shape:
        raise ImageError(f"{path}: pixels must be [H, W, {channels}], got shape {rgb.shape}")
    found = rgb[:1].dtype
    if code is None and not np.issubdtype(found, np.floating):
        raise ImageError(f"{path}: pixels must be floats in [0, 1], got {found}")
    if code is not None and found != code.dtype:
        raise ImageError(f"{path}: pixels of {code.bits} bits are not coded as {found}")
    if alpha is not None and alpha.shape != rgb.shape[:2]:
        raise ImageError(f"{path}: alpha is {alpha.shape}, the pixels {rgb.shape[:2]}; crop one")


def write(
    path: str | Path | StandardOutput,
    rgb: np.ndarray | Resized,
    alpha: np.ndarray | Resized | None = None,
    grey: bool = False,
    info: dict[str, str] | None = None,
    bits: int = 8,
    profile: bytes | None = None,
    exif: bytes = b"",
    xmp: bytes = b"",
    quality: int | None = None,
    coded: bool = False,
) -> None:
    """Writes ⌊(2^bits − 1)·clamp(rgb, 0, 1) + ½⌋ in the format of the suffix, atomically.

    Args:
      rgb: [H, W, 3], as networks give it, in [0, 1]; or what `coded` tells.
      alpha: [H, W] in [0, 1].
      grey: one channel, the mean of the three.
      info: text chunks, for PNG; of those of this program alone, the comment of a JPEG.
      bits: 8, or 16 for PNG and TIFF.
      profile: of the picture that networks were given by `colour.for_network`. The file has it and
        values coded by it, or is in sRGB without it where the format cannot keep it.
      exif, xmp: as a `Picture` has them; sizes in EXIF are set. BMP keeps neither, and JPEG none
        that is longer than 64 KB.
      quality: 1 to 100, of JPEG, WebP and AVIF; the default is 95, without loss, and 90.
      coded: `rgb` are the values that `result_coding`, of the same options, makes of such pixels.

    PNG and TIFF are coded and packed strip by strip; of `rgb` and `alpha` rows are taken as they
    are needed, so that both may be a `resize.Resized`.

    Raises:
      ImageError: unknown suffix, pixels that are not finite, alpha, 16 bits, a size, a profile's or
        a quality that the format has not, a folder that cannot be written to.
    """
    path = _place(path)
    kind = _format(_checked_name(path))
    code = coding.coding(kind, grey, bits, profile)
    _check_arrays(path, rgb, alpha, code if coded else None)
    check_writable(path, alpha is not None, rgb.shape[:2], bits, profile)
    check_quality(path, quality)
    values, profile = _Stored(path, kind, rgb, alpha, code), code.stored_profile
    height, width = rgb.shape[:2]
    with_size = metadata.sized(exif, width, height) if exif else None
    if kind.name == "TIFF":
        write_beside(path, lambda file: encoding.write_tiff(file, values, profile, with_size, xmp))
        return
    packed = with_size.tobytes() if with_size else b""
    if kind.name == "PNG":
        chunks = _chunks(info or {}, xmp)
        write_beside(path, lambda file: encoding.write_png(file, values, profile, packed, chunks))
        return
    kept = [part if _fits(kind, part) else b"" for part in (packed, xmp)]
    options = {"exif": kept[0], "xmp": kept[1], "icc_profile": profile}
    if kind.name == "JPEG":
        options["comment"] = metadata.as_comment(info or {})
    options = {key: value for key, value in options.items() if value} | _compression(kind, quality)
    image = values.image()
    write_beside(path, lambda file: image.save(file, kind.name, **options))


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


class _Stored:
    """uint8 or uint16 [H, W, C] as `kind` stores them, of which rows are coded when asked for."""

    def __init__(self, path, kind, pixels, alpha, code):
        self._path, self._pixels, self._alpha, self._code = path, pixels, alpha, code
        # as 16-bit grey and alpha few programs read a TIFF
        apart = code.one and code.bits == 16 and kind.name == "TIFF" and alpha is not None
        self._copies = 3 if apart else 1
        channels = self._copies * code.channels + (alpha is not None)
        self.shape = (*pixels.shape[:2], channels)
        self.dtype = np.dtype(code.dtype)

    def __getitem__(self, rows):
        pixels = self._pixels[rows]
        scratch.release(self._pixels)
        parts = [pixels if pixels.dtype == self.dtype else self._code.values(self._finite(pixels))]
        parts *= self._copies
        if self._alpha is not None:
            parts.append(self._code.plane(self._finite(self._alpha[rows]))[..., None])
        return np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]

    def _finite(self, values):
        if not np.all(np.isfinite(values)):
            raise ImageError(
                f"{self._path}: the result has pixels that are not finite; nothing is written"
            )
        return values

    def image(self):
        """Pillow's image of all of them."""
        mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[self.shape[2]]
        height, width, _ = self.shape
        image, top = Image.new(mode, (width, height)), 0
        for strip in encoding.strips(self):
            part = Image.fromarray(strip.squeeze(-1) if self.shape[2] == 1 else strip)
            image.paste(part, (0, top))
            top += len(strip)
        return image
