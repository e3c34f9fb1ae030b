"""`hcflow export`."""

import argparse
import re

from hcflow_jax.cli.arguments import add_checkpoint, add_dtype
from hcflow_jax.cli.sources import STANDARD
from hcflow_jax.errors import UserError, shown

FORMATS = ("stablehlo", "onnx")


def add_command(commands) -> None:
    """Adds the parser of the command to `commands`."""
    command = commands.add_parser(
        "export",
        help="write a network as one file that runs without hcflow",
        description="checkpoint -> its sampler, or downscaler, as a program with the weights in "
        "it: StableHLO, for JAX on CPUs, GPUs and TPUs, or ONNX, for onnxruntime and others. It "
        "takes whole pictures, and neither checks samples nor draws them again; the README shows "
        "how to run it",
    )
    command.set_defaults(run=_export)
    command.add_argument(
        "command",
        nargs="?",
        metavar="COMMAND",
        choices=("upscale", "restore", "downscale"),
        help="the command whose work the file does: upscale, restore or downscale (default: "
        "upscale, or restore where --checkpoint is for rescaling)",
    )
    command.add_argument("-o", "--output", metavar="OUT", required=True, help="a new file")
    add_checkpoint(command)
    add_dtype(command)
    sides = command.add_mutually_exclusive_group()
    sides.add_argument(
        "--size",
        type=_size,
        metavar="WxH",
        help="for one picture of this width and height, in pixels of what goes in; ONNX needs it",
    )
    sides.add_argument(
        "--dynamic",
        action="store_true",
        help="for any number of pictures of any size from 3 pixels a side, or, of downscale, that "
        "divides by the scale (the default)",
    )
    command.add_argument(
        "--format",
        choices=FORMATS,
        help="default: onnx where OUT ends in .onnx, else stablehlo",
    )
    command.add_argument(
        "--raw",
        action="store_true",
        help="of upscale: the network's own sample, without the back-projection after it, which "
        "an ONNX file never has",
    )


def _size(text):
    """(width, height) of "640x480"."""
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give width x height, as 640x480")
    return int(found[1]), int(found[2])


def _check_onnx(args):
    """UserError where options ask for what an ONNX file cannot be."""
    if args.size is None:
        raise UserError("an ONNX file is for pictures of one size; give --size, such as 640x480")
    if args.dtype not in (None, "float32"):
        raise UserError(f"an ONNX file is of float32, not {args.dtype}; leave out --dtype")


def _check_raw(args, command, onnx):
    """UserError where --raw is not for `command`, or missing."""
    if args.raw and command != "upscale":
        raise UserError(f"--raw is for upscale, and this is {command}; leave it out")
    if onnx and command == "upscale" and not args.raw:
        raise UserError("an ONNX file has no back-projection; say --raw, the network's own sample")


def _export(args):
    from hcflow_jax import images, paths, sampling
    from hcflow_jax.sampling import exporting

    if args.output in ("", STANDARD):
        raise UserError("a program goes to a file; name one by -o")
    target = paths.local(args.output, "name a local file and copy it there")
    onnx = (args.format or ("onnx" if target.suffix.lower() == ".onnx" else None)) == "onnx"
    if paths.is_taken(target):
        raise UserError(f"{target} exists; name a new one")
    images.check_place(target)
    if onnx:
        _check_onnx(args)
    task = exporting.COMMANDS[args.command] if args.command else None
    model, params = sampling.load(args.checkpoint, task, dtype=args.dtype)
    command = args.command or ("upscale" if model.task == "sr" else "restore")
    _check_raw(args, command, onnx)
    if onnx:
        data = exporting.onnx(model, params, command, args.size)
    else:
        steps = sampling.BACK_PROJECTION if command == "upscale" and not args.raw else 0
        data = exporting.stablehlo(model, params, command, args.size, steps).serialize()
    images.write_beside(target, lambda file: file.write(data))
    print(f"{shown(target)} written: {command} ×{model.scale}, {len(data) / 1e6:.1f} MB")
