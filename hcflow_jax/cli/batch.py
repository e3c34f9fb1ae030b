"""Several pictures through a command: a plan, prefetch, background writing."""

import os
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hcflow_jax.cli import naming, progress, sources
from hcflow_jax.errors import UserError, counted, shown


def _make_folder(path):
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {path} ({error.strerror}); name another -o"
        ) from error


def plan(args, command, label, samples=1, beside=None):
    """[(`Source`, the places of its results)] of a command line, of what there is to do.

    UserError unless inputs are there, and results can be written without overwriting one another,
    an input, `beside`, which is read too, or what this program has not made. Nothing is made yet.
    """
    named, in_folder = _named(args, command, label)
    planned = []
    for file, output in named:
        frames = sources.frames(file, args.frames, args.max_pixels)
        for source in frames:
            targets = naming.numbered(output, samples, source.frame, len(frames))
            planned.append((source, targets))
    read = [file for file, _ in named if isinstance(file, Path)]
    _check_targets(args, planned, [*read, beside] if beside else read, in_folder)
    left = _left(planned, command) if args.skip_existing else planned
    for target in (target for _, targets in left for target in targets):
        naming.check_replaceable(target, command)
    return left


def _named(args, command, label):
    """([(file or bytes, the place of its result)], whether in a folder of results)."""
    standard = sources.is_standard(args)
    below = None if args.output == sources.STANDARD else args.output
    inputs = {} if standard else sources.listed(args, below, command)
    several = len(inputs) > 1 or (not standard and any(map(os.path.isdir, args.inputs)))
    place, in_folder = naming.place(args, several)
    if standard:
        if place is None or in_folder:
            raise UserError(
                "standard input gives results no name; give -o FILE, or -o - to pass on"
            )
        return [(sources.standard_input(args.max_pixels), place)], False
    if place is None or in_folder:
        places = naming.results(args, inputs, label, place)
        return list(zip(inputs, places, strict=True)), in_folder
    return [(file, place) for file in inputs], False


def _check_targets(args, planned, read, in_folder):
    """UserError where results would overwrite one another or what is `read`, or not be written."""
    from hcflow_jax import images

    taken = {naming.identity(path): f"{path}; name another -o or --suffix" for path in read}
    remedy = "name one folder at a time, or leave out -o" if in_folder else "rename one"
    for source, targets in planned:
        for target in targets:
            if (same := naming.identity(target)) in taken:
                raise UserError(f"{source}: its result {target.name} would overwrite {taken[same]}")
            taken[same] = f"that of {source}; {remedy}"
            images.check_quality(target, args.quality)
            if not in_folder or target.parent.is_dir():
                images.check_writable(target, bits=args.bits)


def _left(planned, command):
    """What of `planned` is not there yet, after a line about the rest."""
    left = [
        (source, targets)
        for source, targets in planned
        if not all(naming.is_result(target, command) for target in targets)
    ]
    if done := len(planned) - len(left):
        line = f"left as they are: results of {done} of {counted(len(planned), 'picture')}"
        print(line, file=sys.stderr, flush=True)
    return left


def about(args, command, picture, target, info=None):
    """What a result takes over of its picture, and what says of it: options of `write`.

    Args:
      command: which makes it.
      info: text chunks.
    """
    from hcflow_jax import images
    from hcflow_jax.images import own

    text, exif, xmp = picture.info, picture.exif, picture.xmp
    if args.strip:
        text, exif, xmp = {}, b"", b""
    text = {key: value for key, value in text.items() if not key.startswith(own.PREFIX)}
    options = {
        "bits": images.result_bits(target, picture.bits, args.bits),
        "profile": picture.profile,
        "xmp": xmp,
        "quality": args.quality,
    }
    png = target.suffix.lower() == ".png"
    return options | own.marked(command, png, text | (info or {}), exif)


def write(target, rgb, alpha, grey=False, **options):
    """Writes a result, by `images.write`, and prints its path and size, but of standard output."""
    from hcflow_jax import images

    replaced = ", replaced" if naming.exists(target) else ""
    images.write(target, rgb, alpha, grey, **options)
    if isinstance(target, Path):
        print(f"{shown(target)}  {rgb.shape[1]}×{rgb.shape[0]}{replaced}", flush=True)


def run(plan, read, convert, write, total=0, unit="tile"):
    """write(source, picture, target, result) for every target of `plan`, in order.

    A picture that cannot be done is left out of a batch, which goes on, and listed in the end.

    Args:
      read: (source, targets) -> picture, after checking what can be checked before the work.
      convert: (pictures, progress) -> results, one per target. Prefetch and writing have threads
        of their own, so that devices wait for neither.
      total: how many of `unit` all of it has, where that is known.

    Returns:
      The exit code: 0, 1 where some pictures failed, 2 where all did.

    Raises:
      UserError: the only picture failed, or results can no longer be written.
    """
    failed = {}
    places = [target for _, targets in plan for target in targets if isinstance(target, Path)]
    for folder in {place.parent for place in places}:
        _make_folder(folder)

    def fail(source, error):
        if len(plan) == 1:
            raise error
        failed.setdefault(source, error)

    try:
        _run(plan, read, convert, write, fail, progress.shown(total, unit))
    finally:
        if failed:
            print(f"hcflow: {len(failed)} of {len(plan)} pictures failed:", file=sys.stderr)
        for error in failed.values():
            print(f"  {shown(error)}", file=sys.stderr)
    return 0 if not failed else 2 if len(failed) == len(plan) else 1


def _run(plan, read, convert, write, fail, shown_progress):
    """What `run` does; fail(source, error) is told of every picture that cannot be done."""
    pending, results, writing = deque(), [], deque()
    threads = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    with threads[0] as reader, threads[1] as writer, shown_progress as report:

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
