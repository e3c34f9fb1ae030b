"""Trains the weights that ship, in slices.

    python experiments/shipped_weights/train.py RECIPE DATA.zip RUN [--minutes N]

Reads the tiles of `pack.py`; keeps everything it needs to go on in RUN/state.npz, written every few
minutes and when it is stopped, and continues exactly there. RUN/log.jsonl holds the curves.
Needs jax, flax, optax, numpy and pillow.
"""

import argparse
import dataclasses
import functools
import json
import math
import os
import signal
import time
from pathlib import Path

import batches
import grow
import jax
import jax.numpy as jnp
import numpy as np
import objectives
import optax
from recipes import RECIPES

from hcflow_jax import from_torch, to_published
from hcflow_jax.images import metrics
from hcflow_jax.images.resize import imresize

SAVE_SECONDS = 300
VALIDATION_SIDE = 384
OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(0.9, 0.99))


def learning_rate(recipe, step):
    """Linear warmup, then a cosine to zero at `recipe.iterations`."""
    rise = min(1.0, (step + 1) / recipe.warmup)
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / recipe.iterations)))
    return recipe.rate * rise * fall


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def iterate(recipe, state, windows, rate):
    """(state after one update, metrics); a value that is not finite changes nothing.

    The schedule is the caller's: programs are kept while only it changes.
    """
    hr, lr = batches.pair(windows, recipe.model.scale)
    key = jax.random.fold_in(jax.random.key(0), state["step"])
    loss = functools.partial(objectives.total, recipe)
    (value, terms), gradients = jax.value_and_grad(loss, has_aux=True)(state["params"], hr, lr, key)
    updates, adam = OPTIMIZER.update(gradients, state["adam"])
    params = jax.tree.map(lambda p, u: p - rate * u, state["params"], updates)
    decay = jnp.minimum(recipe.ema, (1 + state["step"]) / (10 + state["step"]))
    ema = optax.incremental_update(params, state["ema"], 1 - decay)
    new = {"params": params, "ema": ema, "adam": adam}
    good = jnp.isfinite(value) & jnp.isfinite(optax.global_norm(gradients))
    old = {name: state[name] for name in new}
    new = jax.tree.map(functools.partial(jnp.where, good), new, old)
    terms |= {"loss": value, "skipped": 1.0 - good, "norm": optax.global_norm(gradients)}
    return new | {"step": state["step"] + 1}, terms


def fresh(recipe, tiles, weights):
    """The state before the first iteration, from published-names weights where some are given."""
    count, side = 32, recipe.patch + 2 * batches.margin(recipe.model.scale)
    hr, _ = batches.pair(tiles.windows(1, 0, count, side), recipe.model.scale)
    if weights is None:
        params = recipe.model.init(jax.random.key(0), hr)
    else:
        with np.load(weights) as arrays:
            model, params = from_torch(dict(arrays))
        if model != recipe.model:
            params = grow.deepen(model, params, recipe.model, jax.random.key(0))
    ema = jax.tree.map(jnp.copy, params)
    return {"params": params, "ema": ema, "adam": OPTIMIZER.init(params), "step": jnp.int32(0)}


def save(path, state):
    """All arrays of the state in one file, whole or not at all."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    arrays = {jax.tree_util.keystr(p, simple=True, separator="/"): np.asarray(x) for p, x in leaves}
    temporary = path.with_suffix(".part.npz")
    np.savez(temporary, **arrays)
    os.replace(temporary, path)


def load(path, like):
    """The state that `save` wrote, in the structure of `like`."""
    with np.load(path) as arrays:

        def find(key_path, leaf):
            array = arrays[jax.tree_util.keystr(key_path, simple=True, separator="/")]
            if array.shape != leaf.shape:
                raise SystemExit(f"{path} is the state of another network")
            return jnp.asarray(array)

        return jax.tree_util.tree_map_with_path(find, like)


@functools.partial(jax.jit, static_argnums=0)
def _sample(model, params, lr):
    return model.sample(params, jax.random.key(0), lr, 0.0)


@functools.partial(jax.jit, static_argnums=0)
def _small(model, params, hr):
    return jnp.clip(model.encode(params, hr).lr, 0, 1)


def validate(model, params, images):
    """{"bicubic", "psnr", rescaling: "small"} means over images in dB, PSNR-Y at temperature 0."""
    rows = []
    for hr in images.values():
        top, left = ((side - VALIDATION_SIDE) // 2 for side in hr.shape[:2])
        hr = hr[top : top + VALIDATION_SIDE, left : left + VALIDATION_SIDE]
        bicubic = imresize(hr, 1 / model.scale)
        small = bicubic
        if model.task == "rescaling":
            own = _small(model, params, hr[None].astype(np.float32) / 255)[0]
            small = metrics.to_uint8(np.asarray(own))
        result = _sample(model, params, small[None].astype(np.float32) / 255)[0]
        enlarged = imresize(bicubic / 255, model.scale)
        row = {"bicubic": metrics.psnr_y(metrics.to_uint8(enlarged), hr, model.scale)}
        row["psnr"] = metrics.psnr_y(metrics.to_uint8(np.asarray(result)), hr, model.scale)
        if model.task == "rescaling":
            row["small"] = metrics.psnr(small, bicubic)
        rows.append(row)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def export(path, model, params, dtype=np.float16):
    """Published-names arrays of `dtype`, in a compressed .npz."""
    arrays = {name: a.astype(dtype) for name, a in to_published(model, params).items()}
    np.savez_compressed(path, **arrays)


def train(recipe, tiles, run, until, weights):
    run.mkdir(parents=True, exist_ok=True)
    path = run / "state.npz"
    like = jax.eval_shape(lambda: fresh_like(recipe))
    state = load(path, like) if path.exists() else fresh(recipe, tiles, weights)
    timeless = dataclasses.replace(recipe, iterations=0, rate=0.0, warmup=0)
    stopped = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.append(True))
    side = recipe.patch + 2 * batches.margin(recipe.model.scale)
    step, began, saved, sums, count, busy = int(state["step"]), time.time(), time.time(), {}, 0, 0.0

    def report(extra):
        seconds = {"seconds": round(time.time() - began, 1), "cpu": round(time.process_time(), 1)}
        entry = {"step": step, **seconds, **extra}
        print(json.dumps(entry), flush=True)
        with open(run / "log.jsonl", "a") as log:
            log.write(json.dumps(entry) + "\n")

    while step < recipe.iterations and time.time() < until and not stopped:
        start = time.time()
        windows = tiles.windows(0, step, recipe.batch, side)
        state, terms = iterate(timeless, state, windows, learning_rate(recipe, step))
        terms = jax.device_get(terms)
        step, count, busy = step + 1, count + 1, busy + time.time() - start
        sums = {name: sums.get(name, 0) + float(value) for name, value in terms.items()}
        if step % 200 == 0:
            means = {name: round(value / count, 5) for name, value in sums.items()}
            report({**means, "per_second": round(count / busy, 2)})
            sums, count, busy = {}, 0, 0.0
        if time.time() - saved > SAVE_SECONDS:
            save(path, state)
            report(validate(recipe.model, state["ema"], tiles.held_out))
            saved = time.time()
    save(path, state)
    report(validate(recipe.model, state["ema"], tiles.held_out))
    return state


def fresh_like(recipe):
    """A state of the recipe's shapes."""
    params = recipe.model.init_params(jax.random.key(0))
    return {"params": params, "ema": params, "adam": OPTIMIZER.init(params), "step": jnp.int32(0)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("data", type=Path, help="zip written by pack.py")
    parser.add_argument("run", type=Path, help="folder of the state and the log")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of this slice")
    parser.add_argument(
        "--init", type=Path, help=".npz of weights to start from, of fewer RRDBs at most"
    )
    parser.add_argument("--export", type=Path, help="write the averaged weights here at the end")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="of the recipe")
    args = parser.parse_args()
    changes = {name: json.loads(value) for name, value in (s.split("=") for s in args.set)}
    recipe = dataclasses.replace(RECIPES[args.recipe], **changes)
    until = time.time() + 60 * args.minutes
    state = train(recipe, batches.Tiles(args.data), args.run, until, args.init)
    if args.export:
        export(args.export, recipe.model, state["ema"])


if __name__ == "__main__":
    main()
