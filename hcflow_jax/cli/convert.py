"""`hcflow convert`."""

from hcflow_jax.cli.arguments import whole_number
from hcflow_jax.errors import UserError, shown


def add_command(commands) -> None:
    """Adds the parser of the command to `commands`."""
    command = commands.add_parser(
        "convert",
        help="turn published weights into a checkpoint, or back",
        description="weights (.pth, .pt, .ckpt, .bin, .safetensors, .npz) -> checkpoint directory; "
        "checkpoint -> weights.npz",
    )
    command.set_defaults(run=_convert)
    command.add_argument("input", metavar="IN", help="a file of weights, or a checkpoint directory")
    command.add_argument("-o", "--output", metavar="OUT", required=True, help="DIR, or a .npz")
    command.add_argument(
        "--quant",
        type=whole_number(1),
        metavar="Q",
        help="take off the mean, ½/Q, of the noise U(0, 1)/Q that IN was trained with, or its "
        "samples are 255/(2Q) too bright: 64 for the authors' HCFlow ×4, 256 for ×8; not for "
        "their HCFlow+ and HCFlow++, whose pixel loss takes it away, nor for what comes from "
        "`hcflow train`, of which it is taken off already",
    )
    command.add_argument(
        "--as-trained",
        action="store_true",
        help="leave that mean in a training's samples (loss.dequantization=published)",
    )


def _check_quant(source, model):
    """UserError where there is no noise's mean that `--quant` could take off."""
    from hcflow_jax import checkpoints

    if checkpoints.noise(source):
        raise UserError(f"{source} says itself which noise it was trained with; leave out --quant")
    if model.task != "sr" or model.steps[0] == model.conditional_steps[0]:
        raise UserError(
            f"{source}: --quant is for super-resolution with unconditional steps in the first "
            "level; leave it out"
        )


def _convert(args):
    import numpy as np
    from absl import logging

    from hcflow_jax import checkpoints, images, paths
    from hcflow_jax.checkpoints import published, weights
    from hcflow_jax.model.dequantization import without_noise_mean

    logging.set_verbosity(logging.ERROR)  # orbax warns where all is well
    if not (args.input and args.output):
        raise UserError("IN or OUT is empty; name a file or a folder")
    source, target = paths.reached(args.input), paths.reached(args.output)
    if paths.is_taken(target):
        raise UserError(f"{target} exists; name a new one")
    suffix = target.suffix.lower()
    if suffix in weights.SUFFIXES and suffix != ".npz":
        raise UserError(f"{target}: {suffix} is only read; name a .npz or a directory")
    if suffix == ".npz":
        paths.local(target, "name a local .npz and copy it there")
    else:
        checkpoints.check_name(paths.absolute(target))
    if not (paths.is_remote(target) or target.absolute().parent.is_dir()):
        raise UserError(f"{target.parent} is not a folder; create it to write {target}")
    model, params = checkpoints.load_model(source, args.as_trained, say=print)
    if args.quant:
        _check_quant(source, model)
        params = without_noise_mean(model, params, args.quant)
    count = published.parameter_count(model)
    print(f"{shown(source)}: {model.task} ×{model.scale}, {count:,} parameters")
    if suffix == ".npz":
        arrays = published.to_published(model, params)
        images.write_beside(target, lambda file: np.savez(file, **arrays))
    else:
        checkpoints.save_model(target, model, params)
    print(f"{shown(target)} written")
