"""What pictures say of themselves: EXIF, XMP and text, as a version of another size may."""

import re

from PIL import ExifTags, Image

_BASE = ExifTags.Base
_KEPT = (
    *(_BASE.ImageDescription, _BASE.Make, _BASE.Model, _BASE.Software, _BASE.DateTime),
    *(_BASE.Artist, _BASE.HostComputer, _BASE.Copyright, _BASE.Rating),
    *(_BASE.XResolution, _BASE.YResolution, _BASE.ResolutionUnit),
    *(_BASE.XPTitle, _BASE.XPComment, _BASE.XPAuthor, _BASE.XPKeywords, _BASE.XPSubject),
)  # a TIFF's other tags are about how its pixels are stored
_PLACES = (0x9214, _BASE.SubjectLocation)  # area and place of the subject, in pixels
_LAYOUT = re.compile(r'\s*\{.*"shape":|ImageJ=|\s*<\?xml.*<OME\b', re.DOTALL)
"""How descriptions begin by which programs (tifffile, ImageJ, OME) keep the shape of arrays."""
_WIDTH, _HEIGHT = _BASE.ExifImageWidth, _BASE.ExifImageHeight
_OF_PIXELS = rb"(?:tiff:(?:Orientation|ImageWidth|ImageLength)|exif:Pixel[XY]Dimension)"
_XMP_OF_PIXELS = re.compile(
    rb"""\s*\b%s\s*=\s*(["'])\s*\d*\s*\1|<(%s)>\s*\d*\s*</\2>""" % (_OF_PIXELS, _OF_PIXELS)
)
"""What XMP says of the turn and the size of the pixels."""

_NO_TEXT = re.compile(r"XML:com\.adobe\.xmp|Raw profile type .*", re.IGNORECASE)


def exif(image: Image.Image) -> bytes:
    """The EXIF of a decoded image without thumbnail, and without what is true of its pixels alone.

    That is orientation, how they are stored, and which of them the subject is at.

    Empty where there is none. Whatever Pillow raises on a damaged one.
    """
    found, kept = image.getexif(), Image.Exif()
    for tag in _KEPT:
        if tag in found:
            kept[tag] = found[tag]
    if _LAYOUT.match(str(kept.get(_BASE.ImageDescription, ""))):
        del kept[_BASE.ImageDescription]
    for name in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if part := dict(found.get_ifd(name)):
            if name == ExifTags.IFD.Exif and ExifTags.IFD.Interop in part:
                part[ExifTags.IFD.Interop] = dict(found.get_ifd(ExifTags.IFD.Interop))
            kept[name] = {tag: value for tag, value in part.items() if tag not in _PLACES}
    return kept.tobytes() if len(kept) else b""


def sized(exif: bytes, width: int, height: int) -> Image.Exif:
    """`exif`, of a picture of that size."""
    result = Image.Exif()
    result.load(exif)
    if part := result.get_ifd(ExifTags.IFD.Exif):
        part[_WIDTH], part[_HEIGHT] = width, height
    return result


def xmp(image: Image.Image) -> bytes:
    """The XMP packet without orientation and size; empty where there is none."""
    found = image.info.get("xmp") or b""
    found = found.encode() if isinstance(found, str) else bytes(found)
    return _XMP_OF_PIXELS.sub(b"", found)


def text(image: Image.Image) -> dict[str, str]:
    """The text chunks of a decoded PNG, without those in which other programs hide EXIF and XMP.

    Of others what `as_comment` put in the comment.
    """
    found = getattr(image, "text", None) or _of_comment(image)
    return {key: str(value) for key, value in found.items() if not _NO_TEXT.fullmatch(key)}


PREFIX = "hcflow:"
"""How the names of this program's texts begin."""


def as_comment(info: dict[str, str]) -> bytes:
    """This program's texts as the comment of a JPEG, a line each: hcflow:size=640x480."""
    own = (f"{key}={value}" for key, value in info.items() if key.startswith(PREFIX))
    return "\n".join(own).encode()


def _of_comment(image):
    """What `as_comment` wrote, of an opened image."""
    comment = image.info.get("comment", b"") if image.format == "JPEG" else b""
    lines = comment.decode(errors="replace") if isinstance(comment, bytes) else str(comment)
    pairs = (line.partition("=") for line in lines.splitlines() if line.startswith(PREFIX))
    return {key: value for key, _, value in pairs}


def early_text(image: Image.Image) -> dict[str, str]:
    """This program's texts in an opened image of which nothing is decoded."""
    own = ((str(key), str(value)) for key, value in image.info.items())
    return {k: v for k, v in own if k.startswith(PREFIX)} or _of_comment(image)
