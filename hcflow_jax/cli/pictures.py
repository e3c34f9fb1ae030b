"""`hcflow upscale`, `downscale` and `restore`."""

from hcflow_jax.cli import batch
from hcflow_jax.cli.arguments import add_picture_command, add_sampling, whole_number
from hcflow_jax.errors import UserError

SIZE_KEY, GREY_KEY = "hcflow:size", "hcflow:grey"
"""Text chunks of the small PNG: the original's width and height, and whether it was grey."""


def add_commands(commands) -> None:
    """Adds the parsers of the three commands to `commands`."""
    upscale = add_picture_command(
        commands, "upscale", _upscale, "enlarge pictures, inventing plausible detail", "IN_x4.png"
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
        "--as-trained",
        action="store_true",
        help="keep the brightness, 255/(2q) too high, that noise U(0, 1)/q of a training with "
        "loss.dequantization=published gives to samples",
    )
    add_picture_command(
        commands,
        "downscale",
        _downscale,
        "shrink pictures to a quarter, to be restored later",
        "IN_lr.png",
    )
    restore = add_picture_command(
        commands,
        "restore",
        _restore,
        "bring pictures shrunk by `downscale` back",
        "IN_restored.png",
    )
    add_sampling(restore, 0.0, "the most faithful")


def _resized_alpha(picture, shape, multiple=1):
    from hcflow_jax import images
    from hcflow_jax.images.resize import imresize

    if picture.alpha is None:
        return None
    alpha = images.pad_reflect(picture.alpha[..., None], multiple)[..., 0]
    return imresize(alpha, size=tuple(shape[:2]))


def _check_finite(args, source, hr):
    """UserError where a sample overflowed, as happens with pictures unlike photographs."""
    import numpy as np

    if not np.all(np.isfinite(hr)):
        raise UserError(
            f"{source}: its sample at temperature {args.temperature:g} is not finite; "
            "give a lower --temperature, 0 is the safest"
        )


def _sampler(args, model, params):
    from hcflow_jax import sampling

    def convert(pictures, report):
        inputs = ((picture.rgb, index) for picture, index in pictures)
        return sampling.sample_all(
            model, params, inputs, args.temperature, args.seed, args.tile, progress=report
        )

    return convert


def _upscale(args):
    from hcflow_jax import sampling

    if args.samples > 1 and args.temperature == 0:
        raise UserError(
            f"{args.samples} samples at temperature 0 would be the same; give --temperature 0.5"
        )
    plan = batch.plan(args, f"x{args.scale}", args.samples)
    model, params = sampling.load(args.checkpoint, "sr", args.scale, args.as_trained)

    def write(source, picture, target, hr):
        _check_finite(args, source, hr)
        batch.write(target, hr, _resized_alpha(picture, hr.shape), picture.grey)

    batch.run(plan, _sampler(args, model, params), write)


def _downscale(args):
    from hcflow_jax import sampling

    plan = batch.plan(args, "lr")
    for _, (target,) in plan:
        if target.suffix.lower() != ".png":
            raise UserError(f"{target}: the small picture must be a .png, which keeps every value")
    model, params = sampling.load(args.checkpoint, "rescaling")

    def convert(pictures, report):
        inputs = (picture.rgb for picture, _ in pictures)
        return sampling.downscale_all(model, params, inputs, args.tile, progress=report)

    def write(_, picture, target, lr):
        height, width, _ = picture.rgb.shape
        info = {SIZE_KEY: f"{width}x{height}", GREY_KEY: str(int(picture.grey))}
        batch.write(target, lr, _resized_alpha(picture, lr.shape, model.scale), info=info)

    batch.run(plan, convert, write)


def _original_size(source, picture, scale):
    """(height, width) of the original by the text chunk, else those of the whole result."""
    height, width, _ = picture.rgb.shape
    text = picture.info.get(SIZE_KEY)
    if text is None:
        return height * scale, width * scale
    try:
        full_width, full_height = (int(part) for part in text.split("x"))
    except ValueError as error:
        raise UserError(
            f"{source}: its {SIZE_KEY} {text!r} is not a size; downscale again"
        ) from error
    if (-(-full_height // scale), -(-full_width // scale)) != (height, width):
        raise UserError(
            f"{source} is {width}×{height} but was made from {full_width}×{full_height}; "
            "it was resized or cropped since, downscale the original again"
        )
    return full_height, full_width


def _restore(args):
    from hcflow_jax import images, sampling

    plan = batch.plan(args, "restored")
    model, params = sampling.load(args.checkpoint, "rescaling")
    for source, _ in plan:
        _original_size(source, images.read(source), model.scale)

    def write(source, picture, target, hr):
        _check_finite(args, source, hr)
        height, width = _original_size(source, picture, model.scale)
        alpha = _resized_alpha(picture, hr.shape)
        alpha = None if alpha is None else alpha[:height, :width]
        grey = picture.info.get(GREY_KEY, str(int(picture.grey))) == "1"
        batch.write(target, hr[:height, :width], alpha, grey)

    batch.run(plan, _sampler(args, model, params), write)
