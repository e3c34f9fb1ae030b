"""`hcflow data build` and `hcflow data bench`."""

import shlex

from hcflow_jax.cli.arguments import Parser, whole_number
from hcflow_jax.errors import UserError, needing, shown


def add_command(commands) -> None:
    """Adds the parser of the command to `commands`."""
    data = commands.add_parser("data", help="make data sets for training, and time them")
    subcommands = data.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    _add_build(subcommands)
    _add_bench(subcommands)


def _add_build(subcommands):
    build = subcommands.add_parser(
        "build",
        help="make a sharded data set of HR and LR pictures from folders of them",
        description="Writes the pictures of HR_DIR, and their smaller versions, as a sharded "
        "TensorFlow Datasets data set (array_record) to train on. Large pictures become "
        "overlapping tiles, so that reading a patch decodes one tile and no whole picture.",
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
    _add_scale(build)
    build.add_argument(
        "--tile",
        type=whole_number(0),
        default=480,
        metavar="PIXELS",
        help="side of the tiles, in pixels of the HR picture; neighbours overlap by 160; 0 keeps "
        "pictures whole, as for validation (default: %(default)s)",
    )


def _add_scale(command):
    command.add_argument("--scale", type=int, default=4, choices=(2, 4, 8, 16), help="default: 4")


def _add_bench(subcommands):
    bench = subcommands.add_parser(
        "bench",
        help="measure how many patches a second the data give",
        description="Reads random patches as a training does, and prints how many come in a "
        "second, for each number of worker processes. A training waits for its data where it "
        "computes more. Decoded pictures are not kept: a training keeps 1 GB of them, so that "
        "smaller sets are faster from their second epoch on.",
    )
    bench.set_defaults(run=_bench)
    bench.add_argument("path", metavar="PATH", help="a folder of pictures, or a built set")
    _add_scale(bench)
    for name, default, metavar, text in (
        ("--patch-size", 160, "PIXELS", "side of the HR patches"),
        ("--batch-size", 16, "N", "patches of a batch"),
        ("--seconds", 5, "S", "how long to measure each"),
    ):
        bench.add_argument(
            name,
            type=whole_number(1),
            default=default,
            metavar=metavar,
            help=f"{text} (default: %(default)s)",
        )
    bench.add_argument(
        "--workers",
        type=whole_number(0),
        nargs="+",
        metavar="N",
        help="processes that read; 0 stands for threads of one (default: 0 and one for each core)",
    )
    bench.add_argument(
        "--recursive", action="store_true", help="take the pictures in folders of PATH too"
    )


def _bench(args):
    import os

    with needing("train"):
        from hcflow_jax.data import rate
    from hcflow_jax.data import open_source

    if not args.path:
        raise UserError("PATH is empty; name a folder")
    source = open_source(args.path, "", "train", args.scale, 0, args.recursive)
    header = f"{shown(args.path)}: {len(source):,} pictures or tiles, ×{args.scale}\n"
    what = f"patches of {args.patch_size}×{args.patch_size}"
    for workers in args.workers or [0, os.cpu_count() or 1]:
        found = rate.patches_per_second(
            source, args.patch_size, args.batch_size, workers, args.seconds
        )
        who = f"{workers} processes" if workers > 1 else "1 process" if workers else "threads"
        option = f"--config.data.workers={workers}"
        print(f"{header}{found:,.0f} {what} a second by {who} ({option})", flush=True)
        header = ""


def _build(args):
    with needing("train"):
        from hcflow_jax.data import build
    from hcflow_jax.data import open_source

    for name, value in (("HR_DIR", args.hr), ("-o", args.output), ("--lr", args.lr)):
        if value == "":
            raise UserError(f"{name} is empty; name a folder")
    output = build.build(args.hr, args.output, args.lr, args.scale, args.recursive, args.tile)
    count = len(open_source(str(output), "", "train", args.scale))
    size = sum(path.stat().st_size for path in output.iterdir())
    config = f"sr_x{args.scale}" if args.scale in (4, 8) else "CONFIG.py"
    what = f"pairs of at most {args.tile}×{args.tile} pixels" if args.tile else "pairs"
    print(f"{shown(output)}: {count:,} {what}, ×{args.scale}, {size:,} bytes; to train on them:")
    path = shown(shlex.quote(args.output))
    print(f"hcflow train --config={config} --workdir=runs/sr --config.data.path={path}")
