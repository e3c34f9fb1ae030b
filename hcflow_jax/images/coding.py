"""Values in [0, 1] as files store them, whole numbers: of a whole picture or of parts of it."""

import dataclasses

import numpy as np
from PIL import Image

from hcflow_jax.images import colour
from hcflow_jax.images.formats import Format


@dataclasses.dataclass(frozen=True)
class Coding:
    """x ↦ ⌊(2^bits − 1)·clamp(x, 0, 1) + ½⌋, value by value, so that parts can be coded apart.

    Attributes:
      bits: 8 or 16.
      one: one channel, the mean of the three.
      profile: by which values are coded, after `colour.from_network`; None stands for sRGB.
      to_srgb: whether they are then converted from `profile` to sRGB, in 8 bits.
    """

    bits: int = 8
    one: bool = False
    profile: bytes | None = None
    to_srgb: bool = False

    @property
    def dtype(self) -> type:
        return np.uint8 if self.bits == 8 else np.uint16

    @property
    def channels(self) -> int:
        return 1 if self.one else 3

    @property
    def stored_profile(self) -> bytes | None:
        """The profile that a file has which holds these values."""
        return None if self.to_srgb else self.profile

    def values(self, rgb: np.ndarray) -> np.ndarray:
        """[h, w, 3] as networks give it -> uint8 or uint16 [h, w, 1 or 3]; 0 for what is NaN."""
        planes = rgb.mean(axis=-1, keepdims=True) if self.one else rgb
        found = self.plane(colour.from_network(planes, self.profile))
        if self.to_srgb and self.profile is not None:
            return np.asarray(colour.converted(Image.fromarray(found), self.profile))
        return found

    def plane(self, values: np.ndarray) -> np.ndarray:
        """Values, alpha's too, without their profile."""
        scaled = np.floor((2**self.bits - 1) * np.clip(values, 0, 1) + 0.5)
        return np.nan_to_num(scaled, copy=False).astype(self.dtype)


def coding(kind: Format, grey: bool = False, bits: int = 8, profile: bytes | None = None) -> Coding:
    """How files of a format store pictures of which `colour.for_network` was given that profile."""
    space = colour.space(profile) if profile else None
    if space == "GRAY" and not (grey and space in kind.spaces):
        profile = None  # what networks take and give of grey is sRGB
    one = grey and (profile is None or space == "GRAY")
    return Coding(bits, one, profile, profile is not None and space not in kind.spaces)
