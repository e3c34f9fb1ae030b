"""`hcflow data build`."""

import shlex

from hcflow_jax.cli.arguments import Parser
from hcflow_jax.errors import UserError, needing, shown


def add_command(commands) -> None:
    """Adds the parser of the command to `commands`."""
    data = commands.add_parser("data", help="make data sets for training")
    build = data.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser).add_parser(
        "build",
        help="make a sharded data set of HR and LR pictures from folders of them",
        description="Writes the pictures of HR_DIR, and their smaller versions, as a sharded "
        "TensorFlow Datasets data set (array_record) to train on.",
    )
    build.set_defaults(run=_build)
    build.add_argument("hr", metavar="HR_DIR", help="a folder of pictures")
    build.add_argument("-o", "--output", metavar="DIR", required=True, help="a new folder")
    build.add_argument(
        "--lr",
        metavar="LR_DIR",
        help="a folder of the smaller versions, of the same names or with x4 (the scale) appended "
        "(default: made by MATLAB's bicubic imresize)",
    )
    build.add_argument(
        "--recursive", action="store_true", help="take the pictures in folders of HR_DIR too"
    )
    build.add_argument("--scale", type=int, default=4, choices=(2, 4, 8, 16), help="default: 4")


def _build(args):
    with needing("train"):
        from hcflow_jax.data import build
    from hcflow_jax.data import open_source

    for name, value in (("HR_DIR", args.hr), ("-o", args.output), ("--lr", args.lr)):
        if value == "":
            raise UserError(f"{name} is empty; name a folder")
    output = build.build(args.hr, args.output, args.lr, args.scale, args.recursive)
    count = len(open_source(str(output), "", "train", args.scale))
    size = sum(path.stat().st_size for path in output.iterdir())
    config = f"sr_x{args.scale}" if args.scale in (4, 8) else "CONFIG.py"
    print(f"{shown(output)}: {count:,} pairs ×{args.scale}, {size:,} bytes; to train on them:")
    path = shown(shlex.quote(args.output))
    print(f"hcflow train --config={config} --workdir=runs/sr --config.data.path={path}")
