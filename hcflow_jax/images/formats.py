"""Which formats are read and written, what each keeps, and how large its pictures may be."""

import dataclasses
import importlib.util

from PIL import features

from hcflow_jax.images import colour

READ = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
"""Formats that are opened, whatever a file is called; Pillow knows more, some of which start
programs, and others (JPEG 2000) are rarely met and often broken into."""

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".avif", ".heic", ".heif"),
)
"""Names that are looked for in folders."""

HEIF_PACKAGE = "pillow_heif"
"""The package that reads HEIC and HEIF."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@dataclasses.dataclass(frozen=True)
class Format:
    """A format that is written.

    Attributes:
      name: as Pillow calls it.
      alpha: whether it keeps transparency.
      lossless: whether pixels come back as they were, where no quality is given.
      deep: whether it keeps 16 bits per channel.
      spaces: colour spaces, "RGB" and "GRAY", whose profiles it keeps.
      profile: bytes of the largest profile that programs read from it; None where any.
      side: pixels of its longest side; None where nothing here comes near.
      size: bytes of the largest picture before compression, or None.
      options: of Pillow's `save`.
      lossy: the options beside a quality of 1 to 100; None where there is no such thing.
    """

    name: str
    alpha: bool = True
    lossless: bool = True
    deep: bool = False
    spaces: tuple[str, ...] = ("RGB", "GRAY")
    profile: int | None = None
    side: int | None = None
    size: int | None = None
    options: dict = dataclasses.field(default_factory=dict)
    lossy: dict | None = None


_PNG = Format("PNG", deep=True, profile=colour.MOST_BYTES)
_JPEG = Format(
    "JPEG",
    alpha=False,
    lossless=False,
    side=65500,
    options={"quality": 95, "subsampling": "4:4:4"},
    lossy={},
)
_WEBP = Format(
    "WEBP",
    spaces=("RGB",),
    side=16383,
    options={"lossless": True, "exact": True},
    lossy={"lossless": False, "exact": False},
)
_TIFF = Format("TIFF", deep=True, size=2**32 - 2**24)  # offsets have 32 bits
_BMP = Format("BMP", alpha=False, spaces=(), size=2**32 - 2**24)
_AVIF = Format(
    "AVIF",
    lossless=False,
    spaces=("RGB",),
    side=32768,  # libavif reads no more
    options={"quality": 90, "subsampling": "4:4:4"},
    lossy={},
)

FORMATS = {
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".jpe": _JPEG,
    ".jfif": _JPEG,
    ".webp": _WEBP,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": _BMP,
    ".avif": _AVIF,
}
"""Suffixes that are written, and their formats."""


def missing(head: bytes) -> str | None:
    """What has to be installed to read the file that starts with these 12 bytes; None: nothing."""
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis") and not features.check("avif"):
        return "an AVIF picture, which this Pillow was built without; pip install -U pillow"
    if is_heif(head) and importlib.util.find_spec(HEIF_PACKAGE) is None:
        return "a HEIC picture, which needs pillow-heif; pip install 'hcflow_jax[heic]'"
    return None


def is_heif(head: bytes) -> bool:
    """Whether a file that starts with these 12 bytes is HEIC or HEIF."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS
