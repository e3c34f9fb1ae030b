"""Small pictures that no shrunk photograph looks like."""

import itertools

import numpy as np
from PIL import Image, ImageDraw, ImageFont

BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16 + 1 / 32


def _colours(rng):
    """Two that can be told apart, every other time both of full or no red, green and blue."""
    while True:
        first, last = rng.random((2, 3))
        if rng.random() < 0.5:
            first, last = np.round(first), np.round(last)
        if abs(first.sum() - last.sum()) > 0.5:
            return first, last


def _between(rng, pattern):
    first, last = _colours(rng)
    return first + (last - first) * pattern[..., None]


def _ramp(rng, side):
    rows, columns = np.indices((side, side)) / (side - 1)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(angle) * rows + np.sin(angle) * columns
    return (ramp - ramp.min()) / np.ptp(ramp)


def lettering(rng, side):
    page = Image.new("L", (side, side))
    draw, size = ImageDraw.Draw(page), int(rng.integers(7, 20))
    draw.fontmode = "L1"[rng.integers(2)]
    for i, top in enumerate(range(-2, side, size)):
        line = "Sphinx of black quartz, judge my vow 0123"[3 * i :]
        draw.text((rng.integers(-3, 3), top), line, fill=255, font=ImageFont.load_default(size))
    return _between(rng, np.asarray(page) / 255)


def strokes(rng, side):
    page = Image.new("L", (side, side))
    draw = ImageDraw.Draw(page)
    for _ in range(8):
        ends = [tuple(p) for p in rng.integers(0, side, (2, 2)).tolist()]
        if rng.random() < 0.5:
            draw.line(ends, fill=255, width=int(rng.integers(1, 4)))
        else:
            draw.ellipse([*ends[0], *(np.add(ends[0], rng.integers(2, side)))], outline=255)
    return _between(rng, np.asarray(page) / 255)


def checks(rng, side):
    rows, columns = np.indices((side, side)) // rng.integers(1, 5)
    return _between(rng, ((rows + columns, rows, columns)[rng.integers(3)]) % 2)


def noise(rng, side):
    return rng.random((side, side, 3))


def one_bit_noise(rng, side):
    return np.broadcast_to(rng.integers(0, 2, (side, side, rng.choice([1, 3]))), (side, side, 3))


def halftone(rng, side):
    return _between(rng, _ramp(rng, side) > np.tile(BAYER, (side // 4, side // 4)))


def diffused(rng, side):
    ramp = Image.fromarray(np.uint8(255 * _ramp(rng, side)))
    return _between(rng, np.asarray(ramp.convert("1")))


def saturated(rng, side):
    return rng.integers(0, 2, (side // 8, side // 8, 3)).repeat(8, 0).repeat(8, 1)


KINDS = (lettering, strokes, checks, noise, lettering, one_bit_noise, halftone, diffused, saturated)


def pictures(count: int, side: int) -> np.ndarray:
    """float32 [count, side, side, 3] in [0, 1], 8 bits; the kinds in turn."""
    rng = np.random.default_rng(0)
    found = [kind(rng, side) for kind in itertools.islice(itertools.cycle(KINDS), count)]
    return np.round(255 * np.stack(found)).astype(np.float32) / 255
