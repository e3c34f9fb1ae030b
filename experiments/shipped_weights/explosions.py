"""Whether samples of text, dither, checkerboards, 1-bit pictures and noise stay within bounds.

    python experiments/shipped_weights/explosions.py WEIGHTS [--count 200]

Each synthetic picture, never trained on, is a small picture to be enlarged (48 × 48) and, shrunk,
the source of one. Says per temperature the largest share of values of one raw result outside
[−0.1, 1.1], and mean PSNR-Y of the results of shrunk text beside bicubic's.
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
TEMPERATURES = (0.0, 0.3, 0.5, 0.8, 1.0)


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


def outside(image):
    """Share of values outside [−0.1, 1.1], those that are not numbers included."""
    return float(np.mean(~((image > -0.1) & (image < 1.1))))


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
    text = [(s, h) for kind, s, h in small if kind == "text" and h is not None]
    bicubic = [metrics.psnr_y(imresize(s, scale), h, scale) for s, h in text]
    print(f"bicubic: text {np.mean(bicubic):.2f} dB")
    for t in TEMPERATURES:
        shares, scores = {}, []
        for i, (kind, lr, hr) in enumerate(small):
            image = raw(model, params, jnp.asarray(lr[None] / 255, jnp.float32), i, t)
            image = np.asarray(image[0])
            shares.setdefault(kind, []).append(outside(image))
            if kind == "text" and hr is not None:
                scores.append(metrics.psnr_y(metrics.to_uint8(np.nan_to_num(image)), hr, scale))
        worst = ", ".join(f"{kind} {100 * max(v):.2f} %" for kind, v in sorted(shares.items()))
        print(f"T={t:g}: text {np.mean(scores):.2f} dB; outside: {worst}", flush=True)


if __name__ == "__main__":
    main()
