"""Small pictures of rescaling networks: what their files say, so that they can be restored.

A PNG says it in text chunks, a JPEG in its comment.
"""

import re

from PIL import Image

from hcflow_jax.errors import UserError, shown
from hcflow_jax.images import metadata
from hcflow_jax.images.metadata import PREFIX
from hcflow_jax.images.picture import Picture

SIZE_KEY, GREY_KEY = f"{PREFIX}size", f"{PREFIX}grey"
"""Texts: the original's width and height, 640x427, and whether it was grey, 0 or 1."""

SCALE_KEY = f"{PREFIX}scale"
"""Text: how many times smaller than the original, in whole numbers; 4 where it is not said."""

WEIGHTS_KEY = f"{PREFIX}weights"
"""Text, where shipped weights made it: of which, PNG or JPEG."""

PNG, JPEG = "png", "jpeg"
"""The shipped weights, by the files that their small pictures may be saved as."""

QUALITY = 90
"""Of small JPEGs, unless another is asked for."""


def texts(original: Picture, scale: int, weights: str | None) -> dict[str, str]:
    """What the small picture of `original`, shrunk by `scale`, says.

    Args:
      weights: PNG or JPEG; None where they are the user's own.
    """
    height, width = original.size
    found = {SIZE_KEY: f"{width}x{height}", GREY_KEY: str(int(original.grey))}
    found[SCALE_KEY] = str(scale)
    return found if weights is None else found | {WEIGHTS_KEY: weights}


def is_told(picture: Picture) -> bool:
    """Whether a picture says that it is a small one."""
    return SIZE_KEY in picture.info


def was_grey(picture: Picture) -> bool:
    """Whether the original was grey; whether the picture is, where it does not say."""
    return picture.info.get(GREY_KEY, str(int(picture.grey))) == "1"


def original_size(picture: Picture, scale: int, name: str = "the picture") -> tuple[int, int]:
    """(height, width) that a picture says the original had; `scale` times its own without that.

    UserError, which calls it `name`, where it says what cannot be.
    """
    height, width = picture.size
    text = picture.info.get(SIZE_KEY)
    if text is None:
        return height * scale, width * scale
    if not re.fullmatch(r"[0-9]{1,9}x[0-9]{1,9}", text):
        raise UserError(
            f"{name}: its {SIZE_KEY} {shown(text, 40)!r} is not a size; downscale the original "
            "again"
        )
    full_width, full_height = (int(part) for part in text.split("x"))
    if (-(-full_height // scale), -(-full_width // scale)) != (height, width):
        raise UserError(
            f"{name} is {width}×{height} but was made from {full_width}×{full_height}; "
            "it was resized or cropped since, downscale the original again"
        )
    return full_height, full_width


def weights(image: Image.Image) -> str:
    """PNG or JPEG: by which of the shipped weights an opened image is restored best."""
    said = metadata.early_text(image).get(WEIGHTS_KEY)
    return JPEG if image.format == "JPEG" or said == JPEG else PNG


def scale(image: Image.Image) -> int:
    """How many times smaller an opened image says that it is; 4 where it does not say."""
    said = metadata.early_text(image).get(SCALE_KEY, "")
    return int(said) if re.fullmatch(r"[1-9][0-9]?", said) else 4


def was_png(picture: Picture) -> bool:
    """Whether a picture that is now a JPEG says that it was made by the weights for PNGs."""
    return picture.info.get(WEIGHTS_KEY) == PNG
