"""What each level of the flow holds: of a sample's noise, and of what shrinking loses.

    pip install scikit-image scikit-learn matplotlib
    python experiments/studies/levels.py [--sr PATH] [--rescaling PATH]

Middles of 256×256 pixels of the seven photographs. Super-resolution: noise of temperature 0.8 in
one level, or in all, and 0 in the others. Rescaling: the latents that `encode` gives to one level,
or to all, and 0 in the others, with the small picture rounded to 8 bits. PSNR-Y without a border of
4 pixels; spread: standard deviation of 8 samples, of 255; energy: mean square of the latents that
photographs have, 1 for a Gaussian of deviation 1.
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from seven import photographs

from hcflow_jax import sampling
from hcflow_jax.evaluation import figures
from hcflow_jax.images import metrics
from hcflow_jax.images.resize import imresize

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

SIDE, SCALE, TEMPERATURE, SAMPLES = 256, 4, 0.8, 8


@partial(jax.jit, static_argnums=0)
def _decode(model, params, lr, latents):
    return jnp.clip(model.decode(params, lr, latents), 0, 1)


@partial(jax.jit, static_argnums=0)
def _encode(model, params, hr):
    return model.encode(params, hr)


def middles():
    """[N, SIDE, SIDE, 3] uint8."""
    images = []
    for image in photographs(SCALE).values():
        top, left = ((side - SIDE) // 2 for side in image.shape[:2])
        images.append(image[top : top + SIDE, left : left + SIDE])
    return np.stack(images)


def only(latents, levels):
    """`latents` with zeros in all but `levels`."""
    return [e if i in levels else jnp.zeros_like(e) for i, e in enumerate(latents)]


def choices(model):
    """{name: levels}; level 0 is the finest."""
    count = len(model.steps)
    names = [f"level {i} alone" for i in range(count)]
    single = {name: (i,) for i, name in enumerate(names)}
    return {"none": (), **single, "all": tuple(range(count))}


def of_samples(model, params, images):
    """{levels: figures} of super-resolution with noise in some levels."""
    small = np.stack([imresize(x, 1 / SCALE) for x in images])
    lr, rows = small.astype(np.float32) / 255, {}
    for name, levels in choices(model).items():
        drawn = []
        for k in range(SAMPLES if levels else 1):
            latents = model.draw_latents(jax.random.key(k), jnp.asarray(lr), TEMPERATURE)
            drawn.append(
                metrics.to_uint8(np.asarray(_decode(model, params, lr, only(latents, levels))))
            )
        samples = np.stack(drawn, 1)
        found = [
            figures.mean([figures.fidelity(x, hr, low, SCALE) for x in own])
            | (figures.diversity(own, hr) if levels else {"diversity": 0.0})
            for own, hr, low in zip(samples, images, small, strict=True)
        ]
        rows[name] = figures.mean(found)
    return rows


def of_losses(model, params, images):
    """({levels: figures} of rescaling with the true latents of some levels, energy by level)."""
    encoding = _encode(model, params, images.astype(np.float32) / 255)
    small, rows = metrics.to_uint8(np.asarray(encoding.lr)), {}
    for name, levels in choices(model).items():
        restored = _decode(
            model, params, small.astype(np.float32) / 255, only(encoding.latents, levels)
        )
        found = [
            figures.fidelity(x, hr, low, SCALE)
            for x, hr, low in zip(
                metrics.to_uint8(np.asarray(restored)), images, small, strict=True
            )
        ]
        rows[name] = figures.mean(found)
    return rows, [float(np.mean(np.square(e))) for e in encoding.latents]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for task in ("sr", "rescaling"):
        parser.add_argument(f"--{task}", help="checkpoint (default: the shipped one)")
    args, images = parser.parse_args(), middles()
    noise = of_samples(*sampling.load(args.sr, "sr", SCALE), images)
    print(f"| noise of T = {TEMPERATURE} in | PSNR-Y | LR-PSNR | spread |\n|---|---|---|---|")
    for name, row in noise.items():
        print(f"| {name} | {row['psnr_y']:.2f} | {row['lr_psnr']:.2f} | {row['diversity']:.2f} |")
    lost, energy = of_losses(*sampling.load(args.rescaling, "rescaling", SCALE), images)
    print("\n| true latents in | PSNR-Y | energy |\n|---|---|---|")
    for name, row in lost.items():
        level = [f"{e:.3f}" for i, e in enumerate(energy) if name == f"level {i} alone"]
        print(f"| {name} | {row['psnr_y']:.2f} | {''.join(level)} |")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    shown = (
        (noise, "diversity", f"spread of samples, T = {TEMPERATURE}, of 255"),
        (lost, "psnr_y", "restored with true latents, PSNR-Y"),
    )
    for axis, (rows, name, title) in zip(axes, shown, strict=True):
        axis.bar_label(axis.bar(rows.keys(), [row[name] for row in rows.values()]), fmt="%.2f")
        axis.set_title(title, fontsize=10)
        axis.margins(y=0.12)
        axis.tick_params(axis="x", labelsize=8)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=90)


if __name__ == "__main__":
    main()
