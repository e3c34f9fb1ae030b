"""Weights whose latents have a deviation of 1, and whose pictures at latents 0 stay.

    python experiments/shipped_weights/unit_latents.py WEIGHTS DATA.zip -o OUT.npz

What is trained at latents 0 alone leaves them any scale c, one for each channel of a level; samples
at a temperature then have c times too little noise, or 1/c times too much. Here a level's split-off
part becomes a/c: its last ActNorm and the mean of its prior are divided by c, and the kernels of
its last shift coupling that read it are multiplied by c. The latents (a − mean)·exp(−log_std)
become 1/c of what they were. In super-resolution, whose priors have a free scale, log c is added
to that.
"""

import argparse
from pathlib import Path

import batches
import jax
import jax.numpy as jnp
import train

from hcflow_jax import checkpoints

SIDE, BATCH = 128, 8


def deviations(model, params, tiles, count):
    """√ of the mean square of the latents of every level, by channel."""
    encode = jax.jit(
        lambda hr: [jnp.mean(e**2, (0, 1, 2)) for e in model.encode(params, hr).latents]
    )
    side = SIDE + 2 * batches.margin(model.scale)
    found = []
    for i in range(count):
        windows = jnp.asarray(tiles.windows(3, i, BATCH, side))
        found.append(encode(batches.pair(windows, model.scale)[0]))
    return [jnp.sqrt(sum(level) / count) for level in zip(*found, strict=True)]


def divided(model, params, scales):
    """`params` whose latents are those of before / scales, [C] of every level.

    ValueError for models without a shift coupling at the end of every level.
    """
    odd = any(steps % 2 for steps in model.steps) or any(model.conditional_steps)
    if model.task != "rescaling" or model.coupling != "shift" or odd:
        raise ValueError(f"a level of {model} does not end with a shift coupling")
    params = dict(params)
    for i, c in enumerate(scales):
        level = jax.tree.map(jnp.asarray, params[f"level{i}"])
        last, prior, off = level["flow"]["turns"]["shift"], level["prior"], len(c)
        logs = last["actnorm"]["logs"]
        last["actnorm"]["logs"] = logs.at[-1, -off:].add(-jnp.log(c))
        details = logs.shape[-1] - model.image_channels  # that the shift is a function of
        read = slice(details - off, details)
        for conv in last["affine"]["f"].values():
            conv["kernel"] = conv["kernel"].at[-1, :, :, read].multiply(c[:, None])
        prior["logs"] = prior["logs"].at[0::2].add(-jnp.log(c) / 3)
        params[f"level{i}"] = level
    return params


def widened(params, scales):
    """`params` of a super-resolution model with its priors' deviations times scales, [C] each."""
    params = dict(params)
    for i, c in enumerate(scales):
        prior = jax.tree.map(jnp.asarray, params[f"level{i}"]["prior"])
        gain = jnp.exp(-3 * prior["logs"][1::2])
        prior["bias"] = prior["bias"].at[1::2].add(jnp.log(c) * gain)
        if "guard" in prior:
            ranges = prior["guard"]["log_std"]
            prior["guard"]["log_std"] = {end: at + jnp.log(c) for end, at in ranges.items()}
        params[f"level{i}"] = {**params[f"level{i}"], "prior": prior}
    return params


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights")
    parser.add_argument("data", type=Path, help="zip written by pack.py")
    parser.add_argument("-o", "--output", required=True, type=Path)
    parser.add_argument("--batches", type=int, default=24)
    args = parser.parse_args()
    model, params = checkpoints.load_model(args.weights)
    scales = deviations(model, params, batches.Tiles(args.data, 0.0), args.batches)
    for i, level in enumerate(scales):
        print(f"level {i}: deviations from {level.min():.2e} to {level.max():.2e}")
    sr = model.task == "sr"
    params = widened(params, scales) if sr else divided(model, params, scales)
    train.export(args.output, model, params)


if __name__ == "__main__":
    main()
