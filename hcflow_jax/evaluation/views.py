"""The pictures of a report's page: which are shown, how much of them, as data URIs."""

import base64
import dataclasses
import functools
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from hcflow_jax import images
from hcflow_jax.data import work
from hcflow_jax.errors import UserError
from hcflow_jax.evaluation import figures, pairs
from hcflow_jax.evaluation.kept import SPREAD_GAIN, Kept
from hcflow_jax.evaluation.methods import Method
from hcflow_jax.evaluation.report import Report, number
from hcflow_jax.evaluation.running import THREADS, Row

PIXELS = 24_000_000
"""Of all embedded pictures together: a page of about 30 MB."""

SIDES = (160, 1024)
"""Sides of the squares that are shown of pictures: the least, and the most."""

_HEAT = ((0, 0, 0), (87, 15, 109), (187, 55, 84), (249, 142, 8), (252, 255, 164))
"""Colours of a heat map, evenly spaced from nothing to the most."""


@dataclasses.dataclass(frozen=True)
class View:
    """A picture of the page: its title, a short note, and where its pixels are.

    Attributes:
      factor: pixels of the HR picture that one of these is as wide as.
    """

    title: str
    note: str
    source: str
    factor: int = 1


@dataclasses.dataclass(frozen=True)
class Shown:
    """A picture on the page: its row, the size of what is shown, and views of it."""

    row: Row
    width: int
    height: int
    views: list[View]

    @property
    def cropped(self) -> bool:
        return (self.height, self.width) != self.row.size


def show(report: Report, kept: Kept) -> tuple[list[Shown], float]:
    """(pictures of the page, the deviation, of 255, that is brightest in their heat maps).

    The first pictures, so many that PIXELS suffice, each the whole or a square of its middle. One
    whose files can no longer be read is left out.
    """
    side, count = _sizes(report)
    rows = report.rows[:count]
    brightest = [
        float(np.percentile(_of(kept, row, method, "spread"), 99.5)) / SPREAD_GAIN
        for row in rows
        for method in report.methods
        if method.samples > 1
    ]
    top = max([1.0, *brightest])
    look = functools.partial(_views, report, kept, side, top)
    found = work.in_order(look, rows, threads=THREADS)
    shown = [x for x in work.progress(found, count, "page", delay=2.0) if x is not None]
    return shown, top


def _sizes(report):
    """(side of the squares shown, how many pictures are shown)."""
    views = 3 + sum(1 + (m.samples > 1) for m in report.methods)
    least, most = SIDES
    count = max(1, min(len(report.rows), PIXELS // (views * least**2)))
    side = min(max(math.isqrt(PIXELS // (views * count)), least), most)
    return side - side % report.settings.scale, count


def _of(kept: Kept, row: Row, method: Method, kind: str = "") -> np.ndarray:
    """A picture that was kept."""
    return images.read_uint8(kept.path(row.files.hr.name, method.name, kind))


def _views(report: Report, kept: Kept, side: int, top: float, row: Row) -> Shown | None:
    """The HR and LR picture, then of every method the result and its spread."""
    of, scale = report.settings, report.settings.scale
    pixels = pairs.look(row.files, scale, of.least, of.max_pixels)
    if isinstance(pixels, UserError) or pixels.hr.shape[:2] != row.size:
        return None
    origin, shape = _middle(row.size, side, scale)
    views = [View("HR", "original", _uri(_cut(pixels.hr, origin, shape)))]
    views.append(View("LR", "enlarged squares", _uri(_cut(pixels.lr, origin, shape, scale)), scale))
    large = figures.interpolated(pixels.lr, scale)
    for method in report.methods:
        note = number("psnr_y", row.figures[method.name]["psnr_y"]) + " dB"
        if method.samples > 1:
            note += f", sample 1 of {method.samples}"
        if report.is_first(method) and method.task == "rescaling":
            own = _uri(_cut(_of(kept, row, method, "small"), origin, shape, scale))
            views.append(View(f"LR of {method.network.label}", "its small picture", own, scale))
        found = _of(kept, row, method) if method.network else large[method.name]
        views.append(View(method.title, note, _uri(_cut(found, origin, shape))))
        if method.samples > 1:
            spread = _cut(_of(kept, row, method, "spread"), origin, shape)[..., 0] / SPREAD_GAIN
            note = f"of {method.samples} samples"
            views.append(View(f"spread of {method.title}", note, _uri(_heat(spread / top))))
    return Shown(row, shape[1], shape[0], views)


def _middle(size: Sequence[int], side: int, scale: int):
    """((top, left), (height, width)) of the middle of a picture, multiples of `scale`."""
    shape = tuple(min(length, side) for length in size)
    spare = [(length - part) // 2 for length, part in zip(size, shape, strict=True)]
    return tuple(start - start % scale for start in spare), shape


def _cut(image, origin, shape, factor=1):
    """That part of an image whose pixels are `factor` HR pixels wide."""
    top, left = (start // factor for start in origin)
    height, width = (length // factor for length in shape)
    return image[top : top + height, left : left + width]


def _heat(values):
    """[H, W] from 0 to 1, and more, as colours, uint8 [H, W, 3]."""
    at = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(values, at, [colour[c] for colour in _HEAT]) for c in range(3)]
    return np.rint(np.stack(channels, -1)).astype(np.uint8)


def _uri(pixels):
    """A uint8 image as the data URI of a lossless WebP."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "WEBP", lossless=True, method=2)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
