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
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax
from recipes import RECIPES

from hcflow_jax import from_torch, to_published
from hcflow_jax.images import jpeg, metrics
from hcflow_jax.images.resize import imresize
from hcflow_jax.model.guard import GUARD

SAVE_SECONDS = 300
VALIDATION_SIDE = 384
JPEG_QUALITIES = 50, 70, 90
MUON_RMS = 0.2
STEER = 0.002


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


def learning_rate(recipe, step, progress=None):
    """Linear warmup, then a cosine to zero, by default at `recipe.iterations`.

    `progress` is what has passed of a training that is measured otherwise.
    """
    progress = step / recipe.iterations if progress is None else progress
    rise = min(1.0, (step + 1) / recipe.warmup)
    return recipe.rate * rise * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _update(recipe, weights, judge, state, windows, odd, rate):
    """(state after one update, metrics); a value that is not finite changes nothing.

    `odd` are the windows for `batches.strange`.
    """
    hr, lr = batches.pair(windows, recipe.model.scale)
    key = jax.random.fold_in(jax.random.key(0), state["step"])
    odd = batches.strange(odd, recipe.model.scale, jax.random.fold_in(key, 2))
    loss = functools.partial(objectives.total, recipe, weights, judge)
    (value, terms), gradients = jax.value_and_grad(loss, has_aux=True)(
        state["params"], hr, lr, odd, key
    )
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


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def iterate(recipe, images, state, places, odd, rates, weights, judge):
    """(state after one update per entry of `rates`, mean metrics).

    The windows are those of `images` at `places` [N, B, 4], those of `batches.strange` at `odd`.
    The rates [N] and `weights`, of `objectives.WEIGHTS`, are the caller's: programs are kept while
    only they change. `judge` is `objectives.judge_of` the recipe.
    """
    side = recipe.patch + 2 * batches.margin(recipe.model.scale)

    def one(state, inputs):
        places, odd, rate = inputs
        windows = batches.cut(images, places, side)
        strange = batches.cut(images, odd, side)
        return _update(recipe, weights, judge, state, windows, strange, rate)

    state, terms = lax.scan(one, state, (places, odd, rates))
    return state, jax.tree.map(jnp.mean, terms)


def anchored(params, channels):
    """`params` whose flow leaves the first channels as they are: at first the LR image is a mean.

    ActNorms that normalise them would make it an image of mean 0, of which rounding leaves nothing.
    """

    def anchor(path, leaf):
        names = [getattr(key, "key", None) for key in path]
        own = "flow" in names and "actnorm" in names
        return leaf.at[..., :channels].set(0) if own else leaf

    return jax.tree_util.tree_map_with_path(anchor, params)


def unguarded(model, params):
    """The same network without the ranges of its guard: training is to move them."""
    flat = flatten_dict(params, keep_empty_nodes=True)  # a level may have no conditional steps
    free = {path: array for path, array in flat.items() if GUARD not in path}
    return dataclasses.replace(model, guard=False), unflatten_dict(free)


def fresh(recipe, tiles, init):
    """The state before the first iteration, from published-names weights where some are given."""
    hr, _ = batches.pair(tiles.windows(1, 0, 32, _side(recipe)), recipe.model.scale)
    if init is None:
        params = recipe.model.init(jax.random.key(0), hr)
        if recipe.model.permutation == "none":
            params = anchored(params, recipe.model.image_channels)
    else:
        with np.load(init) as arrays:
            model, params = from_torch(dict(arrays))
        if not recipe.model.guard:
            model, params = unguarded(model, params)
        if model != dataclasses.replace(recipe.model, dtype="float32"):
            params = grow.deepen(model, params, recipe.model, jax.random.key(0))
    ema = jax.tree.map(jnp.copy, params)
    return {
        "params": params,
        "ema": ema,
        "adam": optimizer(recipe).init(params),
        "step": jnp.int32(0),
    }


def _side(recipe):
    return recipe.patch + 2 * batches.margin(recipe.model.scale)


def _constant(recipe):
    """The recipe without what may change within a run and is no part of the program."""
    variable = ("iterations", "rate", "warmup", "small_error", *objectives.WEIGHTS)
    return dataclasses.replace(recipe, **dict.fromkeys(variable, 0))


def steered(weights, error, target, count):
    """`weights` whose `small` rises while the LR image's squared error is above its target."""
    small = weights["small"] * (error / target) ** (STEER * count)
    return weights | {"small": float(np.clip(small, 0.3, 8))}


class Log:
    """The curves of a training: means over about `every` iterations, printed and kept in a file."""

    def __init__(self, path, step, every=200):
        self.path, self.step, self.every = path, step, every
        self.began, self.calls, self.work = time.time(), 0, []
        self.since, self.sums, self.count = time.time(), {}, 0

    def add(self, count, terms, seconds):
        """`terms` are means of `count` iterations, that took so many seconds of work."""
        self.step, self.calls, self.count = self.step + count, self.calls + 1, self.count + count
        self.work = [*self.work, seconds / count][-200:]
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0) + count * float(value)
        if self.count >= self.every:
            means = {name: round(value / self.count, 5) for name, value in self.sums.items()}
            rate = round(self.count / (time.time() - self.since), 2)
            self.write({**means, "per_second": rate, "each": round(np.median(self.work), 4)})
            self.since, self.sums, self.count = time.time(), {}, 0

    def write(self, figures):
        """Adds a line of the step, seconds since the start, processor seconds and `figures`."""
        seconds = {"seconds": round(time.time() - self.began, 1), "cpu": round(time.process_time())}
        line = json.dumps({"step": self.step, **seconds, **figures})
        print(line, flush=True)
        with open(self.path, "a") as file:
            file.write(line + "\n")


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


def train(recipe, tiles, run, init, limits):
    """The state after a slice of a training, whose state and curves are in the folder `run`."""
    clock = time.process_time if jax.default_backend() == "cpu" else time.time
    run.mkdir(parents=True, exist_ok=True)
    path, until = run / "state.npz", time.time() + 60 * limits.minutes
    like = jax.eval_shape(lambda: fresh_like(recipe))
    state = load(path, like) if path.exists() else fresh(recipe, tiles, init)
    weights = {name: getattr(recipe, name) for name in objectives.WEIGHTS}
    constant, judge = _constant(recipe), objectives.judge_of(recipe)
    stopped = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.append(True))
    log = Log(run / "log.jsonl", int(state["step"]))
    saved, validated, used, progress = time.time(), clock(), 0.0, None
    while not stopped and time.time() < until:
        if log.step >= recipe.iterations if progress is None else progress >= 1:
            break
        start = clock()
        steps = range(log.step, log.step + limits.each)
        places = np.stack([tiles.places(0, i, recipe.batch, _side(recipe)) for i in steps])
        odd = 4 if recipe.strange else 0
        odd = np.stack([tiles.places(1, i, odd, _side(recipe), drawn=True) for i in steps])
        rates = np.float32([learning_rate(recipe, i, progress) for i in steps])
        state, terms = iterate(constant, tiles.images, state, places, odd, rates, weights, judge)
        terms = jax.device_get(terms)
        log.add(limits.each, terms, clock() - start)
        if recipe.small_error and log.calls * limits.each > recipe.warmup:
            weights = steered(weights, terms["small"], recipe.small_error, limits.each)
        if log.calls > 1:  # the first one compiles
            used += clock() - start
        progress = used / limits.budget if limits.budget else None
        if time.time() - saved > SAVE_SECONDS:
            save(path, state)
            saved = time.time()
        if clock() - validated > limits.validate:
            log.write(validate(recipe, state["ema"], tiles.held_out))
            validated = clock()
    save(path, state)
    if np.isfinite(limits.validate):
        log.write(validate(recipe, state["ema"], tiles.held_out))
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
    parser.add_argument(
        "--synthetic",
        type=float,
        default=batches.SYNTHETIC_SHARE,
        help="share of the patches that are of drawn pictures",
    )
    parser.add_argument("--dtype", default="float32", help="of the networks' convolutions")
    parser.add_argument(
        "--each", type=int, default=1, help="iterations per program; a GPU wants some 20"
    )
    parser.add_argument(
        "--budget", type=float, metavar="SECONDS",
        help="the rate falls to zero in so many seconds of work, not over the recipe's iterations",
    )  # fmt: skip
    parser.add_argument(
        "--validate", type=float, default=600, metavar="SECONDS", help="of work between; inf: never"
    )  # of the processor: where others have the cores, validating must not take all that is left
    args = parser.parse_args()
    changes = {name: _value(text) for name, text in (s.split("=") for s in args.set)}
    changes = {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}
    recipe = dataclasses.replace(RECIPES[args.recipe], **changes)
    guard = recipe.strange > 0  # without it, some of those samples are not finite
    model = dataclasses.replace(recipe.model, dtype=args.dtype, guard=guard)
    recipe = dataclasses.replace(recipe, model=model)
    state = train(recipe, batches.Tiles(args.data, args.synthetic), args.run, args.init, args)
    if args.export:
        export(args.export, recipe.model, state["ema"], np.float32)


if __name__ == "__main__":
    main()
