"""PSNR-Y of the shipped weights on photographs that were in no training set.

    pip install scikit-image scikit-learn
    python experiments/evaluate_shipped.py [--sr PATH] [--rescaling PATH]

Protocol: 8-bit images, 4 pixels of border left out, BT.601 luma not rounded; the LR image of SR
and of the bicubic column is MATLAB's imresize; rescaling restores the flow's own 8-bit LR at
temperature 0; SR figures average 3 samples (seed 0). Sides cropped to multiples of 4.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import skimage.data
import sklearn.datasets

sys.path.insert(0, str(Path(__file__).parents[1]))

from hcflow_jax import sampling
from hcflow_jax.images import metrics
from hcflow_jax.images.resize import imresize

TEMPERATURES = (0.0, 0.5, 0.8)
SAMPLES = 3


def photographs():
    """{name: uint8 [H, W, 3]}, sides divisible by 4."""
    found = {name: getattr(skimage.data, name)() for name in ("astronaut", "chelsea", "coffee")}
    found["rocket"] = skimage.data.rocket()
    found["motorcycle"] = skimage.data.stereo_motorcycle()[0]
    for name in ("china", "flower"):
        found[name] = sklearn.datasets.load_sample_image(f"{name}.jpg")
    return {k: v[: v.shape[0] // 4 * 4, : v.shape[1] // 4 * 4] for k, v in found.items()}


def evaluate(hr, sr, rescaling):
    """[bicubic, restored, SR at each temperature] in dB PSNR-Y."""

    def score(image):
        return metrics.psnr_y(metrics.to_uint8(image), hr, 4)

    image = hr.astype(np.float32) / 255
    lr = imresize(hr, 1 / 4).astype(np.float32) / 255
    small = metrics.to_uint8(sampling.downscale(*rescaling, image)).astype(np.float32) / 255
    row = [score(imresize(lr, 4)), score(sampling.sample(*rescaling, small, 0.0))]
    for temperature in TEMPERATURES:
        count = SAMPLES if temperature else 1
        samples = [sampling.sample(*sr, lr, temperature, index=i) for i in range(count)]
        row.append(np.mean([score(sample) for sample in samples]))
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sr", metavar="PATH", help="checkpoint (default: the shipped one)")
    parser.add_argument("--rescaling", metavar="PATH", help="likewise")
    args = parser.parse_args()
    models = sampling.load(args.sr, "sr"), sampling.load(args.rescaling, "rescaling")
    titles = ["bicubic", "restored", *(f"SR T={t:g}" for t in TEMPERATURES)]
    print("| photograph | " + " | ".join(titles) + " |\n|---|" + "---|" * len(titles))
    rows = []
    for name, hr in photographs().items():
        rows.append(evaluate(hr, *models))
        print(f"| {name} | " + " | ".join(f"{v:.2f}" for v in rows[-1]) + " |", flush=True)
    print("| mean | " + " | ".join(f"{v:.2f}" for v in np.mean(rows, axis=0)) + " |")


if __name__ == "__main__":
    main()
