"""Sizes of results: a network enlarges by one factor, bicubic interpolation shrinks that."""

import argparse
import math

from hcflow_jax.cli import progress
from hcflow_jax.cli.arguments import whole_number
from hcflow_jax.errors import UserError

_MOST = 64  # no network enlarges more


def scale(text: str) -> float:
    """The factor that `text` is; ArgumentTypeError unless it is from 1 to _MOST."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1 <= value <= _MOST:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a scale; give a number from 1 to {_MOST}, such as 4 or 2.5"
        )
    return value


def add_arguments(command) -> None:
    """Adds --scale, --width and --height, of which one may be given."""
    group = command.add_mutually_exclusive_group()
    group.add_argument(
        "--scale",
        type=scale,
        metavar="S",
        help="how many times as wide and high the result is, such as 4, 3 or 2.5; what a network "
        "does not give itself is shrunk from its result by bicubic interpolation (default: what "
        "the network gives, 4 of the shipped ones, of which there are 2, 4 and 8)",
    )
    for name, label in (("width", "IN_w3000.png"), ("height", "IN_h3000.png")):
        group.add_argument(
            f"--{name}",
            type=whole_number(1),
            metavar="PIXELS",
            help=f"the {name} of results instead; that of 3000 pixels is called {label}",
        )


def label(args, network: int) -> str:
    """At the end of names of results: x4, x2.5, w3000 or h2000."""
    if args.width or args.height:
        return f"w{args.width}" if args.width else f"h{args.height}"
    return f"x{args.scale or network:g}"


def network(args) -> int | None:
    """The factor of the shipped network that `args` ask for; None where a checkpoint is named.

    UserError where none that ships enlarges so much.
    """
    from hcflow_jax import sampling

    if args.checkpoint is not None:
        return None
    enough = sampling.shipped_scales("sr", args.scale or sampling.DEFAULT_SCALE)
    if not enough:
        raise _too_large(f"--scale {args.scale:g}", args, sampling.shipped_scales("sr")[-1])
    return enough[0]


def _too_large(what, args, most):
    from hcflow_jax import sampling

    weights, other = args.checkpoint, "name other weights by --checkpoint"
    if weights is None:
        weights, largest = "the shipped network", sampling.shipped_scales("sr")[-1]
        other = f"take --scale {largest}" if most < largest else other
    return UserError(
        f"{what} asks for more than ×{most}, which {weights} gives; ask for less, or {other}"
    )


def check(args, network: int) -> None:
    """UserError where a network gives less than --scale, or options contradict one another."""
    if args.scale is not None and args.scale > network:
        raise _too_large(f"--scale {args.scale:g}", args, network)
    if args.region and _asked(args, network):
        raise UserError(
            f"--region is in pixels of the network's ×{network}; leave out --scale, --width and "
            "--height"
        )


def _asked(args, network):
    """What the command line asks for in words, where a network does not give that itself."""
    for name in ("width", "height"):
        if pixels := getattr(args, name):
            return f"a {name} of {pixels} pixels"
    return f"×{args.scale:g}" if args.scale and args.scale != network else None


def tell(args, network: int) -> None:
    """A line on stderr where results are shrunk."""
    if asked := _asked(args, network):
        progress.say(
            f"enlarged ×{network} by the network, then shrunk to {asked} by bicubic interpolation"
        )


def final(args, source, size: tuple[int, int], network: int) -> tuple[int, int]:
    """(height, width) of the result of a picture of `size`.

    UserError where that is larger than what the network gives, or smaller than the picture.
    """
    from hcflow_jax.images.resize import scaled

    for name, pixels, side in (
        ("height", args.height, size[0]),
        ("width", args.width, size[1]),
    ):
        if pixels is None:
            continue
        if pixels < side:
            raise UserError(
                f"{source} has a {name} of {side} pixels already; give --{name} {side} or more"
            )
        if pixels > network * side:
            what = f"{source}: --{name} {pixels}, {pixels / side:.3g} times its {side} pixels,"
            raise _too_large(what, args, network)
        factor = pixels / side
        break
    else:
        factor = args.scale or network
    return scaled(size, factor)
