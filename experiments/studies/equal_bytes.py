"""Shrinking and restoring beside image codecs of equal bytes.

    pip install scikit-image scikit-learn matplotlib
    python experiments/studies/equal_bytes.py [--checkpoint PATH]

The flow's small picture is an 8-bit PNG, optimised. Each codec encodes the whole photograph at the
highest quality whose file is not larger. PSNR-Y and SSIM-Y without a border of 4 pixels, LPIPS
whole; the last row is the bicubic small picture's PNG, enlarged by bicubic interpolation.
"""

import argparse
import io
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from seven import photographs

from hcflow_jax import sampling
from hcflow_jax.evaluation import figures, lpips
from hcflow_jax.images import metrics
from hcflow_jax.images.resize import imresize

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

SCALE = 4
CODECS = {"JPEG": {"optimize": True, "progressive": True}, "WebP": {"method": 6}, "AVIF": {}}
SHOWN = ("psnr_y", "ssim_y", "lpips")


def encoded(image: np.ndarray, codec: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, codec, **options)
    return file.getvalue()


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def largest_within(image: np.ndarray, codec: str, limit: int) -> bytes:
    """The file of the highest quality, of 0 to 100, that has at most `limit` bytes."""
    low, high, best = 0, 100, encoded(image, codec, quality=0, **CODECS[codec])
    while low <= high:
        quality = (low + high) // 2
        data = encoded(image, codec, quality=quality, **CODECS[codec])
        if len(data) <= limit:
            low, best = quality + 1, data
        else:
            high = quality - 1
    return best


def results(model, hr: np.ndarray) -> dict[str, tuple[int, np.ndarray]]:
    """{method: (bytes, the photograph again)}."""
    small = metrics.to_uint8(sampling.downscale(*model, hr.astype(np.float32) / 255))
    restored = sampling.sample(*model, small.astype(np.float32) / 255, 0.0)
    budget = len(encoded(small, "PNG", optimize=True))
    found = {"flow, PNG": (budget, metrics.to_uint8(restored))}
    for codec in CODECS:
        data = largest_within(hr, codec, budget)
        found[codec] = len(data), decoded(data)
    lr = imresize(hr, 1 / SCALE)
    found["bicubic, PNG"] = len(encoded(lr, "PNG", optimize=True)), imresize(lr, SCALE)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", help="of rescaling (default: the shipped one)")
    model = sampling.load(parser.parse_args().checkpoint, "rescaling", SCALE)
    judge, rows = lpips.load(), {}
    for hr in photographs(SCALE).values():
        lr = imresize(hr, 1 / SCALE)
        for method, (size, image) in results(model, hr).items():
            row = figures.fidelity(image, hr, lr, SCALE, judge)
            row["bits"] = 8 * size / (hr.shape[0] * hr.shape[1])
            rows.setdefault(method, []).append(row)
    print("| mean of seven | bits per pixel | PSNR-Y | SSIM-Y | LPIPS |\n|---|---|---|---|---|")
    means = {method: figures.mean(found) for method, found in rows.items()}
    for method, mean in means.items():
        texts = [f"{mean[name]:.{figures.FIGURES[name].decimals}f}" for name in SHOWN]
        print(f"| {method} | {mean['bits']:.3f} | {' | '.join(texts)} |")
    figure, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    for axis, name in zip(axes, SHOWN, strict=True):
        bars = axis.bar(means.keys(), [mean[name] for mean in means.values()])
        axis.bar_label(bars, fmt=f"%.{figures.FIGURES[name].decimals}f", fontsize=8)
        axis.set_title(figures.FIGURES[name].title)
        axis.margins(y=0.15)
        axis.tick_params(axis="x", rotation=45)
    axes[0].set_ylim(0.8 * min(mean["psnr_y"] for mean in means.values()))
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=90)


if __name__ == "__main__":
    main()
