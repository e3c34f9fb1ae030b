"""The `hcflow` command."""

import argparse
import contextlib
import math
import os
import shlex
import sys
import tempfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hcflow_jax.training import memory

EPILOG = """examples:
  hcflow demo                                     a picture that shows what the flow does
  hcflow upscale photo.jpg                        photo_x4.png beside it
  hcflow upscale photo.jpg -o big.png --temperature 0.5 --samples 5
  hcflow downscale photo.jpg -o small.png         a quarter of the size, made to be restored
  hcflow restore small.png -o photo_again.png
  hcflow train --config=configs/sr_x4.py:tiny --workdir=runs/sr --config.data.path=photos/
  hcflow convert SR_DF2K_X4_HCFlow.pth -o sr_x4   the authors' weights, for --checkpoint sr_x4
"""


SIZE_KEY, GREY_KEY = "hcflow:size", "hcflow:grey"
"""Text chunks of the small PNG: the original's width and height, and whether it was grey."""


class UsageError(ValueError):
    """What the user asked for makes no sense; the message is one line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UsageError(f"{message}; see `{self.prog} --help`")


def _temperature(text):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no temperature; give a number from 0 up")
    return value


def _whole(least):
    def parse(text):
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value < 2**31:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no whole number from {least} to 2^31 − 1"
            )
        return value

    return parse


def _add_picture_command(commands, name, summary, output):
    command = commands.add_parser(name, help=summary, description=summary)
    command.set_defaults(run=globals()[f"_{name}"])
    command.add_argument("inputs", nargs="+", metavar="IN", help="pictures, or folders of them")
    command.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help=f"a file, or for several inputs an existing folder (default: {output} beside IN)",
    )
    command.add_argument(
        "--checkpoint",
        metavar="PATH",
        help="a checkpoint directory, a training's workdir or a .npz/.pth of published weights "
        "(default: the small weights that ship with hcflow)",
    )
    command.add_argument(
        "--tile",
        type=_whole(1),
        default=1024,
        metavar="PIXELS",
        help="side of the squares of the large picture that are worked on at once, 256 or more and "
        "a multiple of the scale; less takes less memory, the result is the same "
        "(default: %(default)s)",
    )
    return command


def _add_sampling(command, temperature, why):
    command.add_argument(
        "--temperature",
        type=_temperature,
        default=temperature,
        metavar="T",
        help=f"spread of the latents, from 0 up (default: {temperature:g}, {why})",
    )
    command.add_argument(
        "--seed", type=_whole(0), default=0, metavar="S", help="same seed, same picture"
    )


def _add_data(commands):
    data = commands.add_parser("data", help="make data sets for training")
    build = data.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser).add_parser(
        "build",
        help="a sharded data set of HR and LR pictures from folders of them",
        description="Writes the pictures of HR_DIR, and their smaller versions, as a sharded "
        "TensorFlow Datasets data set (array_record) to train on.",
    )
    build.set_defaults(run=_data_build)
    build.add_argument("hr", metavar="HR_DIR", help="a folder of pictures")
    build.add_argument("-o", "--output", metavar="DIR", required=True, help="a new folder")
    build.add_argument(
        "--lr",
        metavar="LR_DIR",
        help="a folder of the smaller versions, by the same names or with x4 at the end "
        "(default: made by MATLAB's bicubic imresize)",
    )
    build.add_argument("--scale", type=int, default=4, choices=(2, 4, 8, 16), help="default: 4")


def _parser():
    parser = _Parser(
        prog="hcflow",
        description="Super-resolution and rescaling of pictures with one invertible network.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    upscale = _add_picture_command(
        commands, "upscale", "enlarge pictures, inventing plausible detail", "IN_x4.png"
    )
    upscale.add_argument("--scale", type=int, default=4, choices=(2, 4, 8, 16), help="default: 4")
    _add_sampling(
        upscale,
        0.0,
        "the safest: above it the shipped weights cover lettering with coloured blobs; full-size "
        "networks look best at 0.8 to 0.9",
    )
    upscale.add_argument(
        "--samples",
        type=_whole(1),
        default=1,
        metavar="N",
        help="how many different versions to write, numbered OUT_1, OUT_2, … (default: 1)",
    )
    _add_picture_command(
        commands, "downscale", "shrink pictures to a quarter, to be restored later", "IN_lr.png"
    )
    restore = _add_picture_command(
        commands, "restore", "bring pictures shrunk by `downscale` back", "IN_restored.png"
    )
    _add_sampling(restore, 0.0, "the most faithful")
    demo = commands.add_parser("demo", help="shrink, restore and super-resolve a photograph")
    demo.set_defaults(run=_demo)
    demo.add_argument(
        "-o", "--output", metavar="DIR", default="hcflow_demo", help="default: %(default)s"
    )
    demo.add_argument(
        "--checkpoint",
        metavar="PATH",
        action="append",
        default=[],
        help="use this model for its task; may be given twice",
    )
    convert = commands.add_parser(
        "convert",
        help="turn published weights into a checkpoint, or back",
        description="weights.pth or weights.npz -> checkpoint directory; checkpoint -> weights.npz",
    )
    convert.set_defaults(run=_convert)
    convert.add_argument("input", metavar="IN", help=".pth, .npz, or a checkpoint directory")
    convert.add_argument("-o", "--output", metavar="OUT", required=True, help="DIR, or a .npz")
    _add_data(commands)
    commands.add_parser("train", help="train a model: `hcflow train --help`", add_help=False)
    return parser


def _outputs(args, inputs, label):
    """Where the result of each input goes, before samples are numbered."""
    beside = [path.with_name(f"{path.stem}_{label}.png") for path in inputs]
    if args.output is None:
        return beside
    if not args.output:
        raise UsageError("-o is empty; name a file or a folder")
    output = Path(args.output)
    several = len(inputs) > 1 or any(Path(name).is_dir() for name in args.inputs)
    if not (several or output.is_dir() or args.output.endswith(os.sep)):
        return [output]
    if not output.is_dir():
        raise UsageError(f"{output} is no folder; several results need one, create or name it")
    return [output / path.name for path in beside]


def _numbered(target, samples):
    if samples == 1:
        return [target]
    return [target.with_name(f"{target.stem}_{i + 1}{target.suffix}") for i in range(samples)]


def _real(path):
    """The file itself, links followed; `Path.resolve` raises RuntimeError where links circle."""
    return os.path.realpath(path)


def _plan(args, label, samples=1):
    """[(input, its outputs)]: inputs readable; outputs writable, distinct and no inputs."""
    from hcflow_jax import images

    if not all(args.inputs):
        raise UsageError("an input is empty; name a picture or a folder")
    inputs = [path for name in args.inputs for path in images.list_images(name)]
    taken = {_real(path): f"{path}" for path in inputs}
    plan = []
    for source, output in zip(inputs, _outputs(args, inputs, label), strict=True):
        alpha = images.read(source).alpha is not None
        targets = _numbered(output, samples)
        for target in targets:
            if _real(target) in taken:
                raise UsageError(
                    f"{source}: its result {target.name} would overwrite "
                    f"{taken[_real(target)]}; name another -o"
                )
            taken[_real(target)] = f"that of {source}"
            images.check_writable(target, alpha)
        plan.append((source, targets))
    return plan


def _write(target, rgb, alpha, grey=False, info=None):
    from hcflow_jax import images

    images.write(target, rgb, alpha=alpha, grey=grey, info=info)
    print(f"{target}  {rgb.shape[1]}×{rgb.shape[0]}", flush=True)


def _resized_alpha(picture, shape, multiple=1):
    from hcflow_jax import images
    from hcflow_jax.images.resize import imresize

    if picture.alpha is None:
        return None
    alpha = images.pad_reflect(picture.alpha[..., None], multiple)[..., 0]
    return imresize(alpha, size=tuple(shape[:2]))


@contextlib.contextmanager
def _progress():
    """A bar of windows on a terminal, once there is more than one."""
    bar, known, done = None, 0, 0

    def report(count):
        nonlocal bar, known, done
        known, done = known + max(count, 0), done + max(-count, 0)
        if known > 1 and sys.stderr.isatty():
            from tqdm import tqdm

            bar = bar or tqdm(unit="tile", leave=False)
            bar.total, bar.n = known, done
            bar.refresh()

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()


def _work(plan, convert, write):
    """write(source, picture, target, result) for every target of `plan`, in order.

    convert: (pictures, progress) -> results, one per target. Reading ahead and writing have
    threads of their own, so that neither keeps the devices waiting.
    """
    from hcflow_jax import images

    pending, results, writing = deque(), [], deque()
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer, _progress() as report:

        def pictures():
            ahead = deque()
            for source, targets in plan:
                ahead.append((source, targets, reader.submit(images.read, source)))
                if len(ahead) > 1:
                    yield from each(*ahead.popleft())
            for item in ahead:
                yield from each(*item)

        def each(source, targets, reading):
            picture = reading.result()
            pending.append((source, picture, targets))
            for index, _ in enumerate(targets):
                yield picture, index

        for result in convert(pictures(), report):
            results.append(result)
            source, picture, targets = pending[0]
            target = targets[len(results) - 1]
            writing.append(writer.submit(write, source, picture, target, result))
            if len(results) == len(targets):
                pending.popleft()
                results.clear()
            while len(writing) > 1 or (writing and writing[0].done()):
                writing.popleft().result()
        for job in writing:
            job.result()


def _check_numbers(args, source, hr):
    """UsageError where a sample overflowed, as of pictures that are no photographs."""
    import numpy as np

    if not np.all(np.isfinite(hr)):
        raise UsageError(
            f"{source}: these weights give no numbers for it at temperature {args.temperature:g}; "
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
        raise UsageError(
            f"{args.samples} samples at temperature 0 would be the same; give --temperature 0.5"
        )
    plan = _plan(args, f"x{args.scale}", args.samples)
    model, params = sampling.load(args.checkpoint, "sr", args.scale)

    def write(source, picture, target, hr):
        _check_numbers(args, source, hr)
        _write(target, hr, _resized_alpha(picture, hr.shape), picture.grey)

    _work(plan, _sampler(args, model, params), write)


def _downscale(args):
    from hcflow_jax import sampling

    plan = _plan(args, "lr")
    for _, (target,) in plan:
        if target.suffix.lower() != ".png":
            raise UsageError(f"{target}: the small picture must be a .png, which keeps every value")
    model, params = sampling.load(args.checkpoint, "rescaling")

    def convert(pictures, report):
        inputs = (picture.rgb for picture, _ in pictures)
        return sampling.downscale_all(model, params, inputs, args.tile, progress=report)

    def write(_, picture, target, lr):
        height, width, _ = picture.rgb.shape
        info = {SIZE_KEY: f"{width}x{height}", GREY_KEY: str(int(picture.grey))}
        _write(target, lr, _resized_alpha(picture, lr.shape, model.scale), info=info)

    _work(plan, convert, write)


def _original_size(source, picture, scale):
    """(height, width) to crop to: that of the metadata, else the whole."""
    height, width, _ = picture.rgb.shape
    text = picture.info.get(SIZE_KEY)
    if text is None:
        return height * scale, width * scale
    try:
        full_width, full_height = (int(part) for part in text.split("x"))
    except ValueError as error:
        raise UsageError(
            f"{source}: its {SIZE_KEY} {text!r} is no size; downscale again"
        ) from error
    if (-(-full_height // scale), -(-full_width // scale)) != (height, width):
        raise UsageError(
            f"{source} is {width}×{height} but was made from {full_width}×{full_height}; "
            "it was resized or cropped since, downscale the original again"
        )
    return full_height, full_width


def _restore(args):
    from hcflow_jax import images, sampling

    plan = _plan(args, "restored")
    model, params = sampling.load(args.checkpoint, "rescaling")
    for source, _ in plan:
        _original_size(source, images.read(source), model.scale)

    def write(source, picture, target, hr):
        _check_numbers(args, source, hr)
        height, width = _original_size(source, picture, model.scale)
        alpha = _resized_alpha(picture, hr.shape)
        alpha = None if alpha is None else alpha[:height, :width]
        grey = picture.info.get(GREY_KEY, str(int(picture.grey))) == "1"
        _write(target, hr[:height, :width], alpha, grey)

    _work(plan, _sampler(args, model, params), write)


def _demo(args):
    from hcflow_jax.cli import demo

    demo.run(Path(args.output), args.checkpoint)


def _convert(args):
    import numpy as np

    from hcflow_jax import checkpoints, images
    from hcflow_jax.checkpoints import published

    source, target = Path(args.input), Path(args.output)
    if os.path.lexists(target):
        raise UsageError(f"{target} exists; name a new one")
    if target.suffix.lower() in (".pth", ".pt"):
        raise UsageError(f"{target}: .pth is only read; name a .npz or a directory")
    if not target.absolute().parent.is_dir():
        raise UsageError(f"{target.parent} is no folder; create it, it is where {target} goes")
    model, params = checkpoints.load_model(source)
    print(f"{source}: {model.task} ×{model.scale}, {published.parameter_count(model):,} parameters")
    if target.suffix.lower() == ".npz":
        images.write_beside(
            target, lambda file: np.savez(file, **published.to_published(model, params))
        )
    else:
        checkpoints.save_model(target, model, params)
    print(f"{target} written")


def _data_build(args):
    try:
        from hcflow_jax.data import build
    except ImportError as error:
        raise UsageError(f"building needs {error.name}; pip install 'hcflow_jax[train]'") from error
    from hcflow_jax.data import sources

    for name, value in (("HR_DIR", args.hr), ("-o", args.output), ("--lr", args.lr)):
        if value == "":
            raise UsageError(f"{name} is empty; name a folder")
    output = build.build(args.hr, args.output, args.lr, args.scale)
    count = len(sources.open_source(str(output), "", "train", args.scale))
    size = sum(path.stat().st_size for path in output.iterdir())
    config = f"configs/sr_x{args.scale}.py" if args.scale in (4, 8) else "CONFIG.py"
    print(f"{output}: {count:,} pairs ×{args.scale}, {size:,} bytes; to train on them:")
    path = shlex.quote(args.output)
    print(f"hcflow train --config={config} --workdir=runs/sr --config.data.path={path}")


def _keep_programs():
    """Compiled programs stay in the user's cache folder; without one that can be written, not."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hcflow"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError):
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(2**30))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")


def _run(argv):
    _keep_programs()
    if argv[:1] == ["train"]:
        try:
            from hcflow_jax.training import loop
        except ImportError as error:
            raise UsageError(
                f"training needs {error.name}; pip install 'hcflow_jax[train]'"
            ) from error
        loop.main(argv)
        return
    args = _parser().parse_args(argv)
    args.run(args)


def main(argv: list[str] | None = None) -> int:
    """Runs one command; 0, or 2 after one line on stderr that names the trouble and the remedy."""
    if argv is None:
        argv = sys.argv[1:]
        if argv[:1] == ["train"]:
            memory.start_again()
    try:
        _run(argv)
    except (ValueError, OSError, MemoryError) as error:
        line = " ".join(str(error).split()) or "out of memory; use a smaller picture"
        print(f"hcflow: {line}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        print("hcflow: out of memory; use a smaller picture or batch", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("hcflow: interrupted", file=sys.stderr)
        return 130
    return 0
