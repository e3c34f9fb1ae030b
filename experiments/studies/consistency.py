"""Do samples shrink to the picture they were made of?

    pip install scikit-image scikit-learn matplotlib
    python experiments/studies/consistency.py [--checkpoint PATH]

LR-PSNR: RGB, MATLAB-bicubic LR of the result against the 8-bit LR that it was made of, whole
images, mean of the seven photographs; of the sample as the network gives it (float), and of the
8-bit file. "own LR": of the sample's LR part by the flow itself, `encode(sample).lr`, in float.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from seven import photographs

from hcflow_jax import sampling
from hcflow_jax.evaluation import figures
from hcflow_jax.images import metrics
from hcflow_jax.images.resize import imresize

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

SCALE = 4
TEMPERATURES = (0.0, 0.25, 0.5, 0.75, 1.0)


def agreement(lr: np.ndarray, hr: np.ndarray, flow=None) -> dict[str, float]:
    """LR-PSNR in dB of float and 8-bit `hr`, and by the flow (model, params)."""
    exact = 255 * lr.astype(np.float64)
    found = {"float": metrics.psnr(255 * imresize(hr.astype(np.float64), 1 / SCALE), exact)}
    file = metrics.to_uint8(hr)
    found["8 bits"] = metrics.psnr(imresize(file, 1 / SCALE), metrics.to_uint8(lr))
    if flow is not None:
        own = sampling.downscale(*flow, hr)
        found["own LR"] = metrics.psnr(255 * own.astype(np.float64), exact)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", help="of super-resolution (default: the shipped one)")
    flow = sampling.load(parser.parse_args().checkpoint, "sr", SCALE)
    rows = {}
    for hr in photographs(SCALE).values():
        small = imresize(hr, 1 / SCALE)
        lr = small.astype(np.float32) / 255
        for name, large in figures.interpolated(small, SCALE).items():
            rows.setdefault(name, []).append(agreement(lr, large.astype(np.float32) / 255))
        for t in TEMPERATURES:
            sample = sampling.sample(*flow, lr, t)
            rows.setdefault(f"T = {t:g}", []).append(agreement(lr, sample, flow))
    means = {name: figures.mean(found) for name, found in rows.items()}
    print("| dB | float | 8 bits | own LR |\n|---|---|---|---|")
    for name, mean in means.items():
        texts = [f"{mean[k]:.2f}" if k in mean else "" for k in ("float", "8 bits", "own LR")]
        print(f"| {name} | {' | '.join(texts)} |")
    figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for kind in ("float", "8 bits", "own LR"):
        axis.plot(TEMPERATURES, [means[f"T = {t:g}"][kind] for t in TEMPERATURES], "o-", label=kind)
    axis.axhline(means["bicubic"]["8 bits"], color="gray", label="bicubic, 8 bits")
    axis.set(xlabel="temperature", ylabel="LR-PSNR, dB")
    axis.legend()
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=90)


if __name__ == "__main__":
    main()
