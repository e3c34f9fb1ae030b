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
import optax.contrib
from recipes import RECIPES

from hcflow_jax import from_torch, to_published
from hcflow_jax.images import jpeg, metrics
from hcflow_jax.images.resize import imresize

SAVE_SECONDS = 300
VALIDATE_SECONDS = 600
"""Of the processor: where others have the cores, validating must not take all that is left."""

VALIDATION_SIDE = 384
JPEG_QUALITIES = 50, 70, 90
MUON_RMS = 0.2


def _is_kernel(path, leaf):
    return path[-1] == jax.tree_util.DictKey("kernel") and leaf.ndim >= 4


def _kinds(params):
    """ "muon" for the kernels of convolutions, "adam" for all else."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: "muon" if _is_kernel(path, leaf) else "adam", params
    )


def _muon():
    """Momentum made orthogonal, kernels as [kh·kw·inputs, outputs], as large as Adam's updates."""
    sides = optax.contrib.MuonDimensionNumbers((-4, -3, -2), -1)

    def of(tree):
        return jax.tree.map(lambda _: sides, tree)

    return optax.chain(
        optax.contrib.scale_by_muon(weight_dimension_numbers=of),
        optax.contrib._muon.scale_by_shape(of, MUON_RMS),
    )


def optimizer(recipe):
    """The gradient's way to an update of rate 1."""
    adam = optax.scale_by_adam(0.9, 0.99)
    rule = adam
    if recipe.optimizer == "muon":
        rule = optax.partition({"muon": _muon(), "adam": adam}, _kinds)
    return optax.chain(optax.clip_by_global_norm(1.0), rule)


def learning_rate(recipe, step):
    """Linear warmup, then a cosine to zero at `recipe.iterations`."""
    rise = min(1.0, (step + 1) / recipe.warmup)
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / recipe.iterations)))
    return recipe.rate * rise * fall


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def iterate(recipe, state, windows, rate, weights):
    """(state after one update, metrics); a value that is not finite changes nothing.

    The rate and `weights`, of `objectives.WEIGHTS`, are the caller's: programs are kept while only
    they change.
    """
    hr, lr = batches.pair(windows, recipe.model.scale)
    key = jax.random.fold_in(jax.random.key(0), state["step"])
    loss = functools.partial(objectives.total, recipe, weights)
    (value, terms), gradients = jax.value_and_grad(loss, has_aux=True)(state["params"], hr, lr, key)
    updates, adam = optimizer(recipe).update(gradients, state["adam"])
    params = jax.tree.map(lambda p, u: p - rate * u, state["params"], updates)
    decay = jnp.minimum(recipe.ema, (1 + state["step"]) / (10 + state["step"]))
    ema = optax.incremental_update(params, state["ema"], 1 - decay)
    new = {"params": params, "ema": ema, "adam": adam}
    good = jnp.isfinite(value) & jnp.isfinite(optax.global_norm(gradients))
    old = {name: state[name] for name in new}
    new = jax.tree.map(functools.partial(jnp.where, good), new, old)
    terms |= {"loss": value, "skipped": 1.0 - good, "norm": optax.global_norm(gradients)}
    return new | {"step": state["step"] + 1}, terms


def anchored(params, channels):
    """`params` whose flow leaves the first channels as they are: at first the LR image is a mean.

    ActNorms that normalise them would make it an image of mean 0, of which rounding leaves nothing.
    """

    def anchor(path, leaf):
        names = [getattr(key, "key", None) for key in path]
        own = "flow" in names and "actnorm" in names
        return leaf.at[..., :channels].set(0) if own else leaf

    return jax.tree_util.tree_map_with_path(anchor, params)


def fresh(recipe, tiles, init):
    """The state before the first iteration, from published-names weights where some are given."""
    count, side = 32, recipe.patch + 2 * batches.margin(recipe.model.scale)
    hr, _ = batches.pair(tiles.windows(1, 0, count, side), recipe.model.scale)
    if init is None:
        params = recipe.model.init(jax.random.key(0), hr)
        if recipe.model.permutation == "none":
            params = anchored(params, recipe.model.image_channels)
    else:
        with np.load(init) as arrays:
            model, params = from_torch(dict(arrays))
        if model != recipe.model:
            params = grow.deepen(model, params, recipe.model, jax.random.key(0))
    ema = jax.tree.map(jnp.copy, params)
    return {
        "params": params,
        "ema": ema,
        "adam": optimizer(recipe).init(params),
        "step": jnp.int32(0),
    }


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


def _restored_from_jpeg(model, params, small, quality):
    """What is made of a small picture, uint8 [h, w, 3], that was saved as a JPEG of 4:2:0."""
    decoded = jpeg.compress(small[None].astype(np.float32) / 255, quality)
    return _sample(model, params, decoded)[0], np.asarray(decoded[0])


def validate(recipe, params, images):
    """{"bicubic", "psnr", rescaling: "small"} means over images in dB, PSNR-Y at temperature 0.

    Where the recipe knows JPEGs also "jpeg90", "bicubic90" and so on, of JPEG_QUALITIES.
    """
    model, rows = recipe.model, []
    for hr in images.values():
        top, left = ((side - VALIDATION_SIDE) // 2 for side in hr.shape[:2])
        hr = hr[top : top + VALIDATION_SIDE, left : left + VALIDATION_SIDE]
        bicubic = imresize(hr, 1 / model.scale)
        small = bicubic
        if model.task == "rescaling":
            own = _small(model, params, hr[None].astype(np.float32) / 255)[0]
            small = metrics.to_uint8(np.asarray(own))
        found = {"bicubic": imresize(bicubic / 255, model.scale)}
        found["psnr"] = _sample(model, params, small[None].astype(np.float32) / 255)[0]
        for quality in JPEG_QUALITIES if recipe.jpeg else ():
            found[f"jpeg{quality}"], _ = _restored_from_jpeg(model, params, small, quality)
            _, decoded = _restored_from_jpeg(model, params, bicubic, quality)
            found[f"bicubic{quality}"] = imresize(decoded, model.scale)
        row = {
            name: metrics.psnr_y(metrics.to_uint8(np.asarray(image)), hr, model.scale)
            for name, image in found.items()
        }
        if model.task == "rescaling":
            row["small"] = metrics.psnr(small, bicubic)
        rows.append(row)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def export(path, model, params, dtype=np.float16):
    """Published-names arrays of `dtype`, in a compressed .npz."""
    arrays = {name: a.astype(dtype) for name, a in to_published(model, params).items()}
    np.savez_compressed(path, **arrays)


def train(recipe, tiles, run, until, init, budget=None):
    """The state after a slice.

    With a `budget` of seconds, of the processor or of a GPU, compiling left out, it is one whole
    training: `iterations` becomes what the first ten say that the budget allows.
    """
    clock = time.process_time if jax.default_backend() == "cpu" else time.time
    run.mkdir(parents=True, exist_ok=True)
    path = run / "state.npz"
    like = jax.eval_shape(lambda: fresh_like(recipe))
    state = load(path, like) if path.exists() else fresh(recipe, tiles, init)
    weights = {name: getattr(recipe, name) for name in objectives.WEIGHTS}
    variable = ("iterations", "rate", "warmup", *weights)
    constant = dataclasses.replace(recipe, **dict.fromkeys(variable, 0))
    stopped = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.append(True))
    side = recipe.patch + 2 * batches.margin(recipe.model.scale)
    step, began, saved, sums, count, busy = int(state["step"]), time.time(), time.time(), {}, 0, 0.0
    work, validated = [], time.process_time()

    def report(extra):
        seconds = {"seconds": round(time.time() - began, 1), "cpu": round(time.process_time(), 1)}
        entry = {"step": step, **seconds, **extra}
        print(json.dumps(entry), flush=True)
        with open(run / "log.jsonl", "a") as log:
            log.write(json.dumps(entry) + "\n")

    while step < recipe.iterations and time.time() < until and not stopped:
        start, used = time.time(), clock()
        windows = tiles.windows(0, step, recipe.batch, side)
        state, terms = iterate(constant, state, windows, learning_rate(recipe, step), weights)
        terms = jax.device_get(terms)
        step, count, busy = step + 1, count + 1, busy + time.time() - start
        sums = {name: sums.get(name, 0) + float(value) for name, value in terms.items()}
        work.append(clock() - used)
        if budget and len(work) == 11:
            recipe = dataclasses.replace(recipe, iterations=11 + round(budget / np.mean(work[1:])))
            report({"iterations": recipe.iterations, "cpu_each": round(np.mean(work[1:]), 3)})
        if step % (50 if budget else 200) == 0:
            means = {name: round(value / count, 5) for name, value in sums.items()}
            each = round(np.mean(work[1:][-200:]), 3)
            report({**means, "per_second": round(count / busy, 2), "cpu_each": each})
            sums, count, busy = {}, 0, 0.0
        if time.time() - saved > SAVE_SECONDS:
            save(path, state)
            saved = time.time()
        if time.process_time() - validated > VALIDATE_SECONDS:
            report(validate(recipe, state["ema"], tiles.held_out))
            validated = time.process_time()
    save(path, state)
    report(validate(recipe, state["ema"], tiles.held_out))
    return state


def fresh_like(recipe):
    """A state of the recipe's shapes."""
    params = recipe.model.init_params(jax.random.key(0))
    return {
        "params": params,
        "ema": params,
        "adam": optimizer(recipe).init(params),
        "step": jnp.int32(0),
    }


def _value(text):
    """A number, a list or a word."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


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
    parser.add_argument("--budget", type=float, help="one training of so many seconds of work")
    args = parser.parse_args()
    changes = {name: _value(text) for name, text in (s.split("=") for s in args.set)}
    changes = {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}
    recipe = dataclasses.replace(RECIPES[args.recipe], **changes)
    until = time.time() + 60 * args.minutes
    state = train(recipe, batches.Tiles(args.data), args.run, until, args.init, args.budget)
    if args.export:
        export(args.export, recipe.model, state["ema"])


if __name__ == "__main__":
    main()
