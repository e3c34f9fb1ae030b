"""Decoded pictures: values as files store them, and as networks take them."""

import dataclasses
import functools

import numpy as np

from hcflow_jax.images import colour, scratch

_STRIP_PIXELS = 2**20  # that are looked at together


class Pixels:
    """[H, W, 3] float32 in [0, 1], as `colour.for_network` gives it, computed part by part.

    pixels[rows, columns], of slices, are those of a part; `np.asarray(pixels)` are all.

    Args:
      values: as in `Picture`; profile: by which they are coded, None stands for sRGB.
    """

    dtype, ndim = np.dtype(np.float32), 3

    def __init__(self, values: np.ndarray, profile: bytes | None = None):
        self.shape = values.shape
        self._values, self._profile = values, profile

    def __getitem__(self, part) -> np.ndarray:
        found = colour.for_network(scaled(self._values[part]), self._profile)
        scratch.release(self._values)
        return found

    def __array__(self, dtype=None, copy=None):
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A decoded image file.

    Attributes:
      values: [H, W, 3] as the file stores them, uint8 or uint16, or float32 in [0, 1]; where alpha
        is 0, as `transparency.spread` makes it.
      alpha: [H, W] float32 in [0, 1], or None.
      grey: every pixel has three equal channels, however the file stores them.
      info: the text chunks of a PNG.
      bits: 8, or 16 where the file holds more.
      profile: the colour profile, ICC's bytes; None stands for sRGB.
      exif, xmp: without orientation, which is applied; empty where there is none.
      notes: what a user should know of how the file was read, each the end of a sentence.
    """

    values: np.ndarray
    alpha: np.ndarray | None
    grey: bool
    info: dict[str, str]
    bits: int = 8
    profile: bytes | None = None
    exif: bytes = b""
    xmp: bytes = b""
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.values.shape[0], self.values.shape[1]

    @property
    def pixels(self) -> Pixels:
        """What networks take, in a quarter of the memory of `rgb`."""
        return Pixels(self.values, self.profile)

    @functools.cached_property
    def rgb(self) -> np.ndarray:
        """What networks take: [H, W, 3] float32 in [0, 1], as `colour.for_network` gives it."""
        return np.asarray(self.pixels)


def scaled(values: np.ndarray) -> np.ndarray:
    """Whole numbers as float32 in [0, 1]; floats as they are."""
    if np.issubdtype(values.dtype, np.floating):
        return values
    return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)


def is_grey(values: np.ndarray) -> bool:
    """Whether all channels of [H, W, 3] are equal."""
    rows = max(1, _STRIP_PIXELS // values.shape[1])
    for top in range(0, len(values), rows):
        strip = values[top : top + rows]
        if not np.array_equal(strip[..., :1].repeat(2, -1), strip[..., 1:]):
            return False
        scratch.release(values)
    return True
