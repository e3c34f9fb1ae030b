"""Several pictures through a command: output paths, prefetch, background writing, progress."""

import contextlib
import os
import sys
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hcflow_jax.errors import UserError, shown


def listed(args, results=None):
    """{picture of a command line: the folder in which it is, from the IN that was named}.

    One that is named twice is there once; those in the folder `results` are left out where that is
    below IN.
    """
    from hcflow_jax import images

    if not all(args.inputs):
        raise UserError("an input is empty; name a picture or a folder")
    found, left_out = {}, 0
    for name in args.inputs:
        top = Path(name)
        for path in images.list_images(name, args.recursive):
            below = path.parent.relative_to(top) if path != top else Path()
            if results and _is_below(results, top, path):
                left_out += 1
            else:
                found.setdefault(_resolved(path), (path, below))
    if left_out:
        what = "picture is" if left_out == 1 else "pictures are"
        line = f"{left_out} {what} in {shown(results)}, where results go, and left out"
        print(line, file=sys.stderr, flush=True)
    return dict(found.values())


def _is_below(folder, top, path):
    """Whether `path` is in a folder, and that in the folder `top`."""
    folder = Path(_resolved(folder))
    return Path(_resolved(top)) in folder.parents and folder in Path(_resolved(path)).parents


def _outputs(args, inputs, label):
    """(the output path of each input, before samples are numbered; whether in a folder of theirs).

    Results of pictures that differ in their suffix alone keep it: a_jpg_x4.png and a_png_x4.png.
    """
    stems = Counter((path.parent, path.stem) for path in inputs)

    def name(path):
        alike = stems[path.parent, path.stem] > 1
        return f"{path.stem}{path.suffix.replace('.', '_') if alike else ''}_{label}.png"

    beside = [path.with_name(name(path)) for path in inputs]
    if args.output is None:
        return beside, False
    if not args.output:
        raise UserError("-o is empty; name a file or a folder")
    output = Path(args.output)
    several = len(inputs) > 1 or any(Path(name).is_dir() for name in args.inputs)
    if not (several or output.is_dir() or args.output.endswith(os.sep)):
        return [output], False
    _check_folder(output)
    named = zip(inputs.values(), beside, strict=True)
    return [output / below / path.name for below, path in named], True


def _check_folder(path):
    from hcflow_jax import images

    if path.suffix.lower() in images.FORMATS and not path.is_dir():
        raise UserError(f"{path} is named as a picture, and results need a folder; name another -o")
    if os.path.lexists(path) and not path.is_dir():
        raise UserError(f"{path} is no folder; name another -o")


def _make_folder(path):
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {path} ({error.strerror}); name another -o"
        ) from error


def _numbered(target, samples):
    if samples == 1:
        return [target]
    return [target.with_name(f"{target.stem}_{i + 1}{target.suffix}") for i in range(samples)]


def _resolved(path):
    """`path` with links followed; `Path.resolve` raises RuntimeError where they form a cycle."""
    return os.path.realpath(path)


def check_apart(target, option, others):
    """UserError where the file `target` of an option is one of `others`, of which some are None."""
    if _resolved(target) in {_resolved(path) for path in others if path is not None}:
        raise UserError(f"{option} {target} would overwrite what is read there; name another file")


def plan(args, label, samples=1):
    """[(input, its outputs)] of a command line.

    UserError unless inputs are there, and outputs can be written without overwriting one another
    or an input. Nothing is read or made yet.
    """
    from hcflow_jax import images

    inputs = listed(args, args.output)
    taken = {_resolved(path): f"{path}; name another -o" for path in inputs}
    outputs, in_folder = _outputs(args, inputs, label)
    planned = []
    for source, output in zip(inputs, outputs, strict=True):
        targets = _numbered(output, samples)
        for target in targets:
            if _resolved(target) in taken:
                raise UserError(
                    f"{source}: its result {target.name} would overwrite {taken[_resolved(target)]}"
                )
            remedy = "name one folder at a time, or leave out -o" if in_folder else "rename one"
            taken[_resolved(target)] = f"that of {source}; {remedy}"
            if not in_folder or target.parent.is_dir():
                images.check_writable(target, bits=args.bits)
        planned.append((source, targets))
    return planned


OWN = "hcflow:"
"""How the names of this program's text chunks begin."""


def read(source, max_pixels):
    """The picture of a file, after a line on stderr for each of its notes."""
    from hcflow_jax import images

    picture = images.read(source, max_pixels)
    for note in picture.notes:
        print(f"{shown(source)}: {note}", file=sys.stderr, flush=True)
    return picture


def about(args, picture, target, info=None):
    """What a result takes over of its picture, and the text chunks `info`: options of `write`."""
    from hcflow_jax import images

    bits = images.result_bits(target, picture.bits, args.bits)
    kept = {"info": info or {}, "bits": bits, "profile": picture.profile}
    if args.strip:
        return kept
    text = {key: value for key, value in picture.info.items() if not key.startswith(OWN)}
    return kept | {"info": text | kept["info"], "exif": picture.exif, "xmp": picture.xmp}


def write(target, rgb, alpha, grey=False, **options):
    """Writes a result, by `images.write`, and prints its path and size."""
    from hcflow_jax import images

    images.write(target, rgb, alpha, grey, **options)
    print(f"{shown(target)}  {rgb.shape[1]}×{rgb.shape[0]}", flush=True)


@contextlib.contextmanager
def progress():
    """Yields report(count) for a progress bar, shown on terminals once there are two windows.

    `count` as `progress` of `tiling.run`.
    """
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


def run(plan, read, convert, write):
    """write(source, picture, target, result) for every target of `plan`, in order.

    A picture that cannot be done is left out of a batch, which goes on, and listed in the end.

    Args:
      read: (source, targets) -> picture, after checking what can be checked before the work.
      convert: (pictures, progress) -> results, one per target. Prefetch and writing have threads
        of their own, so that devices wait for neither.

    Returns:
      The exit code: 0, 1 where some pictures failed, 2 where all did.

    Raises:
      UserError: the only picture failed, or results can no longer be written.
    """
    failed = {}
    for folder in {target.parent for _, targets in plan for target in targets}:
        _make_folder(folder)

    def fail(source, error):
        if len(plan) == 1:
            raise error
        failed.setdefault(source, error)

    try:
        _run(plan, read, convert, write, fail)
    finally:
        if failed:
            print(f"hcflow: {len(failed)} of {len(plan)} pictures failed:", file=sys.stderr)
        for error in failed.values():
            print(f"  {shown(error)}", file=sys.stderr)
    return 0 if not failed else 2 if len(failed) == len(plan) else 1


def _run(plan, read, convert, write, fail):
    """What `run` does; fail(source, error) is told of every picture that cannot be done."""
    pending, results, writing = deque(), [], deque()
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer, progress() as report:

        def pictures():
            prefetched = deque()
            for source, targets in plan:
                prefetched.append((source, targets, reader.submit(read, source, targets)))
                if len(prefetched) > 1:
                    yield from for_each_target(*prefetched.popleft())
            for item in prefetched:
                yield from for_each_target(*item)

        def for_each_target(source, targets, reading):
            try:
                picture = reading.result()
            except UserError as error:
                fail(source, error)
                return
            pending.append((source, picture, targets))
            for index, _ in enumerate(targets):
                yield picture, index

        def written(source, job):
            try:
                job.result()
            except UserError as error:
                if getattr(error.__cause__, "errno", None):  # the disk's: others would fail too
                    raise
                fail(source, error)

        for result in convert(pictures(), report):
            results.append(result)
            source, picture, targets = pending[0]
            target = targets[len(results) - 1]
            writing.append((source, writer.submit(write, source, picture, target, result)))
            if len(results) == len(targets):
                pending.popleft()
                results.clear()
            while len(writing) > 1 or (writing and writing[0][1].done()):
                written(*writing.popleft())
        for item in writing:
            written(*item)
