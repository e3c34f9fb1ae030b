"""Pictures that no camera takes: text, line art, windows, dither, 1-bit. Drawn, not collected."""

import itertools
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONTS = sorted(Path("/usr/share/fonts/truetype").rglob("*.ttf"))
TEXT = (
    "The quick brown fox jumps over a lazy dog; Sphinx of black quartz, judge my vow. "
    "0123456789 (+44) 3.14159 100% [ok] {x} ~/home A-Z & é ü ñ ß Ω → File Edit View Help "
    "Settings Cancel Apply for i in range(n): return self.x[i] == None import numpy as np"
)
WORDS = TEXT.split()
BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16 + 1 / 32
"""Thresholds in [0, 1] of an ordered dither. (Bayer 1973.)"""


def _colour(rng):
    """Mostly black, white, grey; else any."""
    if rng.random() < 0.6:
        return (int(rng.choice([0, 0, 16, 40, 128, 200, 240, 255, 255])),) * 3
    return tuple(int(v) for v in rng.integers(0, 256, 3))


def _pair(rng):
    """Two colours that can be told apart."""
    while True:
        a, b = _colour(rng), _colour(rng)
        if abs(sum(a) - sum(b)) > 120:
            return a, b


def _write(rng, draw, box, ink):
    """Lines of words in `box`, in one font and size."""
    left, top, right, bottom = box
    size = int(rng.choice([8, 9, 10, 11, 12, 13, 14, 16, 18, 22, 28, 40]))
    draw.fontmode = "1" if rng.random() < 0.3 else "L"
    font = ImageFont.truetype(str(FONTS[rng.integers(len(FONTS))]), size)
    for y in range(top, bottom, int(size * 1.25)):
        words = " ".join(rng.choice(WORDS, 24))
        while words and draw.textlength(words, font) > right - left:
            words = words[:-1]
        draw.text((left, y), words, fill=ink, font=font)


def text(rng, side):
    """A page, on flat colour or a slow gradient."""
    paper, ink = _pair(rng)
    image = Image.new("RGB", (side, side), paper)
    if rng.random() < 0.3:
        ramp = Image.linear_gradient("L").resize((side, side)).rotate(int(rng.integers(360)))
        image = Image.composite(image, Image.new("RGB", (side, side), _colour(rng)), ramp)
    draw = ImageDraw.Draw(image)
    for top in range(0, side, side // 2):
        _write(rng, draw, (int(rng.integers(-20, 20)), top, side, top + side // 2), ink)
    return image


def window(rng, side):
    """Panels, buttons, icons and lettering, as a screen shows them."""
    image = Image.new("RGB", (side, side), _colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 9))):
        x, y = (int(v) for v in rng.integers(-10, side - 20, 2))
        width, height = (int(v) for v in rng.integers(16, side, 2))
        fill, ink = _pair(rng)
        radius = int(rng.choice([0, 0, 3, 8]))
        draw.rounded_rectangle((x, y, x + width, y + height), radius, fill, ink)
        _write(rng, draw, (x + 4, y + 3, x + width - 4, y + height - 8), ink)
    return image


def lines(rng, side):
    """Strokes, circles, polygons and grids, smooth or jagged."""
    zoom = 1 if rng.random() < 0.5 else 4
    paper, ink = _pair(rng)
    image = Image.new("RGB", (side * zoom, side * zoom), paper)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(4, 24))):
        points = [tuple(p) for p in rng.integers(0, side * zoom, (3, 2)).tolist()]
        colour = ink if rng.random() < 0.7 else _colour(rng)
        width = zoom * int(rng.choice([1, 1, 2, 3, 6]))
        kind = rng.integers(4)
        if kind == 0:
            draw.line(points, fill=colour, width=width)
        elif kind == 1:
            (x, y), r = points[0], int(rng.integers(3, 60)) * zoom
            draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=width)
        elif kind == 2:
            draw.polygon(points, fill=colour)
        else:
            step = zoom * int(rng.integers(2, 17))
            for x in range(points[0][0], side * zoom, step):
                draw.line([(x, 0), (x, side * zoom)], fill=colour, width=width)
    return image.resize((side, side), Image.Resampling.LANCZOS)


def checks(rng, side):
    """A checkerboard or stripes, 1 to 16 pixels wide."""
    y, x = np.mgrid[:side, :side] // rng.integers(1, 17)
    kinds = (x + y) % 2, x % 2, y % 2
    pattern = kinds[rng.integers(3)][..., None]
    a, b = _pair(rng)
    return Image.fromarray(np.where(pattern, a, b).astype(np.uint8))


def dithered(rng, side, photograph):
    """A photograph in two tones (error diffusion, ordered, threshold), few colours, or a screen."""
    small = photograph.resize((side, side), Image.Resampling.LANCZOS)
    kind = rng.integers(5)
    if kind == 0:
        return small.convert("1").convert("RGB")
    if kind == 1:
        return small.quantize(int(rng.choice([4, 8, 16]))).convert("RGB")
    grey = np.asarray(small.convert("L"), float)
    if kind == 2:
        return Image.fromarray(255 * (grey > np.median(grey)).astype(np.uint8)).convert("RGB")
    if kind == 3:
        threshold = np.tile(256 * BAYER, (side // 4, side // 4))
    else:
        y, x = np.mgrid[:side, :side] * 2 * np.pi / rng.uniform(3, 9)
        threshold = 127.5 + 63 * (np.cos(x + y) + np.cos(x - y))
    return Image.fromarray(255 * (grey > threshold).astype(np.uint8)).convert("RGB")


def enlarged(rng, side, photographs):
    """Hard pixels, 2, 4 or 8 of the picture's each, so that small pictures show them too."""
    factor = min(int(rng.choice([2, 4, 4, 4, 8])), side // 24)
    kind = (text, window, lines, checks, dithered, dithered)[rng.integers(6)]
    source = (photographs[rng.integers(len(photographs))],) if kind is dithered else ()
    way = Image.Resampling.NEAREST if rng.random() < 0.6 else Image.Resampling.BICUBIC
    return kind(rng, side // factor, *source).resize((side, side), way)


def tiles(count: int, side: int, photographs: list[Image.Image], seed: int = 0):
    """`count` pictures of side × side, all kinds in turn."""
    rng = np.random.default_rng(seed)
    kinds = (text, window, enlarged, lines, dithered, text, enlarged, window, checks, enlarged)
    for kind in itertools.islice(itertools.cycle(kinds), count):
        if kind is enlarged:
            yield enlarged(rng, side, photographs)
        elif kind is dithered:
            yield dithered(rng, side, photographs[rng.integers(len(photographs))])
        else:
            yield kind(rng, side)
