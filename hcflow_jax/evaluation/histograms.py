"""Histograms of latents against the Gaussian, drawn by Pillow."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hcflow_jax.evaluation.latents import EDGES, Sums, figures

WIDTH, HEIGHT = 460, 260
"""Pixels of a panel's axes."""

LEFT, RIGHT, TOP, BOTTOM = 56, 14, 34, 34
"""Pixels around them."""

FINE = 2
"""Times as large as this is drawn, and then shrunk: smooth lines."""

LEAST = 1e-6
"""Lowest density of the logarithmic axis."""

BARS, CURVE, FRAME = (126, 166, 214), (200, 60, 40), (90, 90, 90)


def draw(levels: Sequence[Sums]) -> np.ndarray:
    """A picture [H, W, 3] in [0, 1]: per level, finest first, the histogram of its latents.

    Bars are the density of the values found, the line that of N(0, 1); above on a linear axis,
    below on a logarithmic one, which shows the tails.
    """
    widest = max(figures(level)["std"].value for level in levels)
    reach = max(5, min(32, math.ceil(3 * widest)))
    columns = []
    for i, level in enumerate(levels):
        panels = [_panel(level, i, reach, logarithmic) for logarithmic in (False, True)]
        columns.append(np.concatenate(panels))
    return np.concatenate(columns, axis=1)


def _gaussian(x):
    return np.exp(-0.5 * np.square(x)) / math.sqrt(2 * math.pi)


def _panel(level, number, reach, logarithmic):
    size = FINE * (LEFT + WIDTH + RIGHT), FINE * (TOP + HEIGHT + BOTTOM)
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    density = level.histogram / level.powers[0] / np.diff(EDGES)
    top = 1.0 if logarithmic else min(1.0, 1.1 * max(density.max(), _gaussian(0)))

    def at(x, y):
        """Where a value and a density are in the image."""
        share = (
            1 - math.log(max(y, LEAST) / top) / math.log(LEAST / top) if logarithmic else y / top
        )
        across = (x + reach) / (2 * reach)
        return FINE * (LEFT + WIDTH * across), FINE * (TOP + HEIGHT * (1 - min(share, 1)))

    for low, high, y in zip(EDGES[:-1], EDGES[1:], density, strict=True):
        if -reach <= low and high <= reach and y > (LEAST if logarithmic else 0):
            (left, up), (right, down) = at(low, y), at(high, LEAST if logarithmic else 0)
            pen.rectangle((left, up, max(left, right - 1), down), fill=BARS)
    line = np.linspace(-reach, reach, 1000)
    points = [at(x, y) for x, y in zip(line, _gaussian(line), strict=True) if y > LEAST]
    pen.line(points, fill=CURVE, width=FINE * 2)
    _axes(pen, at, reach, top, logarithmic)
    _title(pen, level, number, reach, logarithmic)
    return np.asarray(image.reduce(FINE), np.float32) / 255


def _axes(pen, at, reach, top, logarithmic):
    font = ImageFont.load_default(size=11 * FINE)
    floor = LEAST if logarithmic else 0
    pen.line([at(-reach, top), at(-reach, floor), at(reach, floor)], fill=FRAME, width=FINE)
    step = 1 if reach <= 6 else 5
    for x in range(-(reach // step) * step, reach + 1, step):
        across, down = at(x, floor)
        pen.line([(across, down), (across, down + 4 * FINE)], fill=FRAME, width=FINE)
        pen.text((across, down + 6 * FINE), f"{x}", fill=FRAME, font=font, anchor="ma")
    ticks = [10.0**-k for k in range(7)] if logarithmic else np.arange(0, top, 0.1)
    for y in ticks:
        across, down = at(-reach, y)
        pen.line([(across - 4 * FINE, down), (across, down)], fill=FRAME, width=FINE)
        pen.text((across - 6 * FINE, down), f"{y:.1g}", fill=FRAME, font=font, anchor="rm")


def _title(pen, level, number, reach, logarithmic):
    found = figures(level)
    outside = (
        1 - level.histogram[np.abs(EDGES[:-1] + EDGES[1:]) < 2 * reach].sum() / level.powers[0]
    )
    text = f"level {number}: std {found['std'].value:.2f}, {100 * outside:.2g} % beyond ±{reach}"
    if logarithmic:
        text = f"level {number}, density on a logarithmic axis"
    pen.text(
        (FINE * LEFT, FINE * 8), text, fill="black", font=ImageFont.load_default(size=14 * FINE)
    )
    if not logarithmic:
        right = FINE * (LEFT + WIDTH)
        font = ImageFont.load_default(size=12 * FINE)
        pen.text((right, FINE * TOP), "N(0, 1)", fill=CURVE, font=font, anchor="ra")
        pen.text((right, FINE * (TOP + 16)), "latents", fill=BARS, font=font, anchor="ra")
