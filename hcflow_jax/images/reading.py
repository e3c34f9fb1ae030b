"""Reading image files: one way for pictures of the command line, data sets and training."""

import contextlib
import dataclasses
import functools
import importlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from hcflow_jax.errors import UserError, shown
from hcflow_jax.images import colour, depth, formats, large_tiff, metadata, scratch, texts
from hcflow_jax.images.picture import Picture, is_grey, scaled
from hcflow_jax.images.transparency import spread
from hcflow_jax.paths import is_remote, located

MAX_PIXELS = 100_000_000
"""Pixels of the largest picture that is read, unless a caller allows more."""


LARGE = 20_000_000
"""Pixels from which on a TIFF is decoded part by part."""


ONLY_FIRST = "of several pictures in it only the first is taken"
"""The note of a picture that stands for an animation."""


class ImageError(UserError):
    """An image that cannot be read or written; the message is one line for the user."""


def read(
    path: str | Path | bytes,
    max_pixels: int | None = None,
    frame: int | None = None,
    empty: Callable[..., np.ndarray] = np.empty,
) -> Picture:
    """A frame of an image file, or of its bytes, upright by its EXIF orientation.

    Grey, palette, CMYK and alpha files are all converted; 16-bit channels are read whole, floats of
    one channel in [0, 1] as they are.

    Args:
      max_pixels: as `opened` takes it.
      frame: its number, from 0; None is the first, and notes tell where there are others.
      empty: as numpy.empty, makes the values of opaque TIFFs of more than LARGE pixels, of which
        only parts are decoded at a time.

    Raises:
      ImageError: one line naming the file and the remedy, when it is missing, empty, truncated,
        too large, or not an image.
    """
    with opened(path, max_pixels, frame or 0) as image:
        left_out, (profile, note) = texts.note(image), _profile(image)
        patched = bool(frame) and image.format == "PNG" and depth.is_deep(image)
        if _in_parts_only(image):
            pixels = _in_parts(path, image, profile, empty)
        else:
            pixels = _pixels(path, image, profile, max_pixels, frame or 0)
        notes = [*filter(None, (left_out, note))]
        if pixels.profile and len(pixels.profile) > colour.MOST_BYTES:
            pixels = _in_srgb(pixels)
            notes.append("its colour profile is larger than 1 MB; converted to sRGB")
        if pixels.bits == 8 < depth.stored_bits(image):
            notes.append(f"of its {depth.stored_bits(image)} bits per channel 8 are read")
        if patched:
            notes.append("of its 16 bits per channel 8 are read")
        if frame is None and _is_animated(image):
            notes.append(ONLY_FIRST)
        try:
            Image.Exif().load(image.info.get("exif"))  # Pillow tells of what is damaged only once
            exif, xmp = metadata.exif(image), metadata.xmp(image)
        except Exception:  # of which damaged ones raise many kinds
            exif = xmp = b""
            notes.append("its EXIF or XMP is damaged; both are left out")
        return Picture(
            pixels.values,
            pixels.alpha,
            is_grey(pixels.values),
            metadata.text(image),
            pixels.bits,
            pixels.profile,
            exif,
            xmp,
            tuple(notes),
        )


def _is_animated(image):
    """Whether there are more pictures to be seen; those of an MPO are previews and the like."""
    try:
        return image.format != "MPO" and getattr(image, "is_animated", False)
    except Exception:  # of a second frame that is damaged
        return False


def read_uint8(path: str | Path | bytes, max_pixels: int | None = None) -> np.ndarray:
    """The picture in sRGB as uint8 [H, W, 3]: `read(path).rgb` where it has no colour profile."""
    with opened(path, max_pixels) as image:
        profile, note = _profile(image)
        if note and not isinstance(path, bytes):
            _say(f"{shown(path)}: {note}")
        if _is_plain(image) and (image.mode == "RGB" or profile is None):
            upright = _upright(image).convert("RGB")
            return np.array(colour.converted(upright, profile) if profile else upright)
        pixels = _pixels(path, image, profile, max_pixels)
        if pixels.profile:
            pixels = _in_srgb(pixels)
        return np.rint(255 * scaled(pixels.values)).astype(np.uint8)


def _is_plain(image):
    """Whether an opened image has 8-bit colours or greys, and nothing else."""
    return (
        image.mode in ("RGB", "L") and not image.has_transparency_data and not depth.is_deep(image)
    )


@functools.lru_cache(maxsize=4096)
def _say(line):
    """Prints a line on stderr once; data sets are read many times."""
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def opened(
    path: str | Path | bytes, max_pixels: int | None = None, frame: int = 0
) -> Iterator[Image.Image]:
    """Yields Pillow's image of a file, or of its bytes, as one of `formats.READ`, not decoded.

    Args:
      max_pixels: allow pictures of so many pixels, which the message about larger ones then calls
        --max-pixels; None stands for MAX_PIXELS. More than twice Pillow's own limit raises that.
      frame: which of its pictures, from 0.

    Raises:
      ImageError: naming the file and the remedy, whatever goes wrong in the context too.
    """
    path, limit = path if isinstance(path, bytes) else located(path), max_pixels or MAX_PIXELS
    name = "the picture" if isinstance(path, bytes) else path
    try:
        if max_pixels:
            _allow(max_pixels)
        with texts.readable(stream(path)) as file, Image.open(file, formats=_kinds(file)) as image:
            _check_pixels(image, limit)
            if frame:
                image.seek(frame)
                _check_pixels(image, limit)  # pages of a TIFF have sizes of their own
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
    except depth.LayoutError as error:
        raise ImageError(f"{name} has {error}") from error
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist; check the name") from error
    except PermissionError as error:
        raise ImageError(f"{name} may not be read; change its permissions") from error
    except ValueError as error:
        if "MAX_TEXT" not in str(error):
            raise ImageError(_damaged(name, error)) from error
        raise ImageError(
            f"{name} is a PNG with a colour profile over 1 MB, not read; convert it to sRGB"
        ) from error
    except Exception as error:  # broken files make Pillow raise anything, struct.error too
        raise ImageError(_damaged(name, error)) from error


def _check_pixels(image, limit):
    if (pixels := image.width * image.height) > limit:
        raise Image.DecompressionBombError(f"{pixels:,}")


def _damaged(name, error):
    return f"{name} is truncated or damaged ({error}); export it again"


class _RangeError(ValueError):
    """Pixels that do not mean an intensity."""


def _allow(pixels):
    """Raises Pillow's limit, which is one for the process, to `pixels` where it is lower."""
    if Image.MAX_IMAGE_PIXELS is not None and pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = pixels


def stream(path: str | Path | bytes) -> BinaryIO:
    """A file with contents, open for reading; one in a bucket is downloaded."""
    if isinstance(path, bytes):
        return io.BytesIO(path)
    path = located(path)
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
    with contextlib.suppress(Exception), stream(path) as file:
        head = file.read(12)
        if what := formats.missing(head):
            return f"is {what}"
        if head[:4] in (b"II*\0", b"MM\0*"):
            tags = TiffImagePlugin.ImageFileDirectory_v2(head[:8])
            file.seek(tags.next)
            tags.load(file)
            bits = tags[TiffImagePlugin.BITSPERSAMPLE]
            floats = tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0] == 3
            remedy = "convert it to 16-bit integers" if floats or bits[0] > 16 else "save it as PNG"
            if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 2) > 4:  # CMYK, YCbCr, Lab
                remedy = "convert it to RGB"
            return (
                f"is a TIFF with {len(bits)} channels of {bits[0]}-bit "
                f"{'floats' if floats else 'integers'}, not read; {remedy}"
            )
    return f"is not an image of a known format ({', '.join(formats.READ)}); convert it to PNG"


def _kinds(file):
    """The formats as one of which a file is opened: `formats.READ`, and HEIF where it is that."""
    head = file.read(12)
    file.seek(0)
    if not formats.is_heif(head) or formats.missing(head):
        return formats.READ
    importlib.import_module(formats.HEIF_PACKAGE).register_heif_opener()
    return (*formats.READ, "HEIF")


@dataclasses.dataclass(frozen=True)
class _Pixels:
    """What a file codes: `values` as in `Picture`, by `profile` (None: sRGB)."""

    values: np.ndarray
    alpha: np.ndarray | None
    bits: int
    profile: bytes | None


def _pixels(path, image, profile, max_pixels, frame=0):
    """The upright _Pixels of an image that was opened and not yet decoded."""
    patched = frame and image.format == "PNG"  # upon the frame before, of which Pillow has 8 bits
    if depth.is_deep(image) and not patched:
        values, alpha = _deep(path, image, max_pixels, frame)
        return _Pixels(values, alpha, 16, profile)
    upright = _upright(image)
    if upright.mode.startswith("I") or upright.mode == "F":
        values, alpha = _one_channel(upright, *_scale_of(image))
        return _Pixels(values, alpha, 16, profile)
    if profile and upright.mode == "CMYK":
        upright, profile = colour.converted(upright, profile), colour.srgb()
    if not upright.has_transparency_data:
        rgb = upright if upright.mode == "RGB" else upright.convert("RGB")
        return _Pixels(np.asarray(rgb), None, 8, profile)
    rgba = np.asarray(upright.convert("RGBA"), np.float32) / 255
    alpha = rgba[..., 3]
    return _Pixels(spread(rgba[..., :3], alpha), alpha, 8, profile)


def is_read_in_parts(path: str | Path | bytes, max_pixels: int | None = None) -> bool:
    """Whether `read` decodes a file part by part. ImageError where it cannot be opened."""
    with opened(path, max_pixels) as image:
        return _in_parts_only(image)


def _in_parts_only(image):
    return image.width * image.height > LARGE and large_tiff.has_parts(image)


def _in_parts(path, image, profile, empty):
    """`_pixels` of a TIFF, part by part."""
    pixels = None
    with stream(path) as file:
        for top, data in large_tiff.parts(file, image):
            with Image.open(io.BytesIO(data), formats=("TIFF",)) as part:
                found = _pixels(data, part, profile, None)
            if pixels is None:
                values = empty((image.height, *found.values.shape[1:]), found.values.dtype)
                pixels = dataclasses.replace(found, values=values)
            scratch.fill(pixels.values[top : top + len(found.values)], found.values)
    return pixels


def _in_srgb(pixels):
    """The _Pixels converted to sRGB; of 16 bits 8 stay where the profile is one of RGB."""
    if colour.space(pixels.profile) == "GRAY":
        values = colour.for_network(scaled(pixels.values), pixels.profile)
        return dataclasses.replace(pixels, values=values, profile=None)
    image = Image.fromarray(np.rint(255 * scaled(pixels.values)).astype(np.uint8))
    values = np.asarray(colour.converted(image, pixels.profile))
    return dataclasses.replace(pixels, values=values, profile=None, bits=8)


def _profile(image):
    """(the profile of an opened image or None, what to tell of one that is not applied or None)."""
    profile = image.info.get("icc_profile")
    if not profile:
        return None, None
    grey = image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I")
    grey = grey or (depth.is_deep(image) and depth.is_grey_and_alpha(image))
    channels = "GRAY" if grey else "CMYK" if image.mode == "CMYK" else "RGB"
    try:
        colour.check(profile, channels)
    except colour.ProfileError as error:
        return None, f"its colour {error}"
    return profile, None


def _deep(path, image, max_pixels, frame):
    """(values, alpha) of 16-bit colour, or grey and alpha."""
    grey_and_alpha, key = depth.is_grey_and_alpha(image), image.info.get("transparency")
    multiplied = depth.is_multiplied(image)
    depth.take_upper(image)
    with opened(path, max_pixels, frame) as again:
        depth.take_lower(again)  # type: ignore[arg-type]  # what was opened is an ImageFile
        halves = [_upright(half) for half in (image, again)]
        values = depth.joined(*halves, grey_and_alpha)
    if values.shape[-1] == 3 and not isinstance(key, tuple):
        return values, None
    rgb = scaled(values[..., :3])
    if values.shape[-1] == 4:
        alpha = values[..., 3].astype(np.float32) / 65535
        if multiplied:
            rgb = np.minimum(rgb / np.where(alpha == 0, 1, alpha)[..., None], 1)
    else:
        alpha = np.any(values != key, axis=-1).astype(np.float32)
    return spread(rgb, alpha), alpha


def _upright(image):
    """The decoded image, turned by its EXIF orientation; as it is where its EXIF is damaged."""
    image.load()  # what is wrong with the pixels is raised here
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:  # of damaged EXIF
        return image
    return image


def _scale_of(image):
    """(the value of white, or of black where it is the larger; whether it is) of one channel."""
    tags = image.tag_v2 if image.format == "TIFF" else {}
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    top = 1.0 if image.mode == "F" else 2.0 ** min(bits, 16) - 1
    return top, tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0


def _one_channel(image, top, inverted):
    """(values, alpha) of those in 0…top, 0 being white where they are `inverted`."""
    values = np.asarray(image)
    if not np.all(np.isfinite(values)):
        raise _RangeError("pixels that are not finite")
    if values.min() < 0 or values.max() > top:
        raise _RangeError(f"pixels outside 0…{top:g}")
    key = image.info.get("transparency")
    alpha = (values != key).astype(np.float32) if isinstance(key, int) else None
    values = top - values if inverted else values
    if top == 65535:
        kept = values.astype(np.uint16)
    else:
        kept = (values / np.float64(top)).astype(np.float32)
    rgb = np.broadcast_to(kept[..., None], (*kept.shape, 3))
    if alpha is None:
        return rgb, None
    rgb = scaled(rgb)
    return spread(rgb, alpha), alpha
