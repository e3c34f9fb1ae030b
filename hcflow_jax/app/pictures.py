"""Files of a page, for browsers: what an upload is, samples, and downloads in other formats."""

from importlib import resources
from pathlib import Path

from hcflow_jax import images
from hcflow_jax.app.sessions import GoneError, Session, Stored
from hcflow_jax.errors import UserError, shown
from hcflow_jax.images import own

SAMPLES = {"eye": (125, 60, 128, 128), "cat": None}
"""Parts x, y, width, height of the photograph that ships with the package, by name; None: all."""

_SHOWN = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
}
"""Formats that browsers show, and what they call them."""

_WRITTEN = {".png": "image/png", ".jpg": "image/jpeg", ".html": "text/html"}
"""What browsers are told that files of the app are, by suffix."""

_BYTES = "application/octet-stream"


def look(path: Path, max_pixels: int) -> dict:
    """{"width", "height", "bytes", "kind", "shown", "small"} of a file, before it is decoded.

    "shown": whether browsers show it; "small": whether `hcflow downscale` or the app made it.

    ImageError where it is no picture, or one of too many pixels.
    """
    data = path.read_bytes()
    if not data:
        raise UserError("the file is empty; export the picture again")
    height, width = images.header_size(data, max_pixels)
    with images.opened(data, max_pixels) as image:
        kind = image.format
    found = {"width": width, "height": height, "bytes": len(data), "kind": kind}
    return found | {"shown": kind in _SHOWN, "small": own.made_by(path) == "downscale"}


def put_sample(name: str, path: Path) -> None:
    """Writes a picture of SAMPLES; GoneError where there is none of that name."""
    if name not in SAMPLES:
        raise GoneError(f"there is no sample {shown(name, 40)!r}; take one of {', '.join(SAMPLES)}")
    data = (resources.files("hcflow_jax") / "assets" / "chelsea.png").read_bytes()
    part = SAMPLES[name]
    if part is None:
        path.write_bytes(data)
        return
    x, y, width, height = part
    with images.opened(data) as image:
        cropped = image.crop((x, y, x + width, y + height))
    with open(path, "xb") as file:  # a full disk is no fault of the picture
        cropped.save(file, "PNG")


def as_jpeg(session: Session, path: Path, max_pixels: int) -> Path:
    """A copy of a picture as JPEG; ImageError where it cannot be one."""
    target = path.with_name(f"{path.stem}_as.jpg")
    if not session.hold():
        raise GoneError("this page was closed meanwhile; reload it")
    try:
        if target.exists():
            return target
        picture = images.read(path.read_bytes(), max_pixels)
        images.write(
            target,
            picture.rgb,
            picture.alpha,
            picture.grey,
            profile=picture.profile,
            xmp=picture.xmp,
            **own.marked(own.made_by(path) or "upscale", False, {}, picture.exif),
        )
        session.keep(target)
    finally:
        session.release()
    return target


def is_shown(stored: Stored) -> bool:
    """Whether browsers show it."""
    return media_type(stored) != _BYTES


def media_type(stored: Stored) -> str:
    """What browsers are told that a file is: one that they show, or bytes to save."""
    if stored.path.suffix:  # the app has written it
        return _WRITTEN.get(stored.path.suffix, _BYTES)
    return _SHOWN.get(stored.facts, _BYTES)
