"""How far samples of super-resolution depart from their input, by temperature.

    python experiments/departures.py FILE … [--checkpoint PATH] [--seed S]

Prints the largest departure (`sampling.checking.departures`, of 255) in each picture, of samples
as the network gives them and of bicubic enlargement. Of pictures of 512 pixels and more the middle
512² is taken twice: its middle 96² as it is, and all of it shrunk by MATLAB's bicubic imresize to a
quarter and rounded. `checking.LIMIT` was chosen by these figures.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from hcflow_jax import images, sampling
from hcflow_jax.images.metrics import to_uint8
from hcflow_jax.images.resize import imresize
from hcflow_jax.sampling import checking

TEMPERATURES = (0.0, 0.3, 0.5, 0.8, 1.0)
LARGE, MIDDLE = 512, 96


def middle(image, side):
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def inputs(image):
    """[(kind, LR picture)] of a picture."""
    if min(image.shape[:2]) < LARGE:
        return [("whole", image)]
    large = middle(image, LARGE)
    shrunk = to_uint8(imresize(large, 1 / 4)).astype(np.float32) / 255
    return [("middle", middle(large, MIDDLE)), ("quarter", shrunk)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--checkpoint", metavar="PATH", help="default: the shipped weights")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model, params = sampling.load(args.checkpoint, "sr")
    print("| picture | bicubic |", " | ".join(f"T = {t:g}" for t in TEMPERATURES), "|")
    print("|---" * (2 + len(TEMPERATURES)) + "|")
    for name in args.files:
        for kind, lr in inputs(images.read(name).rgb):
            found = []
            for temperature in TEMPERATURES:
                hr = sampling.sample(model, params, lr, temperature, args.seed, check=False)
                own, plain = np.moveaxis(np.asarray(checking.departures(lr[None], hr[None])), -1, 0)
                found.append(own.max())
            figures = " | ".join(f"{value:.1f}" for value in (plain.max(), *found))
            print(f"| {Path(name).stem}, {kind} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
