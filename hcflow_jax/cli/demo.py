"""`hcflow demo`: one photograph shrunk, restored and super-resolved, in one labelled picture."""

import functools
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hcflow_jax import checkpoints, images, sampling
from hcflow_jax.errors import shown
from hcflow_jax.images import metrics
from hcflow_jax.images.resize import imresize

TEMPERATURES = (0.0, 0.5, 0.8)
"""Of the samples shown; the second is the default of `hcflow upscale`."""

DEVIATION_SAMPLES = 8
"""Samples, at the last temperature, whose standard deviation is shown."""

SCALE = 4
LABEL_HEIGHT, GAP = 22, 6
"""Pixels of the label above a tile, and between tiles."""

DEVIATION_WHITE = 99
"""Percentile of the standard deviations that is shown as white."""


def _models(paths):
    """{task: (model, params)}: the shipped ones, replaced by those of `paths`."""
    given = {checkpoints.load_model(path)[0].task: path for path in paths}
    return {task: sampling.load(given.get(task), task, SCALE) for task in ("sr", "rescaling")}


def _tile(image, label):
    height, width, _ = image.shape
    tile = Image.new("RGB", (width, height + LABEL_HEIGHT), "white")
    tile.paste(Image.fromarray(metrics.to_uint8(image)), (0, LABEL_HEIGHT))
    font = ImageFont.load_default(size=13)
    ImageDraw.Draw(tile).text((2, 3), label, fill="black", font=font)
    return tile


def _grid(tiles, columns):
    width, height = (max(side) + GAP for side in zip(*(t.size for t in tiles), strict=True))
    rows = -(-len(tiles) // columns)
    grid = Image.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    for i, tile in enumerate(tiles):
        grid.paste(tile, (GAP + i % columns * width, GAP + i // columns * height))
    return np.asarray(grid, np.float32) / 255


def _deviation(samples):
    """(mean over pixels, picture) of the standard deviation over samples, averaged over RGB.

    The mean is on the 0–255 scale.
    """
    deviation = np.stack(samples).std(axis=0, ddof=1).mean(axis=-1)
    white = max(float(np.percentile(deviation, DEVIATION_WHITE)), 1e-6)
    shown = np.clip(deviation / white, 0, 1)
    return float(255 * deviation.mean()), np.repeat(shown[..., None], 3, axis=-1)


def run(output: Path, checkpoints: list[str]) -> None:
    """Writes the comparison and its parts to the folder `output`, and prints PSNR-Y of each.

    PSNR-Y of 8-bit images without a border of 4 pixels. No training set held the photograph.
    """
    models = _models(checkpoints)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise images.ImageError(f"cannot make {output} ({error.strerror}); name another") from error
    images.check_writable(output / "demo.png")
    with resources.as_file(resources.files("hcflow_jax") / "assets" / "chelsea.png") as path:
        hr = images.read(path).rgb

    def score(image):
        return metrics.psnr_y(metrics.to_uint8(image), metrics.to_uint8(hr), SCALE)

    def save(name, image):
        images.write(output / f"{name}.png", image)

    def eight_bits(image):
        return metrics.to_uint8(image).astype(np.float32) / 255

    bicubic_lr = eight_bits(imresize(hr, 1 / SCALE))
    bicubic = np.clip(imresize(bicubic_lr, SCALE), 0, 1)
    print(f"bicubic ×{SCALE} of the bicubic LR         {score(bicubic):6.2f} dB PSNR-Y")

    model, params = models["rescaling"]
    lr = eight_bits(sampling.downscale(model, params, hr))
    restored = sampling.sample(model, params, lr, 0.0)
    print(f"restored from the flow's own LR       {score(restored):6.2f} dB PSNR-Y", flush=True)
    save("lr", lr)
    save("restored", restored)
    tiles = [
        _tile(hr, "original"),
        _tile(np.kron(lr, np.ones((SCALE, SCALE, 1), np.float32)), "the flow's LR, 1/4 size"),
        _tile(bicubic, f"bicubic x4, {score(bicubic):.2f} dB"),
        _tile(restored, f"restored from the LR, {score(restored):.2f} dB"),
    ]

    model, params = models["sr"]
    like_upscale = functools.partial(
        sampling.sample, model, params, bicubic_lr, back_project=sampling.BACK_PROJECTION
    )
    for temperature in TEMPERATURES:
        sample = like_upscale(temperature)
        print(
            f"super-resolved, temperature {temperature:.1f}       {score(sample):6.2f} dB PSNR-Y",
            flush=True,
        )
        save(f"sample_t{temperature:.1f}", sample)
        tiles.append(_tile(sample, f"SR sample, T = {temperature:.1f}, {score(sample):.2f} dB"))
    samples = [like_upscale(TEMPERATURES[-1], index=i) for i in range(DEVIATION_SAMPLES)]
    mean, spread = _deviation(samples)
    count, temperature = DEVIATION_SAMPLES, TEMPERATURES[-1]
    print(f"spread of {count} samples at {temperature:.1f}, mean {mean:5.2f} of 255")
    tiles.append(_tile(spread, f"spread of {count} samples, T = {temperature}"))
    save("demo", _grid(tiles, 4))
    print(f"{shown(output / 'demo.png')} shows them side by side")
