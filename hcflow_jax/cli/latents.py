"""`hcflow encode`, `decode` and `latents`: pictures as what the flow makes of them."""

import dataclasses
import json
from pathlib import Path

from hcflow_jax.cli import batch, naming, progress, sources
from hcflow_jax.cli.arguments import (
    add_checkpoint,
    add_dtype,
    add_inputs,
    add_max_pixels,
    add_noise,
    add_task,
    add_tile,
)
from hcflow_jax.cli.likelihood import divisible
from hcflow_jax.errors import UserError, shown


def add_commands(commands) -> None:
    """Adds the parsers of the three commands to `commands`."""
    summary = "turn a picture into its LR image and latents, which hold all of it"
    encode = commands.add_parser("encode", help=summary, description=summary)
    encode.set_defaults(run=_encode)
    encode.add_argument("input", metavar="IN", help="a picture")
    encode.add_argument("-o", "--output", metavar="OUT", required=True, help="a .npz")
    add_checkpoint(encode)
    add_task(encode)
    add_tile(encode)
    add_max_pixels(encode)
    summary = "bring a picture back from what `encode` wrote, to the bit"
    decode = commands.add_parser("decode", help=summary, description=summary)
    decode.set_defaults(run=_decode)
    decode.add_argument("input", metavar="IN", help="a .npz that `encode` wrote")
    decode.add_argument("-o", "--output", metavar="OUT", required=True, help="a picture")
    add_checkpoint(decode)
    add_max_pixels(decode)
    summary = "whether the latents of pictures are the white Gaussian noise they are taken for"
    latents = commands.add_parser("latents", help=summary, description=summary)
    latents.set_defaults(run=_latents)
    add_inputs(latents)
    latents.add_argument(
        "-o", "--output", metavar="OUT", help="draw histograms of the levels there, as a picture"
    )
    add_checkpoint(latents)
    add_dtype(latents)
    add_task(latents)
    add_noise(latents)
    latents.add_argument("--json", metavar="FILE", help="write the figures there too")
    add_tile(latents)
    add_max_pixels(latents)


def _encode(args):
    import numpy as np

    from hcflow_jax import images, sampling
    from hcflow_jax.images import colour
    from hcflow_jax.images.metrics import to_uint8
    from hcflow_jax.sampling import encoded_files, encoding

    target = Path(args.output)
    if target.suffix.lower() != ".npz":
        raise UserError(f"{target}: the latents are arrays; name a .npz")
    images.check_place(target)
    picture = sources.read(args.input, args.max_pixels)
    own = colour.from_network(picture.rgb, picture.profile)
    rgb = to_uint8(own).astype(np.float32) / 255  # as the file has them, to come back to the bit
    model, params = sampling.load(args.checkpoint, args.task, dtype="float32")
    with progress.shown() as report:
        encoded = encoding.encode_picture(model, params, rgb, args.tile, report)
        again = encoding.decode_picture(model, params, encoded, args.tile, report)
    count, most = encoding.changed_values(rgb, again)
    if count:
        raise UserError(
            f"{args.input}: {count:,} of {rgb.size:,} values would come back changed, by up to "
            f"{most} of 255; {_remedy(args, rgb)}"
        )
    encoded_files.write_encoded(
        target, model, params, encoded, args.tile, picture.grey, picture.alpha, picture.profile
    )
    values = encoded.lr.size + sum(latent.size for latent in encoded.latents)
    height, width = encoded.size
    print(f"{shown(target)}  {width}×{height}, {values:,} values; decodes to the same 8 bits")


def _remedy(args, rgb):
    """What may help where a network does not bring a picture back."""
    if max(rgb.shape) > args.tile:
        side = max(rgb.shape) + -max(rgb.shape) % 256
        return f"tiles do not see all that this network does, compute it whole by --tile {side}"
    return "this network is not invertible on it in 32 bits, use other weights by --checkpoint"


def _decode(args):
    from hcflow_jax import images, paths, sampling
    from hcflow_jax.images import colour
    from hcflow_jax.sampling import encoded_files, encoding

    source, target = paths.local(args.input, "copy it here"), Path(args.output)
    images.check_writable(target)
    kind = images.FORMATS[target.suffix.lower()]
    if not kind.lossless:
        raise UserError(f"{target}: {kind.name} would not keep the picture exactly; name a .png")
    info = encoded_files.read_info(source, args.max_pixels)
    model, params = sampling.load(args.checkpoint, info.task, info.scale, dtype="float32")
    encoded, alpha, profile = encoded_files.read_encoded(source, info, model, params)
    images.check_writable(target, alpha is not None, encoded.size, profile=profile)
    if profile and colour.space(profile) not in kind.spaces:
        raise UserError(f"{target}: {kind.name} keeps no such colour profile; name a .png")
    with progress.shown() as report:
        rgb = encoding.decode_picture(model, params, encoded, info.tile, report)
    rgb = colour.for_network(rgb.clip(0, 1), profile)
    batch.write(target, rgb, alpha, info.grey, profile=profile)


TITLES = {
    "mean": "mean",
    "std": "standard deviation",
    "kurtosis": "excess kurtosis",
    "right": "correlation with the right neighbour",
    "below": "correlation with the neighbour below",
    "channels": "correlation with the next channel",
    "beyond_3": "share of |x| > 3",
}
"""Of the figures of `evaluation.latents`."""


def _latents(args):
    import numpy as np

    from hcflow_jax import images, sampling
    from hcflow_jax.evaluation import latents, likelihood
    from hcflow_jax.sampling import encoding

    plan = [(path, [path]) for path in sources.listed(args)]
    inputs = [path for path, _ in plan]
    if args.output is not None:
        naming.check_apart(args.output, "-o", inputs)
        images.check_writable(args.output)
    if args.json is not None:
        naming.check_apart(args.json, "--json", [*inputs, args.output])
        images.check_place(args.json)
    model, params = sampling.load(args.checkpoint, args.task, as_trained=True, dtype=args.dtype)
    noise = None
    if model.task == "sr" or args.quant:
        noise = likelihood.noise_of(model, args.checkpoint, args.quant)
    told = "no noise, as trained" if noise is None else f"noise {noise}, seed {args.seed}"
    print(f"{model.task} ×{model.scale}, {told}")
    found = []

    def read(source, _):
        rgb = sources.read(source, args.max_pixels).rgb
        return likelihood.noisy(divisible(source, rgb, model.scale)[0], noise, args.seed)

    def convert(pictures, report):
        inputs = (hr for hr, _ in pictures)
        return encoding.encode_all(model, params, inputs, args.tile, progress=report)

    def write(source, picture, target, encoded):
        if not all(np.isfinite(latent).all() for latent in encoded.latents):
            raise UserError(f"{source}: latents are not finite; use other weights by --checkpoint")
        found.append([latents.sums(latent) for latent in encoded.latents])

    code = batch.run(plan, read, convert, write)
    if found:
        _report(args, len(found), [sum(rest, first) for first, *rest in zip(*found, strict=True)])
    return code


def _report(args, count, levels):
    """Prints and writes the figures of the Sums of every level."""
    from hcflow_jax import images
    from hcflow_jax.evaluation import histograms, latents

    figures = [latents.figures(level) for level in levels]
    for i, (level, found) in enumerate(zip(levels, figures, strict=True)):
        title = f"level {i}{', the finest' if i == 0 else ''}: {int(level.powers[0]):,} values"
        print(f"\n{title:<48}found    N(0, 1) gives")
        for name, figure in found.items():
            print(f"  {TITLES[name]:<36}{_value(figure):>15}    {_expected(figure)}".rstrip())
    if args.output is not None:
        images.write(args.output, histograms.draw(levels))
        print(f"{shown(args.output)} written")
    if args.json is not None:
        named = [
            {"level": i, "values": int(level.powers[0])}
            | {name: dataclasses.asdict(figure) for name, figure in found.items()}
            for i, (level, found) in enumerate(zip(levels, figures, strict=True))
        ]
        text = json.dumps({"pictures": count, "levels": named}, indent=2)
        images.write_beside(args.json, lambda file: file.write(f"{text}\n".encode()))
        print(f"{shown(args.json)} written")


def _value(figure):
    return "" if figure.value is None else f"{figure.value:.4f}"


def _expected(figure):
    return "" if figure.deviation is None else f"{figure.expected:.4g} ± {figure.deviation:.2g}"
