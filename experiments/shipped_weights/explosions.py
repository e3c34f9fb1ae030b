"""Whether samples of text, dither, checkerboards, 1-bit pictures and noise stay within bounds.

    python experiments/shipped_weights/explosions.py WEIGHTS [--count 200]

Each synthetic picture, never trained on, is a small picture to be enlarged (48 × 48) and, shrunk,
the source of one. Says per temperature the largest share of values of one raw result outside
[−0.1, 1.1] and [−1, 2], and mean PSNR-Y of the results of shrunk text, all beside bicubic's, whose
overshoots at hard edges are no explosions.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np
import synthetic
from PIL import Image

from hcflow_jax import checkpoints
from hcflow_jax.images import metrics
from hcflow_jax.images.resize import imresize

SIDE, SEED = 48, 99
TEMPERATURES = (0.0, 0.4, 0.8, 1.0)
MARGINS = (0.1, 1.0)


def pictures(count, side):
    """uint8 pictures: drawn ones, noise, one-bit noise, saturated colours; text at every third."""
    rng = np.random.default_rng(SEED)
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1))).convert("RGB")
    drawn = synthetic.tiles(count, side, [ramp, ramp.rotate(90)], SEED)
    for i, image in enumerate(drawn):
        if i % 3 == 0:
            yield "text", np.asarray(synthetic.text(rng, side))
        elif i % 9 == 1:
            yield "noise", rng.integers(0, 256, (side, side, 3)).astype(np.uint8)
        elif i % 9 == 4:
            noise = rng.integers(0, 2, (side, side, 1 + 2 * (i % 2))).astype(np.uint8)
            yield "one bit", np.broadcast_to(255 * noise, (side, side, 3))
        elif i % 9 == 7:
            blocks = rng.integers(0, 2, (side // 8, side // 8, 3)).astype(np.uint8)
            yield "saturated", 255 * blocks.repeat(8, 0).repeat(8, 1)
        else:
            yield "drawn", np.asarray(image)


@functools.partial(jax.jit, static_argnums=0)
def raw(model, params, lr, seed, temperature):
    return model.decode(params, lr, model.draw_latents(jax.random.key(seed), lr, temperature))


def outside(image, margin):
    """Share of values outside [−margin, 1 + margin], those that are not numbers included."""
    return float(np.mean(~((image > -margin) & (image < 1 + margin))))


def told(name, small, enlarge):
    """Prints a line of figures of what `enlarge` makes of every (index, LR picture)."""
    shares, scores = {}, []
    for i, (kind, lr, hr) in enumerate(small):
        image = enlarge(i, lr)
        found = [outside(image, margin) for margin in MARGINS]
        shares.setdefault(kind, []).append(found)
        if kind == "text" and hr is not None:
            scale = image.shape[0] // lr.shape[0]
            scores.append(metrics.psnr_y(metrics.to_uint8(np.nan_to_num(image)), hr, scale))
    worst = {kind: 100 * np.max(found, 0) for kind, found in sorted(shares.items())}
    texts = ", ".join(f"{kind} {a:.2f} % {b:.2f} %" for kind, (a, b) in worst.items())
    print(f"{name}: text {np.mean(scores):.2f} dB; outside: {texts}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights", help="of super-resolution")
    parser.add_argument("--count", type=int, default=200)
    args = parser.parse_args()
    model, params = checkpoints.load_model(args.weights)
    params, scale = model.prepare(params), model.scale
    small = [(kind, image, None) for kind, image in pictures(args.count // 2, SIDE)]
    for kind, image in pictures(args.count // 2, SIDE * scale):
        small.append((kind, imresize(image, 1 / scale), image))
    told("bicubic", small, lambda i, lr: imresize(lr / 255, scale))
    for t in TEMPERATURES:

        def sampled(i, lr, t=t):
            return np.asarray(raw(model, params, jnp.asarray(lr[None] / 255, jnp.float32), i, t)[0])

        told(f"T={t:g}", small, sampled)


if __name__ == "__main__":
    main()
