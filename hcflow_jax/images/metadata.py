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
_WIDTH, _HEIGHT = _BASE.ExifImageWidth, _BASE.ExifImageHeight
_XMP_ORIENTATION = re.compile(
    rb"""\s*\btiff:Orientation\s*=\s*(["'])\s*\d*\s*\1"""
    rb"""|<tiff:Orientation>\s*\d*\s*</tiff:Orientation>"""
)
_NO_TEXT = re.compile(r"XML:com\.adobe\.xmp|Raw profile type .*", re.IGNORECASE)


def exif(image: Image.Image) -> bytes:
    """The EXIF of a decoded image without orientation, thumbnail and how pixels are stored.

    Empty where there is none. Whatever Pillow raises on a damaged one.
    """
    found, kept = image.getexif(), Image.Exif()
    for tag in _KEPT:
        if tag in found:
            kept[tag] = found[tag]
    for name in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if part := dict(found.get_ifd(name)):
            if name == ExifTags.IFD.Exif and ExifTags.IFD.Interop in part:
                part[ExifTags.IFD.Interop] = dict(found.get_ifd(ExifTags.IFD.Interop))
            kept[name] = part
    return kept.tobytes() if len(kept) else b""


def sized(exif: bytes, width: int, height: int) -> Image.Exif:
    """`exif`, of a picture of that size."""
    result = Image.Exif()
    result.load(exif)
    if part := result.get_ifd(ExifTags.IFD.Exif):
        part[_WIDTH], part[_HEIGHT] = width, height
    return result


def xmp(image: Image.Image) -> bytes:
    """The XMP packet without its orientation; empty where there is none."""
    found = image.info.get("xmp") or b""
    found = found.encode() if isinstance(found, str) else bytes(found)
    return _XMP_ORIENTATION.sub(b"", found)


def text(image: Image.Image) -> dict[str, str]:
    """The text chunks of a decoded PNG, without those in which other programs hide EXIF and XMP."""
    found = getattr(image, "text", {})
    return {key: str(value) for key, value in found.items() if not _NO_TEXT.fullmatch(key)}
