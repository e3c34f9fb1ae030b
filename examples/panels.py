"""What the examples share: their photograph, and rows of labelled pictures."""

import sys
from importlib import resources

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hcflow_jax import images
from hcflow_jax.images.metrics import to_uint8
from hcflow_jax.images.resize import imresize


def photograph(left=110, top=40, side=240):
    """[side, side, 3] of the photograph that is named as an argument, or of the shipped cat.

    It has to have 400×300 pixels or more.
    """
    cat = resources.files("hcflow_jax") / "assets/chelsea.png"
    rgb = images.read(sys.argv[1] if len(sys.argv) > 1 else str(cat)).rgb
    return rgb[top : top + side, left : left + side]


def shrunk(hr):
    """The 8-bit bicubic LR picture, a quarter as wide."""
    return to_uint8(imresize(hr, 1 / 4)).astype(np.float32) / 255


def enlarged(lr, times=4):
    """Every pixel as a square."""
    return np.kron(lr, np.ones((times, times, 1), np.float32))


def amplified(a, b, times=8):
    """times · (a − b) around grey: what the eye would not see otherwise."""
    return 0.5 + times * (a - b)


def grey(plane):
    """A plane [H, W] in [0, 1] as a picture."""
    return np.repeat(np.asarray(plane, np.float32)[..., None], 3, axis=-1)


def boxed(picture, x, y, width, height):
    """The picture with a frame around a part."""
    image = Image.fromarray(to_uint8(picture))
    ImageDraw.Draw(image).rectangle((x - 1, y - 1, x + width, y + height), outline="yellow")
    return np.asarray(image, np.float32) / 255


def save(path, rows, line=15, gap=6):
    """Writes rows of (label, picture), and says so; labels may have several lines."""
    height, width = (max(p.shape[axis] for row in rows for _, p in row) for axis in (0, 1))
    head = line * max(label.count("\n") + 1 for row in rows for label, _ in row) + 5
    size = (max(map(len, rows)) * (width + gap) + gap, len(rows) * (height + head + gap))
    sheet, font = Image.new("RGB", size, "white"), ImageFont.load_default(size=12)
    for i, row in enumerate(rows):
        for j, (label, picture) in enumerate(row):
            x, y = gap + j * (width + gap), i * (height + head + gap)
            ImageDraw.Draw(sheet).text((x, y + 2), label, fill="black", font=font)
            sheet.paste(Image.fromarray(to_uint8(picture)), (x, y + head))
    sheet.save(path)
    labels = [" ".join(label.split()) for row in rows for label, _ in row]
    print("row by row, from left to right:", "; ".join(labels))
    print(f"wrote {path}")
