"""Colour profiles: pictures keep theirs, and networks see values that are coded as sRGB's are.

A network works on the values of an RGB picture as its profile codes them, and the result carries
the same profile. Display P3, Adobe RGB and the like have sRGB's tone curve or nearly so: to a
network photographs look as those of its training, a little less saturated. Converting them to sRGB
would clip what they have beyond it, which nothing brings back; without a conversion no colour
changes but by what the network does. Where the curve is another (linear light, above all), values
are raised to a power for the network, and its result to the inverse.

The one channel of a grey picture is brought to sRGB's curve, where nothing can clip, and back.
CMYK is converted to sRGB.
"""

import functools
import io

import numpy as np
from PIL import Image, ImageCms

_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
_EXACT = ImageCms.Flags.NOOPTIMIZE  # LittleCMS is 4 % off else in the shadows of a linear curve
_ALIKE = (0.8, 1.25)  # powers that are left out: of 2.2 / 1.8, and between sRGB's curve and 2.2


MOST_BYTES = 2**20 - 1024
"""Of a profile that results carry: programs read no larger one from a PNG."""


class ProfileError(ValueError):
    """A profile that is not applied; the message ends a sentence that begins with "its colour"."""


def space(profile: bytes) -> str:
    """ "RGB", "GRAY", "CMYK", …: the colour space of a profile."""
    return ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()


def check(profile: bytes, channels: str) -> None:
    """ProfileError unless the profile can be used for pixels that are "RGB", "GRAY" or "CMYK".

    Grey pixels may have an RGB profile: their three channels are equal.
    """
    try:
        found = space(profile)
        if found == "RGB":
            _power(profile)
        elif found == "GRAY":
            _curve(profile)
        elif found == "CMYK":
            _to_srgb(profile, "CMYK")
    except (OSError, ValueError, ImageCms.PyCMSError) as error:
        raise ProfileError("profile is damaged or of an unknown kind; taken as sRGB") from error
    if found != channels and (found, channels) != ("RGB", "GRAY"):
        raise ProfileError(f"profile is one of {found}, its pixels are {channels}; taken as sRGB")


def for_network(rgb: np.ndarray, profile: bytes | None) -> np.ndarray:
    """Values in [0, 1] as the profile codes them -> as a network takes them, of the same dtype.

    v ↦ v^p for RGB, p 1 where the profile's curve resembles sRGB's; v ↦ sRGB's value of the same
    light for grey.
    """
    if profile is None:
        return rgb
    if space(profile) == "GRAY":
        return np.interp(rgb, *_curve(profile)).astype(rgb.dtype)
    power = _power(profile)
    return rgb if power == 1 else rgb**power


def from_network(rgb: np.ndarray, profile: bytes | None) -> np.ndarray:
    """The inverse of `for_network`, of values clamped to [0, 1]."""
    if profile is None:
        return rgb
    if space(profile) == "GRAY":
        return np.interp(rgb, *_curve(profile)[::-1]).astype(rgb.dtype)
    power = _power(profile)
    return rgb if power == 1 else np.clip(rgb, 0, 1) ** (1 / power)


def converted(image: Image.Image, profile: bytes) -> Image.Image:
    """An image "RGB" or "CMYK" in sRGB, "RGB"; as it is where the profile is sRGB's."""
    if image.mode == "RGB" and _is_srgb(profile):
        return image
    return _to_srgb(profile, image.mode).apply(image)


def srgb() -> bytes:
    """A profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@functools.lru_cache(maxsize=16)
def _to_srgb(profile, mode, flags=_FLAGS):
    """LittleCMS's transform of images of `mode` to 8-bit sRGB; PyCMSError where there is none."""
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=_INTENT,
        flags=flags,
    )


def _transformed(profile, values):
    image = Image.fromarray(values)
    return np.asarray(_to_srgb(profile, image.mode, _FLAGS | _EXACT).apply(image))


@functools.lru_cache(maxsize=16)
def _power(profile):
    """p such that v^p of a grey with the value v is about its value in sRGB."""
    ramp = np.arange(32, 224)
    found = _transformed(profile, np.repeat(ramp.astype(np.uint8)[None, :, None], 3, -1))
    values = np.clip(found[0].mean(-1), 1, 254) / 255
    power = float(np.median(np.log(values) / np.log(ramp / 255)))
    return 1.0 if _ALIKE[0] <= power <= _ALIKE[1] else power


@functools.lru_cache(maxsize=16)
def _curve(profile):
    """(values of a grey profile, sRGB's values of the same light), both ascending in [0, 1].

    LittleCMS gives 8 bits here, but takes 16: where its result rises by one the curve passes half
    values, at places as exact as 16 bits are.
    """
    found = _transformed(profile, np.arange(2**16, dtype=np.uint16)[None])[0, :, 1].astype(int)
    if np.any(np.diff(found) < 0) or found[-1] < 128:
        raise ValueError("the tone curve of a grey profile does not rise")
    levels = np.arange(found[0] + 1, found[-1] + 1)
    places = np.searchsorted(found, levels)
    ends = found[0] / 255, found[-1] / 255
    return (
        np.concatenate([[0], places / 65535, [1]]),
        np.concatenate([[ends[0]], (levels - 0.5) / 255, [ends[1]]]),
    )


@functools.lru_cache(maxsize=16)
def _is_srgb(profile):
    """Whether no colour of a grid of 9 × 9 × 9 changes by more than one."""
    axis = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(9, 81, 3)
    return bool(np.abs(_transformed(profile, grid).astype(int) - grid).max() <= 1)
