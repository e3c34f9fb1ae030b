"""`hcflow upscale`, `downscale` and `restore`."""

import itertools
import re
import sys

from hcflow_jax.cli import batch, sources
from hcflow_jax.cli.arguments import add_picture_command, add_sampling, region, whole_number
from hcflow_jax.errors import UserError, shown

SIZE_KEY, GREY_KEY = "hcflow:size", "hcflow:grey"
"""Text chunks of the small PNG: the original's width and height, and whether it was grey."""


def add_commands(commands) -> None:
    """Adds the parsers of the three commands to `commands`."""
    _add_upscale(commands)
    add_picture_command(
        commands,
        "downscale",
        _downscale,
        "shrink pictures to a quarter, to be restored later",
        "lr",
        png=True,
    )
    restore = add_picture_command(
        commands,
        "restore",
        _restore,
        "bring pictures shrunk by `downscale` back",
        "restored",
    )
    add_sampling(restore, 0.0, "the most faithful")


def _add_upscale(commands):
    upscale = add_picture_command(
        commands, "upscale", _upscale, "enlarge pictures, inventing plausible detail", "x4"
    )
    upscale.add_argument("--scale", type=int, default=4, choices=(2, 4, 8, 16), help="default: 4")
    add_sampling(
        upscale,
        0.0,
        "the most faithful; the shipped weights are made for it; full-size networks look best at "
        "0.8 to 0.9",
    )
    upscale.add_argument(
        "--samples",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="how many different versions to write, numbered OUT_1, OUT_2, … (default: 1)",
    )
    upscale.add_argument(
        "--temperature-map",
        metavar="MAP",
        help="a grey picture of any size, stretched over each picture: black is temperature 0, "
        "white --temperature",
    )
    upscale.add_argument(
        "--region",
        type=region,
        metavar="X,Y,W,H",
        help="draw this part of the result anew, in its pixels, x and y from the upper left "
        "corner; what is farther from it than 64 pixels stays as it is without --region",
    )
    upscale.add_argument(
        "--region-seed",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="which new version of the region; --samples 3 writes N, N + 1 and N + 2 (default: 1)",
    )
    upscale.add_argument(
        "--raw",
        action="store_true",
        help="write the network's own sample, without the back-projection after it, which makes "
        "the result shrink to the input",
    )
    upscale.add_argument(
        "--as-trained",
        action="store_true",
        help="keep the brightness, 255/(2q) too high, that noise U(0, 1)/q of a training with "
        "loss.dequantization=published gives to samples",
    )


def _reader(args, size):
    """read(source, targets) -> Picture of `batch.run`.

    size(source, picture) is that of results; it may refuse a picture.
    """
    from hcflow_jax import images

    def read(source, targets):
        picture = sources.read(source, args.max_pixels)
        for target in targets:
            bits = images.result_bits(target, picture.bits, args.bits)
            alpha = picture.alpha is not None
            images.check_writable(target, alpha, size(source, picture), bits)
        return picture

    return read


def _check_finite(source, pixels, remedy):
    """UserError where a network overflowed."""
    import numpy as np

    if not np.all(np.isfinite(pixels)):
        raise UserError(f"{source}: the network's result is not finite; {remedy}")


def _sampler(args, model, params, temperature, back_project=0):
    from hcflow_jax import sampling

    def convert(pictures, report):
        inputs = ((picture.rgb, index) for picture, index in pictures)
        return sampling.sample_all(
            model,
            params,
            inputs,
            temperature,
            args.seed,
            args.tile,
            check=not args.no_check,
            back_project=back_project,
            progress=report,
        )

    return convert


def _resampler(args, model, params, temperature, back_project):
    """As `_sampler`, of pictures whose region is drawn anew."""
    from hcflow_jax import sampling

    def convert(pictures, report):
        for picture, index in pictures:
            if index == 0:
                versions = sampling.resample_all(
                    model,
                    params,
                    picture.rgb,
                    temperature,
                    args.region,
                    itertools.count(args.region_seed),
                    seed=args.seed,
                    tile=args.tile,
                    check=not args.no_check,
                    back_project=back_project,
                    progress=report,
                )
            yield next(versions)

    return convert


def _checked(args, source, sample):
    """The pixels of a sample, after a line on stderr where it is not what was asked for."""
    said = []
    if sample.colder:
        said.append(
            f"{_share(sample.colder)} drawn again at a lower temperature, as samples at "
            f"{args.temperature:g} did not match the input there"
        )
    if sample.bicubic:
        said.append(
            f"{_share(sample.bicubic)} enlarged by bicubic interpolation instead, as the network "
            "fails there at temperature 0 too (--no-check shows how)"
        )
    if said:
        print(f"{shown(source)}: {'; '.join(said)}", file=sys.stderr, flush=True)
    _check_finite(source, sample.pixels, "leave out --no-check")
    return sample.pixels


def _share(fraction):
    return f"{100 * fraction:.0f} %" if fraction >= 0.01 else "less than 1 %"


def _check_upscale(args):
    """UserError where options contradict one another."""
    if args.temperature == 0:
        for given, what in (
            (args.samples > 1, f"{args.samples} samples at temperature 0 would be the same"),
            (args.region, "--region would change nothing at temperature 0"),
            (args.temperature_map, "white of --temperature-map is --temperature, which is 0"),
        ):
            if given:
                raise UserError(f"{what}; give --temperature 0.5")
    if args.region_seed != 1 and not args.region:
        raise UserError("--region-seed is that of --region; give --region x,y,w,h")


def _temperature(args):
    """The temperature, or a map of it."""
    from hcflow_jax import images

    if args.temperature_map is None:
        return args.temperature
    plane = images.read(args.temperature_map, args.max_pixels).rgb.mean(-1)
    if not plane.any():
        raise UserError(
            f"{args.temperature_map} is black, temperature 0, everywhere; give it lighter places"
        )
    return args.temperature * plane


def _upscale(args):
    from hcflow_jax import sampling
    from hcflow_jax.images import transparency

    _check_upscale(args)
    plan = batch.plan(args, "upscale", f"x{args.scale}", args.samples, args.temperature_map)
    if not plan:
        return 0
    temperature = _temperature(args)
    model, params = sampling.load(args.checkpoint, "sr", args.scale, args.as_trained)

    def size(source, picture):
        if args.region:
            try:
                sampling.check_region(args.region, picture.rgb.shape[:2], args.scale, temperature)
            except UserError as error:
                raise UserError(f"{source}: {error}") from error
        return tuple(model.scale * side for side in picture.rgb.shape[:2])

    def write(source, picture, target, sample):
        hr = _checked(args, source, sample)
        alpha = transparency.resized(picture.alpha, hr.shape[:2])
        about = batch.about(args, "upscale", picture, target)
        batch.write(target, hr, alpha, picture.grey, **about)

    steps = 0 if args.raw else sampling.BACK_PROJECTION
    convert = (_resampler if args.region else _sampler)(args, model, params, temperature, steps)
    return batch.run(plan, _reader(args, size), convert, write)


def _downscale(args):
    from hcflow_jax import sampling
    from hcflow_jax.images import transparency

    plan = batch.plan(args, "downscale", "lr")
    for _, (target,) in plan:
        if target.suffix.lower() != ".png":
            raise UserError(f"{target}: the small picture must be a .png, which keeps every value")
    if not plan:
        return 0
    model, params = sampling.load(args.checkpoint, "rescaling")

    def convert(pictures, report):
        inputs = (picture.rgb for picture, _ in pictures)
        return sampling.downscale_all(model, params, inputs, args.tile, progress=report)

    def write(source, picture, target, lr):
        _check_finite(source, lr, "use other weights by --checkpoint")
        height, width, _ = picture.rgb.shape
        info = {SIZE_KEY: f"{width}x{height}", GREY_KEY: str(int(picture.grey))}
        alpha = transparency.resized(picture.alpha, lr.shape[:2], model.scale)
        about = batch.about(args, "downscale", picture, target, info)
        batch.write(target, lr, alpha, **about)

    def size(source, picture):
        return tuple(-(-side // model.scale) for side in picture.rgb.shape[:2])

    return batch.run(plan, _reader(args, size), convert, write)


def _original_size(source, picture, scale):
    """(height, width) of the original by the text chunk, else those of the whole result."""
    height, width, _ = picture.rgb.shape
    text = picture.info.get(SIZE_KEY)
    if text is None:
        return height * scale, width * scale
    if not re.fullmatch(r"[0-9]{1,9}x[0-9]{1,9}", text):
        raise UserError(
            f"{source}: its {SIZE_KEY} {shown(text, 40)!r} is not a size; downscale again"
        )
    full_width, full_height = (int(part) for part in text.split("x"))
    if (-(-full_height // scale), -(-full_width // scale)) != (height, width):
        raise UserError(
            f"{source} is {width}×{height} but was made from {full_width}×{full_height}; "
            "it was resized or cropped since, downscale the original again"
        )
    return full_height, full_width


def _restore(args):
    from hcflow_jax import sampling
    from hcflow_jax.images import transparency

    plan = batch.plan(args, "restore", "restored")
    if not plan:
        return 0
    model, params = sampling.load(args.checkpoint, "rescaling")

    def size(source, picture):
        return _original_size(source, picture, model.scale)

    def write(source, picture, target, sample):
        hr = _checked(args, source, sample)
        height, width = size(source, picture)
        alpha = transparency.resized(picture.alpha, hr.shape[:2])
        alpha = None if alpha is None else alpha[:height, :width]
        grey = picture.info.get(GREY_KEY, str(int(picture.grey))) == "1"
        about = batch.about(args, "restore", picture, target)
        batch.write(target, hr[:height, :width], alpha, grey, **about)

    convert = _sampler(args, model, params, args.temperature)
    return batch.run(plan, _reader(args, size), convert, write)
