"""What the search for small pictures brings: `hcflow downscale --refine`, by its steps.

    pip install scikit-image scikit-learn matplotlib
    python experiments/studies/refining.py [--x4 PATH] [--x2 PATH] [--jpeg PATH]

Middles of 256×256 pixels of the seven photographs, as PNG, and as JPEG of quality 90 with whole
chroma. PSNR-Y of what is restored, without a border of the scale; "small": PSNR in RGB of the small
picture against bicubic's, before it is saved; "bytes" of its file; "time" of a step in one of
restoring, programs kept.
"""

import argparse
import functools
import time
from pathlib import Path

import matplotlib
import numpy as np
from equal_bytes import decoded, encoded
from levels import middles

from hcflow_jax import sampling
from hcflow_jax.images import metrics
from hcflow_jax.images.resize import imresize
from hcflow_jax.images.small import QUALITY

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

STEPS = (0, 1, 2, 5, 10, 20)
KINDS = {"x4": (4, None), "x2": (2, None), "jpeg": (4, QUALITY)}
"""{name: (scale, quality of JPEGs)}."""


def seconds(work) -> float:
    """The shortest of three runs after one that compiles."""
    work()
    found = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def time_of_a_step(model, params, hr, quality) -> float:
    """Seconds of a step over those of restoring."""
    shrink = functools.partial(sampling.downscale, model, params, hr, quality=quality)
    few, more = (seconds(functools.partial(shrink, refine=steps)) for steps in (1, 5))
    lr = shrink()
    return (more - few) / 4 / seconds(lambda: sampling.sample(model, params, lr, 0.0))


def figures(model, params, hr, quality, steps) -> list[float]:
    """[PSNR-Y, small, bytes] of a photograph."""
    image = hr.astype(np.float32) / 255
    small = sampling.downscale(model, params, image, refine=steps, quality=quality)
    small = metrics.to_uint8(small)
    how = {"quality": quality, "subsampling": "4:4:4"} if quality else {}
    data = encoded(small, "JPEG" if quality else "PNG", optimize=True, **how)
    lr = decoded(data).astype(np.float32) / 255
    again = metrics.to_uint8(sampling.sample(model, params, lr, 0.0))
    distance = metrics.psnr(small, imresize(hr, 1 / model.scale))
    return [metrics.psnr_y(again, hr, model.scale), distance, len(data)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in KINDS:
        parser.add_argument(f"--{name}", help="checkpoint (default: the shipped one)")
    args, images = parser.parse_args(), middles()
    figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
    print("| steps | " + " | ".join(KINDS) + " |\n" + "|---" * (len(KINDS) + 1) + "|")
    columns, ratios = [], []
    for name, (scale, quality) in KINDS.items():
        network = sampling.load(getattr(args, name), "rescaling", scale, jpeg=quality is not None)
        rows = [
            np.mean([figures(*network, hr, quality, steps) for hr in images], 0) for steps in STEPS
        ]
        columns.append(rows)
        ratios.append(time_of_a_step(*network, images[0].astype(np.float32) / 255, quality))
        label = f"×{scale}, " + (f"JPEG {quality}" if quality else "PNG")
        axis.plot(STEPS, [row[0] - rows[0][0] for row in rows], marker="o", label=label)
    for steps, *found in zip(STEPS, *columns, strict=True):
        texts = [f"{psnr:.2f} dB, small {near:.1f} dB, {n:.0f} B" for psnr, near, n in found]
        print(f"| {steps} | {' | '.join(texts)} |")
    print("| time of a step | " + " | ".join(f"{ratio:.1f}" for ratio in ratios) + " |")
    axis.set(xlabel="steps of --refine", ylabel="PSNR-Y gained, dB")
    axis.legend()
    axis.grid(alpha=0.3)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=90)


if __name__ == "__main__":
    main()
