"""`hcflow score`: how likely pictures are by a model."""

import dataclasses
import json

from hcflow_jax.cli import batch, naming, sources
from hcflow_jax.cli.arguments import (
    add_checkpoint,
    add_dtype,
    add_inputs,
    add_max_pixels,
    add_noise,
    add_task,
    whole_number,
)
from hcflow_jax.errors import UserError, shown

COLUMNS = ("nats", "bits_per_dim", "nll", "bits_per_latent")
HEADER = ("nats", "bits/dim", "nll bits/px", "bits/latent")
WIDTHS = (15, 12, 13, 13)
"""Of the table; the second and third add up to the sums below them."""

YARDSTICK = (
    "8 bits per dimension is what a picture takes uncompressed: with fewer the model knows such "
    "pictures, with more they are less likely by it than noise"
)

MAX_PIXELS = 4_000_000
"""Pixels that are computed at once by default: they take 4 GB."""


def add_command(commands) -> None:
    """Adds the parser of the command to `commands`."""
    summary = "the likelihood of pictures by a model, term by term"
    command = commands.add_parser("score", help=summary, description=f"{summary}. {YARDSTICK}.")
    command.set_defaults(run=_score)
    add_inputs(command)
    command.add_argument(
        "--lr", metavar="FILE", help="the LR image of the only IN (default: its MATLAB bicubic)"
    )
    add_checkpoint(command)
    add_dtype(command)
    add_task(command)
    add_noise(command)
    command.add_argument(
        "--crop", type=whole_number(1), metavar="N", help="score the centre of N × N pixels"
    )
    command.add_argument("--json", metavar="FILE", help="write the figures there too")
    add_max_pixels(command, MAX_PIXELS)


def divisible(source, rgb, scale, side=None):
    """(the pixels of a picture, uint8, as `images.crop` crops it, where they are in it).

    UserError for a picture smaller than the scale.
    """
    from hcflow_jax import images
    from hcflow_jax.images import metrics

    height, width, _ = rgb.shape
    if min(height, width) < scale:
        raise UserError(
            f"{source} is {width}×{height}, and ×{scale} needs {scale} pixels a side; leave it out"
        )
    place = images.crop((height, width), scale, side)
    return metrics.to_uint8(rgb[place]), place


def _read(args, model, source):
    """(HR image, LR image or None, both uint8, a remark on what was left out).

    UserError for a picture that is not to be scored whole, or a --lr of another size.
    """
    from hcflow_jax import images

    picture = sources.read(source, max(images.MAX_PIXELS, args.max_pixels))
    hr, place = divisible(source, picture.rgb, model.scale, args.crop)
    (tall, wide, _), (height, width, _) = hr.shape, picture.rgb.shape
    if tall * wide > args.max_pixels:
        raise UserError(
            f"{source} has {tall * wide:,} pixels, more than {args.max_pixels:,}, and is computed "
            f"whole, at 1 kB each; score its centre by --crop {_side(args, model.scale)}, or allow "
            "more by --max-pixels"
        )
    lr = None if args.lr is None else _read_lr(args, model, (height, width), place)
    remarks = [] if (tall, wide) == (height, width) else [f"of {width}×{height}"]
    remarks += ["transparency left out"] if picture.alpha is not None else []
    return hr, lr, remarks


def _side(args, scale):
    """A side for --crop that --max-pixels allows."""
    return max(int(min(1024, args.max_pixels**0.5)) // scale, 1) * scale


def _read_lr(args, model, size, place):
    """The part of the picture --lr, uint8, that belongs to `place` of a picture of `size`."""
    from hcflow_jax import images
    from hcflow_jax.images import metrics

    lr = metrics.to_uint8(sources.read(args.lr, images.MAX_PIXELS).rgb)
    height, width = (side // model.scale for side in size)
    if lr.shape[:2] != (height, width):
        raise UserError(
            f"{args.lr} is {lr.shape[1]}×{lr.shape[0]}, and the LR image of this picture "
            f"{width}×{height}; name that"
        )
    rows, columns = (slice(s.start // model.scale, s.stop // model.scale) for s in place)
    return lr[rows, columns]


def _score(args):
    from hcflow_jax import images, sampling
    from hcflow_jax.evaluation import likelihood

    plan = [(path, [path]) for path in sources.listed(args)]
    if args.lr is not None and len(plan) > 1:
        raise UserError(
            f"--lr {args.lr} is one LR image, and {len(plan)} pictures are to be scored"
        )
    if args.json is not None:
        naming.check_apart(args.json, "--json", [*(path for path, _ in plan), args.lr])
        images.check_place(args.json)
    model, params = sampling.load(args.checkpoint, args.task, as_trained=True, dtype=args.dtype)
    if args.crop is not None and args.crop < model.scale:
        raise UserError(f"--crop {args.crop} is less than a pixel of the LR image; give 256")
    noise = likelihood.noise_of(model, args.checkpoint, args.quant)
    lr = shown(args.lr) if args.lr else "by bicubic, 8 bits"
    print(f"{model.task} ×{model.scale}, noise {noise}, seed {args.seed}; LR {lr}")
    found = {}

    def read(source, _):
        return _read(args, model, source)

    def convert(pictures, report):
        for (hr, lr, _), _ in pictures:
            yield likelihood.score(model, params, hr, noise, lr, args.seed)

    def write(source, picture, target, score):
        hr, _, remarks = picture
        height, width, _ = hr.shape
        if not score.finite:
            raise UserError(f"{source}: the network's likelihood is not finite; score another part")
        found[source] = {"width": width, "height": height} | _figures(score)
        title = ", ".join([shown(source), " ".join([f"{width}×{height}", *remarks])])
        sums = f"{score.bits_per_dim:,.4f} bits per dimension, nll {score.nll:,.4f} bits per pixel"
        print(f"{title}: {sums}", flush=True)

    code = batch.run(plan, read, convert, write)
    mean = _mean(list(found.values()))
    if found:
        title = f"mean of {len(found)} pictures" if len(found) > 1 else "term by term"
        print("\n".join(_table(title, mean)))
        print(f"\n{YARDSTICK}")
    if args.json is not None and found:
        named = [{"file": str(source)} | figures for source, figures in found.items()]
        about = {"task": model.task, "scale": model.scale, "dtype": model.dtype}
        about |= {"seed": args.seed}
        about |= {"noise": noise.kind, "quant": noise.quant, "quant_source": noise.source}
        text = json.dumps(about | {"mean": mean, "pictures": named}, indent=2)
        images.write_beside(args.json, lambda file: file.write(f"{text}\n".encode()))
        print(f"{shown(args.json)} written")
    return code


def _figures(score):
    """A score as what JSON keeps: a term has the columns that it has a value in."""
    terms = {
        name: {k: v for k, v in dataclasses.asdict(term).items() if v is not None}
        for name, term in score.terms.items()
    }
    return {"bits_per_dim": score.bits_per_dim, "nll": score.nll, "terms": terms}


def _mean(found):
    """The mean over pictures of every figure, each picture counting alike."""

    def average(values):
        return sum(values) / max(len(values), 1)

    first = found[0]["terms"] if found else {}
    return {
        "bits_per_dim": average([figures["bits_per_dim"] for figures in found]),
        "nll": average([figures["nll"] for figures in found]),
        "terms": {
            name: {c: average([figures["terms"][name][c] for figures in found]) for c in term}
            for name, term in first.items()
        },
    }


def _title(name, levels):
    if name.startswith("log_prior_"):
        level = int(name.removeprefix("log_prior_"))
        where = {0: ", the finest", levels - 1: ", the coarsest"}.get(level, "")
        return f"log prior of level {level}{where if levels > 1 else ''}"
    return {
        "log_det": "log-determinant",
        "log_lr_raw": "LR image, log N(LR_raw; lr, e⁻⁶)",
        "levels": "255 levels for [0, 1], log2 255",
        "log_lr": "rounded LR, log N(Q(LR_raw); lr, e⁻⁶)",
        "dequantization": "dequantisation, −log q per pixel",
    }[name]


def _table(title, figures):
    """Lines: the terms, and the sums of the second and third columns."""
    levels = sum(name.startswith("log_prior_") for name in figures["terms"])
    rows = [(_title(name, levels), term) for name, term in figures["terms"].items()]
    rows.append(("sum: bits per dimension, published nll", figures))
    wide = max(len(name) for name, _ in rows)
    lines = ["", _line(title, HEADER, wide)]
    for name, values in rows:
        cells = [
            "" if values.get(column) is None else f"{values[column]:,.{decimals}f}"
            for column, decimals in zip(COLUMNS, (1, 4, 4, 4), strict=True)
        ]
        lines.append(_line(name, cells, wide))
    return lines


def _line(name, cells, wide):
    row = "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
    return f"{name:<{wide}}{row}".rstrip()
